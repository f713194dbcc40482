"""`octensor.ops.quantized`: ops on QTensors whose result has a scale and zero point that the caller gives.

The layers and `FloatFunctional` end here too; call these to build a quantized computation by hand. Each result has the
dtype of the first tensor. Packed weights come from `linear_prepack` and `conv2d_prepack`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _C
from .._C import PackedConv2d, PackedLinear, QParams, QTensor
from ..arrays import as_array
from .arguments import axis, pair
from .spec import OPS

__all__ = [
    "add",
    "add_relu",
    "mul",
    "mul_relu",
    "cat",
    "cat_relu",
    "linear",
    "linear_relu",
    "linear_prepack",
    "linear_unpack",
    "conv2d",
    "conv2d_relu",
    "conv2d_prepack",
    "conv2d_unpack",
    "leaky_relu",
    "sigmoid",
    "tanh",
    "clamp",
    "relu6",
    "max_pool2d",
]


def _given(op: str, x: Any, scale: float, zero_point: int) -> QParams:
    """Return the result's qparams, after checking that x is quantized."""
    if not isinstance(x, QTensor):
        raise TypeError(
            f"quantized.{op}: expected a QTensor, got {type(x).__name__}: "
            "quantize it first (octensor.quantize_per_tensor)"
        )
    return QParams(float(scale), int(zero_point), x.dtype)


def _run(op: str, tensors: tuple[Any, ...], scale: float, zero_point: int, **attrs: Any) -> QTensor:
    spec = OPS[op]
    assert spec.quantized is not None
    qparams = _given(op, tensors[0], scale, zero_point)
    for tensor in tensors[1:]:
        _given(op, tensor, scale, zero_point)
    result: QTensor = spec.quantized(*tensors, qparams=qparams, **attrs)
    return result


def add(qa: QTensor, qb: QTensor, scale: float, zero_point: int) -> QTensor:
    """Return `qa + qb`, quantized with `scale` and `zero_point`.

    Examples
    --------
    >>> import octensor as ot
    >>> q = ot.quantize_per_tensor(ot.tensor([1.0, 2.0]), 0.5, 0, ot.quint8)
    >>> ot.ops.quantized.add(q, q, 1.0, 10).int_repr().tolist()
    [12, 14]
    """
    return _run("add", (qa, qb), scale, zero_point)


def add_relu(qa: QTensor, qb: QTensor, scale: float, zero_point: int) -> QTensor:
    """Return `relu(qa + qb)`, quantized with `scale` and `zero_point`."""
    return _run("add_relu", (qa, qb), scale, zero_point)


def mul(qa: QTensor, qb: QTensor, scale: float, zero_point: int) -> QTensor:
    """Return `qa · qb`, quantized with `scale` and `zero_point`."""
    return _run("mul", (qa, qb), scale, zero_point)


def mul_relu(qa: QTensor, qb: QTensor, scale: float, zero_point: int) -> QTensor:
    """Return `relu(qa · qb)`, quantized with `scale` and `zero_point`."""
    return _run("mul_relu", (qa, qb), scale, zero_point)


def cat(tensors: Any, dim: int = 0, scale: float | None = None, zero_point: int | None = None) -> QTensor:
    """Join QTensors along `dim`; a scale or zero point that is None is the first tensor's."""
    parts = list(tensors)
    if not parts or not all(isinstance(part, QTensor) for part in parts):
        raise TypeError(f"quantized.cat: tensors: expected a list of QTensors, got {tensors!r}")
    first = parts[0]
    scale = first.q_scale() if scale is None else scale
    zero_point = first.q_zero_point() if zero_point is None else zero_point
    return _run("cat", tuple(parts), scale, zero_point, dim=axis("quantized.cat", dim, first.ndim))


def cat_relu(tensors: Any, dim: int = 0, scale: float | None = None, zero_point: int | None = None) -> QTensor:
    """Return `relu(cat(tensors, dim))`."""
    return _table("relu", cat(tensors, dim, scale, zero_point))


def _table(op: str, x: QTensor, **attrs: Any) -> QTensor:
    spec = OPS[op]
    assert spec.quantized is not None
    result: QTensor = spec.quantized(x, **attrs)
    return result


def linear_prepack(weight: QTensor, bias: Any = None) -> PackedLinear:
    """Return weights (N, K) and a float bias (N,) in the form the kernels read."""
    return PackedLinear(weight, None if bias is None else as_array(bias, np.float32))


def linear_unpack(packed: PackedLinear) -> tuple[QTensor, Any]:
    """Return (weight, bias) of packed weights."""
    return packed.weight, packed.bias


def linear(qx: QTensor, packed: PackedLinear, scale: float, zero_point: int) -> QTensor:
    """Return `qx @ weight.T + bias`, quantized with `scale` and `zero_point`."""
    return _C.linear(qx, packed, _given("linear", qx, scale, zero_point), relu=False)


def linear_relu(qx: QTensor, packed: PackedLinear, scale: float, zero_point: int) -> QTensor:
    """Return `relu(qx @ weight.T + bias)`, quantized with `scale` and `zero_point`."""
    return _C.linear(qx, packed, _given("linear_relu", qx, scale, zero_point), relu=True)


def conv2d_prepack(
    weight: QTensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> PackedConv2d:
    """Return weights (O, C/groups, kh, kw), a float bias (O,) and the geometry in the form the kernels read."""
    return PackedConv2d(
        weight,
        None if bias is None else as_array(bias, np.float32),
        pair("conv2d_prepack", "stride", stride, 1),
        pair("conv2d_prepack", "padding", padding, 0),
        pair("conv2d_prepack", "dilation", dilation, 1),
        groups,
    )


def conv2d_unpack(packed: PackedConv2d) -> tuple[QTensor, Any]:
    """Return (weight, bias) of packed weights."""
    return packed.weight, packed.bias


def conv2d(qx: QTensor, packed: PackedConv2d, scale: float, zero_point: int) -> QTensor:
    """Return the convolution of `qx`, quantized with `scale` and `zero_point`."""
    return _C.conv2d(qx, packed, _given("conv2d", qx, scale, zero_point), relu=False)


def conv2d_relu(qx: QTensor, packed: PackedConv2d, scale: float, zero_point: int) -> QTensor:
    """Return the ReLU of the convolution of `qx`, quantized with `scale` and `zero_point`."""
    return _C.conv2d(qx, packed, _given("conv2d_relu", qx, scale, zero_point), relu=True)


def leaky_relu(
    qx: QTensor, negative_slope: float, inplace: bool, output_scale: float, output_zero_point: int
) -> QTensor:
    """Return the leaky ReLU, quantized with the given scale and zero point."""
    if inplace:
        raise ValueError("quantized.leaky_relu: inplace: expected False, got True")
    return _run("leaky_relu", (qx,), output_scale, output_zero_point, negative_slope=negative_slope)


def sigmoid(qx: QTensor, output_scale: float, output_zero_point: int) -> QTensor:
    """Return the sigmoid, quantized with the given scale and zero point."""
    return _run("sigmoid", (qx,), output_scale, output_zero_point)


def tanh(qx: QTensor, output_scale: float, output_zero_point: int) -> QTensor:
    """Return tanh, quantized with the given scale and zero point."""
    return _run("tanh", (qx,), output_scale, output_zero_point)


def clamp(qx: QTensor, min: float | None = None, max: float | None = None) -> QTensor:
    """Limit values to [min, max]; the qparams stay."""
    return _table("clamp", qx, min=min, max=max)


def relu6(qx: QTensor, inplace: bool = False) -> QTensor:
    """Return min(max(x, 0), 6); the qparams stay."""
    return _table("relu6", qx)


def max_pool2d(
    qx: QTensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> QTensor:
    """Return the largest value of each window; the qparams stay."""
    from .pool import max_pool2d as pool

    result: QTensor = pool(qx, kernel_size, stride, padding, dilation, ceil_mode)
    return result
