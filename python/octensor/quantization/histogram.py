"""`HistogramObserver`: a streaming histogram, and the search for the range that quantizes it with least error.

**The grid.** Cells have a power-of-two width ``w = 2**e`` and lie at multiples of it: cell ``k`` holds
``[k w, (k+1) w)``. ``e`` is a function of the observed range alone: the smallest for which at most ``2 * bins`` cells
cover it (so that at least about ``bins`` do), and not below float32's resolution at that magnitude. When the range
grows, ``e`` grows and neighbouring cells are added in pairs: ``floor(x / 2w) = floor(floor(x / w) / 2)``, so the counts
stay exact integers. Hence the state after any sequence of batches is that of one histogram of all the data, bit for
bit: it depends neither on the order nor on the cutting into batches, observers of parallel workers can be merged, and
memory is ``2 * bins`` counts whatever comes. (PyTorch stretches old counts by interpolation instead.)

**The search.** The error of a window of cells is the expected squared distance between a value and the centre of its
code when 256 codes share the window, values being uniform inside a cell; values outside are charged their
distance to the outermost code. From the full range the window shrinks by quantiles of ``1e-5``, at each step from the
side where that passes more cells, until the error would grow. This is PyTorch's rule, and its ranges are
PyTorch's but for what interpolation does there. No range of least error is meant: the search ends at the first
minimum, and does not know that 0 is a code, so that zeros after a ReLU weigh as if they were rounded. `MSEObserver`
comes closer, by up to 1.5 dB on a tensor; what a network's outputs gain is in docs/results.md.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from octensor import _C
from octensor.quantization.observer import UniformQuantizationObserverBase

_CHUNK = 1 << 17  # values binned at a time: bounds the memory of temporaries
_LOWEST_EXPONENT = -149  # of the smallest float32
_MANTISSA = 23
_STEP = 1e-5  # quantile by which the search shrinks the window


def grid_exponent(lo: float, hi: float, bins: int) -> int:
    """Return e of the cell width 2**e for values in [lo, hi]; it never falls when the range grows."""
    largest = max(abs(lo), abs(hi))
    if largest == 0:
        return _LOWEST_EXPONENT
    e = max(int(np.frexp(largest)[1]) - 1 - _MANTISSA, _LOWEST_EXPONENT)
    if hi > lo:
        e = max(e, int(np.frexp((hi - lo) / (2 * bins))[1]) - 1)
    while cell(hi, e) - cell(lo, e) >= 2 * bins:
        e += 1
    return e


def cell(x: float, e: int) -> int:
    """Return the index of the cell of width 2**e that holds x."""
    return int(np.floor(np.ldexp(np.float64(x), -e)))


def count(values: np.ndarray, lo: float, hi: float, bins: int) -> np.ndarray:
    """Count finite values that lie in [lo, hi], on the grid of that range.

    Returns
    -------
    int64 array, one entry for every cell from that of ``lo`` to that of ``hi``.
    """
    e = grid_exponent(lo, hi, bins)
    first = cell(lo, e)
    size = cell(hi, e) - first + 1
    counts = np.zeros(size, np.int64)
    flat = values.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        scaled = flat[start : start + _CHUNK].astype(np.float64)  # exact, and no product below underflows
        scaled *= np.ldexp(1.0, -e)
        np.floor(scaled, out=scaled)
        counts += np.bincount(scaled.astype(np.int64) - first, minlength=size)
    return counts


def coarsen(counts: np.ndarray, lo: float, hi: float, new_lo: float, new_hi: float, bins: int) -> np.ndarray:
    """Move counts from the grid of [lo, hi] to that of a wider range, exactly."""
    e, new_e = grid_exponent(lo, hi, bins), grid_exponent(new_lo, new_hi, bins)
    new_first = cell(new_lo, new_e)
    cells = (np.arange(counts.size) + cell(lo, e)) >> min(new_e - e, 63)
    wide = np.zeros(cell(new_hi, new_e) - new_first + 1, np.int64)
    np.add.at(wide, cells - new_first, counts)
    return wide


def _windows(counts: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the windows (first cell, last cell) of the search in order."""
    cumulative = np.cumsum(counts, dtype=np.float64).tolist()
    total = cumulative[-1]
    start, end, a, b = 0, len(cumulative) - 1, 0, 0  # the quantiles passed so far: a steps from below, b from above
    while start < end and (a + b) * _STEP < 1:
        left = min(max(start, bisect_left(cumulative, (a + 1) * _STEP * total)), end)
        right = max(min(end, bisect_right(cumulative, (1 - (b + 1) * _STEP) * total) - 1), start)
        if left - start > end - right:
            start, a = left, a + 1
        elif right < end:
            end, b = right, b + 1
        else:  # nothing moved: go on at the step from above that takes the last cell
            b = max(b + 1, int((1 - cumulative[end] / total) / _STEP) - 1)
            continue
        yield start, end


def window_errors(counts: np.ndarray, windows: np.ndarray, codes: int) -> np.ndarray:
    """Return the squared error of quantizing the histogram with ``codes`` codes spread over each window.

    Parameters
    ----------
    counts
        Shape (cells,).
    windows
        Integers (n, 2): first and last cell of each window.

    Returns
    -------
    float64 array (n,), in units of the cell width squared.
    """
    start = windows[:, :1].astype(np.float64)
    width = (windows[:, 1:] - start + 1) / codes  # of a code, in cells
    occupied = np.flatnonzero(counts)
    begin = occupied[None, :] - start
    end = begin + 1
    first = np.clip(np.floor(begin / width), 0, codes - 1)
    last = np.clip(np.floor(end / width), 0, codes - 1)
    # The integral of d^2 for d the distance to the nearest centre: piecewise between the cell's two ends.
    to_first = begin - (first + 0.5) * width
    to_last = end - (last + 0.5) * width
    half = width / 2
    integral = (half**3 - to_first**3) + (last - first - 1) * (2 * half**3) + (to_last**3 + half**3)
    return np.asarray((integral / 3) @ counts[occupied])


def best_window(counts: np.ndarray, codes: int = 256) -> tuple[int, int]:
    """Search the window of cells (first, last) that quantizes with least error; no worse than all of them."""
    best = (0, counts.size - 1)
    best_error = window_errors(counts, np.array([best]), codes)[0]
    proposals = _windows(counts)
    size = 8  # evaluated together: most searches stop early, long ones gain from larger batches
    while chunk := list(islice(proposals, size)):
        for window, error in zip(chunk, window_errors(counts, np.array(chunk), codes), strict=True):
            if error > best_error:
                return best
            best, best_error = window, error
        size = min(4 * size, 64)
    return best


class HistogramObserver(UniformQuantizationObserverBase):
    """Keeps a histogram and chooses the range whose 8-bit codes give the smallest squared error.

    Parameters
    ----------
    bins : int
        Resolution: about this many cells, and at most twice as many, cover the observed range.
    upsample_rate : int
        Accepted for PyTorch's signature; ranges are merged exactly here, without upsampling.
    dtype, qscheme, reduce_range, quant_min, quant_max, eps
        As in `UniformQuantizationObserverBase`.

    Notes
    -----
    The state does not depend on the order of batches, nor on how data is cut into them.

    >>> import numpy as np
    >>> observer = HistogramObserver()
    >>> _ = observer(np.array([0.0, 1.0, 2.55], np.float32))
    >>> observer.qparams()
    QParams(scale=0.01, zero_point=0, dtype=octensor.quint8)
    """

    def __init__(
        self, bins: int = 2048, upsample_rate: int = 128, dtype: _C.dtype = _C.quint8, *args: Any, **kwargs: Any
    ) -> None:
        if not isinstance(bins, (int, np.integer)) or not 2 <= bins <= 1 << 20:
            raise ValueError(f"{type(self).__name__}: bins: expected an integer from 2 to {1 << 20}, got {bins!r}")
        super().__init__(dtype, *args, **kwargs)
        self.bins = int(bins)
        self.upsample_rate = upsample_rate
        self.register_buffer("histogram", np.zeros(0, np.int64))

    def reset_min_max_vals(self) -> None:
        """Forget everything observed."""
        super().reset_min_max_vals()
        if "histogram" in self._buffers:
            self.histogram = np.zeros(0, np.int64)

    def observe(self, values: np.ndarray) -> None:
        """Add the values to the histogram."""
        lo, hi = self._bounds(values)
        if self.is_observed:
            lo, hi = np.minimum(lo, self.min_val), np.maximum(hi, self.max_val)
        self._widen(lo, hi)
        self.histogram += count(values, float(lo), float(hi), self.bins)

    def merge(self, other: UniformQuantizationObserverBase) -> None:
        """Take in what another observer saw, as if its data had come here.

        Raises
        ------
        TypeError, ValueError
            If ``other`` is of another class or has other settings.
        """
        self._check_mergeable(other)
        assert isinstance(other, HistogramObserver)
        if other.bins != self.bins:
            raise ValueError(f"{type(self).__name__}.merge: other: expected bins={self.bins}, got bins={other.bins}")
        if not other.is_observed:
            return
        lo, hi = np.minimum(self.min_val, other.min_val), np.maximum(self.max_val, other.max_val)
        self._widen(lo, hi)
        self.histogram += coarsen(
            other.histogram, float(other.min_val), float(other.max_val), float(lo), float(hi), self.bins
        )

    def _widen(self, lo: np.ndarray, hi: np.ndarray) -> None:
        """Bring the counts to the grid of [lo, hi], which holds the present range."""
        if not self.is_observed:
            self.histogram = count(np.empty(0), float(lo), float(hi), self.bins)
        elif lo != self.min_val or hi != self.max_val:
            self.histogram = coarsen(
                self.histogram, float(self.min_val), float(self.max_val), float(lo), float(hi), self.bins
            )
        self.min_val, self.max_val = np.asarray(lo), np.asarray(hi)

    def range(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the range of least squared error, inside what was seen."""
        lo, hi = float(self.min_val), float(self.max_val)
        e = grid_exponent(lo, hi, self.bins)
        origin = cell(lo, e)
        first, last = best_window(self.histogram, self.quant_max - self.quant_min + 1)
        lo, hi = max(lo, float(np.ldexp(origin + first, e))), min(hi, float(np.ldexp(origin + last + 1, e)))
        return np.asarray(lo, np.float32), np.asarray(hi, np.float32)


default_histogram_observer = HistogramObserver.with_args()
