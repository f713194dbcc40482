"""Reductions that choose or count: extremes and where they are, sums of whole numbers, running sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph.meta import TensorMeta
from ...graph.rows import Unsupported
from ..ir import WHOLE, Value
from ..lower import Site, row
from .places import movable


def _last(site: Site, x: Value, dim: Any) -> tuple[Value, TensorMeta]:
    """Return x with these axes after the others, and what is left without them."""
    kept = [d for d in range(x.ndim) if d not in dim]
    order = kept + sorted(dim)
    if order != list(range(x.ndim)):
        x = site.add("permute", [x], x.meta._replace(shape=tuple(x.meta.shape[i] for i in order)), dims=order)
    return x, x.meta._replace(shape=tuple(x.meta.shape[: len(kept)]))


def _extreme(largest: bool) -> Any:
    def lowered(site: Site, x: Value, *, dim: tuple[int, ...], keepdim: bool) -> Value:
        if x.meta.dtype == "bool":
            raise Unsupported("programs choose the largest of numbers: cast the booleans")
        turned, meta = _last(site, movable(x), dim)
        y = site.add("extreme", [turned], meta, axes=len(dim), largest=largest)
        return _kept(site, y, x.ndim, dim, keepdim)

    return lowered


def _kept(site: Site, y: Value, ndim: int, dim: tuple[int, ...], keepdim: bool) -> Value:
    """Give a result its reduced axes back, where they are kept."""
    if not keepdim:
        return y
    return site.add("cut", [y], site.meta, index=tuple(None if d in dim else WHOLE for d in range(ndim)))


row("amax")(_extreme(True))
row("amin")(_extreme(False))


@row("call.order")
def order(site: Site, input: Value, dim: int, descending: bool) -> Value:
    """Sort: the places of the values in order."""
    if input.meta.dtype == "bool":
        raise Unsupported("programs sort numbers: cast the booleans")
    along = dim % input.ndim
    turned, rest = _last(site, movable(input), (along,))
    shape = (*rest.shape, input.meta.shape[along])
    places = site.add("sorted", [turned], TensorMeta(shape, "int64"), descending=bool(descending))
    if along == input.ndim - 1:
        return places
    back = [*range(along), input.ndim - 1, *range(along, input.ndim - 1)]
    return site.add("permute", [places], site.meta, dims=back)


@row("reduce_whole")
def reduce_whole(site: Site, x: Value, *, function: str, dim: tuple[int, ...], keepdim: bool) -> Value:
    """Reduce whole numbers."""
    if function in ("max", "min"):
        chosen: Value = _extreme(function == "max")(site, x, dim=dim, keepdim=keepdim)
        return chosen
    if function != "sum" or x.meta.dtype not in ("int64", "int32"):
        raise Unsupported(f"programs have no {function} of {x.meta.dtype}")
    turned, meta = _last(site, x, dim)
    return _kept(site, site.add("whole_sum", [turned], meta, axes=len(dim)), x.ndim, dim, keepdim)


@row("running_sums", "cumsum")
def running_sums(site: Site, x: Value, *, dim: int) -> Value:
    """Sum from the first place on."""
    if x.meta.dtype not in ("float32", "int64", "int32"):
        raise Unsupported(f"programs have no running sums of {x.meta.dtype}")
    return site.add("running_sums", [x], site.meta, dim=dim % x.ndim)


@row("arg_extreme")
def arg_extreme(site: Site, x: Value, *, dim: int, keepdim: bool, largest: bool, last: bool = False) -> Value:
    """Find where an extreme value is."""
    if x.meta.dtype == "bool":
        raise Unsupported("programs choose the largest of numbers: cast the booleans")
    along = (dim % x.ndim,)
    turned, meta = _last(site, movable(x), along)
    place = site.add("place", [turned], TensorMeta(meta.shape, "int64"), largest=largest, last=last)
    return _kept(site, place, x.ndim, along, keepdim)


def _arg(largest: bool) -> Any:
    def lowered(site: Site, input: Value, dim: int | None = None, keepdim: bool = False) -> Value:
        if dim is None:
            raise Unsupported("programs look for it along one axis: give dim")
        found: Value = arg_extreme(site, input, dim=dim, keepdim=keepdim, largest=largest)
        return found

    return lowered


row("call.argmax")(_arg(True))
row("call.argmin")(_arg(False))


@row("call.place")
def place(site: Site, which: Any, input: Value, dim: int, keepdim: bool) -> Value:
    """Find where the largest or smallest value along an axis is."""
    found: Value = arg_extreme(site, input, dim=dim, keepdim=keepdim, largest=which is np.argmax)
    return found
