"""NumPy in float32: what somebody has who installs nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..cases import Case, Elementwise, Gemm, Lstm
from ..operands import X_SCALE, X_ZERO, Data
from . import Runner, Variant


class NumPy:
    """Threads are set through threadpoolctl where that is installed."""

    name = "numpy"
    version = np.__version__

    def __init__(self, threads: int) -> None:
        try:
            from threadpoolctl import threadpool_limits
        except ImportError:
            return
        self._limits = threadpool_limits(threads, user_api="blas")

    def variants(self, case: Case) -> Sequence[Variant]:
        """Matrix products, LSTM and element-wise operations."""
        if isinstance(case, Gemm):
            return [Variant("numpy fp32", "fp32", lambda data: _gemm(data))]
        if isinstance(case, Lstm):
            return [Variant("numpy fp32", "fp32", lambda data: _lstm(case, data))]
        if isinstance(case, Elementwise):
            return [Variant("numpy", "int8", lambda data: _elementwise(case, data))]
        return []


def _gemm(data: Data) -> Runner:
    x, w = data.x_float, np.ascontiguousarray(data.w_float.T)
    out = x @ w
    return Runner(lambda: np.matmul(x, w, out=out))


def _lstm(case: Lstm, data: Data) -> Runner:
    x = data.x_float
    w_in, w_hidden = (np.ascontiguousarray(w.T) for w in np.split(data.w_float, 2))

    def sigmoid(v: np.ndarray) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-v)))

    def call() -> np.ndarray:
        given = (x.reshape(-1, case.hidden) @ w_in).reshape(case.steps, case.batch, -1)
        h = c = np.zeros((case.batch, case.hidden), np.float32)
        for step in given:
            i, f, g, o = np.split(step + h @ w_hidden, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        return h

    return Runner(call)


def _elementwise(case: Elementwise, data: Data) -> Runner:
    x, q, other = data.x_float, data.x, data.w.view(np.uint8)

    def quantize(v: np.ndarray, scale: float = X_SCALE) -> np.ndarray:
        return np.asarray(np.clip(np.rint(v / np.float32(scale)) + X_ZERO, 0, 255), np.uint8)

    def real(v: np.ndarray) -> np.ndarray:
        return np.asarray((v.astype(np.float32) - X_ZERO) * np.float32(X_SCALE))

    if case.op == "quantize":
        return Runner(lambda: quantize(x), lambda: quantize(x))
    if case.op == "dequantize":
        return Runner(lambda: real(q), lambda: real(q))
    return Runner(lambda: quantize(real(q) + real(other), data.out_scale))
