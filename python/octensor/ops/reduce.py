"""Reductions over some or all axes. Of quantized tensors: mean, max and min, with the input's qparams.

The quantized mean is that of the pools: clamp(rint(f32(sum of (q - z)) / f32(count)) + z), the sum exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import _C
from .._C import QTensor
from ..arrays import array_of, as_array
from ..tensor import Tensor
from .arguments import axes, axis
from .codes import centred, move_codes, rounded_mean
from .float32 import on_float32, rows_of
from .spec import Context, OpSpec, Sample, apply


class ValuesIndices(NamedTuple):
    """The extreme values along an axis and where they are."""

    values: Any
    indices: Any


def _samples(rng: np.random.Generator) -> list[Sample]:
    x = rng.permutation(24).reshape(2, 3, 4) + rng.uniform(0.0, 0.5, (2, 3, 4))  # no two alike
    return [
        ((x,), {"dim": (0, 1, 2), "keepdim": False}),
        ((x,), {"dim": (0, 2), "keepdim": False}),
        ((x,), {"dim": (1,), "keepdim": True}),
    ]


def _spread(ctx: Context, reduced: np.ndarray) -> np.ndarray:
    """Give a reduced array its axes back, of size 1."""
    return reduced if ctx.attrs["keepdim"] else np.expand_dims(reduced, ctx.attrs["dim"])


def _row_sums(x: Any, dim: tuple[int, ...], keepdim: bool, mean: bool = False) -> Any:
    rows = rows_of(x, dim)
    sums = _C.float_sum(rows, rows.shape[-1] if mean else 1)
    return np.expand_dims(sums, dim) if keepdim else sums


@on_float32(_row_sums)
def _sum(x: Any, dim: tuple[int, ...], keepdim: bool) -> Any:
    return np.sum(x, axis=dim, keepdims=keepdim)


def _sum_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (np.broadcast_to(_spread(ctx, grad), ctx.arrays[0].shape),)


SUM = OpSpec("sum", forward=_sum, backward=_sum_back, samples=_samples, method="sum")


@SUM.public
def sum(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the sum over `dim` (None: over everything)."""
    return apply(SUM, input, dim=axes("sum", dim, len(input.shape)), keepdim=keepdim)


@on_float32(lambda x, dim, keepdim: _row_sums(x, dim, keepdim, mean=True))
def _mean(x: Any, dim: tuple[int, ...], keepdim: bool) -> Any:
    return np.mean(x, axis=dim, keepdims=keepdim)


def _mean_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    x = ctx.arrays[0]
    spread = _spread(ctx, grad) / (x.size / (grad.size or 1))
    return (np.broadcast_to(spread.astype(grad.dtype, copy=False), x.shape),)


def _mean_q(x: QTensor, dim: tuple[int, ...], keepdim: bool) -> QTensor:
    count = 1
    for d in dim:
        count *= x.shape[d]
    if not count:
        raise ValueError(f"mean: input: expected at least one value to average, got shape {tuple(x.shape)}")
    return rounded_mean(x, np.asarray(np.sum(centred("mean", x), axis=dim, keepdims=keepdim)), count)


MEAN = OpSpec(
    "mean",
    forward=_mean,
    backward=_mean_back,
    quantized=_mean_q,
    output_qparams="same",
    samples=_samples,
    method="mean",
)


@MEAN.public
def mean(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the mean over `dim` (None: over everything)."""
    return apply(MEAN, input, dim=axes("mean", dim, len(input.shape)), keepdim=keepdim)


def _extreme_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    """Give the gradient to the extreme values; where several are equal they share it."""
    hit = ctx.arrays[0] == _spread(ctx, ctx.out)
    ties = np.sum(hit, axis=ctx.attrs["dim"], keepdims=True)
    return ((hit / ties * _spread(ctx, grad)).astype(grad.dtype, copy=False),)


def _extreme(name: str, reduce: Callable[..., np.ndarray]) -> OpSpec:
    """Return the op that keeps the largest or the smallest value; codes have the order of values."""

    def kernel(x: Any, dim: tuple[int, ...], keepdim: bool) -> Any:
        values = _C.float_extreme(rows_of(x, dim), name == "amax")
        return np.expand_dims(values, dim) if keepdim else values

    return OpSpec(
        name,
        forward=on_float32(kernel)(lambda x, dim, keepdim: reduce(x, axis=dim, keepdims=keepdim)),
        backward=_extreme_back,
        quantized=lambda x, dim, keepdim: move_codes(name, x, lambda codes: reduce(codes, axis=dim, keepdims=keepdim)),
        output_qparams="same",
        samples=_samples,
        method=name,
    )


AMAX = _extreme("amax", np.max)
AMIN = _extreme("amin", np.min)


@AMAX.public
def amax(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the largest values over `dim`."""
    return apply(AMAX, input, dim=axes("amax", dim, len(input.shape)), keepdim=keepdim)


@AMIN.public
def amin(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the smallest values over `dim`."""
    return apply(AMIN, input, dim=axes("amin", dim, len(input.shape)), keepdim=keepdim)


def _place(which: Any, input: Any, dim: int, keepdim: bool) -> Tensor:
    values = input.int_repr() if isinstance(input, QTensor) else as_array(input)
    return Tensor._wrap(which(values, axis=dim, keepdims=keepdim))


def argmax(input: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return the index of the first largest value, over everything or along one axis."""
    values = array_of("argmax", "input", input)
    dim = None if dim is None else axis("argmax", dim, values.ndim)
    return Tensor._wrap(np.argmax(values, axis=dim, keepdims=keepdim))


def argmin(input: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return the index of the first smallest value, over everything or along one axis."""
    values = array_of("argmin", "input", input)
    dim = None if dim is None else axis("argmin", dim, values.ndim)
    return Tensor._wrap(np.argmin(values, axis=dim, keepdims=keepdim))


def max(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return the largest value; with `dim`, (values, indices) along that axis."""
    if dim is None:
        return amax(input)
    dim = axis("max", dim, len(input.shape))
    return ValuesIndices(amax(input, dim, keepdim), _place(np.argmax, input, dim, keepdim))


def min(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return the smallest value; with `dim`, (values, indices) along that axis."""
    if dim is None:
        return amin(input)
    dim = axis("min", dim, len(input.shape))
    return ValuesIndices(amin(input, dim, keepdim), _place(np.argmin, input, dim, keepdim))
