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
    y = np.zeros((*np.broadcast_shapes(x.shape[:-2], w.shape[:-2]), x.shape[-2], w.shape[-1]), F)
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


# --- functions ------------------------------------------------------------------------------------


def _horner(terms: list[float], at: np.ndarray) -> np.ndarray:
    y = np.full(at.shape, F(terms[0]))
    for term in terms[1:]:
        y = fma(y, at, F(term))
    return y


def _exp_parts(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """exp(x) = 2^n (1 + q)."""
    at = np.clip(np.where(np.isnan(x), F(0), x), F(-104), F(89))
    n = np.rint(at * F(1.44269504))
    r = fma(n, F(2.12194440e-4), fma(n, F(-0.693359375), at))
    terms = [1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1]
    return n, fma(r * r, _horner(terms, r), r)


def exp(x: np.ndarray) -> np.ndarray:
    n, q = _exp_parts(x)
    half = np.floor(n / 2)
    y = (q + F(1)) * np.exp2(half).astype(F) * np.exp2(n - half).astype(F)
    return np.where(np.isnan(x), x, y)


def expm1(x: np.ndarray) -> np.ndarray:
    n, q = _exp_parts(np.where(x < -87, F(-87), x))
    power = np.exp2(n).astype(F)
    return np.where(np.isnan(x), x, fma(q, power, power - F(1)))


def _twice_atanh(s: np.ndarray) -> np.ndarray:
    square = s * s
    p = _horner([F(2) / F(d) for d in (15, 13, 11, 9, 7, 5, 3)], square)
    return fma(s * square, p, s + s)


def log1p(e: np.ndarray) -> np.ndarray:
    return _twice_atanh(e / (e + F(2)))


def log(x: np.ndarray) -> np.ndarray:
    m, n = np.frexp(np.where((x > 0) & (x < np.inf), x, F(1)).astype(np.float64))
    low = m < np.float64(np.uint32(0x3F2AAAAB).view(F))  # to [2/3, 4/3)
    m, n = np.where(low, 2 * m, m).astype(F), np.where(low, n - 1, n)
    y = fma(n, F(0.693359375), fma(n, F(-2.12194440e-4), _twice_atanh((m - F(1)) / (m + F(1)))))
    y = np.where(x == 0, F(-np.inf), np.where(x == np.inf, x, y))
    return np.where((x < 0) | np.isnan(x), NAN, y)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return F(1) / (F(1) + exp(-x))


def tanh(x: np.ndarray) -> np.ndarray:
    terms = [-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1]
    small = np.where(np.abs(x) > 1, F(0), x)
    low = fma(small * (small * small), _horner(terms, small * small), small)
    high = F(1) - F(2) / (exp(np.abs(x) * F(2)) + F(1))
    return np.where(np.abs(x) > F(0.625), np.copysign(high, x), low)


def erf(x: np.ndarray) -> np.ndarray:
    t = np.minimum(np.abs(x), F(4))
    small = np.where(np.abs(x) > 1, F(0), x)
    kept = [-5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1]
    low = fma(_horner(kept, small * small), small, small)
    r = fma(fma(F(-1.72853470e-5), t, F(3.83197126e-4)), t * t, fma(F(-3.88396438e-3), t, F(2.42546219e-2)))
    for term in (-1.06777877e-1, -6.34846687e-1, -1.28717512e-1):
        r = fma(r, t, F(term))
    high = F(1) - exp(fma(r, t, -t))
    return np.where(np.isnan(x), x, np.where(np.abs(x) > F(0.927734375), np.copysign(high, x), low))


def _gate(x: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(x + F(3), F(0)), F(6))


def _softplus(x: np.ndarray, a: float, b: float) -> np.ndarray:
    t = x * F(a)
    return np.where(t > F(b), x, (np.maximum(t, F(0)) + log1p(exp(-np.abs(t)))) / F(a))


def _elu(x: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
    low = expm1(np.where(x > 0, F(0), x) * F(c)) * (F(a) * F(b))
    return np.where(x > 0, x * F(b), low)


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    inner = F(0.79788456) * fma(F(0.044715) * (x * x), x, x)
    return (x * F(0.5)) * (F(1) + tanh(inner))


FUNCTIONS: dict[str, Any] = {
    "exp": exp,
    "log": log,
    "sqrt": np.sqrt,
    "erf": erf,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": lambda x: np.where(x > 0, x, np.where(np.isnan(x), x, F(0))),
    "clamp": lambda x, a, b: np.minimum(np.maximum(x, F(a)), F(b)) + F(0),
    "leaky_relu": lambda x, a: np.where(x > 0, x, x * F(a)),
    "hardsigmoid": lambda x: _gate(x) / F(6),
    "hardswish": lambda x: x * _gate(x) / F(6),
    "silu": lambda x: x * sigmoid(x),
    "gelu": lambda x: x * (F(0.5) * (F(1) + erf(x * F(0.70710678)))),
    "gelu_tanh": _gelu_tanh,
    "elu": _elu,
    "softplus": _softplus,
    "mish": lambda x: x * tanh(_softplus(x, 1, 20)),
}


def unary(name: str, x: np.ndarray, *parameters: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        return plain_nan(FUNCTIONS[name](x, *parameters))


# --- rows -----------------------------------------------------------------------------------------


def row_sum(x: np.ndarray, squares: bool = False) -> np.ndarray:
    """Sums along the last axis, or of squares: 32 lanes, blocks of 2,048 elements, then halves."""
    n = x.shape[-1]
    total = np.zeros((*x.shape[:-1], 32), F)
    with np.errstate(all="ignore"):
        for first in range(0, n, 2048):
            block = x[..., first : first + 2048]
            block = np.concatenate([block, np.zeros((*x.shape[:-1], -block.shape[-1] % 32), F)], axis=-1)
            lanes = np.zeros_like(total)
            for i in range(0, block.shape[-1], 32):
                part = block[..., i : i + 32]
                lanes = fma(part, part, lanes) if squares else lanes + part
            total = total + lanes
        while total.shape[-1] > 1:
            half = total.shape[-1] // 2
            total = total[..., :half] + total[..., half:]
    return np.asarray(total[..., 0])


def softmax(x: np.ndarray, log: bool = False) -> np.ndarray:
    with np.errstate(all="ignore"):
        shifted = x - x.max(axis=-1, keepdims=True)
        e = exp(shifted)
        total = row_sum(e)[..., None]
        if log:
            return plain_nan(shifted - FUNCTIONS["log"](total))
        return plain_nan(e * (F(1) / total))


def norm(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, eps: float, centre: bool = True
) -> np.ndarray:
    """Rows along the last axis; weight and bias broadcast to them."""
    n = F(x.shape[-1])
    with np.errstate(all="ignore"):
        c = x - (row_sum(x) / n)[..., None] if centre else x
        inverse = F(1) / np.sqrt(row_sum(c, squares=True) / n + F(eps))
        t = c * inverse[..., None]
        if weight is not None and bias is not None:
            return plain_nan(fma(t, weight, bias))
        return plain_nan(t if weight is None and bias is None else t + bias if weight is None else t * weight)
