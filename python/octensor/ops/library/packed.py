"""Linear layers and convolutions with packed weights.

`<op>_prepack` makes the packed object, `<op>_unpack` gives (weight, bias) back, `<op>` and `<op>_relu` run it, and
`<op>_stride` and its like read its geometry. The functions for one, two and three spatial axes are made from one, which
is why they have no text of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import _C
from ..._C import PackedConv, PackedLinear, QParams, QTensor
from ...arrays import as_array
from ...tensor import Tensor
from .. import conv as _conv
from ..arguments import per_axis
from ..exact import LINEAR_DYNAMIC
from ..matmul import LINEAR
from ..packing import pack_conv, pack_conv_transpose, pack_linear
from ..recording import RECORDING
from .checks import given, quantized

__all__ = [
    "PackedLinearFp16",
    "linear",
    "linear_relu",
    "linear_prepack",
    "linear_unpack",
    "linear_dynamic",
    "linear_relu_dynamic",
    "linear_prepack_fp16",
    "linear_unpack_fp16",
    "linear_dynamic_fp16",
    "conv_prepack",
    "conv_unpack",
]


def _bias(bias: Any) -> Any:
    return None if bias is None else as_array(bias, np.float32)


def _optional(values: Any) -> Any:
    return None if values is None else Tensor._wrap(values)


# --- linear -----------------------------------------------------------------------------------------


def _linear(op: str, packed: Any) -> PackedLinear:
    if not isinstance(packed, PackedLinear):
        raise TypeError(f"quantized.{op}: packed: expected what linear_prepack returns, got {type(packed).__name__}")
    return packed


def _linear_fp16(op: str, packed: Any) -> PackedLinearFp16:
    if not isinstance(packed, PackedLinearFp16):
        raise TypeError(
            f"quantized.{op}: packed: expected what linear_prepack_fp16 returns, got {type(packed).__name__}"
        )
    return packed


def _input(op: str, x: Any) -> np.ndarray:
    if isinstance(x, QTensor):
        raise TypeError(f"quantized.{op}: input: expected a float Tensor, got QTensor: call .dequantize() on it first")
    return as_array(x, np.float32)


def linear_prepack(weight: QTensor, bias: Any = None) -> PackedLinear:
    """Return weights (N, K) and a float bias (N,) in the form the kernels read."""
    return pack_linear(quantized("linear_prepack", weight, "weight"), _bias(bias))


def linear_unpack(packed: PackedLinear) -> tuple[QTensor, Any]:
    """Return (weight, bias) of packed weights."""
    weights = _linear("linear_unpack", packed)
    return weights.weight, _optional(weights.bias)


def _static(op: str, qx: QTensor, packed: Any, qparams: QParams, relu: bool) -> QTensor:
    result = _C.linear(qx, _linear(op, packed), qparams, relu=relu)
    if RECORDING.recorder is not None:
        RECORDING.recorder.note(LINEAR, (qx, packed.weight, packed.bias), {"qparams": qparams, "relu": relu}, result)
    return result


def _dynamic(op: str, x: Any, packed: Any, reduce_range: bool, relu: bool, per_row: bool) -> Tensor:
    result = Tensor._wrap(_C.linear_dynamic(_input(op, x), _linear(op, packed), reduce_range, relu, per_row))
    if RECORDING.recorder is not None:
        attrs = {"reduce_range": reduce_range, "relu": relu, "per_row": per_row}
        RECORDING.recorder.note(LINEAR_DYNAMIC, (x, packed.weight, packed.bias), attrs, result)
    return result


def linear(qx: QTensor, packed: PackedLinear, scale: float, zero_point: int) -> QTensor:
    """Return `qx @ weight.T + bias`, quantized with `scale` and `zero_point`."""
    return _static("linear", qx, packed, given("linear", qx, scale, zero_point), False)


def linear_relu(qx: QTensor, packed: PackedLinear, scale: float, zero_point: int) -> QTensor:
    """Return `relu(qx @ weight.T + bias)`, quantized with `scale` and `zero_point`."""
    return _static("linear_relu", qx, packed, given("linear_relu", qx, scale, zero_point), True)


def linear_dynamic(x: Any, packed: PackedLinear, reduce_range: bool = False, *, per_row: bool = False) -> Tensor:
    """Return `x @ weight.T + bias` for a float x (..., K), quantized with parameters from its own range.

    With `per_row` each row of K values has a range of its own, so that rows do not depend on their neighbours.
    """
    return _dynamic("linear_dynamic", x, packed, reduce_range, False, per_row)


def linear_relu_dynamic(x: Any, packed: PackedLinear, reduce_range: bool = False, *, per_row: bool = False) -> Tensor:
    """Return the ReLU of `linear_dynamic`, in the same pass."""
    return _dynamic("linear_relu_dynamic", x, packed, reduce_range, True, per_row)


class PackedLinearFp16:
    """A linear layer's weight (N, K) in float16, with a float32 bias.

    Parameters
    ----------
    weight : Tensor, shape (N, K)
        Float; values beyond ±65504 are limited to that.
    bias : Tensor, shape (N,), optional
    """

    __slots__ = ("bias", "weight")

    def __init__(self, weight: Any, bias: Any = None) -> None:
        values = _input("linear_prepack_fp16", weight)
        if values.ndim != 2 or values.dtype != np.float32:
            raise ValueError(
                f"linear_prepack_fp16: weight: expected floats of shape (N, K), got {values.dtype} {values.shape}"
            )
        self.weight = np.clip(values, np.float32(-65504), np.float32(65504)).astype(np.float16)
        self.bias = _bias(bias)
        if self.bias is not None and self.bias.shape != values.shape[:1]:
            raise ValueError(f"linear_prepack_fp16: bias: expected shape {values.shape[:1]}, got {self.bias.shape}")


def linear_prepack_fp16(weight: Any, bias: Any = None) -> PackedLinearFp16:
    """Return a float weight (N, K) rounded to float16, with its bias."""
    return PackedLinearFp16(weight, bias)


def linear_unpack_fp16(packed: PackedLinearFp16) -> tuple[Tensor, Any]:
    """Return (weight, bias), the weight as float32."""
    weights = _linear_fp16("linear_unpack_fp16", packed)
    return Tensor._wrap(weights.weight.astype(np.float32)), _optional(weights.bias)


def linear_dynamic_fp16(x: Any, packed: PackedLinearFp16) -> Tensor:
    """Return `x @ weight.T + bias` in float32, with weights of float16 precision.

    Products are added one k after the other, in the order 0, 1, 2 …, then the bias, each step rounded to float32.
    """
    op = "linear_dynamic_fp16"
    values, (n, k) = _input(op, x), _linear_fp16(op, packed).weight.shape
    if not values.ndim or values.shape[-1] != k:
        raise ValueError(f"linear_dynamic_fp16: input: expected shape (..., {k}), got {values.shape}")
    rows = np.ascontiguousarray(values.reshape(-1, k).T)
    columns = np.ascontiguousarray(packed.weight.astype(np.float32).T)
    total = np.zeros((rows.shape[1], n), np.float32)
    for row, column in zip(rows, columns, strict=True):
        total += row[:, None] * column
    if packed.bias is not None:
        total += packed.bias
    return Tensor._wrap(total.reshape(*values.shape[:-1], n))


# --- convolution ------------------------------------------------------------------------------------


def _rank(op: str, packed: Any, axes: int, transposed: bool) -> PackedConv:
    if not isinstance(packed, PackedConv) or len(packed.stride) != axes or packed.is_transposed != transposed:
        raise TypeError(f"quantized.{op}: packed: expected what {op}_prepack returns, got {packed!r}")
    return packed


def _prepack_of(name: str, axes: int) -> Callable[..., PackedConv]:
    def prepack(
        weight: QTensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
    ) -> PackedConv:
        op = f"{name}_prepack"
        return pack_conv(
            quantized(op, weight, "weight"),
            bias,
            stride=per_axis(op, "stride", stride, 1, axes),
            padding=per_axis(op, "padding", padding, 0, axes),
            dilation=per_axis(op, "dilation", dilation, 1, axes),
            groups=groups,
        )

    return prepack


def _transposed_prepack_of(name: str, axes: int) -> Callable[..., PackedConv]:
    def prepack(
        weight: QTensor,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> PackedConv:
        op = f"{name}_prepack"
        return pack_conv_transpose(
            quantized(op, weight, "weight"),
            bias,
            stride=per_axis(op, "stride", stride, 1, axes),
            padding=per_axis(op, "padding", padding, 0, axes),
            output_padding=per_axis(op, "output_padding", output_padding, 0, axes),
            dilation=per_axis(op, "dilation", dilation, 1, axes),
            groups=groups,
        )

    return prepack


def _run_of(name: str, axes: int, transposed: bool, relu: bool) -> Callable[..., QTensor]:
    def run(qx: QTensor, packed: PackedConv, output_scale: float, output_zero_point: int) -> QTensor:
        qparams = given(name, qx, output_scale, output_zero_point)
        result = _C.conv(qx, _rank(name, packed, axes, transposed), qparams, relu=relu)
        if RECORDING.recorder is not None:
            spec, attrs = _conv.op_of(packed)
            attrs.update(qparams=qparams, relu=relu)
            RECORDING.recorder.note(spec, (qx, packed.weight, packed.bias), attrs, result)
        return result

    return run


def _unpack_of(name: str, axes: int, transposed: bool) -> Callable[..., tuple[QTensor, Any]]:
    def unpack(packed: PackedConv) -> tuple[QTensor, Any]:
        p = _rank(name, packed, axes, transposed)
        return p.weight, _optional(p.bias)

    return unpack


def _getter_of(name: str, attribute: str, axes: int, transposed: bool) -> Callable[..., Any]:
    def get(packed: PackedConv) -> Any:
        p = _rank(name, packed, axes, transposed)
        if attribute == "transpose":
            return int(p.is_transposed)
        value = getattr(p, attribute)
        if attribute == "groups":
            return value
        return list(value) if value else [0] * axes  # output_padding of a plain convolution

    return get


def _define(name: str, axes: int, transposed: bool) -> None:
    """Add the functions of one kind of convolution to this module."""
    made: dict[str, tuple[Callable[..., Any], str]] = {
        f"{name}_prepack": (
            _transposed_prepack_of(name, axes) if transposed else _prepack_of(name, axes),
            "Return a weight, a float bias and the geometry in the form the kernels read.",
        ),
        f"{name}_unpack": (_unpack_of(name, axes, transposed), "Return (weight, bias) of packed weights."),
        name: (_run_of(name, axes, transposed, False), "Return the convolution, quantized with the given parameters."),
    }
    if not transposed:
        made[f"{name}_relu"] = (
            _run_of(name, axes, transposed, True),
            "Return the ReLU of the convolution, quantized with the given parameters.",
        )
    for attribute in ("stride", "padding", "output_padding", "dilation", "groups", "transpose"):
        getter = _getter_of(name, attribute, axes, transposed)
        made[f"{name}_{attribute}"] = (getter, f"Return the {attribute} of packed weights.")
    for spelled, (function, text) in made.items():
        function.__name__ = function.__qualname__ = spelled
        function.__doc__ = text
        globals()[spelled] = function
        __all__.append(spelled)


for _axes in (1, 2, 3):
    _define(f"conv{_axes}d", _axes, False)
    _define(f"conv_transpose{_axes}d", _axes, True)

conv_prepack, conv_unpack = globals()["conv2d_prepack"], globals()["conv2d_unpack"]
