"""`WeightedLayer`: what `Linear` and `Conv2d` have in common in every stage.

The layer computes  y = activation(norm(op(x, weight) + bias)),  where `norm` (a batch norm, only while training a fused
model) and `activation` (a ReLU) are there when fusion put them there. By stage:

* float, calibrating: as written, in float;
* qat: with the weight fake-quantized. If `norm` is there too, the weight is fake-quantized at the scale it will have
  once the norm is folded into it, and the scaling is undone before the norm, which trains normally:
  f = γ / sqrt(running_var + eps);   y = norm(op(x, fake(weight · f)) / f + bias);
* static: `weight` is a `QTensor` and the output slot holds `QParams`; one integer kernel does it all.

Subclasses give the float op, the packed form of the weight, and the kernel.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .._C import QParams, QTensor
from ..arrays import as_array
from ..ops import apply
from ..ops.elementwise import ADD
from ..ops.shape import reshape
from ..tensor import Tensor
from . import init
from .module import Module, OutputRule
from .parameter import Parameter


def describe(x: Any) -> str:
    """Say in an error message what came as an input."""
    if isinstance(x, QTensor):
        return f"a QTensor of shape {tuple(x.shape)}"
    if isinstance(x, (Tensor, np.ndarray)):
        return f"a float {type(x).__name__} of shape {tuple(x.shape)}"
    return f"a {type(x).__name__}"


class WeightedLayer(Module):
    """Base of layers with a weight.

    Parameters
    ----------
    weight_shape : tuple of int
        Output channels first.
    bias : bool
        Whether there is one.
    """

    output_rule: ClassVar[OutputRule] = "given"
    slots: ClassVar[tuple[str, ...]] = ("activation_post_process", "weight_fake_quant")

    weight: Any
    bias: Any

    def __init__(self, weight_shape: tuple[int, ...], bias: bool) -> None:
        super().__init__()
        self.weight = Parameter(np.empty(weight_shape, np.float32))
        self.register_parameter("bias", Parameter(np.empty(weight_shape[0], np.float32)) if bias else None)
        self.norm: Module | None = None
        self.activation: Module | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights: uniform within 1/sqrt(fan_in), weight and bias alike (PyTorch's default)."""
        init.kaiming_uniform_(self.weight, a=5**0.5)
        if self.bias is not None:
            bound = 1 / init.fans(self.weight)[0] ** 0.5
            init.uniform_(self.bias, -bound, bound)

    def _compute(self, x: Any, weight: Any, bias: Any) -> Any:
        """Apply the float op."""
        raise NotImplementedError

    def _pack(self, weight: QTensor, bias: np.ndarray | None) -> Any:
        """Return weight and bias in the form the kernel reads."""
        raise NotImplementedError

    def _run(self, x: QTensor, packed: Any, qparams: QParams, relu: bool) -> QTensor:
        """Call the kernel."""
        raise NotImplementedError

    def forward(self, input: Any) -> Any:
        """Return the layer's output: a `QTensor` in the static stage, else a `Tensor`."""
        if isinstance(self.weight, QTensor):
            return self._forward_static(input)
        if not isinstance(input, (Tensor, np.ndarray)):
            remedy = ": put DeQuantStub before it, or give the layer a qconfig" if isinstance(input, QTensor) else ""
            raise TypeError(f"expected a float Tensor, got {describe(input)}{remedy}")
        fake, norm = self.weight_fake_quant, self.norm
        if fake is not None and norm is not None:
            output = norm(self._compute_as_folded(input, fake, norm))
        else:
            output = self._compute(input, self.weight if fake is None else fake(self.weight), self.bias)
            if norm is not None:
                output = norm(output)
        return output if self.activation is None else self.activation(output)

    def _compute_as_folded(self, x: Any, fake: Module, norm: Module) -> Any:
        """Apply the op with the weight fake-quantized at its folded scale, and undo the scaling."""
        spread = np.sqrt(as_array(norm.running_var) + np.float32(norm.eps))
        factor = 1 / spread if norm.weight is None else norm.weight / spread
        per_output = reshape(factor, -1, *[1] * (len(self.weight.shape) - 1))
        output = self._compute(x, fake(self.weight * per_output), None)
        per_channel = (-1,) + (1,) * (len(self.weight.shape) - 2)  # channels are axis 1 of images, the last of rows
        output = output / reshape(factor, *per_channel)
        return output if self.bias is None else apply(ADD, output, reshape(self.bias, *per_channel))

    def _forward_static(self, x: Any) -> QTensor:
        if not isinstance(x, QTensor):
            raise TypeError(
                f"expected a quantized input (QTensor), got {describe(x)}: "
                "put a QuantStub before this layer (x = self.quant(x)) and convert it too"
            )
        qparams = self.activation_post_process
        if not isinstance(qparams, QParams):
            raise TypeError(
                "expected QParams of the output in activation_post_process, got none: the weight is quantized but the "
                "layer was not converted; use quantization.convert"
            )
        if self._cache is None:
            bias = None if self.bias is None else as_array(self.bias)
            self.__dict__["_cache"] = self._pack(self.weight, bias)
        return self._run(x, self._cache, qparams, self.activation is not None)

    def _slot_repr(self) -> str:
        """Text for the repr: the stage and what the output slot says, if not float."""
        stage, qparams = self.stage, self.activation_post_process
        text = "" if stage == "float" else f", stage={stage}"
        if isinstance(qparams, QParams):
            text += f", scale={qparams.scale}, zero_point={qparams.zero_point}"
        return text
