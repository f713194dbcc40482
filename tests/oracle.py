"""The numerics of octensor written a second time, in plain NumPy: slow, obvious, and free of its C++.

Every kernel test compares with these functions by ``==``. The rules they follow:

* codes are integers of a dtype with range ``[qmin, qmax]``; integer sums are exact (int64 here);
* a real multiplier is one float32 number, rounded once from a float64 expression;
* a float is rounded to the nearest integer, ties to even, *before* the zero point is added;
* the result is clamped to ``[qmin, qmax]``, or to ``[zero_point, qmax]`` where a ReLU is fused.

Arguments are plain: integer arrays, scales, zero points. ``scale`` and ``zero_point`` are scalars, or
1-D with one entry for every index along ``axis``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = np.ndarray
Pair = tuple[int, int]


class QDType(NamedTuple):
    """Range and storage of a quantized dtype."""

    qmin: int
    qmax: int
    storage: npt.DTypeLike


DTYPES = {
    "qint8": QDType(-128, 127, np.int8),
    "quint8": QDType(0, 255, np.uint8),
    "qint32": QDType(-(2**31), 2**31 - 1, np.int32),
}


class Q(NamedTuple):
    """Codes and what they mean: the oracle's quantized tensor."""

    codes: Array
    scale: float | Array
    zero_point: int | Array
    dtype: str
    axis: int | None = None

    @property
    def centred(self) -> Array:
        """``q - zero_point`` as int64."""
        return self.codes.astype(np.int64) - along(self.zero_point, self.axis, self.codes.ndim)


def along(values: npt.ArrayLike, axis: int | None, ndim: int) -> Array:
    """Shape per-channel values so that they broadcast along ``axis`` of an ``ndim``-dimensional array."""
    values = np.asarray(values)
    if axis is None or values.ndim == 0:
        return values
    return values.reshape([-1 if i == axis % ndim else 1 for i in range(ndim)])


def clamp(rounded: Array, zero_point: npt.ArrayLike, dtype: str, relu: bool = False) -> Array:
    """Add the zero point to integral float64 (or integer) values and clamp into the dtype."""
    t = DTYPES[dtype]
    low = np.maximum(t.qmin, zero_point) if relu else t.qmin
    return np.clip(np.asarray(rounded, np.float64) + zero_point, low, t.qmax).astype(np.int64).astype(t.storage)


def multiplier(*scales: npt.ArrayLike, over: npt.ArrayLike) -> Array:
    """float32(product of scales / over), computed in float64 from float32 scales."""
    product = np.float64(1)
    for scale in scales:
        product = product * np.float32(scale).astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        return (product / np.float32(over).astype(np.float64)).astype(np.float32)


def rescale(acc: Array, m: npt.ArrayLike) -> Array:
    """round_half_even(float32(acc) * m): one rounding to float32 for each of the two steps."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.rint(acc.astype(np.float32) * np.float32(m)).astype(np.float64)


# --- tensors --------------------------------------------------------------------------------------


def quantize(x: Array, scale: npt.ArrayLike, zero_point: npt.ArrayLike, dtype: str, axis: int | None = None) -> Array:
    """clamp(round_half_even(x / scale) + zero_point) with a float32 division; NaN gives the zero point."""
    x = np.asarray(x, np.float32)
    s = along(np.float32(scale), axis, x.ndim)
    z = along(zero_point, axis, x.ndim)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        r = np.rint(x / s).astype(np.float64)
    return clamp(np.where(np.isnan(r), 0.0, r), z, dtype)


def dequantize(q: Q) -> Array:
    """(q - zero_point) * scale in float32."""
    with np.errstate(over="ignore", under="ignore"):
        return q.centred.astype(np.float32) * along(np.float32(q.scale), q.axis, q.codes.ndim)


def requantize(q: Q, scale: npt.ArrayLike, zero_point: npt.ArrayLike, dtype: str, axis: int | None = None) -> Array:
    """Quantize what the codes stand for; codes that have these parameters already stay as they are."""
    if (
        (q.dtype, q.axis) == (dtype, axis)
        and np.array_equal(q.scale, scale)
        and np.array_equal(q.zero_point, zero_point)
    ):
        return q.codes
    return quantize(dequantize(q), scale, zero_point, dtype, axis)


def lookup(codes: Array, table: Array, dtype: str) -> Array:
    """``table[q & 0xFF]``: any function of one 8-bit code."""
    return np.asarray(table)[codes.view(np.uint8).astype(np.int64)].astype(DTYPES[dtype].storage)


# --- sums of products -----------------------------------------------------------------------------


def matmul_integer(a: Array, b: Array, a_zero_point: int = 0, b_zero_point: int = 0) -> Array:
    """Exact sum of (a - za) * (b - zb)."""
    total = (a.astype(np.int64) - a_zero_point) @ (b.astype(np.int64) - b_zero_point)
    assert np.all(np.abs(total) < 2**31)
    return total.astype(np.int32)


def bias_codes(bias: Array | None, x_scale: float, w_scale: npt.ArrayLike, channels: int) -> Array:
    """round_half_even(bias / (sx * sw[c])) in float64: the bias as integers at the accumulator's scale."""
    if bias is None:
        return np.zeros(channels, np.int64)
    s = np.float64(np.float32(x_scale)) * np.float32(w_scale).astype(np.float64)
    return np.rint(np.asarray(bias, np.float32).astype(np.float64) / s).astype(np.int64)


def finish(acc: Array, x: Q, w: Q, out: Q, axis: int, relu: bool) -> Array:
    """Scale an int32 accumulator whose channels lie along ``axis`` to the output's codes."""
    assert np.all(np.abs(acc) < 2**31)
    m = multiplier(x.scale, w.scale, over=out.scale)
    return clamp(rescale(acc, along(m, axis, acc.ndim)), out.zero_point, out.dtype, relu)


def linear(x: Q, w: Q, bias: Array | None, out: Q, relu: bool = False) -> Array:
    """``x @ w.T + bias`` for x (..., K) and w (N, K)."""
    acc = x.centred @ w.centred.T + bias_codes(bias, x.scale, w.scale, w.codes.shape[0])
    return finish(acc, x, w, out, acc.ndim - 1, relu)


def windows(x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, fill: int, out: Pair) -> Array:
    """Copy every window of x (N, C, H, W) to (N, C, kh, kw, oh, ow); outside of x is ``fill``."""
    (kh, kw), (sh, sw), (ph, pw), (dh, dw), (oh, ow) = kernel, stride, padding, dilation, out
    n, c, h, w = x.shape
    result = np.full((n, c, kh, kw, oh, ow), fill, np.int64)
    for i, j, r, s in np.ndindex(kh, kw, oh, ow):
        row, col = r * sh - ph + i * dh, s * sw - pw + j * dw
        if 0 <= row < h and 0 <= col < w:
            result[:, :, i, j, r, s] = x[:, :, row, col]
    return result


def window_count(size: int, kernel: int, stride: int, padding: int, dilation: int = 1, ceil: bool = False) -> int:
    """How many windows fit; in ceil mode the last must still start inside the input or its left padding."""
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (-(-span // stride) if ceil else span // stride) + 1
    if ceil and (count - 1) * stride >= size + padding:
        count -= 1
    return count


def conv(
    x: Q,
    w: Q,
    bias: Array | None,
    out: Q,
    stride: tuple[int, ...] | None = None,
    padding: tuple[int, ...] | None = None,
    dilation: tuple[int, ...] | None = None,
    groups: int = 1,
    relu: bool = False,
) -> Array:
    """Cross-correlation over any number of spatial axes, one shifted product per kernel tap; padding is real 0."""
    o, cg, *kernel = w.codes.shape
    one = (1,) * len(kernel)
    stride, padding, dilation = stride or one, padding or (0,) * len(kernel), dilation or one
    og, real = o // groups, np.pad(x.centred, [(0, 0), (0, 0), *[(p, p) for p in padding]])
    sizes = [window_count(*g) for g in zip(x.codes.shape[2:], kernel, stride, padding, dilation, strict=True)]
    acc = np.zeros((x.codes.shape[0], o, *sizes), np.int64)
    for tap in np.ndindex(*kernel):
        at = [slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, n, s in zip(tap, dilation, sizes, stride, strict=True)]
        for g in range(groups):
            rows, columns = slice(g * og, (g + 1) * og), slice(g * cg, (g + 1) * cg)
            part = real[(slice(None), columns, *at)]
            acc[:, rows] += np.einsum("nc...,oc->no...", part, w.centred[(rows, slice(None), *tap)])
    acc = acc + along(bias_codes(bias, x.scale, w.scale, o), 1, acc.ndim)
    return finish(acc, x, w, out, 1, relu)


def conv_transpose(
    x: Q,
    w: Q,
    bias: Array | None,
    out: Q,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int = 1,
    relu: bool = False,
) -> Array:
    """Every input value, times the kernel w (C, O / groups, ...), is added where it lands in the output."""
    c, og, *kernel = w.codes.shape
    cg, n, sizes = c // groups, x.codes.shape[0], x.codes.shape[2:]
    geometry = list(zip(sizes, kernel, stride, padding, output_padding, dilation, strict=True))
    result = [(i - 1) * s - 2 * p + d * (k - 1) + e + 1 for i, k, s, p, e, d in geometry]
    full = [
        max(r + 2 * p, (i - 1) * s + d * (k - 1) + 1) for r, (i, k, s, p, _, d) in zip(result, geometry, strict=True)
    ]
    acc = np.zeros((n, og * groups, *full), np.int64)
    for tap in np.ndindex(*kernel):
        at = [slice(t * d, t * d + (i - 1) * s + 1, s) for t, (i, _, s, _, _, d) in zip(tap, geometry, strict=True)]
        for g in range(groups):
            rows, columns = slice(g * og, (g + 1) * og), slice(g * cg, (g + 1) * cg)
            part = np.einsum("nc...,co->no...", x.centred[:, columns], w.centred[(columns, slice(None), *tap)])
            acc[(slice(None), rows, *at)] += part
    acc = acc[(slice(None), slice(None), *[slice(p, p + r) for p, r in zip(padding, result, strict=True)])]
    scale = np.tile(w.scale, groups) if w.axis is not None else w.scale
    acc = acc + along(bias_codes(bias, x.scale, scale, og * groups), 1, acc.ndim)
    return finish(acc, x, w._replace(scale=scale), out, 1, relu)


def dynamic_qparams(lo: float, hi: float, reduce_range: bool = False) -> Q:
    """Parameters of quint8 that a dynamic op chooses for values in [lo, hi]."""
    lo, hi, qmax = min(float(lo), 0.0), max(float(hi), 0.0), 127 if reduce_range else 255
    s = (hi - lo) / qmax
    tiny = float(np.finfo(np.float32).tiny)
    with np.errstate(all="ignore"):
        if not np.float32(s) >= tiny or not np.isfinite(np.float32(1) / np.float32(s)):
            s = float(np.float32(0.1))
    z = -lo / s if -abs(lo / s) < qmax - abs(hi / s) else qmax - hi / s
    return Q(np.empty(0), np.float32(s), int(np.rint(np.clip(z, 0, qmax))), "quint8")


def linear_dynamic(x: Array, w: Q, bias: Array | None, reduce_range: bool = False, per_row: bool = False) -> Array:
    """Quantize x by its own range, or each row by its own, multiply exactly, return to float32."""
    if per_row:
        rows = [
            linear_dynamic(row, w, bias, reduce_range) for row in x.reshape(int(np.prod(x.shape[:-1])), x.shape[-1])
        ]
        return np.array(rows, np.float32).reshape(*x.shape[:-1], len(w.codes))
    p = dynamic_qparams(x.min(initial=0), x.max(initial=0), reduce_range)
    q = p._replace(codes=quantize(x, p.scale, p.zero_point, "quint8"))
    acc = q.centred @ w.centred.T
    y = acc.astype(np.float32) * (np.float64(p.scale) * np.asarray(w.scale, np.float64)).astype(np.float32)
    return y if bias is None else y + bias


# --- elementwise ----------------------------------------------------------------------------------


def add(a: Q, b: Q, out: Q, relu: bool = False) -> Array:
    """Quantize the float32 sum of the two dequantized operands; infinity - infinity counts as 0."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        r = np.rint((dequantize(a) + dequantize(b)) / np.float32(out.scale)).astype(np.float64)
    return clamp(np.where(np.isnan(r), 0.0, r), out.zero_point, out.dtype, relu)


def mul(a: Q, b: Q, out: Q, relu: bool = False) -> Array:
    """Exact integer product, then one multiplier."""
    m = multiplier(a.scale, b.scale, over=out.scale)
    return clamp(rescale(a.centred * b.centred, m), out.zero_point, out.dtype, relu)


def cat(parts: list[Q], axis: int, out: Q) -> Array:
    """Each part requantized to ``out``, then joined."""
    return np.concatenate([requantize(p, out.scale, out.zero_point, out.dtype) for p in parts], axis)


# --- pools: the result keeps the scale and zero point of x ------------------------------------------


def max_pool2d(
    codes: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1), ceil: bool = False
) -> Array:
    """Largest code of the window's part inside x."""
    oh, ow = (window_count(codes.shape[2 + i], kernel[i], stride[i], padding[i], dilation[i], ceil) for i in range(2))
    lowest = np.iinfo(codes.dtype).min
    return windows(codes, kernel, stride, padding, dilation, lowest, (oh, ow)).max(axis=(2, 3)).astype(codes.dtype)


def mean(total: Array, divisor: npt.ArrayLike, zero_point: int, dtype: str) -> Array:
    """Round the float32 quotient of an exact sum of (q - zero_point) and a count."""
    return clamp(np.rint(total.astype(np.float32) / np.float32(divisor)), zero_point, dtype)


def avg_pool2d(
    x: Q,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    ceil: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Mean of each window; padding is real 0 and counts only where ``count_include_pad`` says so."""
    h, w = x.codes.shape[2:]
    oh = window_count(h, kernel[0], stride[0], padding[0], ceil=ceil)
    ow = window_count(w, kernel[1], stride[1], padding[1], ceil=ceil)
    total = windows(x.centred, kernel, stride, padding, (1, 1), 0, (oh, ow)).sum(axis=(2, 3))
    divisor = np.empty((oh, ow), np.int64)
    for r, s in np.ndindex(oh, ow):
        if divisor_override is not None:
            divisor[r, s] = divisor_override
            continue
        first = (r * stride[0] - padding[0], s * stride[1] - padding[1])
        # A window that ceil mode lets reach beyond the right padding counts only up to there.
        last = [min(first[i] + kernel[i], (h, w)[i] + padding[i]) for i in range(2)]
        if not count_include_pad:
            first = (max(first[0], 0), max(first[1], 0))
            last = [min(last[i], (h, w)[i]) for i in range(2)]
        divisor[r, s] = (last[0] - first[0]) * (last[1] - first[1])
    return mean(total, divisor, int(x.zero_point), x.dtype)


def adaptive_avg_pool2d(x: Q, size: tuple[int | None, int | None]) -> Array:
    """Output i of n averages the inputs floor(i * size / n) up to ceil((i + 1) * size / n)."""
    n, c, h, w = x.codes.shape
    oh, ow = (h if size[0] is None else size[0]), (w if size[1] is None else size[1])
    result = np.empty((n, c, oh, ow), x.codes.dtype)
    for r, s in np.ndindex(oh, ow):
        rows = slice(r * h // oh, -(-(r + 1) * h // oh))
        cols = slice(s * w // ow, -(-(s + 1) * w // ow))
        part = x.centred[:, :, rows, cols]
        divisor = part.shape[2] * part.shape[3]
        result[:, :, r, s] = mean(part.sum(axis=(2, 3)), divisor, int(x.zero_point), x.dtype)
    return result
