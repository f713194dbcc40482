"""Values at other places: padding, interpolation, indices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _C
from ...graph.meta import TensorMeta
from ...graph.rows import Unsupported
from ..ir import WHOLE, Value
from ..lower import Site, row
from .codes import quantized


def movable(x: Value) -> Value:
    """Return a value whose codes, if it is one of codes, mean the same at any place."""
    if x.qparams is not None and x.qparams.is_per_channel:
        raise Unsupported("it moves codes with one scale alone here: requantize it first")
    return x


@row("pad")
def pad(site: Site, x: Value, *, pads: Any, mode: str, value: float) -> Value:
    """Put values around a tensor."""
    axes = [("pad", int(a), int(b), mode) if a or b else None for a, b in pads]
    fill = float(value)
    if quantized(movable(x)):
        assert x.qparams is not None
        fill = float(int(_C.quantize(np.array([value], np.float32), x.qparams).int_repr()[0]))
    return site.add("pick", [x], site.meta, axes=axes, fill=fill)


@row("interpolate")
def interpolate(site: Site, x: Value, *, axes: Any, linear: bool, align_corners: bool) -> Value:
    """Resample spatial axes to another size."""
    movable(x)
    if linear:
        if x.qparams is not None and x.qparams.dtype.itemsize != 1:
            raise Unsupported("it interpolates 8-bit codes: requantize it first")
        how = [(int(axis.size), float(axis.ratio)) for axis in axes]
        return site.add("resample", [x], site.meta, axes=how, align_corners=bool(align_corners))
    near = [None, None, *(("nearest", int(axis.size), float(axis.ratio)) for axis in axes)]
    return site.add("pick", [x], site.meta, axes=near)


@row("flip")
def flip(site: Site, x: Value, *, dims: Any) -> Value:
    """Reverse axes."""
    cuts = tuple((None, None, -1) if d in dims else WHOLE for d in range(x.ndim))
    return site.add("cut", [x], site.meta, index=cuts)


@row("repeat")
def repeat(site: Site, x: Value, *, counts: Any) -> Value:
    """Repeat the tensor along each axis."""
    movable(x)
    if any(n < 1 for n in counts):
        raise Unsupported("it repeats an axis no times: programs want every count to be at least 1")
    extra = len(counts) - x.ndim
    if extra:
        meta = x.meta._replace(shape=(*[1] * extra, *x.meta.shape))
        x = site.add("cut", [x], meta, index=(*[None] * extra, *[WHOLE] * x.ndim))
    for d, n in enumerate(counts):
        if n > 1:
            shape = tuple(size * n if i == d else size for i, size in enumerate(x.meta.shape))
            x = site.add("cat", [x] * n, x.meta._replace(shape=shape), dim=d, qparams=x.qparams)
    return x


def indices_of(site: Site, indices: Any) -> Value:
    """Return whole numbers as an int64 value."""
    value = indices if isinstance(indices, Value) else site.constant(np.asarray(indices))
    if value.meta.dtype == "int64":
        return value
    if value.meta.dtype == "int32":
        return site.add("cast", [value], TensorMeta(value.meta.shape, "int64"), dtype="int64")
    raise Unsupported(f"its indices are {value.meta.dtype}: programs gather by int64 and int32 indices")


@row("take")
def take(site: Site, x: Value, *, indices: Any, dim: int) -> Value:
    """Take slices along an axis."""
    return site.add("take", [movable(x), indices_of(site, indices)], site.meta, dim=dim)


@row("gather")
def gather(site: Site, x: Value, *, indices: Any, dim: int) -> Value:
    """Take for each index the value there along an axis."""
    return site.add("take_along", [movable(x), indices_of(site, indices)], site.meta, dim=dim)


@row("gather_nd")
def gather_nd(site: Site, x: Value, *, indices: Any) -> Value:
    """Take slices at tuples of indices."""
    return site.add("gather_nd", [movable(x), indices_of(site, indices)], site.meta)
