"""Ops that pick, repeat or order values: flip, repeat, sort, topk, windows. Quantized results keep the qparams."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._C import QTensor
from ..arrays import as_array
from ..tensor import Tensor
from .arguments import axes, axis, is_int, sizes
from .codes import move_codes
from .reduce import ValuesIndices
from .shape import getitem
from .spec import Context, OpSpec, Sample, apply


def _flip(x: Any, dims: tuple[int, ...]) -> Any:
    return np.flip(x, dims)


def _flip_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (np.flip(grad, ctx.attrs["dims"]),)


def _flip_q(x: QTensor, dims: tuple[int, ...]) -> QTensor:
    return move_codes("flip", x, lambda codes: np.flip(codes, dims).copy())


def _flip_samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.standard_normal((2, 3, 4)),), {"dims": (0, 2)})]


FLIP = OpSpec(
    "flip",
    forward=_flip,
    backward=_flip_back,
    quantized=_flip_q,
    output_qparams="same",
    samples=_flip_samples,
    method="flip",
)


@FLIP.public
def flip(input: Any, *dims: Any) -> Any:
    """Reverse the order of the values along some axes."""
    return apply(FLIP, input, dims=axes("flip", sizes(dims), len(input.shape)))


def _tile(values: Any, counts: tuple[int, ...]) -> Any:
    """Return numpy.tile, which writes outside of memory where the number of values wraps."""
    if any(n < 0 for n in counts) or math.prod(counts) * max(values.size, 1) * values.itemsize >= 1 << 62:
        raise ValueError(f"repeat: counts: expected a result of fewer than 2^62 bytes, got {counts}")
    return np.tile(values, counts)


def _repeat(x: Any, counts: tuple[int, ...]) -> Any:
    return _tile(x, counts)


def _repeat_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    shape, counts = ctx.arrays[0].shape, ctx.attrs["counts"]
    full = (1,) * (len(counts) - len(shape)) + tuple(shape)
    split = [n for pair in zip(counts, full, strict=True) for n in pair]
    return (grad.reshape(split).sum(axis=tuple(range(0, len(split), 2))).reshape(shape),)


def _repeat_q(x: QTensor, counts: tuple[int, ...]) -> QTensor:
    return move_codes("repeat", x, lambda codes: _tile(codes, counts))


def _repeat_samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.standard_normal((2, 3)),), {"counts": (2, 1, 3)})]


REPEAT = OpSpec(
    "repeat",
    forward=_repeat,
    backward=_repeat_back,
    quantized=_repeat_q,
    output_qparams="same",
    samples=_repeat_samples,
    method="repeat",
)


@REPEAT.public
def repeat(input: Any, *counts: Any) -> Any:
    """Lay the tensor out several times along each axis; more counts than axes add axes in front."""
    wanted = sizes(counts)
    if len(wanted) < len(input.shape) or any(n < 0 for n in wanted):
        raise ValueError(f"repeat: counts: expected a count for each of {len(input.shape)} axes, got {wanted}")
    return apply(REPEAT, input, counts=wanted)


def repeat_interleave(input: Any, repeats: Any, dim: int | None = None) -> Any:
    """Repeat each slice along an axis, or each value of the flattened tensor.

    Parameters
    ----------
    input : Tensor or QTensor
    repeats : int or integer tensor
        How often; one for all, or one for each slice.
    dim : int, optional
    """
    if dim is None:
        input, dim = input.reshape(-1), 0
    dim = axis("repeat_interleave", dim, len(input.shape))
    often = as_array(repeats)
    if often.dtype.kind not in "iu" or np.any(often < 0):
        raise ValueError(f"repeat_interleave: repeats: expected counts of at least 0, got {repeats!r}")
    if often.ndim > 1 or (often.size != 1 and often.size != input.shape[dim]):
        raise ValueError(
            f"repeat_interleave: repeats: expected one count or {input.shape[dim]}, got shape {often.shape}"
        )
    places = np.repeat(np.arange(input.shape[dim]), often)
    return getitem(input, (slice(None),) * dim + (places,))


def _gather(x: Any, indices: np.ndarray, dim: int) -> Any:
    return np.take_along_axis(x, indices, axis=dim)


def _gather_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    result = np.zeros(ctx.arrays[0].shape, grad.dtype)
    places: list[Any] = list(np.ogrid[tuple(slice(n) for n in grad.shape)])
    places[ctx.attrs["dim"]] = ctx.attrs["indices"]
    np.add.at(result, tuple(places), grad)
    return (result,)


def _gather_q(x: QTensor, indices: np.ndarray, dim: int) -> QTensor:
    return move_codes("gather", x, lambda codes: np.take_along_axis(codes, indices, axis=dim))


def _gather_samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.standard_normal((3, 4)),), {"indices": rng.integers(0, 4, (3, 5)), "dim": 1})]


GATHER = OpSpec(
    "gather",
    forward=_gather,
    backward=_gather_back,
    quantized=_gather_q,
    output_qparams="same",
    samples=_gather_samples,
)


def _take(x: Any, indices: Any, dim: int) -> Any:
    return np.take(x, indices, dim)


def _take_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    result = np.zeros(ctx.arrays[0].shape, grad.dtype)
    places, dim = np.asarray(ctx.attrs["indices"]), ctx.attrs["dim"]
    rows = np.moveaxis(grad, list(range(dim, dim + places.ndim)), list(range(places.ndim)))
    np.add.at(np.moveaxis(result, dim, 0), places, rows)
    return (result,)


def _take_q(x: QTensor, indices: Any, dim: int) -> QTensor:
    return move_codes("take", x, lambda codes: np.take(codes, indices, dim))


def _take_samples(rng: np.random.Generator) -> list[Sample]:
    x = rng.standard_normal((3, 4, 2))
    return [((x,), {"indices": rng.integers(-4, 4, (2, 3)), "dim": 1}), ((x,), {"indices": np.array(2), "dim": 0})]


#: The slices at indices along an axis; negative ones count from the end.
TAKE = OpSpec(
    "take", forward=_take, backward=_take_back, quantized=_take_q, output_qparams="same", samples=_take_samples
)


def _tuples(indices: Any) -> tuple[Any, ...]:
    return tuple(np.moveaxis(np.asarray(indices), -1, 0))


def _gather_nd(x: Any, indices: Any) -> Any:
    return x[_tuples(indices)]


def _gather_nd_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    result = np.zeros(ctx.arrays[0].shape, grad.dtype)
    np.add.at(result, _tuples(ctx.attrs["indices"]), grad)
    return (result,)


def _gather_nd_q(x: QTensor, indices: Any) -> QTensor:
    return move_codes("gather_nd", x, lambda codes: np.ascontiguousarray(codes[_tuples(indices)]))


def _gather_nd_samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.standard_normal((3, 4, 2)),), {"indices": rng.integers(-3, 3, (5, 2))})]


#: The slices at tuples of indices, which the last axis of `indices` holds.
GATHER_ND = OpSpec(
    "gather_nd",
    forward=_gather_nd,
    backward=_gather_nd_back,
    quantized=_gather_nd_q,
    output_qparams="same",
    samples=_gather_nd_samples,
)


def order(input: Any, dim: int, descending: bool) -> np.ndarray:
    """Return the indices that sort along an axis; equal values keep their order."""
    if isinstance(input, QTensor):
        keys = input.int_repr().astype(np.int64)
    else:
        keys = as_array(input)
        keys = keys if keys.dtype.kind == "f" else keys.astype(np.int64)
    return np.argsort(-keys if descending else keys, axis=dim, kind="stable")


def sort(input: Any, dim: int = -1, descending: bool = False) -> Any:
    """Return the values in order along an axis, and where they were; equal values keep their order."""
    dim = axis("sort", dim, len(input.shape))
    return _picked(input, order(input, dim, descending), dim)


def _picked(input: Any, indices: np.ndarray, dim: int) -> ValuesIndices:
    return ValuesIndices(apply(GATHER, input, indices=indices, dim=dim), Tensor._wrap(indices))


def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """Return the k largest (or smallest) values along an axis, in order, and where they were.

    Raises
    ------
    ValueError
        If the axis has fewer than k values.
    """
    dim = axis("topk", dim, len(input.shape))
    if not is_int(k) or not 0 <= k <= input.shape[dim]:
        raise ValueError(f"topk: k: expected an integer from 0 to {input.shape[dim]}, got {k!r}")
    first = (slice(None),) * dim + (slice(int(k)),)
    return _picked(input, getitem(order(input, dim, largest), first)._array, dim)


def _windows(x: Any, dim: int, size: int, step: int) -> Any:
    return np.lib.stride_tricks.sliding_window_view(x, size, axis=dim)[
        (slice(None),) * dim + (slice(None, None, step),)
    ]


def _windows_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    dim, step = ctx.attrs["dim"], ctx.attrs["step"]
    result = np.zeros(ctx.arrays[0].shape, grad.dtype)
    for i in range(ctx.attrs["size"]):
        last = i + (grad.shape[dim] - 1) * step + 1
        result[(slice(None),) * dim + (slice(i, last, step),)] += grad[..., i]
    return (result,)


def _windows_q(x: QTensor, **attrs: Any) -> QTensor:
    return move_codes("unfold", x, lambda codes: _windows(codes, **attrs))


def _windows_samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.standard_normal((2, 7)),), {"dim": 1, "size": 3, "step": 2})]


UNFOLD = OpSpec(
    "unfold",
    forward=_windows,
    backward=_windows_back,
    quantized=_windows_q,
    output_qparams="same",
    samples=_windows_samples,
    method="unfold",
)


@UNFOLD.public
def unfold(input: Any, dimension: int, size: int, step: int) -> Any:
    """Return a view of all windows of `size` values along an axis, `step` apart; they become the last axis.

    Raises
    ------
    ValueError
        If no window fits.
    """
    dim = axis("unfold", dimension, len(input.shape), "dimension")
    if not is_int(size) or not 1 <= size <= input.shape[dim]:
        raise ValueError(f"unfold: size: expected an integer from 1 to {input.shape[dim]}, got {size!r}")
    if not is_int(step) or step < 1:
        raise ValueError(f"unfold: step: expected an integer of at least 1, got {step!r}")
    return apply(UNFOLD, input, dim=dim, size=int(size), step=int(step))
