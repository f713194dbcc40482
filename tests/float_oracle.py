"""Float ops as docs/numerics.md writes them, in NumPy: every rounding spelled out.

`fma` is emulated exactly: the float64 product of two float32 numbers is exact, so only the sum rounds. It is rounded to
odd (the last bit set where anything was lost), after which rounding to float32 is that of the exact sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np

F = np.float32
NAN = F(np.nan)


def plain_nan(x: np.ndarray) -> np.ndarray:
    """NaN as every float op returns it: quiet, sign and payload 0."""
    return np.where(np.isnan(x), NAN, x).astype(F)


def fma(a: Any, b: Any, c: Any) -> np.ndarray:
    """a · b + c rounded once, in float32."""
    with np.errstate(all="ignore"):
        product, c = np.float64(a) * np.float64(b), np.float64(c)
        total = product + c
        rest = total - product
        lost = (product - (total - rest)) + (c - rest)  # what rounding the sum took away, exactly
        # Round to odd: where something was lost and the last bit is 0, step towards it.
        even = (np.atleast_1d(total).view(np.int64) & 1).reshape(np.shape(total)) == 0
        step = np.isfinite(total) & (lost != 0) & even
        toward = np.nextafter(total, np.where(lost > 0, np.inf, -np.inf))
        return np.where(step, toward, total).astype(F)


def product(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None, relu: bool = False) -> np.ndarray:
    """x (..., K) times w (..., K, N): one chain of fma over k from 0, then the bias."""
    y = np.zeros(np.broadcast_shapes(x.shape[:-2], w.shape[:-2]) + (x.shape[-2], w.shape[-1]), F)
    for k in range(x.shape[-1]):
        y = fma(x[..., :, k, None], w[..., None, k, :], y)
    return finish(y, bias, relu)


def finish(y: np.ndarray, bias: np.ndarray | None, relu: bool) -> np.ndarray:
    """What follows a sum."""
    with np.errstate(all="ignore"):
        if bias is not None:
            y = (y + bias).astype(F)
        if relu:
            y = np.where((y > 0) | np.isnan(y), y, F(0))
    return plain_nan(y)
