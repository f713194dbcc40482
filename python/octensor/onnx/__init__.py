"""ONNX models in and out.

`load` reads a model into a `GraphModule`, which runs in float, can be calibrated and converted, or, if the model is
quantized, runs in integers at once. `export` writes a model, quantized parts as QDQ.
"""

from .export import export
from .exporter import ExportError
from .load import load

__all__ = ["ExportError", "export", "load"]
