"""Operators of quantized tensors.

Codes that come out of QuantizeLinear are QTensors, which know their scale and zero point; codes that come in as plain
arrays become QTensors with the parameters that their operator names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _C
from ..._C import QParams, QTensor, qint8, quint8
from ...ops import quantized as library
from ...ops.conv import CONV
from ...ops.exact import DEQUANTIZE, QUANTIZE
from ...ops.integer_products import (
    AS_CODES,
    CONV_INTEGER,
    DEQUANTIZE_BY,
    DYNAMIC_QUANTIZE,
    MATMUL_INTEGER,
    QUANTIZE_BY,
    matmul,
    zeros_of,
)
from ...ops.matmul import LINEAR
from ...ops.spec import apply
from ...tensor import Tensor
from ..registry import operator
from .layers import amounts
from .values import array, follows, innermost_first, run

QDTYPES = {"int8": qint8, "uint8": quint8, "int32": _C.qint32}


def qparams_of(scale: Any, zero_point: Any, dtype: Any, axis: int | None, ndim: int) -> QParams:
    """Return parameters for ONNX's scale and zero point: scalars, or one per channel along an axis."""
    scales = array(scale).astype(np.float32)
    zeros = np.zeros(scales.shape, np.int64) if zero_point is None else array(zero_point).astype(np.int64)
    if zeros.size not in (1, scales.size):
        raise ValueError(f"expected a zero point, or one for each scale, got shapes {zeros.shape} and {scales.shape}")
    if scales.size == 1:
        return QParams(float(scales.reshape(())), int(zeros.reshape(())), dtype)
    if scales.ndim != 1 or axis is None or not -ndim <= axis < ndim:
        raise ValueError(f"expected one scale, or one per channel along an axis, got shape {scales.shape}, axis {axis}")
    return QParams(scales.astype(np.float64), np.broadcast_to(zeros.reshape(-1), scales.shape), dtype, axis % ndim)


def as_qtensor(op: str, x: Any, scale: Any, zero_point: Any, axis: int | None = None) -> QTensor:
    """Return codes with the parameters that an operator names for them."""
    codes = array(x)
    if codes.dtype.name not in QDTYPES:
        raise TypeError(f"{op}: expected 8-bit codes, got {codes.dtype}")
    if zero_point is not None and array(zero_point).dtype != codes.dtype:
        raise TypeError(f"{op}: expected a zero point of {codes.dtype}, as the codes, got {array(zero_point).dtype}")
    qparams = qparams_of(scale, zero_point, QDTYPES[codes.dtype.name], axis, codes.ndim)
    if isinstance(x, QTensor) and x.qparams == qparams:
        return x
    result: QTensor = run(AS_CODES, codes, qparams=qparams)
    return result


def _blocks(values: np.ndarray, shape: Any, axis: int, size: int) -> np.ndarray:
    """Return one value per element, from one per block along an axis."""
    if size < 1 or not -len(shape) <= axis < len(shape) or values.ndim != len(shape):
        raise ValueError(f"expected blocks of at least 1 along an axis of {list(shape)}, got {size}, axis {axis}")
    return values.take(np.arange(shape[axis]) // size, axis)


@operator("QuantizeLinear", ignored=("saturate", "precision"))
def quantize_linear(
    x: Any, y_scale: Any, y_zero_point: Any = None, *, axis: int = 1, block_size: int = 0, output_dtype: int = 0
) -> Any:
    """Return codes round(x / scale) + zero point, ties to even, clamped."""
    kinds = {0: "uint8", 2: "uint8", 3: "int8"}
    name = array(y_zero_point).dtype.name if y_zero_point is not None else kinds.get(output_dtype, "?")
    if name not in ("uint8", "int8"):
        raise ValueError(f"QuantizeLinear: expected 8-bit codes, got {name}")
    if block_size:
        scales, zeros = (
            _blocks(array(v).astype(np.float32), x.shape, axis, block_size) for v in (y_scale, y_zero_point)
        )
        info = np.iinfo(name)
        return np.clip(np.rint(array(x) / scales) + zeros, info.min, info.max).astype(name)
    values = array(x)
    if follows(y_scale) or follows(y_zero_point):
        return run(QUANTIZE_BY, values, array(y_scale), array(y_zero_point), axis=axis)
    return run(QUANTIZE, values, qparams=qparams_of(y_scale, y_zero_point, QDTYPES[name], axis, values.ndim))


@operator("DequantizeLinear", ignored=("output_dtype",))
def dequantize_linear(x: Any, x_scale: Any, x_zero_point: Any = None, *, axis: int = 1, block_size: int = 0) -> Any:
    """Return (code - zero point) · scale."""
    if block_size:
        scales = _blocks(array(x_scale).astype(np.float32), x.shape, axis, block_size)
        zeros = (
            0 if x_zero_point is None else _blocks(array(x_zero_point).astype(np.float32), x.shape, axis, block_size)
        )
        return Tensor((array(x).astype(np.float32) - zeros) * scales)
    if follows(x_scale) or follows(x_zero_point):
        given = None if x_zero_point is None else array(x_zero_point)
        return run(DEQUANTIZE_BY, array(x), array(x_scale), given, axis=axis)
    return DEQUANTIZE(as_qtensor("DequantizeLinear", x, x_scale, x_zero_point, axis))


@operator("DynamicQuantizeLinear")
def dynamic_quantize_linear(x: Any) -> Any:
    """Return codes over the whole range of the input (with 0 in it), and their scale and zero point."""
    return run(DYNAMIC_QUANTIZE, array(x))


@operator("MatMulInteger")
def matmul_integer(a: Any, b: Any, a_zero_point: Any = None, b_zero_point: Any = None) -> Any:
    """Return the int32 product of codes less their zero points."""
    return run(MATMUL_INTEGER, *(v if v is None else array(v) for v in (a, b, a_zero_point, b_zero_point)))


@operator("ConvInteger")
def conv_integer(
    x: Any,
    w: Any,
    x_zero_point: Any = None,
    w_zero_point: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    """Return the int32 convolution of codes less their zero points; padding is real 0."""
    codes, weight = array(x), array(w)
    stride, dilation, around = amounts(codes.shape[2:], weight.shape[2:], strides, dilations, pads, auto_pad)
    zeros = (v if v is None else array(v) for v in (x_zero_point, w_zero_point))
    return run(CONV_INTEGER, codes, weight, *zeros, stride=stride, dilation=dilation, pads=around, groups=group)


@operator("QLinearMatMul")
def qlinear_matmul(
    a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, y_scale: Any, y_zero: Any
) -> Any:
    """Return the product of two quantized matrices as codes."""
    left = as_qtensor("QLinearMatMul", a, a_scale, a_zero)
    right = array(b)
    qparams = qparams_of(y_scale, y_zero, QDTYPES[array(y_zero).dtype.name], None, 0)
    if right.ndim == 2:
        weight = as_qtensor("QLinearMatMul", np.ascontiguousarray(right.T), b_scale, b_zero, 0)
        return _linear(left, weight, qparams)
    codes = np.broadcast_shapes(array(a).shape[:-2], right.shape[:-2])
    left_codes = np.broadcast_to(array(a), codes + array(a).shape[-2:])
    right_codes = np.broadcast_to(right, codes + right.shape[-2:])
    parts = []
    for i in np.ndindex(*codes):
        weight = as_qtensor("QLinearMatMul", np.ascontiguousarray(right_codes[i].T), b_scale, b_zero, 0)
        part = QTensor.from_numpy(np.ascontiguousarray(left_codes[i]), left.qparams)
        parts.append(_linear(part, weight, qparams).int_repr())
    rows = np.stack(parts).reshape(*codes, left_codes.shape[-2], right_codes.shape[-1])
    return QTensor.from_numpy(np.ascontiguousarray(rows), qparams)


def _signed(weight: QTensor) -> QTensor:
    """Return weights as int8 codes: what octensor's layers take."""
    if weight.dtype == qint8:
        return weight
    q = weight.qparams
    codes = (weight.int_repr().astype(np.int16) - 128).astype(np.int8)
    zeros = np.asarray(q.zero_point).astype(np.int64) - 128
    signed = QParams(
        q.scale if not q.is_per_channel else np.asarray(q.scale, np.float64),
        zeros if q.is_per_channel else int(zeros),
        qint8,
        q.axis,
    )
    return QTensor.from_numpy(codes, signed)


def _linear(x: QTensor, weight: QTensor, qparams: QParams) -> QTensor:
    result: QTensor = apply(LINEAR, x, _signed(weight), None, qparams=qparams)
    return result


@operator("QLinearConv")
def qlinear_conv(
    x: Any,
    x_scale: Any,
    x_zero: Any,
    w: Any,
    w_scale: Any,
    w_zero: Any,
    y_scale: Any,
    y_zero: Any,
    b: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    """Return the convolution of quantized tensors as codes; the int32 bias has scale x_scale · w_scale."""
    codes = as_qtensor("QLinearConv", x, x_scale, x_zero)
    weight = _signed(as_qtensor("QLinearConv", w, w_scale, w_zero, 0))
    qparams = qparams_of(y_scale, y_zero, QDTYPES[array(y_zero).dtype.name], None, 0)
    stride, dilation, around = amounts(codes.shape[2:], weight.shape[2:], strides, dilations, pads, auto_pad)
    if any(p != q for p, q in around):
        from ...ops import padding

        codes = padding.pad(codes, innermost_first(around))
        around = ((0, 0),) * len(around)
    bias = None
    if b is not None:  # exact again in the layer: int32 = round(real / (x_scale · w_scale))
        step = np.asarray(codes.qparams.scale, np.float64) * np.asarray(weight.qparams.scale, np.float64)
        bias = (array(b).astype(np.float64) * step).astype(np.float32)
    attributes = {"stride": tuple(stride), "padding": tuple(p for p, _ in around), "dilation": tuple(dilation)}
    return apply(CONV[codes.ndim - 2], codes, weight, bias, **attributes, groups=group, qparams=qparams)


@operator("com.microsoft.QLinearAdd")
def qlinear_add(a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, y_scale: Any, y_zero: Any) -> Any:
    """Return the sum of quantized tensors as codes."""
    left, right = as_qtensor("QLinearAdd", a, a_scale, a_zero), as_qtensor("QLinearAdd", b, b_scale, b_zero)
    return library.add(left, right, float(array(y_scale)), int(array(y_zero)))


@operator("com.microsoft.QLinearMul")
def qlinear_mul(a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, y_scale: Any, y_zero: Any) -> Any:
    """Return the product of quantized tensors as codes."""
    left, right = as_qtensor("QLinearMul", a, a_scale, a_zero), as_qtensor("QLinearMul", b, b_scale, b_zero)
    return library.mul(left, right, float(array(y_scale)), int(array(y_zero)))


@operator("com.microsoft.QGemm")
def qgemm(
    a: Any,
    a_scale: Any,
    a_zero: Any,
    b: Any,
    b_scale: Any,
    b_zero: Any,
    c: Any = None,
    y_scale: Any = None,
    y_zero: Any = None,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Any:
    """Return alpha · A' B' + C of quantized matrices, C int32 of the sums' scale: codes, or floats without y_scale."""
    left, right = (array(v).T if turned else array(v) for v, turned in ((a, transA), (b, transB)))
    sums = matmul(left, right, zeros_of(a_zero), zeros_of(b_zero)).astype(np.int64)
    if c is not None:
        sums = sums + array(c)
    scale = np.float64(alpha) * np.float64(array(a_scale).reshape(())) * array(b_scale).reshape(-1).astype(np.float64)
    real = (sums * scale).astype(np.float32)
    if y_scale is None:
        return Tensor(real)
    return _C.quantize(real, qparams_of(y_scale, y_zero, QDTYPES[array(y_zero).dtype.name], None, 0))
