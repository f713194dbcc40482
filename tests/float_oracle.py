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


def conv(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    relu: bool = False,
) -> np.ndarray:
    """x (N, C, size...) with w (O, C/groups, kernel...): taps in order, the channels of a group within a tap."""
    n, c = x.shape[:2]
    kernel, outputs, axes = w.shape[2:], w.shape[0], range(2, x.ndim)
    padded = np.pad(x, [(0, 0), (0, 0), *[(p, p) for p in padding]])
    out = tuple((padded.shape[a] - dilation[a - 2] * (kernel[a - 2] - 1) - 1) // stride[a - 2] + 1 for a in axes)
    y = np.zeros((n, outputs, *out), F)
    of_group = np.arange(outputs) // (outputs // groups) * (c // groups)
    for tap in np.ndindex(*kernel):
        cut = tuple(
            slice(t * d, t * d + (m - 1) * s + 1, s) for t, d, m, s in zip(tap, dilation, out, stride, strict=True)
        )
        for channel in range(c // groups):
            met = padded[(slice(None), of_group + channel, *cut)]
            y = fma(met, w[(slice(None), channel, *tap)].reshape(-1, *(1,) * len(kernel)), y)
    return finish(y, None if bias is None else bias.reshape(-1, *(1,) * len(kernel)), relu)


def conv_transpose(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    relu: bool = False,
) -> np.ndarray:
    """x (N, C, size...) with w (C, O/groups, kernel...): inputs in order; those between its rows are left out."""
    n, c = x.shape[:2]
    kernel, outputs = w.shape[2:], w.shape[1] * groups
    out = tuple(
        (m - 1) * s - 2 * p + d * (k - 1) + e + 1
        for m, s, p, d, k, e in zip(x.shape[2:], stride, padding, dilation, kernel, output_padding, strict=True)
    )
    y = np.zeros((n, outputs, *out), F)
    per_group, each = c // groups, outputs // groups
    for place in np.ndindex(*out):
        for tap in np.ndindex(*kernel):
            mirrored = tuple(k - 1 - t for k, t in zip(kernel, tap, strict=True))
            at = [o + p - d * m for o, p, d, m in zip(place, padding, dilation, mirrored, strict=True)]
            if any(a % s for a, s in zip(at, stride, strict=True)):
                continue
            source = tuple(a // s for a, s in zip(at, stride, strict=True))
            inside = all(0 <= i < m for i, m in zip(source, x.shape[2:], strict=True))
            for g in range(groups):
                part = (slice(None), slice(g * each, (g + 1) * each), *place)
                for channel in range(g * per_group, (g + 1) * per_group):
                    value = x[(slice(None), channel, *source)] if inside else np.zeros(n, F)
                    y[part] = fma(value[:, None], w[(channel, slice(None), *mirrored)], y[part])
    return finish(y, None if bias is None else bias.reshape(-1, *(1,) * len(kernel)), relu)
