"""Shapes, and values moved without arithmetic."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..._C import QTensor
from ...ops import moving, padding, shape
from ...ops.mathematics import WHERE
from ...ops.spec import apply
from ...ops.whole import PAIRWISE, RANGE
from ...tensor import Tensor
from ..registry import operator
from .values import array, as_dtype, axes_of, check_size, follows, innermost_first, ints, is_float, run


@operator("Shape")
def shape_of(data: Any, *, start: int = 0, end: int | None = None) -> Any:
    """Return the sizes of the axes."""
    return np.array(tuple(data.shape)[start:end], np.int64)


@operator("Size")
def size_of(data: Any) -> Any:
    """Return the number of values."""
    return np.array(math.prod(data.shape), np.int64)


@operator("Reshape")
def reshape(data: Any, shape_: Any = None, *, shape: Any = None, allowzero: int = 0) -> Any:
    """Return the values under other sizes; 0 keeps a size, -1 is what is left."""
    wanted = ints(shape_ if shape is None else shape)
    old = tuple(data.shape)
    if not allowzero:
        if any(n == 0 and i >= len(old) for i, n in enumerate(wanted)):
            raise ValueError(f"Reshape: shape: 0 keeps a size, but {old} has none for {wanted}")
        wanted = tuple(old[i] if n == 0 else n for i, n in enumerate(wanted))
    return _reshaped(data, wanted)


def _reshaped(data: Any, sizes: tuple[int, ...]) -> Any:
    return shape.reshape(data, sizes) if is_float(data) else run(shape.RESHAPE, array(data), shape=tuple(sizes))


@operator("Flatten")
def flatten(data: Any, *, axis: int = 1) -> Any:
    """Return a matrix: the axes before `axis`, and the others."""
    sizes = tuple(data.shape)
    first = axis % len(sizes) if axis < 0 else axis
    return _reshaped(data, (math.prod(sizes[:first]), math.prod(sizes[first:])))


@operator("Squeeze")
def squeeze(data: Any, axes: Any = None) -> Any:
    """Return the tensor without axes of size 1."""
    sizes = tuple(data.shape)
    gone = [i for i, n in enumerate(sizes) if n == 1] if axes is None else axes_of(axes, len(sizes))
    if any(sizes[i] != 1 for i in gone):
        raise ValueError(f"Squeeze: axes: expected axes of size 1, got {tuple(gone)} of {sizes}")
    return _reshaped(data, tuple(n for i, n in enumerate(sizes) if i not in gone))


@operator("Unsqueeze")
def unsqueeze(data: Any, axes: Any) -> Any:
    """Return the tensor with axes of size 1 put in."""
    places = ints(axes)
    places = axes_of(places, len(data.shape) + len(places))
    sizes = list(data.shape)
    for place in sorted(places):
        sizes.insert(place, 1)
    return _reshaped(data, tuple(sizes))


@operator("Transpose")
def transpose(data: Any, *, perm: Any = None) -> Any:
    """Return the tensor with its axes in another order; reversed, if none is given."""
    order = tuple(reversed(range(len(data.shape)))) if perm is None else ints(perm)
    return shape.permute(data, order) if is_float(data) else run(shape.PERMUTE, array(data), dims=order)


@operator("Concat")
def concat(*parts: Any, axis: int) -> Any:
    """Return the tensors joined along an axis."""
    if is_float(*parts):
        return shape.cat(list(parts), axis)
    return run(shape.CAT, *[array(p) for p in parts], dim=axis)


@operator("Split")
def split(data: Any, split: Any = None, *, axis: int = 0, num_outputs: int | None = None, outputs: int = 1) -> Any:
    """Return parts along an axis: of the sizes given, or as equal as can be."""
    n = data.shape[axis]
    if split is None:
        each = -(-n // (num_outputs or outputs))
        sizes = [max(0, min(each, n - i * each)) for i in range(num_outputs or outputs)]
    else:
        sizes = list(ints(split))
    if sum(sizes) != n or any(s < 0 for s in sizes):
        raise ValueError(f"Split: split: expected sizes that sum to {n}, got {sizes}")
    if is_float(data):
        return tuple(shape.split(data, sizes, axis))
    ends = [int(end) for end in np.cumsum(sizes)]
    before = (slice(None),) * (axis % len(data.shape))
    return tuple(
        run(shape.GETITEM, array(data), index=(*before, slice(end - size, end)))
        for size, end in zip(sizes, ends, strict=True)
    )


@operator("Slice")
def slice_(data: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    """Return from start to end, by steps, along axes."""
    begin, end = ints(starts), ints(ends)
    along = tuple(range(len(begin))) if axes is None else axes_of(axes, len(data.shape))
    step = (1,) * len(begin) if steps is None else ints(steps)
    if not len(begin) == len(end) == len(along) == len(step) or 0 in step or len(set(along)) != len(along):
        raise ValueError(
            f"Slice: expected a start, an end and a step other than 0 per axis, got {begin}, {end}, {step}"
        )
    index: list[slice] = [slice(None)] * len(data.shape)
    flips = []
    for i, first, last, by in zip(along, begin, end, step, strict=True):
        n = data.shape[i]
        if by > 0:
            index[i] = slice(*slice(first, last, by).indices(n))
            continue
        low, high, _ = slice(first, last, by).indices(n)  # backwards: the same values forwards, then turned around
        count = max(0, -((high - low) // -by)) if high < low else 0
        count = len(range(low, high, by))
        lowest = low + (count - 1) * by if count else 0
        index[i] = slice(lowest, low + 1 if count else 0, -by)
        flips.append(i)
    if not is_float(data):
        picked: Any = run(shape.GETITEM, array(data), index=tuple(index))
        return run(moving.FLIP, picked, dims=tuple(flips)) if flips else picked
    picked = shape.getitem(data, tuple(index))
    return moving.flip(picked, *flips) if flips else picked


@operator("Gather")
def gather(data: Any, indices: Any, *, axis: int = 0) -> Any:
    """Return the slices of `data` at the indices along an axis."""
    places = array(indices)
    along, n = axis % len(data.shape), data.shape[axis]
    if places.size and (places.min() < -n or places.max() >= n):
        raise ValueError(f"Gather: indices: expected -{n} to {n - 1}, got {places.min()} to {places.max()}")
    if not is_float(data):
        return run(moving.TAKE, array(data), indices=places, dim=along)
    if places.ndim == 0 and not follows(places):
        return shape.select(data, along, int(places))
    return apply(moving.TAKE, data, indices=as_dtype(places, np.int64), dim=along)


@operator("GatherElements")
def gather_elements(data: Any, indices: Any, *, axis: int = 0) -> Any:
    """Return for each index the value there along an axis."""
    places = as_dtype(array(indices), np.int64)
    if is_float(data):
        return apply(moving.GATHER, data, indices=places, dim=axis % len(data.shape))
    return run(moving.GATHER, array(data), indices=places, dim=axis)


@operator("GatherND")
def gather_nd(data: Any, indices: Any, *, batch_dims: int = 0) -> Any:
    """Return the slices of `data` at index tuples."""
    places = as_dtype(array(indices), np.int64)
    if batch_dims == 0:
        if is_float(data):
            return apply(moving.GATHER_ND, data, indices=places)
        return run(moving.GATHER_ND, array(data), indices=places)
    values = array(data)
    batch = values.shape[:batch_dims]
    flat = values.reshape(-1, *values.shape[batch_dims:])
    rows = places.reshape(-1, *places.shape[batch_dims:])
    parts = np.stack([v[tuple(np.moveaxis(p, -1, 0))] for v, p in zip(flat, rows, strict=True)])
    return _typed(parts.reshape(*batch, *parts.shape[1:]), data)


@operator("ScatterElements")
def scatter_elements(data: Any, indices: Any, updates: Any, *, axis: int = 0, reduction: str = "none") -> Any:
    """Return `data` with values at indices along an axis put in, or added."""
    result, places = array(data).copy(), array(indices).astype(np.int64)
    places = np.where(places < 0, places + result.shape[axis], places)
    index: list[Any] = list(np.indices(places.shape, sparse=True))
    index[axis] = places
    _scatter(result, tuple(index), array(updates), reduction)
    return _typed(result, data)


@operator("ScatterND")
def scatter_nd(data: Any, indices: Any, updates: Any, *, reduction: str = "none") -> Any:
    """Return `data` with slices at index tuples put in, or added."""
    result = array(data).copy()
    _scatter(result, tuple(np.moveaxis(array(indices).astype(np.int64), -1, 0)), array(updates), reduction)
    return _typed(result, data)


def _scatter(result: np.ndarray, index: Any, updates: np.ndarray, reduction: str) -> None:
    functions = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
    if reduction == "none":
        result[index] = updates
    elif reduction in functions:
        functions[reduction].at(result, index, updates)
    else:
        raise ValueError(f"reduction: expected none, {', '.join(functions)}, got {reduction!r}")


def _typed(values: np.ndarray, like: Any) -> Any:
    if isinstance(like, QTensor):
        return QTensor.from_numpy(np.ascontiguousarray(values), like.qparams)
    return Tensor(values) if values.dtype == np.float32 else values


@operator("Expand")
def expand(data: Any, shape_: Any) -> Any:
    """Return the tensor broadcast with a shape."""
    sizes = check_size("Expand", np.broadcast_shapes(tuple(data.shape), ints(shape_)))
    return shape.expand(data, sizes) if is_float(data) else run(shape.EXPAND, array(data), shape=sizes)


@operator("Tile")
def tile(data: Any, repeats: Any) -> Any:
    """Return the tensor repeated along each axis."""
    counts = ints(repeats)
    check_size("Tile", [n * c for n, c in zip(data.shape, counts, strict=True)])
    return moving.repeat(data, counts) if is_float(data) else run(moving.REPEAT, array(data), counts=counts)


@operator("ConstantOfShape")
def constant_of_shape(shape_: Any, *, value: Any = None) -> Any:
    """Return a tensor of one value."""
    fill = np.zeros(1, np.float32) if value is None else value
    made = np.broadcast_to(fill.reshape(-1)[0], check_size("ConstantOfShape", ints(shape_), costs_nothing=True))
    return Tensor(made) if made.dtype == np.float32 else made


@operator("Range")
def range_(start: Any, limit: Any, delta: Any) -> Any:
    """Return the numbers from start to limit by delta."""
    first, last, by = (array(v).reshape(()) for v in (start, limit, delta))
    if by == 0:
        raise ValueError("Range: delta: expected a number other than 0")
    count = max(0, math.ceil((last - first) / by))
    check_size("Range", (count,))
    if first.dtype.kind == "i":
        return as_dtype(_counted(int(first), int(first + count * by), int(by)), first.dtype)
    made = (first + np.arange(count) * by).astype(first.dtype)
    return Tensor(made) if made.dtype == np.float32 else made


def _counted(start: int, stop: int, step: int) -> np.ndarray:
    """Count; the ends may follow from the batch, so a recorder hears of them."""
    return RANGE(start=start, stop=stop, step=step)


@operator("OneHot")
def one_hot(indices: Any, depth: Any, values: Any, *, axis: int = -1) -> Any:
    """Return the second value where the index along a new axis is meant, and the first elsewhere."""
    n = int(array(depth).reshape(()))
    places = as_dtype(array(indices), np.int64)
    check_size("OneHot", (*places.shape, n))
    places = run(shape.RESHAPE, places, shape=(*places.shape, 1))
    numbers = [np.arange(n), np.arange(-n, 0)]
    hot = [run(PAIRWISE, places, p, function="equal") for p in numbers]
    off, on = (v.astype(array(values).dtype) for v in array(values))
    made = run(WHERE, run(PAIRWISE, *hot, function="or"), on, off)
    order = list(range(made.ndim - 1))
    order.insert(axis % made.ndim, made.ndim - 1)
    made = run(shape.PERMUTE, made, dims=tuple(order))
    return Tensor._wrap(made) if made.dtype == np.float32 else made


@operator("EyeLike")
def eye_like(data: Any, *, dtype: int | None = None, k: int = 0) -> Any:
    """Return ones on a diagonal of a matrix of the same shape."""
    from .arithmetic import DTYPES

    kind = array(data).dtype if dtype is None else np.dtype(DTYPES[dtype])
    rows, columns = data.shape
    made: np.ndarray = np.eye(rows, columns, k=k).astype(kind)
    return Tensor(made) if kind == np.float32 else made


@operator("Trilu")
def trilu(data: Any, k: Any = None, *, upper: int = 1) -> Any:
    """Return the upper or lower triangle, and 0 elsewhere."""
    diagonal = 0 if k is None else int(array(k).reshape(()))
    kept = (np.triu if upper else np.tril)(np.ones(tuple(data.shape)[-2:], bool), diagonal)
    if not isinstance(data, QTensor):
        made = run(WHERE, kept, array(data), np.zeros((), array(data).dtype))
        return Tensor._wrap(made) if made.dtype == np.float32 else made
    return _typed((np.triu if upper else np.tril)(array(data), diagonal), data)


_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


@operator("Pad")
def pad(
    data: Any, pads: Any, constant_value: Any = None, axes: Any = None, *, mode: str = "constant", value: float = 0.0
) -> Any:
    """Return the tensor with values around it; negative amounts cut."""
    if mode not in _MODES:
        raise ValueError(f"Pad: mode: expected one of {sorted(_MODES)}, got {mode!r}")
    ndim = len(data.shape)
    amounts = ints(pads)
    along = tuple(range(ndim)) if axes is None else axes_of(axes, ndim)
    if len(amounts) != 2 * len(along):
        raise ValueError(f"Pad: pads: expected {2 * len(along)} amounts, got {amounts}")
    before_after = [(0, 0)] * ndim
    for j, i in enumerate(along):
        before_after[i] = (amounts[j], amounts[len(along) + j])
    check_size("Pad", [max(0, n + a + b) for n, (a, b) in zip(data.shape, before_after, strict=True)])
    fill = value if constant_value is None else array(constant_value).reshape(()).item()
    if is_float(data):
        flat = innermost_first(before_after)
        return padding.pad(data, flat, _MODES[mode], float(fill) if mode == "constant" else None)
    values = array(data)
    index = tuple(slice(max(0, -a), n - max(0, -b)) for n, (a, b) in zip(values.shape, before_after, strict=True))
    grown = [(max(0, a), max(0, b)) for a, b in before_after]
    if mode == "constant":
        return np.pad(values[index], grown, constant_values=fill)
    return np.pad(values[index], grown, mode=mode)  # type: ignore[call-overload]


@operator("DepthToSpace")
def depth_to_space(data: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    """Return channels moved into blocks of pixels."""
    n, c, h, w = data.shape
    b = blocksize
    if mode == "DCR":
        parts, order = (n, b, b, c // (b * b), h, w), (0, 3, 4, 1, 5, 2)
    else:
        parts, order = (n, c // (b * b), b, b, h, w), (0, 1, 4, 2, 5, 3)
    return _reshaped(transpose(_reshaped(data, parts), perm=order), (n, c // (b * b), h * b, w * b))


@operator("SpaceToDepth")
def space_to_depth(data: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    """Return blocks of pixels moved into channels."""
    n, c, h, w = data.shape
    b = blocksize
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    parts = transpose(_reshaped(data, (n, c, h // b, b, w // b, b)), perm=order)
    return _reshaped(parts, (n, c * b * b, h // b, w // b))
