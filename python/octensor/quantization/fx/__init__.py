"""What `quantize_fx` is made of; its functions are the ones to call.

* `qconfig_mapping`, `custom_config`: the dictionaries users write;
* `patterns`, `handlers`, `lifted`: what is known about layers and functions, as a table;
* `tracing`, `fuse`, `prepare`, `convert`, `lower`: the steps.

Layers are observed, trained and converted by what does it in eager mode: `quantization.prepare`, `fuse` and `convert`.
Here is only what a graph adds: which calls are quantized, and where tensors become quantized and float again.
"""
