"""Ops that move values without changing them. Quantized results keep the qparams; views share memory.

`cat` and `stack` of quantized tensors take the output's qparams from the caller, or from the first tensor.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _C
from .._C import QParams, QTensor
from ..arrays import Holder, plain_index
from .arguments import axes, axis, is_int, sizes
from .codes import move_codes
from .spec import Context, OpSpec, Sample, apply


def _reshape(x: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.reshape(x, shape)


def _reshape_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (grad.reshape(ctx.arrays[0].shape),)


def _reshape_samples(rng: np.random.Generator) -> list[Sample]:
    x = rng.standard_normal((2, 3, 4))
    return [((x,), {"shape": (6, 4)}), ((x,), {"shape": (2, -1)})]


def _reshape_q(x: QTensor, shape: tuple[int, ...]) -> QTensor:
    return QTensor.reshape(x, *shape)


RESHAPE = OpSpec(
    "reshape",
    forward=_reshape,
    backward=_reshape_back,
    quantized=_reshape_q,
    output_qparams="same",
    samples=_reshape_samples,
    method="reshape",
)


@RESHAPE.public
def reshape(input: Any, *shape: Any) -> Any:
    """Return the values in another shape; one size may be -1. A view where the memory allows it.

    Raises
    ------
    ValueError
        If the sizes do not multiply to the number of values.
    """
    wanted = sizes(shape)
    known = 1
    for size in wanted:
        known *= size if size != -1 else 1
    count = 1
    for size in input.shape:
        count *= size
    free = wanted.count(-1)
    fits = known == count if not free else known > 0 and count % known == 0
    if free > 1 or not fits or any(size < -1 for size in wanted):
        raise ValueError(f"reshape: shape: {wanted} does not fit a tensor of shape {tuple(input.shape)}")
    return apply(RESHAPE, input, shape=wanted)


view = reshape


def view_as(input: Any, other: Any) -> Any:
    """Return the values in the shape of `other`."""
    return reshape(input, tuple(other.shape))


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Return the tensor with the axes from `start_dim` to `end_dim` (inclusive) made one."""
    shape = tuple(input.shape)
    if not shape:
        return reshape(input, 1)
    first = axis("flatten", start_dim, len(shape), "start_dim")
    last = axis("flatten", end_dim, len(shape), "end_dim")
    if first > last:
        raise ValueError(f"flatten: expected start_dim <= end_dim, got {start_dim} and {end_dim}")
    size = 1
    for s in shape[first : last + 1]:
        size *= s
    return reshape(input, (*shape[:first], size, *shape[last + 1 :]))


def squeeze(input: Any, dim: int | None = None) -> Any:
    """Return the tensor without axes of size 1 (or without axis `dim` if its size is 1)."""
    shape = tuple(input.shape)
    drop = axes("squeeze", dim, len(shape))
    return reshape(input, tuple(s for i, s in enumerate(shape) if not (i in drop and s == 1)))


def unsqueeze(input: Any, dim: int) -> Any:
    """Return the tensor with a new axis of size 1 at `dim`."""
    shape = list(input.shape)
    shape.insert(axis("unsqueeze", dim, len(shape) + 1), 1)
    return reshape(input, tuple(shape))


def _permute(x: Any, dims: tuple[int, ...]) -> np.ndarray:
    return np.transpose(x, dims)


def _permute_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (np.transpose(grad, np.argsort(ctx.attrs["dims"])),)


def _permute_samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.standard_normal((2, 3, 4)),), {"dims": (2, 0, 1)})]


def _permute_q(x: QTensor, dims: tuple[int, ...]) -> QTensor:
    return QTensor.permute(x, *dims)


PERMUTE = OpSpec(
    "permute",
    forward=_permute,
    backward=_permute_back,
    quantized=_permute_q,
    output_qparams="same",
    samples=_permute_samples,
    method="permute",
)


@PERMUTE.public
def permute(input: Any, *dims: Any) -> Any:
    """Return a view with its axes in the order `dims`."""
    ndim = len(input.shape)
    order = tuple(axis("permute", d, ndim, "dims") for d in sizes(dims))
    if sorted(order) != list(range(ndim)):
        raise ValueError(f"permute: dims: expected each of {ndim} axes once, got {sizes(dims)}")
    return apply(PERMUTE, input, dims=order)


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Return a view with two axes exchanged."""
    ndim = len(input.shape)
    a, b = axis("transpose", dim0, ndim, "dim0"), axis("transpose", dim1, ndim, "dim1")
    order = list(range(ndim))
    order[a], order[b] = b, a
    return permute(input, order)


def t(input: Any) -> Any:
    """Return the transposed matrix (vectors as they are)."""
    if len(input.shape) > 2:
        raise ValueError(f"t: input: expected at most 2 axes, got shape {tuple(input.shape)}")
    return input if len(input.shape) < 2 else transpose(input, 0, 1)


def _expand(x: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(x, shape)


def _expand_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (grad,)


def _expand_samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.standard_normal((2, 1, 3)),), {"shape": (4, 2, 5, 3)})]


_repeated = QTensor.expand


def _expand_q(x: QTensor, shape: tuple[int, ...]) -> QTensor:
    result: QTensor = _repeated(x, *shape)
    return result


EXPAND = OpSpec(
    "expand",
    forward=_expand,
    backward=_expand_back,
    quantized=_expand_q,
    output_qparams="same",
    samples=_expand_samples,
    method="expand",
)


@EXPAND.public
def expand(input: Any, *shape: Any) -> Any:
    """Return a read-only view broadcast to `shape`; -1 keeps a size."""
    wanted, have = sizes(shape), tuple(input.shape)
    extra = len(wanted) - len(have)
    full = tuple(have[i - extra] if size == -1 and i >= extra else size for i, size in enumerate(wanted))
    if extra < 0 or any(n not in (1, m) for n, m in zip(have, full[extra:], strict=True)):
        raise ValueError(f"expand: shape: {wanted} does not fit a tensor of shape {have}")
    return apply(EXPAND, input, shape=full)


def _getitem(x: Any, index: Any) -> np.ndarray:
    return np.asarray(x[index])


def _getitem_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    x, index = ctx.arrays[0], ctx.attrs["index"]
    full = np.zeros(x.shape, grad.dtype)
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, (np.ndarray, list)) for part in parts):
        np.add.at(full, index, grad)  # an element may have been taken more than once
    else:
        full[index] = grad
    return (full,)


def _getitem_samples(rng: np.random.Generator) -> list[Sample]:
    x = rng.standard_normal((4, 3, 2))
    return [
        ((x,), {"index": (slice(1, None), 0)}),
        ((x,), {"index": (np.array([0, 2, 2]),)}),
        ((x,), {"index": x[..., 0] > 0}),
        ((x,), {"index": (Ellipsis, None, slice(None, None, -1))}),
    ]


_view = QTensor.__getitem__


def _picks(part: Any) -> bool:
    """Whether an index chooses elements one by one, so that the result cannot be a view."""
    return isinstance(part, (np.ndarray, list)) and (not isinstance(part, np.ndarray) or part.ndim > 0)


def _getitem_q(x: QTensor, index: Any) -> QTensor:
    parts = index if isinstance(index, tuple) else (index,)
    if not any(_picks(part) for part in parts):
        result: QTensor = _view(x, index)
        return result
    return move_codes("index", x, lambda codes: np.ascontiguousarray(codes[index]))


GETITEM = OpSpec(
    "getitem",
    forward=_getitem,
    backward=_getitem_back,
    quantized=_getitem_q,
    output_qparams="same",
    samples=_getitem_samples,
)


@GETITEM.public
def getitem(input: Any, index: Any) -> Any:
    """Return `input[index]` by NumPy's rules; indices may be tensors.

    Integers, slices, `...` and None give a view; arrays and masks gather, of quantized tensors only per-tensor ones.
    """
    return apply(GETITEM, input, index=plain_index(index))


def _cat(*parts: Any, dim: int) -> np.ndarray:
    return np.concatenate(parts, axis=dim)


def _cat_back(ctx: Context, grad: np.ndarray) -> Any:
    ends = np.cumsum([a.shape[ctx.attrs["dim"]] for a in ctx.arrays])[:-1]
    return np.split(grad, ends, axis=ctx.attrs["dim"])


def _cat_samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.standard_normal((2, 3)), rng.standard_normal((2, 1)), rng.standard_normal((2, 2))), {"dim": 1})]


def _cat_q(*parts: QTensor, dim: int, qparams: QParams | None = None) -> QTensor:
    return _C.cat(list(parts), dim, parts[0].qparams if qparams is None else qparams)


CAT = OpSpec(
    "cat",
    forward=_cat,
    backward=_cat_back,
    quantized=_cat_q,
    output_qparams="same",
    samples=_cat_samples,
)


def _cat_arguments(op: str, tensors: Any) -> list[Any]:
    if not isinstance(tensors, (list, tuple)) or not tensors:
        raise ValueError(f"{op}: tensors: expected a list of at least one tensor, got {tensors!r}")
    return list(tensors)


@CAT.public
def cat(tensors: Any, dim: int = 0) -> Any:
    """Join tensors along an axis that exists.

    Raises
    ------
    ValueError
        If the other sizes differ.
    """
    parts = _cat_arguments("cat", tensors)
    first = tuple(parts[0].shape)
    dim = axis("cat", dim, len(first))
    for i, part in enumerate(parts):
        shape = tuple(part.shape)
        if len(shape) != len(first) or (*shape[:dim], *shape[dim + 1 :]) != (*first[:dim], *first[dim + 1 :]):
            raise ValueError(f"cat: tensors[{i}]: expected shape {first} but for axis {dim}, got {shape}")
    return apply(CAT, *parts, dim=dim)


def stack(tensors: Any, dim: int = 0) -> Any:
    """Join tensors of one shape along a new axis."""
    parts = _cat_arguments("stack", tensors)
    first = tuple(parts[0].shape)
    for i, part in enumerate(parts):
        if tuple(part.shape) != first:
            raise ValueError(f"stack: tensors[{i}]: expected shape {first}, got {tuple(part.shape)}")
    dim = axis("stack", dim, len(first) + 1)
    return cat([unsqueeze(part, dim) for part in parts], dim)


def split(tensor: Any, split_size: Any, dim: int = 0) -> tuple[Any, ...]:
    """Cut a tensor along an axis, into pieces of one size (the last may be smaller) or of the sizes given."""
    dim = axis("split", dim, len(tensor.shape))
    total = tensor.shape[dim]
    if isinstance(split_size, (list, tuple)):
        lengths = [int(s) for s in split_size]
        if sum(lengths) != total:
            raise ValueError(f"split: split_size: expected sizes that sum to {total}, got {lengths}")
    else:
        if not is_int(split_size) or split_size < 1:
            raise ValueError(f"split: split_size: expected an integer of at least 1, got {split_size!r}")
        lengths = [split_size] * (total // split_size) + ([total % split_size] if total % split_size else [])
    pieces, start = [], 0
    for length in lengths:
        pieces.append(tensor[(slice(None),) * dim + (slice(start, start + length),)])
        start += length
    return tuple(pieces)


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """Cut a tensor along an axis into at most `chunks` pieces of equal size (the last may be smaller)."""
    if not is_int(chunks) or chunks < 1:
        raise ValueError(f"chunk: chunks: expected an integer of at least 1, got {chunks!r}")
    size = input.shape[axis("chunk", dim, len(input.shape))]
    return split(input, max(1, -(-size // chunks)), dim)


def select(input: Any, dim: int, index: int) -> Any:
    """Return the slice at `index` along an axis, which disappears; a view."""
    dim = axis("select", dim, len(input.shape))
    size = input.shape[dim]
    if isinstance(index, Holder):
        index = int(index._array)
    if not is_int(index) or not -size <= index < size:
        raise ValueError(f"select: index: expected an integer in [{-size}, {size - 1}], got {index!r}")
    return input[(slice(None),) * dim + (int(index),)]


def narrow(input: Any, dim: int, start: int, length: int) -> Any:
    """Return `length` slices along an axis, from `start` on; a view."""
    dim = axis("narrow", dim, len(input.shape))
    size = input.shape[dim]
    first = start + size if is_int(start) and start < 0 else start
    if not is_int(first) or not is_int(length) or not (0 <= first <= size and 0 <= length <= size - first):
        raise ValueError(f"narrow: start, length: expected a part of an axis of size {size}, got {start!r}, {length!r}")
    return input[(slice(None),) * dim + (slice(first, first + length),)]


def unbind(input: Any, dim: int = 0) -> tuple[Any, ...]:
    """Return the slices along an axis, without it; views."""
    dim = axis("unbind", dim, len(input.shape))
    return tuple(input[(slice(None),) * dim + (i,)] for i in range(input.shape[dim]))
