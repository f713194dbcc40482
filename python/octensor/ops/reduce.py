"""Reductions over some or all axes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .arguments import axes, axis
from .spec import Context, OpSpec, Sample, apply

Dim = Any  # None, an integer, or several


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


def _sum(x: Any, dim: tuple[int, ...], keepdim: bool) -> Any:
    return np.sum(x, axis=dim, keepdims=keepdim)


def _sum_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (np.broadcast_to(_spread(ctx, grad), ctx.arrays[0].shape),)


SUM = OpSpec("sum", forward=_sum, backward=_sum_back, samples=_samples, method="sum")


@SUM.public
def sum(input: Any, dim: Dim = None, keepdim: bool = False) -> Any:
    """Return the sum over `dim` (None: over everything)."""
    return apply(SUM, input, dim=axes("sum", dim, len(input.shape)), keepdim=keepdim)


def _mean(x: Any, dim: tuple[int, ...], keepdim: bool) -> Any:
    return np.mean(x, axis=dim, keepdims=keepdim)


def _mean_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    x = ctx.arrays[0]
    spread = _spread(ctx, grad) / (x.size / (grad.size or 1))
    return (np.broadcast_to(spread.astype(grad.dtype, copy=False), x.shape),)


MEAN = OpSpec("mean", forward=_mean, backward=_mean_back, samples=_samples, method="mean")


@MEAN.public
def mean(input: Any, dim: Dim = None, keepdim: bool = False) -> Any:
    """Return the mean over `dim` (None: over everything)."""
    return apply(MEAN, input, dim=axes("mean", dim, len(input.shape)), keepdim=keepdim)


def _extreme_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    """Give the gradient to the extreme values; where several are equal they share it."""
    hit = ctx.arrays[0] == _spread(ctx, ctx.out)
    ties = np.sum(hit, axis=ctx.attrs["dim"], keepdims=True)
    return ((hit / ties * _spread(ctx, grad)).astype(grad.dtype, copy=False),)


def _amax(x: Any, dim: tuple[int, ...], keepdim: bool) -> Any:
    return np.max(x, axis=dim, keepdims=keepdim)


AMAX = OpSpec("amax", forward=_amax, backward=_extreme_back, samples=_samples, method="amax")


@AMAX.public
def amax(input: Any, dim: Dim = None, keepdim: bool = False) -> Any:
    """Return the largest values over `dim`."""
    return apply(AMAX, input, dim=axes("amax", dim, len(input.shape)), keepdim=keepdim)


def _amin(x: Any, dim: tuple[int, ...], keepdim: bool) -> Any:
    return np.min(x, axis=dim, keepdims=keepdim)


AMIN = OpSpec("amin", forward=_amin, backward=_extreme_back, samples=_samples, method="amin")


@AMIN.public
def amin(input: Any, dim: Dim = None, keepdim: bool = False) -> Any:
    """Return the smallest values over `dim`."""
    return apply(AMIN, input, dim=axes("amin", dim, len(input.shape)), keepdim=keepdim)


def max(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return the largest value; with `dim`, (values, indices) along that axis."""
    if dim is None:
        return amax(input)
    dim = axis("max", dim, len(input.shape))
    return ValuesIndices(amax(input, dim, keepdim), input.argmax(dim, keepdim))


def min(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return the smallest value; with `dim`, (values, indices) along that axis."""
    if dim is None:
        return amin(input)
    dim = axis("min", dim, len(input.shape))
    return ValuesIndices(amin(input, dim, keepdim), input.argmin(dim, keepdim))
