"""The windows of a pooling call, over any number of spatial axes.

Sizes follow PyTorch: `floor((n + 2p - d·(k - 1) - 1) / s) + 1` windows along an axis, or the ceiling; with `ceil_mode`
the last window must still start inside the input or its left padding. A pool goes through its windows tap by tap: one
whole-image operation for each place of the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any

import numpy as np

from .arguments import LAYOUTS, per_axis, rank

Sizes = tuple[int, ...]


def output_size(size: int, kernel: int, stride: int, padding: int, dilation: int = 1, ceil_mode: bool = False) -> int:
    """Return the number of windows along one axis."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    return count


class Windows:
    """What each place of a kernel meets, within a border of a given value."""

    def __init__(
        self,
        shape: Sizes,
        kernel: Sizes,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes | None = None,
        ceil_mode: bool = False,
    ) -> None:
        dilation = (1,) * len(kernel) if dilation is None else dilation
        self.shape, self.kernel, self.stride, self.padding, self.dilation = shape, kernel, stride, padding, dilation
        self.size = shape[2:]
        axes = range(len(kernel))
        self.out = tuple(
            output_size(self.size[a], kernel[a], stride[a], padding[a], dilation[a], ceil_mode) for a in axes
        )
        # The last window of ceil mode may reach beyond the right padding.
        self.reach = tuple(
            max((self.out[a] - 1) * stride[a] + dilation[a] * (kernel[a] - 1) + 1, self.size[a] + padding[a])
            for a in axes
        )
        self._inside: Any = (..., *(slice(p, p + n) for p, n in zip(padding, self.size, strict=True)))

    def bordered(self, x: np.ndarray, fill: Any) -> np.ndarray:
        """Return x with its border."""
        if self.size == self.reach and not any(self.padding):
            return x
        out = np.full_like(x, fill, shape=(*self.shape[:2], *self.reach))  # in the layout of x
        out[self._inside] = x
        return out

    def inside(self, bordered: np.ndarray) -> np.ndarray:
        """Return the part of a bordered array that is x."""
        part: np.ndarray = bordered[self._inside]
        return part

    def taps(self, bordered: np.ndarray) -> Iterator[np.ndarray]:
        """Yield, for every kernel place, the view (..., out) of what it meets."""
        walk = tuple(zip(self.out, self.stride, self.dilation, strict=True))
        for place in np.ndindex(self.kernel):
            cuts = (slice(k * d, k * d + (n - 1) * s + 1, s) for k, (n, s, d) in zip(place, walk, strict=True))
            met: Any = (..., *cuts)
            yield bordered[met]

    def divisors(self, count_include_pad: bool, divisor_override: int | None) -> Any:
        """Return what each window's sum is divided by to be a mean, of shape `out` or one number."""
        if divisor_override is not None:
            return float(divisor_override)
        counts = []
        for a, (size, pad, kernel) in enumerate(zip(self.size, self.padding, self.kernel, strict=True)):
            start = np.arange(self.out[a]) * self.stride[a] - pad
            end = np.minimum(start + kernel, size + pad)  # what ceil mode adds beyond the padding never counts
            if not count_include_pad:
                start, end = np.maximum(start, 0), np.minimum(end, size)
            counts.append(end - start)
        return reduce(np.multiply.outer, counts)


def pool_arguments(
    op: str,
    axes: int,
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> dict[str, Any]:
    """Check the arguments that all pools share and return them in normal form (without dilation)."""
    rank(op, input, axes + 2, LAYOUTS[axes])
    kernel = per_axis(op, "kernel_size", kernel_size, 1, axes)
    attrs: dict[str, Any] = {
        "kernel": kernel,
        "stride": kernel if stride is None or stride == () else per_axis(op, "stride", stride, 1, axes),
        "padding": per_axis(op, "padding", padding, 0, axes),
        "ceil_mode": bool(ceil_mode),
    }
    spread = per_axis(op, "dilation", dilation, 1, axes)
    if any(p > k // 2 for p, k in zip(attrs["padding"], kernel, strict=True)):
        raise ValueError(f"{op}: padding: expected at most half of kernel_size {kernel}, got {attrs['padding']}")
    out = Windows(tuple(input.shape), dilation=spread, **attrs).out
    if min(out) < 1:
        raise ValueError(
            f"{op}: input: a {'x'.join(map(str, kernel))} window does not fit shape {tuple(input.shape)} padded by "
            f"{attrs['padding']}"
        )
    return attrs


def bounds(size: int, out: int) -> list[tuple[int, int]]:
    """Return [start, end) of each adaptive window: floor(i·size/out), ceil((i + 1)·size/out)."""
    return [(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]


def adaptive_windows(size: Sizes, out: Sizes) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...], int]]:
    """Yield for every output place: its index, the window it averages, and how many values that holds."""
    limits = [bounds(n, m) for n, m in zip(size, out, strict=True)]
    for place in np.ndindex(*out):
        window = [limits[a][i] for a, i in enumerate(place)]
        count = 1
        for start, end in window:
            count *= end - start
        yield (..., *place), (..., *(slice(start, end) for start, end in window)), count
