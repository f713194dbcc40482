"""ONNX's MatMulInteger and ConvInteger: exact int32 sums of 8-bit codes, by the integer GEMM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _C
from .operators.values import check_size


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
    check_size("pads", [*x.shape[:2], *(size + a + b for size, (a, b) in zip(x.shape[2:], pads, strict=True))])
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
