"""Correlation of channels-first arrays with kernels, over any number of spatial axes, and its two adjoints.

    y[n, o, p] = Σ_{c, k}  x[n, c, p·stride + k·dilation - padding] · w[o, c, k]

for positions p and kernel places k with one index per spatial axis; `groups` cuts the channels into blocks that do not
see each other. The work is done with channels last. Per group, the windows of the padded input are laid out as the rows
of a matrix ("im2col", |k|·C/g columns), and one matrix product with the weights gives all output positions, so the
result is a channels-last array seen channels first. A few items of the batch are taken at a time, so that the matrix
stays within `_COLUMNS_BYTES`. Where every input channel is a group of its own (depthwise) a matrix product has nothing
to sum over: there each kernel place is one multiply-add over the whole image.

The correlation is linear in x and in w. `Geometry.to_input` is its adjoint in x (each column added back to where it was
read) and `Geometry.to_weight` the one in w: the gradients of a convolution. A transposed convolution is `to_input`
itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

Sizes = tuple[int, ...]

_COLUMNS_BYTES = 1 << 25


def _last(place: Sizes) -> Any:
    """Return the index of one place along the last axes."""
    return (..., *place)


class Geometry:
    """Sizes of one correlation of x (N, C, size...) with w (O, C / groups, kernel...).

    Parameters
    ----------
    x_shape, w_shape : tuple of int
    stride, padding, dilation : tuple of int
        One per spatial axis.
    groups : int
    out : tuple of int, optional
        Number of positions along each spatial axis; as many as fit when left out.
    """

    def __init__(
        self,
        x_shape: Any,
        w_shape: Any,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
        groups: int,
        out: Sizes | None = None,
    ) -> None:
        self.n, self.c, *size = x_shape
        self.o, self.cg, *kernel = w_shape
        self.size, self.kernel = tuple(size), tuple(kernel)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        # `columns` makes a view by these, so they may not reach beyond the array.
        if min((*stride, *dilation), default=1) < 1 or min((*padding, *self.kernel), default=0) < 0:
            raise ValueError(
                "convolution: expected strides and dilations of at least 1 and no negative padding, got "
                f"{stride}, {dilation}, {padding}"
            )
        if groups < 1 or self.cg * groups != self.c:
            raise ValueError(f"convolution: expected {self.cg} channels in each of {groups} groups, got {self.c}")
        axes = tuple(zip(self.size, self.kernel, stride, padding, dilation, strict=True))
        fit = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)
        out = fit if out is None else tuple(out)
        if len(out) != len(fit) or any(not 0 <= n <= m for n, m in zip(out, fit, strict=True)):
            raise ValueError(f"convolution: expected up to {fit} positions of a window that fits its input, got {out}")
        self.out = out
        self.taps_count = int(np.prod(self.kernel, dtype=np.int64))
        self.depthwise = self.cg == 1 and groups > 1
        inside = (slice(p, p + n) for n, p in zip(self.size, padding, strict=True))
        self._inside: Any = (slice(None), *inside)  # the place of x within its border, channels last

    # --- the parts -----------------------------------------------------------------------------------
    def _border(self, n: int, dtype: Any) -> np.ndarray:
        sizes = (size + 2 * p for size, p in zip(self.size, self.padding, strict=True))
        return np.zeros((n, *sizes, self.c), dtype)

    def padded(self, x: np.ndarray) -> np.ndarray:
        """Return x (n, C, size...) channels last and with its border of zeros."""
        last = np.moveaxis(x, 1, -1)
        if not any(self.padding):
            return last
        out = self._border(x.shape[0], x.dtype)
        out[self._inside] = last
        return out

    def taps(self, padded: np.ndarray) -> Iterator[tuple[Sizes, np.ndarray]]:
        """Yield (k, view): what kernel place k meets at every position, (n, out..., C)."""
        walk = tuple(zip(self.out, self.stride, self.dilation, strict=True))
        for place in np.ndindex(self.kernel):
            cuts = (slice(k * d, k * d + (n - 1) * s + 1, s) for k, (n, s, d) in zip(place, walk, strict=True))
            met: Any = (slice(None), *cuts)
            yield place, padded[met]

    def columns(self, padded: np.ndarray) -> np.ndarray:
        """Return the windows as (groups, n·positions, |k|·C/g); a view for kernels of one place without stride."""
        first, *steps, last = padded.strides
        moves = [step * s for step, s in zip(steps, self.stride, strict=True)]
        reach = [step * d for step, d in zip(steps, self.dilation, strict=True)]
        shape = (self.groups, padded.shape[0], *self.out, *self.kernel, self.cg)
        strides = (last * self.cg, first, *moves, *reach, last)
        windows = np.lib.stride_tricks.as_strided(padded, shape, strides, writeable=False)
        return windows.reshape(self.groups, -1, self.taps_count * self.cg)

    def matrix(self, weight: np.ndarray) -> Any:
        """Return the weights as (groups, |k|·C/g, O/g), in the order of the columns."""
        by_group = weight.reshape(self.groups, -1, self.cg, self.taps_count)
        return by_group.transpose(0, 3, 2, 1).reshape(self.groups, self.taps_count * self.cg, -1)

    def chunks(self, itemsize: int) -> Iterator[slice]:
        """Yield slices of the batch whose columns fit the limit."""
        positions = int(np.prod(self.out, dtype=np.int64))
        step = max(1, _COLUMNS_BYTES // max(1, positions * self.taps_count * self.c * itemsize))
        for start in range(0, self.n, step):
            yield slice(start, min(start + step, self.n))

    def rows(self, last: np.ndarray) -> Any:
        """Return (n, out..., O) as (groups, n·positions, O/g)."""
        return last.reshape(-1, self.groups, self.o // self.groups).transpose(1, 0, 2)

    # --- the correlation and its adjoints ------------------------------------------------------------
    def correlate(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return y (N, O, out...), channels last in memory."""
        out = np.empty((self.n, *self.out, self.o), x.dtype)
        matrix = None if self.depthwise else self.matrix(weight)
        for part in self.chunks(x.itemsize):
            padded = self.padded(x[part])
            if matrix is None:
                self._depthwise(padded, weight, out[part])
            elif self.groups == 1:
                np.matmul(self.columns(padded)[0], matrix[0], out=out[part].reshape(-1, self.o))
            else:
                self.rows(out[part])[...] = self.columns(padded) @ matrix
        return np.moveaxis(out, -1, 1)

    def _depthwise(self, padded: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        """Sum taps: output channel c·m + r is input channel c with kernel c·m + r."""
        per_channel = weight.reshape(self.c, -1, *self.kernel)
        total = out.reshape(*out.shape[:-1], self.c, -1)
        total[...] = 0
        product = np.empty_like(total)
        for place, view in self.taps(padded):
            np.multiply(view[..., None], per_channel[_last(place)], out=product)
            total += product

    def to_input(self, grad: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return Σ over the outputs that read it, for every input: from grad (N, O, out...) to (N, C, size...)."""
        last = np.ascontiguousarray(np.moveaxis(grad, 1, -1))
        out = np.empty((self.n, *self.size, self.c), grad.dtype)
        per_channel = weight.reshape(self.c, -1, *self.kernel) if self.depthwise else None
        matrix_t = None if self.depthwise else self.matrix(weight).transpose(0, 2, 1)
        rank = len(self.out)
        for part in self.chunks(grad.itemsize):
            n = part.stop - part.start
            padded = self._border(n, grad.dtype)
            if per_channel is not None:
                by_channel = last[part].reshape(n, *self.out, self.c, -1)
                for place, view in self.taps(padded):
                    view += (by_channel * per_channel[_last(place)]).sum(-1)
            else:
                columns = self.rows(last[part]) @ matrix_t
                columns = columns.reshape(self.groups, n, *self.out, *self.kernel, self.cg)
                columns = np.moveaxis(columns, 0, -2)  # (n, out..., kernel..., groups, C/g)
                for place, view in self.taps(padded):
                    view += columns[(slice(None),) * (1 + rank) + place].reshape(view.shape)
            out[part] = padded[self._inside]
        return np.moveaxis(out, -1, 1)

    def to_weight(self, x: np.ndarray, grad: np.ndarray) -> np.ndarray:
        """Return Σ x·grad over the positions where each weight was used, (O, C/g, kernel...)."""
        last = np.ascontiguousarray(np.moveaxis(grad, 1, -1))
        shape = (self.o, self.cg, *self.kernel)
        if self.depthwise:
            result = np.zeros((self.c, self.o // self.c, *self.kernel), x.dtype)
            for part in self.chunks(x.itemsize):
                by_channel = last[part].reshape(-1, self.c, self.o // self.c)
                for place, view in self.taps(self.padded(x[part])):
                    result[_last(place)] += np.einsum("pc,pcm->cm", view.reshape(-1, self.c), by_channel)
            return result.reshape(shape)
        total = np.zeros((self.groups, self.taps_count * self.cg, self.o // self.groups), x.dtype)
        for part in self.chunks(x.itemsize):
            total += self.columns(self.padded(x[part])).transpose(0, 2, 1) @ self.rows(last[part])
        by_place = total.reshape(self.groups, self.taps_count, self.cg, -1)
        to_weight: np.ndarray = by_place.transpose(0, 3, 2, 1).reshape(shape)
        return to_weight
