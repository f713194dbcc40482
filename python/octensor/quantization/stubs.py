"""`QuantStub`, `DeQuantStub` and `QuantWrapper`: where a model's tensors become quantized, and float again.

In a float model both return their input. `prepare` observes the output of a `QuantStub`; after `convert` it
quantizes with the parameters found, and a `DeQuantStub` dequantizes whatever quantized tensor it is given.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from octensor import _C
from octensor.grid import GridTensor
from octensor.nn.module import Module
from octensor.ops.exact import QUANTIZE
from octensor.ops.recording import RECORDING
from octensor.quantization.fake_quantize import is_activation_post_process
from octensor.quantization.qconfig import QConfig


class QuantStub(Module):
    """Marks the place where a float tensor becomes quantized.

    Parameters
    ----------
    qconfig : QConfig, optional
        Its own; otherwise the one of the model it is in.

    Notes
    -----
    Converted, it takes a float32 tensor of any shape and returns a `QTensor`; images (4-D) come out channels-last.
    """

    output_rule = "given"
    takes_float = True  # converted, its input is still float

    def __init__(self, qconfig: QConfig | None = None) -> None:
        super().__init__()
        if qconfig is not None:
            self.qconfig = qconfig

    def forward(self, x: Any) -> Any:
        """Return ``x``, quantized if this stub was converted."""
        qparams = self.activation_post_process
        if not isinstance(qparams, _C.QParams):
            return x
        if isinstance(x, _C.QTensor):
            raise TypeError(
                f"input: expected a float Tensor, got a QTensor of shape {x.shape}: it is quantized already, "
                "remove this QuantStub or give it the float tensor"
            )
        values = np.asarray(x)
        if values.dtype.kind != "f":
            raise TypeError(
                f"input: expected a float32 tensor, got {values.dtype}: convert it first, x.astype(np.float32)"
            )
        result = _C.quantize(values.astype(np.float32, copy=False), qparams, channels_last=values.ndim == 4)
        if RECORDING.recorder is not None:
            attrs = {"qparams": qparams, "channels_last": values.ndim == 4}
            RECORDING.recorder.note(QUANTIZE, (x,), attrs, result)
        return result


class DeQuantStub(Module):
    """Marks the place where a quantized tensor becomes float again."""

    output_rule = "float"

    def forward(self, x: Any) -> Any:
        """Return ``x`` as a plain float tensor."""
        return x.dequantize() if isinstance(x, (_C.QTensor, GridTensor)) else x


class QuantWrapper(Module):
    """A module between a `QuantStub` and a `DeQuantStub`: float in, float out, quantized inside.

    Parameters
    ----------
    module : Module
        What to wrap; takes one tensor and returns one. Its qconfig, if it has one, holds for the stub too.
    """

    def __init__(self, module: Module) -> None:
        super().__init__()
        if not isinstance(module, Module):
            raise TypeError(f"QuantWrapper: module: expected a Module, got {type(module).__name__}")
        self.quant = QuantStub(getattr(module, "qconfig", None))
        self.dequant = DeQuantStub()
        self.module = module
        self.train(module.training)

    def forward(self, x: Any) -> Any:
        """Quantize, run the module, dequantize."""
        return self.dequant(self.module(self.quant(x)))


def add_quant_dequant(module: Module) -> Module:
    """Wrap every layer below that has a qconfig into a `QuantWrapper`; return the module, wrapped itself if it is one.

    Layers are modules without children of their own. Each then quantizes its input and dequantizes its output.
    """
    if not isinstance(module, Module):
        raise TypeError(f"add_quant_dequant: module: expected a Module, got {type(module).__name__}")
    children = [(name, child) for name, child in module.named_children() if not is_activation_post_process(child)]
    if not children and getattr(module, "qconfig", None) is not None:
        return QuantWrapper(module)
    for name, child in children:
        wrapped = add_quant_dequant(child)
        if wrapped is not child:
            setattr(module, name, wrapped)
    return module
