"""Movement: views where strides allow it, copies elsewhere, of values of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._C import QParams
from ...graph.rows import Unsupported
from ..batch import BoundToBatch
from ..ir import BatchSize, Value, pairs
from ..lower import Site, row
from .codes import quantized
from .places import indices_of, movable


@row("reshape", batched=True)
def reshape(site: Site, x: Value, *, shape: Any) -> Value:
    """Another shape."""
    return site.add("reshape", [x], site.meta, sizes=pairs(shape))


@row("permute")
def permute(site: Site, x: Value, *, dims: Any) -> Value:
    """Put the axes into another order."""
    return site.add("permute", [x], site.meta, dims=list(dims))


@row("expand", batched=True)
def expand(site: Site, x: Value, *, shape: Any, like: Any = None) -> Value:
    """Axes of size 1 repeated."""
    return site.add("expand", [x], like or site.meta, sizes=pairs(shape))


def _bound(value: Any) -> Any:
    return None if value is None else value.pair() if isinstance(value, BatchSize) else (int(value), 0)


@row("getitem", batched=True)
def getitem(site: Site, x: Value, *, index: Any) -> Value:
    """Parts by integers, slices, None and an ellipsis."""
    items = list(index) if isinstance(index, tuple) else [index]
    gathers = [i for i in items if isinstance(i, (np.ndarray, list, Value, bool))]
    if gathers:
        return _gathered(site, x, items, gathers)
    if Ellipsis in items:
        at = items.index(Ellipsis)
        taken = sum(i is not None for i in items) - 1
        items[at : at + 1] = [slice(None)] * (x.ndim - taken)
    if any(isinstance(i, BatchSize) for i in items):
        raise BoundToBatch("an index follows from the batch")
    cuts = tuple(
        i if i is None else (_bound(i.start), _bound(i.stop), int(i.step or 1)) if isinstance(i, slice) else int(i)
        for i in items
    )
    return site.add("cut", [x], site.meta, index=cuts)


def _gathered(site: Site, x: Value, items: list[Any], gathers: list[Any]) -> Value:
    """Gather by one array of whole numbers, or by several on the first axes."""
    whole = all(isinstance(i, slice) and i == slice(None) for i in items if not any(i is g for g in gathers))
    kind = gathers[0].meta.dtype if isinstance(gathers[0], Value) else str(getattr(gathers[0], "dtype", ""))
    if whole and len(gathers) == 1 and kind in ("int64", "int32"):
        dim = next(d for d, i in enumerate(items) if i is gathers[0])
        return site.add("take", [movable(x), indices_of(site, gathers[0])], site.meta, dim=dim)
    raise Unsupported("it gathers by a mask, or by arrays along several axes: programs gather along one")


@row("cat")
def cat(site: Site, *parts: Value, dim: int, qparams: QParams | None = None) -> Value:
    """Parts joined along an axis; of codes with the parameters given, or the first part's."""
    kinds = {quantized(part) for part in parts}
    if len(kinds) > 1:
        raise Unsupported("its parts are partly quantized")
    if quantized(parts[0]) and qparams is None:
        qparams = parts[0].qparams
    return site.add("cat", list(parts), site.meta, dim=dim, qparams=qparams)


@row("clone")
def clone(site: Site, x: Value) -> Value:
    """Return the value itself: nothing in a program writes into it."""
    return x


@row("contiguous")
def contiguous(site: Site, x: Value, **attrs: Any) -> Value:
    """Where values lie is the program's affair."""
    return x
