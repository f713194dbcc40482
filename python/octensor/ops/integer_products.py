"""Ops on codes that are plain arrays, with scales and zero points that are computed while a model runs.

matmul_integer, conv_integer      exact int32 sums of 8-bit codes less their zero points, by the integer GEMM
dynamic_quantize                  codes over the whole range of the input (with 0 in it), their scale and zero point
quantize_by, dequantize_by        clamp(rint(x / scale) + zero point), and (code - zero point) · scale
as_codes                          codes as a QTensor, with parameters that are known
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _C
from .._C import QParams, QTensor, quint8
from ..arrays import as_array
from ..tensor import Tensor
from .exact import exact
from .whole import MOST_VALUES, plain_values


def matmul(a: np.ndarray, b: np.ndarray, a_zeros: np.ndarray, b_zeros: np.ndarray) -> np.ndarray:
    """Return (a - a_zeros)(b - b_zeros), as numpy.matmul.

    `a_zeros` is one number or one per row, `b_zeros` one number or one per column; either may have axes of its own for
    products of stacks.
    """
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    if a_zeros.ndim == 1 and a_zeros.size > 1:
        a_zeros = a_zeros[:, None]
    if right.ndim == 2 and a_zeros.size == 1:
        rows = _matrix(left.reshape(-1, left.shape[-1]), right, a_zeros, b_zeros)
        result = rows.reshape(*left.shape[:-1], right.shape[1])
    else:
        result = _stacks(left, right, a_zeros, b_zeros)
    result = result[..., 0, :] if a.ndim == 1 else result
    return np.asarray(result[..., 0] if b.ndim == 1 else result)


def _stacks(a: np.ndarray, b: np.ndarray, a_zeros: np.ndarray, b_zeros: np.ndarray) -> np.ndarray:
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (np.broadcast_to(x, lead + x.shape[-2:]) for x in (a, b))
    a_each = np.broadcast_to(a_zeros, (*lead, a.shape[-2], 1))
    b_each = np.broadcast_to(b_zeros if b_zeros.ndim != 1 else b_zeros[None, :], (*lead, 1, b.shape[-1]))
    result = np.empty((*lead, a.shape[-2], b.shape[-1]), np.int32)
    for i in np.ndindex(*lead):
        result[i] = _matrix(a[i], b[i], a_each[i], b_each[i])
    return result


def _matrix(a: np.ndarray, b: np.ndarray, a_zeros: np.ndarray, b_zeros: np.ndarray) -> np.ndarray:
    """Return one product; a zero point per row of `a` is taken from the sums afterwards."""
    columns: Any = b_zeros.reshape(-1).astype(np.int32)
    columns = int(columns[0]) if columns.size == 1 else columns
    left, right = np.ascontiguousarray(a), np.ascontiguousarray(b)
    if a_zeros.size == 1:
        return np.asarray(_C.matmul_integer(left, right, int(a_zeros.reshape(-1)[0]), columns))
    sums = _C.matmul_integer(left, right, 0, columns)
    weights = (right.astype(np.int64) - columns).sum(0)
    return np.asarray((sums - a_zeros.reshape(-1, 1).astype(np.int64) * weights).astype(np.int32))


def convolution(
    x: np.ndarray,
    w: np.ndarray,
    x_zero: int,
    w_zeros: np.ndarray,
    stride: Sequence[int],
    dilation: Sequence[int],
    pads: Sequence[tuple[int, int]],
    groups: int,
) -> np.ndarray:
    """Return the sums of a convolution: patches as rows, times the weights of each group."""
    n = len(stride)
    outputs, channels = w.shape[:2]
    if groups < 1 or outputs % groups or x.shape[1] != channels * groups:
        raise ValueError(f"ConvInteger: group: {groups} does not fit input {x.shape} and weight {w.shape}")
    sizes = [*x.shape[:2], *(size + a + b for size, (a, b) in zip(x.shape[2:], pads, strict=True))]
    if math.prod(sizes) > MOST_VALUES:
        raise ValueError(f"pads: expected an input of at most {MOST_VALUES} values, got shape {tuple(sizes)}")
    padded = np.pad(x, [(0, 0), (0, 0), *pads], constant_values=x_zero)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, w.shape[2:], strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, tuple(range(2, 2 + n)))
    cut = (slice(None), slice(None), *(slice(None, None, s) for s in stride), *(slice(None, None, d) for d in dilation))
    patches = windows[cut].swapaxes(0, 1)  # (C, N, places..., taps...)
    places = patches.shape[1 : 2 + n]
    zeros = np.broadcast_to(w_zeros.reshape(-1), (outputs,)) if w_zeros.size else w_zeros
    each = outputs // groups
    parts = []
    for g in range(groups):
        of_group = np.moveaxis(patches[g * channels : (g + 1) * channels], 0, 1 + n)
        rows = np.ascontiguousarray(of_group).reshape(-1, channels * int(np.prod(w.shape[2:])))
        weight = w[g * each : (g + 1) * each].reshape(each, -1).T
        part = _matrix(rows, weight, np.array(x_zero), zeros[g * each : (g + 1) * each])
        parts.append(part.reshape(*places, each))
    return np.ascontiguousarray(np.moveaxis(np.concatenate(parts, -1), -1, 1))


def zeros_of(zero_point: Any) -> np.ndarray:
    """Return zero points as an array; one 0 where there are none."""
    return np.zeros(1, np.int64) if zero_point is None else np.asarray(plain_values(zero_point))


@exact("matmul_integer")
def MATMUL_INTEGER(a: Any, b: Any, a_zero_point: Any = None, b_zero_point: Any = None) -> np.ndarray:
    """Return the int32 product of codes less their zero points."""
    return matmul(plain_values(a), plain_values(b), zeros_of(a_zero_point), zeros_of(b_zero_point))


@exact("conv_integer")
def CONV_INTEGER(
    x: Any,
    w: Any,
    x_zero_point: Any = None,
    w_zero_point: Any = None,
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    pads: Sequence[tuple[int, int]],
    groups: int,
) -> np.ndarray:
    """Return the int32 convolution of codes less their zero points; padding is real 0."""
    zero = int(zeros_of(x_zero_point).reshape(()))
    return convolution(plain_values(x), plain_values(w), zero, zeros_of(w_zero_point), stride, dilation, pads, groups)


@exact("dynamic_quantize")
def DYNAMIC_QUANTIZE(x: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return codes over the whole range of the input (with 0 in it), and their scale and zero point."""
    values = as_array(x)
    low, high = (min(0.0, float(values.min())), max(0.0, float(values.max()))) if values.size else (0.0, 0.0)
    scale = np.float32(np.float32(high) - np.float32(low)) / np.float32(255)
    zero = np.uint8(0) if scale == 0 else np.uint8(np.clip(np.rint(np.float32(0) - np.float32(low) / scale), 0, 255))
    if scale == 0:
        scale = np.float32(1)
    codes = _C.quantize(np.ascontiguousarray(values), QParams(float(scale), int(zero), quint8))
    return np.asarray(codes.int_repr()), np.asarray(scale, np.float32), np.asarray(zero)


@exact("as_codes")
def AS_CODES(x: Any, *, qparams: QParams) -> QTensor:
    """Return codes with their parameters."""
    return QTensor.from_numpy(np.ascontiguousarray(plain_values(x)), qparams)


def _along(values: Any, ndim: int, axis: int) -> Any:
    """Shape a value per place of an axis so that it broadcasts."""
    array = np.asarray(plain_values(values))
    return array.reshape([-1 if a == axis % ndim else 1 for a in range(ndim)]) if array.size > 1 else array.reshape(())


@exact("quantize_by")
def QUANTIZE_BY(x: Any, scale: Any, zero_point: Any, *, axis: int = 0) -> np.ndarray:
    """Return codes of the zero point's dtype, by a scale and zero point that are tensors."""
    values, zeros = as_array(x), _along(zero_point, np.ndim(plain_values(x)), axis)
    info = np.iinfo(zeros.dtype)
    codes = np.rint(values / _along(scale, values.ndim, axis)).astype(np.float64) + zeros
    return np.asarray(np.clip(np.nan_to_num(codes, nan=0.0), info.min, info.max)).astype(zeros.dtype)


@exact("dequantize_by")
def DEQUANTIZE_BY(x: Any, scale: Any, zero_point: Any = None, *, axis: int = 0) -> Tensor:
    """Return the real values of codes, by a scale and zero point that are tensors."""
    codes = np.asarray(plain_values(x))
    zeros = 0 if zero_point is None else _along(zero_point, codes.ndim, axis).astype(np.int64)
    centred = (codes.astype(np.int64) - zeros).astype(np.float32)
    return Tensor._wrap(centred * _along(scale, codes.ndim, axis).astype(np.float32))
