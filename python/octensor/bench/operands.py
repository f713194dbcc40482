"""Operands of a case and the exact result that everybody's output is compared with.

Weights are symmetric and stay within ±127, activations are full-range u8 around zero point 128: what
every peer accepts. Sums are taken in float64, where they are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .cases import Case, Conv, Dynamic, Gemm, Int4, Lstm, Network, Pool

X_SCALE, W_SCALE = 0.02, 0.01
X_ZERO = OUT_ZERO = 128


@dataclass(frozen=True)
class Data:
    """What a case computes with.

    Attributes
    ----------
    x : ndarray of uint8
        [M, K]; [1, H, W, C] for images; [steps, batch, hidden] for an LSTM; flat for element-wise cases. Zero
        point 128.
    w : ndarray of int8
        [N, K]; [O, C / groups, k, k]; the input's and the hidden state's weights [2 * 4H, H]; the second operand,
        seen as bytes, for element-wise cases.
    out_scale : float
        Spreads the result over most of the codes.
    result : ndarray
        The exact result, channels last: u8 codes, or float32 where the case gives floats. Empty where there is
        nothing to compare with.
    folder : Path, optional
        A network's files.
    """

    x: np.ndarray
    w: np.ndarray
    out_scale: float
    result: np.ndarray
    folder: Path | None = None

    @property
    def x_float(self) -> np.ndarray:
        """What x stands for."""
        return np.asarray((self.x.astype(np.float32) - X_ZERO) * np.float32(X_SCALE))

    @property
    def w_float(self) -> np.ndarray:
        """What w stands for."""
        return np.asarray(self.w.astype(np.float32) * np.float32(W_SCALE))

    def agrees(self, output: np.ndarray) -> bool:
        """Whether codes are off by a rounding step at most, floats by what quantizing them anew may cost."""
        if not self.result.size:
            return True
        off = np.abs(np.asarray(output, np.float32).reshape(self.result.shape) - self.result.astype(np.float32))
        return bool(off.max() <= (1 if self.result.dtype == np.uint8 else 0.1 * self.result.std() + 1e-3))


def exact_sums(case: Gemm | Conv, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Compute sums of (x - 128) * w, as float64."""
    a, b = x.astype(np.float64) - X_ZERO, w.astype(np.float64)
    if isinstance(case, Gemm):
        return np.asarray(a @ b.T)
    p, s, out, g = case.padding, case.stride, case.out_size, case.groups
    padded = np.pad(a, ((0, 0), (p, p), (p, p), (0, 0)))
    sums = np.zeros((1, out, out, g, case.filters // g))
    for i in range(case.kernel):
        for j in range(case.kernel):
            tap = padded[:, i : i + s * (out - 1) + 1 : s, j : j + s * (out - 1) + 1 : s]
            tap = tap.reshape(1, out, out, g, 1, case.channels // g)
            kernel = b[:, :, i, j].reshape(g, case.filters // g, -1).transpose(0, 2, 1)
            sums += (
                (tap @ kernel)[..., 0, :] if g > 1 else (tap.reshape(-1, case.channels) @ kernel[0]).reshape(sums.shape)
            )
    return sums.reshape(1, out, out, case.filters)


def _requantized(sums: np.ndarray, scale: float) -> np.ndarray:
    codes = np.rint(sums * (X_SCALE * W_SCALE / scale)) + OUT_ZERO
    return np.asarray(np.clip(codes, 0, 255), np.uint8)


def _product(case: Gemm | Conv, x: np.ndarray, w: np.ndarray, spread: float) -> Data:
    """`spread`: the share of the largest sum that is 100 codes from zero."""
    sums = exact_sums(case, x, w)
    if isinstance(case, Dynamic):
        return Data(x, w, 1.0, (sums * (X_SCALE * W_SCALE)).astype(np.float32))
    scale = X_SCALE * W_SCALE * max(spread * float(np.abs(sums).max()), 1.0) / 100
    return Data(x, w, scale, _requantized(sums, scale))


def _shapes(case: Gemm | Conv) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if isinstance(case, Gemm):
        return (case.m, case.k), (case.n, case.k)
    taps = (case.channels // case.groups, case.kernel, case.kernel)
    return (1, case.size, case.size, case.channels), (case.filters, *taps)


def _weights(rng: np.random.Generator, shape: tuple[int, ...], limit: int) -> np.ndarray:
    """Codes of normal weights whose largest of each output channel is `limit`: what per-channel quantization makes."""
    values = rng.standard_normal((shape[0], int(np.prod(shape[1:]))))
    steps = limit / np.abs(values).max(1, keepdims=True)
    return np.asarray(np.rint(values * steps), np.int8).reshape(shape)


def make(case: Case) -> Data:
    """Random operands, the same for a case in every run: codes of activations uniform, those of weights normal."""
    rng = np.random.default_rng(0)
    empty = np.empty(0, np.uint8)
    if isinstance(case, Gemm | Conv):
        x_shape, w_shape = _shapes(case)
        limit = 7 if isinstance(case, Int4) else 127
        x, w = rng.integers(0, 256, x_shape, dtype=np.uint8), _weights(rng, w_shape, limit)
        return _product(case, x, w, 0.8)
    if isinstance(case, Lstm):
        x = rng.integers(0, 256, (case.steps, case.batch, case.hidden), dtype=np.uint8)
        w = rng.integers(-5, 6, (8 * case.hidden, case.hidden), dtype=np.int8)
        return Data(x, w, 1.0, empty)
    if isinstance(case, Pool):
        x = rng.integers(0, 256, (1, case.size, case.size, case.channels), dtype=np.uint8)
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]
        return Data(x, empty.view(np.int8), 1.0, windows.max((-2, -1)))
    if isinstance(case, Network):
        raise TypeError("operands.make: expected a case other than a Network: networks.data makes those")
    x, w = rng.integers(0, 256, case.n, dtype=np.uint8), rng.integers(-128, 128, case.n, dtype=np.int8)
    if case.op == "quantize":
        return Data(x, w, X_SCALE, x)
    if case.op == "dequantize":
        real = Data(x, w, X_SCALE, empty).x_float
        return Data(x, w, X_SCALE, real)
    sums = x.astype(np.int32) + w.view(np.uint8).astype(np.int32) - 2 * X_ZERO
    return Data(x, w, 2 * X_SCALE, np.clip(np.rint(sums / 2) + OUT_ZERO, 0, 255).astype(np.uint8))


def probe(case: Gemm | Conv) -> Data:
    """All activations 255, all weights 127: where pairs of products saturate, if anywhere.

    On raw codes the sum of a full window is 255 · 127 · K, 8,290,560 at K = 256; the zero point's share of it is
    subtracted after the sum, so that a kernel which saturates in between is off by far more than a step.
    """
    x_shape, w_shape = _shapes(case)
    return _product(case, np.full(x_shape, 255, np.uint8), np.full(w_shape, 127, np.int8), 1.0)
