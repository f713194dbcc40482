"""ONNX models in and out.

`load` reads a model into a `GraphModule`, which runs in float, can be calibrated and converted, or, if the model is
quantized, runs in integers at once.
"""

from .load import load

__all__ = ["load"]
