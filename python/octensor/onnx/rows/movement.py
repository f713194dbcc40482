"""Values moved: other shapes, orders, parts, joins.

Codes go through a pair of DequantizeLinear and QuantizeLinear that changes nothing, the form in which other runtimes
recognise such operators on codes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph.rows import Unsupported
from ...program.ir import BatchSize
from ..draft import FARTHEST, Site, Value
from ..exporter import row

_PADS = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@row("reshape", batched=True)
def reshape(site: Site, x: Value, *, shape: Any) -> Value:
    """Another shape; a single size that follows from the batch is left to be found."""
    wanted = list(shape)
    open_sizes = [i for i, n in enumerate(wanted) if isinstance(n, BatchSize) or n == -1]
    zero = any(not isinstance(n, BatchSize) and n == 0 for n in wanted)
    if len(open_sizes) == 1 and not zero:
        wanted[open_sizes[0]] = -1
    return site.result(site.add("Reshape", site.real(x), site.sizes(wanted), allowzero=1 if zero else None))


@row("permute")
def permute(site: Site, x: Value, *, dims: Any) -> Value:
    """Put the axes in another order."""
    return site.result(site.add("Transpose", site.real(x), perm=tuple(dims)))


@row("expand", batched=True)
def expand(site: Site, x: Value, *, shape: Any) -> Value:
    """Axes of size 1 repeated."""
    return site.result(site.add("Expand", site.real(x), site.sizes(shape)))


@row("repeat")
def repeat(site: Site, x: Value, *, counts: Any) -> Value:
    """Repeat the tensor several times along each axis."""
    y = site.real(x)
    if len(counts) > x.ndim:
        y = site.add("Unsqueeze", y, site.ints(range(len(counts) - x.ndim)))
    return site.result(site.add("Tile", y, site.ints(counts)))


@row("cat")
def cat(site: Site, *parts: Value, dim: int, qparams: Any = None) -> Value:
    """Parts joined along an axis."""
    return site.result(site.add("Concat", *(site.real(part) for part in parts), axis=dim))


@row("flip")
def flip(site: Site, x: Value, *, dims: Any) -> Value:
    """Axes the other way round."""
    n = len(dims)
    ends = site.ints([-FARTHEST] * n)
    return site.result(site.add("Slice", site.real(x), site.ints([-1] * n), ends, site.ints(dims), site.ints([-1] * n)))


@row("gather")
def gather(site: Site, x: Value, *, indices: Any, dim: int) -> Value:
    """Values at indices along an axis."""
    return site.result(site.add("GatherElements", site.real(x), site.real(indices, "int64"), axis=dim))


@row("pad")
def pad(site: Site, x: Value, *, pads: Any, mode: str, value: float) -> Value:
    """Values added around a tensor."""
    if mode == "circular" and site.opset < 19:
        raise Unsupported("circular padding needs opset 19")
    amounts = site.ints([before for before, _ in pads] + [after for _, after in pads])
    inputs = [site.real(x), amounts] + ([site.floats(value)] if mode == "constant" else [])
    return site.result(site.add("Pad", *inputs, mode=_PADS[mode]))


@row("getitem", batched=True)
def getitem(site: Site, x: Value, *, index: Any) -> Value:
    """Parts by integers, slices, None and an ellipsis, or by one array of indices."""
    items = list(index) if isinstance(index, tuple) else [index]
    if any(i is Ellipsis for i in items):
        at = next(i for i, item in enumerate(items) if item is Ellipsis)
        taken = sum(i is not None for i in items) - 1
        items[at : at + 1] = [slice(None)] * (x.ndim - taken)
    y = site.real(x)
    cuts: list[tuple[int, Any, Any, int]] = []
    squeezed: list[int] = []
    made: list[int] = []
    arrays: list[tuple[int, Any]] = []
    axis = 0
    for item in items:
        if item is None:
            made.append(axis - len(squeezed) + len(made))
            continue
        if isinstance(item, slice):
            if item != slice(None):
                cuts.append((axis, *_bounds(item)))
        elif isinstance(item, (Value, np.ndarray, list)):
            arrays.append((axis, item))
        elif isinstance(item, bool):
            raise Unsupported("an index that is a truth value")
        else:
            cuts.append((axis, item, _next(item), 1))
            squeezed.append(axis)
        axis += 1
    if cuts:
        axes, starts, ends, steps = zip(*cuts, strict=True)
        y = site.add("Slice", y, site.sizes(starts), site.sizes(ends), site.ints(axes), site.ints(steps))
    if arrays:
        if len(arrays) > 1 or squeezed or made:
            raise Unsupported("several arrays as indices, or an array beside integers: index in two steps")
        ((along, at),) = arrays
        dtype = at.meta.dtype if isinstance(at, Value) else str(np.asarray(at).dtype)
        if dtype == "bool":
            raise Unsupported("a mask as index: the size of the result would follow from values")
        y = site.add("Gather", y, site.real(at if isinstance(at, Value) else np.asarray(at)), axis=along)
    if squeezed:
        y = site.add("Squeeze", y, site.ints(squeezed))
    if made:
        y = site.add("Unsqueeze", y, site.ints(made))
    return site.result(y)


def _bounds(item: slice) -> tuple[Any, Any, int]:
    step = int(item.step or 1)
    start, stop = (FARTHEST, -FARTHEST) if step < 0 else (0, FARTHEST)
    return (start if item.start is None else item.start), (stop if item.stop is None else item.stop), step


def _next(index: Any) -> Any:
    if isinstance(index, BatchSize):
        return BatchSize(index.fixed + 1, index.per_batch)
    return FARTHEST if index == -1 else int(index) + 1
