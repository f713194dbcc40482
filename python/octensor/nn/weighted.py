"""`WeightedLayer`: what `Linear` and `Conv2d` have in common in every stage.

The layer computes  y = activation(norm(op(x, weight) + bias)),  where `norm` (a batch norm, only while training a fused
model) and `activation` (a ReLU or ReLU6) are there when fusion put them there. By stage:

* float, calibrating: as written, in float;
* qat: with the weight fake-quantized. If `norm` is there too, the weight is fake-quantized at the scale it will have
  once the norm is folded into it, and the scaling is undone before the norm, which trains normally:
  f = γ / sqrt(running_var + eps);   y = norm(op(x, fake(weight · f)) / f + bias);
* static: `weight` is a `QTensor` and the output slot holds `QParams`; one integer kernel does it all;
* dynamic: `weight` is a `QTensor`, the output slot is empty and the class has an `input_dtype`: one kernel quantizes
  the float input with the range of this call, multiplies in integers and returns floats;
* weight-only: `weight` is a `QTensor` or a float16 array, the output slot is empty: computed in float with the
  weight's real values.

Subclasses give the float op, the packed form of the weight, and the kernels.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

import numpy as np

from .. import _C
from .._C import QParams, QTensor
from ..arrays import as_array
from ..ops import apply
from ..ops.elementwise import ADD
from ..ops.shape import reshape
from ..tensor import Tensor
from . import init
from .module import Module, OutputRule, is_reduced
from .parameter import Parameter

L = TypeVar("L", bound="WeightedLayer")


def describe(x: Any) -> str:
    """Say in an error message what came as an input."""
    if isinstance(x, QTensor):
        return f"a QTensor of shape {tuple(x.shape)}"
    if isinstance(x, (Tensor, np.ndarray)):
        return f"a float {type(x).__name__} of shape {tuple(x.shape)}"
    return f"a {type(x).__name__}"


def reaches_only(limit: float | None, qparams: QParams) -> bool:
    """Whether no code stands for more than `limit`, so that quantizing bounds values by it: observed behind a ReLU6."""
    if limit is None:
        return True
    highest = np.rint(np.float32(limit) / np.float32(qparams.scale)) + np.float32(qparams.zero_point)
    return bool(np.all(highest >= qparams.dtype.qmax))


class WeightedLayer(Module):
    """Base of layers with a weight.

    Parameters
    ----------
    weight_shape : tuple of int
        Output channels first.
    bias : bool
        Whether there is one.
    outputs : int, optional
        The length of the bias; by default the first size of the weight.

    Attributes
    ----------
    channel_axis : int
        The axis of the weight along which its scales lie, where there is one per channel.
    """

    output_rule: ClassVar[OutputRule] = "given"
    slots: ClassVar[tuple[str, ...]] = ("activation_post_process", "weight_fake_quant")
    weight_names: tuple[str, ...] = ("weight",)
    channel_axis: ClassVar[int] = 0

    #: Whether the norm keeps its running statistics in train mode too; see `intrinsic.qat.freeze_bn_stats`.
    freeze_bn = False

    weight: Any
    bias: Any

    def __init__(self, weight_shape: tuple[int, ...], bias: bool, outputs: int | None = None) -> None:
        super().__init__()
        outputs = weight_shape[0] if outputs is None else outputs
        self.weight = Parameter(np.empty(weight_shape, np.float32))
        self.register_parameter("bias", Parameter(np.empty(outputs, np.float32)) if bias else None)
        self.norm: Module | None = None
        self.activation: Module | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights: uniform within 1/sqrt(fan_in), weight and bias alike (PyTorch's default)."""
        init.kaiming_uniform_(self.weight, a=5**0.5)
        if self.bias is not None:
            bound = 1 / init.fans(self.weight)[0] ** 0.5
            init.uniform_(self.bias, -bound, bound)

    def train(self: L, mode: bool = True) -> L:
        """Set train mode (or eval mode); a frozen norm stays in eval mode."""
        super().train(mode)
        if self.freeze_bn and self.norm is not None:
            self.norm.train(False)
        return self

    def _compute(self, x: Any, weight: Any, bias: Any) -> Any:
        """Apply the float op."""
        raise NotImplementedError

    def _pack(self, weight: QTensor, bias: np.ndarray | None) -> Any:
        """Return weight and bias in the form the kernel reads."""
        raise NotImplementedError

    def _run(self, x: QTensor, packed: Any, qparams: QParams, relu: bool) -> QTensor:
        """Call the kernel."""
        raise NotImplementedError

    def _run_dynamic(self, x: np.ndarray, packed: Any, relu: bool) -> np.ndarray:
        """Call the kernel that quantizes its float input itself; classes with an `input_dtype` have one."""
        raise NotImplementedError

    def forward(self, input: Any) -> Any:
        """Return the layer's output: a `QTensor` in the static stage, else a `Tensor`."""
        if isinstance(self.activation_post_process, QParams):
            return self._forward_static(input, self.activation_post_process)
        if not isinstance(input, (Tensor, np.ndarray)):
            remedy = ": put DeQuantStub before it, or give the layer a qconfig" if isinstance(input, QTensor) else ""
            raise TypeError(f"expected a float Tensor, got {describe(input)}{remedy}")
        if is_reduced(self.weight):
            return self._forward_reduced(input)
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

    def _forward_static(self, x: Any, qparams: QParams) -> QTensor:
        if not isinstance(x, QTensor):
            raise TypeError(
                f"expected a quantized input (QTensor), got {describe(x)}: "
                "put a QuantStub before this layer (x = self.quant(x)) and convert it too"
            )
        output = self._run(x, self._packed(), qparams, self.activation is not None)
        return output if reaches_only(self._limit(), qparams) else self.activation(output)  # type: ignore[misc]

    def _limit(self) -> float | None:
        """Return the upper bound of the activation; None for a ReLU, or without one."""
        return getattr(self.activation, "limit", None)

    def _limited(self, output: Tensor) -> Tensor:
        """Apply the part of the activation that is not in the kernels."""
        return output if self._limit() is None else self.activation(output)  # type: ignore[misc]

    def _forward_reduced(self, x: Any) -> Tensor:
        """Dynamic and weight-only stages: float in, float out. What is in the cache says which."""
        ready = self._cache
        if ready is None:
            weight = self.weight
            if self.stage == "dynamic":
                ready = self._packed()
            else:
                ready = Tensor(_C.dequantize(weight) if isinstance(weight, QTensor) else weight.astype(np.float32))
            self.__dict__["_cache"] = ready
        if not isinstance(ready, Tensor):
            return self._limited(Tensor._wrap(self._run_dynamic(as_array(x), ready, self.activation is not None)))
        output: Tensor = self._compute(x, ready, self.bias)
        return output if self.activation is None else self.activation(output)

    def _packed(self) -> Any:
        """Return weight and bias as the integer kernels read them, made on first use."""
        if self._cache is None:
            if not isinstance(self.weight, QTensor):
                raise TypeError(
                    f"expected a quantized weight (QTensor), got a {type(self.weight).__name__}: the output slot holds "
                    "QParams but the layer was not converted; use quantization.convert"
                )
            self.__dict__["_cache"] = self._pack(self.weight, None if self.bias is None else as_array(self.bias))
        return self._cache

    def set_weight_bias(self, w: Any, b: Any) -> None:
        """Replace the weight (a QTensor in a quantized layer) and the bias (None for none)."""
        self.weight = w if is_reduced(w) or isinstance(w, Parameter) else Parameter(w)
        self.bias = b if b is None or isinstance(b, Parameter) else Parameter(b)

    def _weight_bias(self) -> tuple[Any, Any]:
        return self.weight, self.bias

    def _slot_repr(self) -> str:
        """Text for the repr: the stage and what the output slot says, if not float."""
        stage, qparams = self.stage, self.activation_post_process
        text = "" if stage == "float" else f", stage={stage}"
        if isinstance(qparams, QParams):
            text += f", scale={qparams.scale}, zero_point={qparams.zero_point}"
        return text
