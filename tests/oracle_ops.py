"""The numerics of ops outside the kernels, written a second time: plain loops and formulas, compared by ``==``."""

from __future__ import annotations

import itertools
import math

import numpy as np

import oracle
from octensor import _C

F32 = np.float32


def of(q: _C.QTensor) -> oracle.Q:
    """Return the oracle's form of a per-tensor QTensor."""
    return oracle.Q(np.array(q), F32(q.q_scale()), q.q_zero_point(), q.dtype.name)


def sample(rng: np.random.Generator, shape: tuple[int, ...], dtype: _C.dtype, scale: float = 0.07) -> _C.QTensor:
    """Codes over the whole range, with a zero point inside it."""
    codes = rng.integers(dtype.qmin, dtype.qmax, shape, endpoint=True).astype(dtype.numpy)
    return _C.QTensor.from_numpy(codes, _C.QParams(scale, dtype.qmin + 97, dtype))


def correlate(x: np.ndarray, w: np.ndarray, stride, padding, dilation, groups: int) -> np.ndarray:
    """Sum x[..., p·stride + k·dilation - padding] · w[..., k] place by place, in integers."""
    (n, _, *size), (o, cg, *kernel) = x.shape, w.shape
    axes = range(len(size))
    out = [(size[a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in axes]
    result = np.zeros((n, o, *out), np.int64)
    for place in itertools.product(*map(range, out)):
        for k in itertools.product(*map(range, kernel)):
            at = [place[a] * stride[a] + k[a] * dilation[a] - padding[a] for a in axes]
            if not all(0 <= at[a] < size[a] for a in axes):
                continue
            for g in range(groups):
                mine = slice(g * (o // groups), (g + 1) * (o // groups))
                seen = x[(slice(None), slice(g * cg, (g + 1) * cg), *at)].astype(np.int64)
                result[(slice(None), mine, *place)] += seen @ w[(mine, slice(None), *k)].astype(np.int64).T
    return result


def correlate_transposed(x, w, stride, padding, output_padding, dilation, groups: int) -> np.ndarray:
    """Spread every x[p] over y[p·stride + k·dilation - padding]."""
    (n, c, *size), (_, og, *kernel) = x.shape, w.shape
    axes = range(len(size))
    out = [
        (size[a] - 1) * stride[a] - 2 * padding[a] + dilation[a] * (kernel[a] - 1) + output_padding[a] + 1 for a in axes
    ]
    result = np.zeros((n, og * groups, *out), np.int64)
    for place in itertools.product(*map(range, size)):
        for k in itertools.product(*map(range, kernel)):
            at = [place[a] * stride[a] + k[a] * dilation[a] - padding[a] for a in axes]
            if not all(0 <= at[a] < out[a] for a in axes):
                continue
            for g in range(groups):
                mine = slice(g * (c // groups), (g + 1) * (c // groups))
                part = x[(slice(None), mine, *place)].astype(np.int64) @ w[(mine, slice(None), *k)].astype(np.int64)
                result[(slice(None), slice(g * og, (g + 1) * og), *at)] += part
    return result


def epilogue(acc, bias, x: oracle.Q, w: oracle.Q, out: oracle.Q, relu: bool = False) -> np.ndarray:
    """Bias and rescale an accumulator whose channels are axis 1."""
    codes = oracle.bias_codes(bias, x.scale, w.scale, acc.shape[1])
    return oracle.finish(acc + codes.reshape(-1, *(1,) * (acc.ndim - 2)), x, w, out, 1, relu)


def unary(q: oracle.Q, function, scale: float, zero_point: int, dtype: str) -> np.ndarray:
    """Apply a Python function of one float to every code."""
    x = oracle.dequantize(q)
    y = np.array([function(float(v)) for v in x.reshape(-1)], np.float64).reshape(x.shape).astype(F32)
    return oracle.quantize(y, scale, zero_point, dtype)


def row_norm(q: oracle.Q, rows: int, eps: float, weight, bias, channels: bool) -> np.ndarray:
    """Normalise rows by exact integer statistics; float32 values before the result is quantized."""
    flat = q.codes.reshape(rows, -1).astype(object)
    out = np.empty(flat.shape, F32)
    for r, row in enumerate(flat):
        count, total, squares = len(row), sum(int(v) for v in row), sum(int(v) ** 2 for v in row)
        spread = float(count * squares - total * total) / (float(count) * count)
        s = float(F32(q.scale))
        inverse = F32(s / math.sqrt(spread * (s * s) + eps))
        mean = F32(total / count)
        for i, v in enumerate(row):
            out[r, i] = (F32(int(v)) - mean) * inverse
    y = out.reshape(q.codes.shape)
    shape = (-1, *(1,) * (y.ndim - 2)) if channels else None
    for values, op in ((weight, np.multiply), (bias, np.add)):
        if values is not None:
            y = op(y, values if shape is None else values.reshape(shape))
    return y


def pool_places(size, kernel, stride, padding, dilation=None, ceil=False):
    """Yield (output place, list of input places inside, window without what lies beyond the padding)."""
    axes = range(len(size))
    dilation = dilation or (1,) * len(size)
    out = [oracle.window_count(size[a], kernel[a], stride[a], padding[a], dilation[a], ceil) for a in axes]
    for place in itertools.product(*map(range, out)):
        first = [place[a] * stride[a] - padding[a] for a in axes]
        inside, padded = [], 0
        for k in itertools.product(*map(range, kernel)):
            at = tuple(first[a] + k[a] * dilation[a] for a in axes)
            padded += all(at[a] < size[a] + padding[a] for a in axes)
            if all(0 <= at[a] < size[a] for a in axes):
                inside.append(at)
        yield place, inside, padded


def max_pool(q: oracle.Q, kernel, stride, padding, dilation=None, ceil=False) -> np.ndarray:
    """Largest code of each window."""
    found = {p: inside for p, inside, _ in pool_places(q.codes.shape[2:], kernel, stride, padding, dilation, ceil)}
    shape = tuple(max(p[a] for p in found) + 1 for a in range(len(kernel)))
    out = np.empty((*q.codes.shape[:2], *shape), q.codes.dtype)
    for place, inside in found.items():
        out[(..., *place)] = np.max([q.codes[(..., *at)] for at in inside], axis=0)
    return out


def avg_pool(q: oracle.Q, kernel, stride, padding, ceil=False, include=True, divisor=None) -> np.ndarray:
    """Rounded mean of each window."""
    found = {p: (i, n) for p, i, n in pool_places(q.codes.shape[2:], kernel, stride, padding, None, ceil)}
    shape = tuple(max(p[a] for p in found) + 1 for a in range(len(kernel)))
    out = np.empty((*q.codes.shape[:2], *shape), q.codes.dtype)
    for place, (inside, padded) in found.items():
        total = sum(q.centred[(..., *at)] for at in inside)
        count = divisor or (padded if include else len(inside))
        out[(..., *place)] = oracle.mean(np.asarray(total), count, int(q.zero_point), q.dtype)
    return out


def linear_dynamic(x: np.ndarray, w: oracle.Q, bias, reduce_range: bool = False) -> np.ndarray:
    """Quantize x from its own range, sum exactly, scale and add the bias in float32."""
    qparams = _C.choose_qparams(float(x.min()), float(x.max()), _C.quint8, reduce_range)
    codes = oracle.quantize(x, qparams.scale, qparams.zero_point, "quint8").astype(np.int64) - qparams.zero_point
    acc = codes @ w.centred.T
    m = (np.float64(F32(qparams.scale)) * F32(w.scale).astype(np.float64)).astype(F32)
    y = acc.astype(F32) * m
    return y if bias is None else y + bias
