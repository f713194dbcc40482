"""Observers that keep the histogram of `histogram` and choose another range from it.

===================== ==========================================================================================
observer              range
===================== ==========================================================================================
`PercentileObserver`  cuts ``(100 - percentile) / 2`` percent of the values at each end
`MSEObserver`         of least ``sum n (x - dequantize(quantize(x)))²`` over the cells
`EntropyObserver`     of least Kullback-Leibler divergence between the cells' counts and what quantizing leaves of them
===================== ==========================================================================================

A cell stands for its centre x, with count n. The last two try ranges ``[a lo, b hi]`` with a and b in
``1/128 .. 128/128``: first b with a = 1, then a, in turns until neither moves; for symmetric schemes a = b. Unlike
`HistogramObserver`'s search, they charge exactly what the final scale and zero point do, with real 0 on a code.

For the divergence, values outside the range are added to its outermost cells in P; in Q every code's count inside the
range is spread evenly over the cells of that code that are not empty.

Counts are exact integers whatever the order of the data, so all three merge exactly, as `HistogramObserver` does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from octensor import _C
from octensor.quantization.histogram import HistogramObserver, cell, grid_exponent
from octensor.quantization.qparams import choose_qparams

_STEPS = 128
_ROUNDS = 4


class PercentileObserver(HistogramObserver):
    """Chooses the range that holds most of the values and cuts the tails off.

    Parameters
    ----------
    percentile : float
        Share of the values to keep, in percent; more than 0, at most 100.
    bins, dtype, qscheme, reduce_range, quant_min, quant_max, eps
        As in `HistogramObserver`.

    >>> import numpy as np
    >>> observer = PercentileObserver(percentile=98)
    >>> _ = observer(np.append(np.linspace(0, 1, 1000), 50).astype(np.float32))
    >>> bool(observer.qparams().scale < 1.1 / 255)
    True
    """

    def __init__(self, percentile: float = 99.99, bins: int = 2048, **kwargs: Any) -> None:
        if isinstance(percentile, bool) or not isinstance(percentile, (int, float)) or not 0 < percentile <= 100:
            raise ValueError(f"PercentileObserver: percentile: expected 0 < percentile <= 100, got {percentile!r}")
        super().__init__(bins, **kwargs)
        self.percentile = percentile

    def range(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the edges of the cells that hold the two percentiles."""
        lo, hi = float(self.min_val), float(self.max_val)
        e = grid_exponent(lo, hi, self.bins)
        origin = cell(lo, e)
        cumulative = np.cumsum(self.histogram)
        tail = (100 - self.percentile) / 200 * float(cumulative[-1])
        first = int(np.searchsorted(cumulative, tail, side="right"))
        last = int(np.searchsorted(cumulative, float(cumulative[-1]) - tail, side="left"))
        last = min(max(last, first), self.histogram.size - 1)
        lo = max(lo, float(np.ldexp(origin + first, e)))
        hi = min(hi, float(np.ldexp(origin + last + 1, e)))
        return np.asarray(lo, np.float32), np.asarray(hi, np.float32)


class _SearchObserver(HistogramObserver):
    """Tries ranges and keeps the one of least loss."""

    def _loss(self, x: np.ndarray, n: np.ndarray, q: np.ndarray, scale: float, zero_point: int) -> float:
        """Return the loss of quantizing cells at x with counts n, whose codes before clamping are q."""
        raise NotImplementedError

    def range(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the range of least loss."""
        lo, hi = min(float(self.min_val), 0.0), max(float(self.max_val), 0.0)
        e = grid_exponent(float(self.min_val), float(self.max_val), self.bins)
        occupied = np.flatnonzero(self.histogram)
        n = self.histogram[occupied].astype(np.float64)
        x = np.ldexp(occupied + cell(float(self.min_val), e) + 0.5, e)

        def loss(a: int, b: int) -> float:
            bounds = np.float32(lo * a / _STEPS), np.float32(hi * b / _STEPS)
            scale, zero_point = choose_qparams(*bounds, self.dtype, self.qscheme, self._codes, self.eps)
            s, z = float(scale[0]), int(zero_point[0])
            return self._loss(x, n, np.rint(x / s) + z, s, z)

        symmetric = self.qscheme == _C.qscheme.per_tensor_symmetric
        a = b = _STEPS
        if symmetric:
            a = b = _least(lambda k: loss(k, k))
        for _ in range(0 if symmetric else _ROUNDS):
            before = a, b
            if hi > 0:
                b = _least(partial(loss, a))
            if lo < 0:
                a = _least(partial(_swapped, loss, b))
            if (a, b) == before:
                break
        return np.asarray(lo * a / _STEPS, np.float32), np.asarray(hi * b / _STEPS, np.float32)


def _swapped(loss: Callable[[int, int], float], b: int, a: int) -> float:
    return loss(a, b)


def _least(loss: Callable[[int], float]) -> int:
    """Return the argument from 1 to _STEPS of least loss; of equal ones the largest."""
    return min(range(_STEPS, 0, -1), key=loss)


class MSEObserver(_SearchObserver):
    """Chooses the range whose quantization has the least mean squared error.

    The parameters are those of `HistogramObserver`.
    """

    def _loss(self, x: np.ndarray, n: np.ndarray, q: np.ndarray, scale: float, zero_point: int) -> float:
        error = (np.clip(q, self.quant_min, self.quant_max) - zero_point) * scale - x
        return float(np.sum(n * error * error))


class EntropyObserver(_SearchObserver):
    """Chooses the range whose quantization changes the distribution of values least (Kullback-Leibler divergence).

    Zero is exact in every range. The cell that holds it therefore counts as much as its neighbours do: else the many
    zeros after a ReLU would weigh as if quantization smeared them, and narrow ranges would win.

    The parameters are those of `HistogramObserver`.
    """

    def _loss(self, x: np.ndarray, n: np.ndarray, q: np.ndarray, scale: float, zero_point: int) -> float:
        n = _without_zeros(x, n)
        inside = np.flatnonzero((q >= self.quant_min) & (q <= self.quant_max))
        if not inside.size:
            return float("inf")
        first, last = int(inside[0]), int(inside[-1])
        kept = n[first : last + 1]
        p = kept.copy()
        p[0] += n[:first].sum()
        p[-1] += n[last + 1 :].sum()
        code = (q[first : last + 1] - self.quant_min).astype(np.int64)
        total, cells = np.bincount(code, weights=kept), np.bincount(code)
        spread = total[code] / cells[code]
        return float(np.sum(p * np.log((p / p.sum()) / (spread / spread.sum()))) / p.sum())


def _without_zeros(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return counts of which the one nearest zero is at most the mean of its neighbours'."""
    if not x.size:
        return n
    middle = int(np.argmin(np.abs(x)))
    around = np.append(n[max(middle - 1, 0) : middle], n[middle + 1 : middle + 2])
    if around.size:
        n = n.copy()
        n[middle] = min(n[middle], around.mean())
    return n


default_percentile_observer = PercentileObserver.with_args()
default_mse_observer = MSEObserver.with_args()
default_entropy_observer = EntropyObserver.with_args()
