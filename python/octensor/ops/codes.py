"""Quantized ops that only move codes: the result keeps the qparams, and the work is NumPy's on the integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._C import QParams, QTensor


def per_tensor(op: str, x: QTensor) -> QParams:
    """Return the qparams of x, or raise if it has a scale per channel."""
    qparams = x.qparams
    if qparams.is_per_channel:
        raise TypeError(
            f"{op}: input: expected a per-tensor quantized tensor, got one with a scale per channel (axis "
            f"{qparams.axis}): call .dequantize() first, or requantize it per tensor"
        )
    return qparams


def byte_codes(op: str, x: QTensor) -> QParams:
    """Return the qparams of x, or raise unless it is 8-bit and per tensor."""
    qparams = per_tensor(op, x)
    if qparams.dtype.itemsize != 1:
        raise TypeError(f"{op}: input: expected an 8-bit quantized tensor, got {qparams.dtype}: requantize it first")
    return qparams


def move_codes(op: str, x: QTensor, function: Callable[[np.ndarray], Any]) -> QTensor:
    """Return `function` of the codes, with the qparams of x."""
    qparams = per_tensor(op, x)
    return QTensor.from_numpy(np.asarray(function(np.asarray(x))), qparams)


def rounded_mean(x: QTensor, total: np.ndarray, divisor: Any) -> QTensor:
    """Return the codes of integer sums of (q - z), divided: clamp(rint(f32(total) / f32(divisor)) + z)."""
    qparams = x.qparams
    quotient = np.rint(total.astype(np.float32) / np.asarray(divisor, np.float32)).astype(np.float64)
    codes = np.clip(quotient + qparams.zero_point, qparams.dtype.qmin, qparams.dtype.qmax)
    return QTensor.from_numpy(np.asarray(codes, qparams.dtype.numpy), qparams)


def centred(op: str, x: QTensor) -> np.ndarray:
    """Return q - z of an 8-bit tensor, as int64."""
    qparams = byte_codes(op, x)
    result: np.ndarray = np.asarray(x).astype(np.int64) - qparams.zero_point
    return result


def write(x: QTensor, result: QTensor) -> QTensor:
    """Put the codes of a result that has the shape and qparams of x into x, and return x."""
    x._writable()[...] = np.asarray(result)
    return x
