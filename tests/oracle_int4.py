"""The numerics of linear layers on 4-bit and of weight-only layers, in plain NumPy; see `oracle`."""

from __future__ import annotations

import numpy as np

import oracle
from oracle import Array


def quantized_rows(x: Array) -> tuple[Array, Array, Array]:
    """Codes of quint8 of every row over its own range, the rows' scales and zero points."""
    params = [oracle.dynamic_qparams(min(row.min(initial=0), 0), max(row.max(initial=0), 0), False) for row in x]
    codes = [oracle.quantize(row, q.scale, q.zero_point, "quint8") for row, q in zip(x, params, strict=True)]
    scales = np.array([q.scale for q in params], np.float32)
    zeros = np.array([q.zero_point for q in params], np.int64)
    return np.array(codes, np.int64).reshape(x.shape), scales, zeros


def linear_int4(
    x: Array, codes: Array, scales: Array, zeros: Array | None, group: int, bias: Array | None, relu: bool = False
) -> Array:
    """Float rows times 4-bit codes [N, K] with scales and zero points [N, groups]."""
    a, sa, za = quantized_rows(x)
    w = codes.astype(np.int64)
    y, ones = np.zeros((len(x), len(codes)), np.float32), np.zeros(len(codes), np.float32)
    with np.errstate(over="ignore", under="ignore"):
        for g in range(scales.shape[1]):
            k = slice(g * group, (g + 1) * group)
            centred = w[:, k] - (0 if zeros is None else zeros[:, g : g + 1].astype(np.int64))
            y = y + ((a[:, k] - 128) @ centred.T).astype(np.float32) * scales[:, g]
            ones = ones + centred.sum(1).astype(np.float32) * scales[:, g]
        y = (y - (za - 128).astype(np.float32)[:, None] * ones) * sa[:, None]
        if bias is not None:
            y = y + bias
    return np.maximum(y, np.float32(0)) if relu else y


def weight_only(
    x: Array, codes: Array, scales: Array, zeros: Array | int, group: int, bias: Array | None, relu: bool = False
) -> Array:
    """Float rows times (codes - zeros) * scales; parameters [N, groups]. Sums of a group in float32, k after k."""
    w = (codes.astype(np.int64) - np.repeat(zeros, group, axis=1)[:, : codes.shape[1]]).astype(np.float32)
    y = np.zeros((len(x), len(codes)), np.float32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for g in range(scales.shape[1]):
            part = np.zeros_like(y)
            for k in range(g * group, min((g + 1) * group, codes.shape[1])):
                part = part + x[:, k : k + 1] * w[:, k]
            y = y + part * scales[:, g]
        if bias is not None:
            y = y + bias
    return np.maximum(y, np.float32(0)) if relu else y
