"""Whole numbers, booleans and indices; codes that are plain arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph.rows import Unsupported
from ..draft import TYPES, Site, Value
from ..exporter import row

_PAIRS = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "mod": "Mod", "fmod": "Mod", "pow": "Pow",
    "maximum": "Max", "minimum": "Min", "equal": "Equal", "less": "Less", "less_equal": "LessOrEqual",
    "greater": "Greater", "greater_equal": "GreaterOrEqual", "and": "And", "or": "Or", "xor": "Xor",
}  # fmt: skip
_SINGLES = {"abs": "Abs", "neg": "Neg", "sign": "Sign", "not": "Not", "isnan": "IsNaN", "isinf": "IsInf"}


def _dtype(*values: Any) -> str:
    return next((v.meta.dtype for v in values if isinstance(v, Value)), "int64")


def _plain(site: Site, name: str) -> Value:
    return Value(name, site.meta)


def _given(site: Site, *values: Any) -> list[str]:
    """Return the names of inputs; those that are not given have none, and the last ones are left out."""
    names = ["" if v is None else site.real(v) for v in values]
    while not names[-1]:
        names.pop()
    return names


@row("pairwise")
def pairwise(site: Site, a: Any, b: Any, *, function: str) -> Value:
    """Compute with two elements."""
    given = [site.real(v, _dtype(a, b)) for v in (a, b)]
    if function == "not_equal":
        return _plain(site, site.add("Not", site.add("Equal", *given)))
    return _plain(site, site.add(_PAIRS[function], *given, fmod=1 if function == "fmod" else None))


@row("elementwise")
def elementwise(site: Site, x: Value, *, function: str) -> Value:
    """Compute with one element."""
    return _plain(site, site.add(_SINGLES[function], site.real(x)))


@row("range", batched=True)
def range_(site: Site, *, start: Any, stop: Any, step: Any) -> Value:
    """Count; ends may follow from the batch."""
    ends = [site.add("Squeeze", site.sizes([v])) for v in (start, stop)]
    return _plain(site, site.add("Range", *ends, site.ints(int(step))))


@row("take")
def take(site: Site, x: Value, *, indices: Any, dim: int) -> Value:
    """Take slices along an axis."""
    return site.result(site.add("Gather", site.real(x), site.real(indices, "int64"), axis=dim))


@row("gather_nd")
def gather_nd(site: Site, x: Value, *, indices: Any) -> Value:
    """Take slices at tuples of indices."""
    return site.result(site.add("GatherND", site.real(x), site.real(indices, "int64")))


@row("reduce_whole")
def reduce_whole(site: Site, x: Value, *, function: str, dim: Any, keepdim: bool) -> Value:
    """Reduce whole numbers."""
    operator = f"Reduce{function.capitalize()}"
    if function == "sum" or site.opset >= 18:
        return _plain(site, site.add(operator, site.real(x), site.ints(dim), keepdims=int(keepdim)))
    return _plain(site, site.add(operator, site.real(x), axes=tuple(dim), keepdims=int(keepdim)))


@row("running_sums")
def running_sums(site: Site, x: Value, *, dim: int) -> Value:
    """Add up along an axis."""
    return _plain(site, site.add("CumSum", site.real(x), site.ints(dim)))


@row("arg_extreme")
def arg_extreme(site: Site, x: Value, *, dim: int, keepdim: bool, largest: bool, last: bool = False) -> Value:
    """Find where an extreme value is."""
    operator = "ArgMax" if largest else "ArgMin"
    given = {"axis": dim, "keepdims": int(keepdim), "select_last_index": int(last) or None}
    return _plain(site, site.add(operator, site.real(x), **given))


@row("as_codes")
def as_codes(site: Site, x: Value, *, qparams: Any) -> Value:
    """Give codes their parameters, which stand beside them."""
    return Value(x.name, site.meta)


@row("dynamic_quantize")
def dynamic_quantize(site: Site, x: Value) -> tuple[Value, ...]:
    """Quantize over the input's own range."""
    names = site.add_many("DynamicQuantizeLinear", site.real(x), outputs=3)
    return tuple(Value(name, meta) for name, meta in zip(names, site.meta, strict=True))


@row("matmul_integer")
def matmul_integer(site: Site, a: Value, b: Value, a_zero: Any = None, b_zero: Any = None) -> Value:
    """Multiply codes exactly."""
    return _plain(site, site.add("MatMulInteger", *_given(site, a, b, a_zero, b_zero)))


@row("conv_integer")
def conv_integer(
    site: Site,
    x: Value,
    w: Value,
    x_zero: Any = None,
    w_zero: Any = None,
    *,
    stride: Any,
    dilation: Any,
    pads: Any,
    groups: int,
) -> Value:
    """Convolve codes exactly."""
    around = [before for before, _ in pads] + [after for _, after in pads]
    attributes = {"strides": list(stride), "dilations": list(dilation), "pads": around, "group": groups}
    return _plain(site, site.add("ConvInteger", *_given(site, x, w, x_zero, w_zero), **attributes))


@row("dequantize_by")
def dequantize_by(site: Site, x: Value, scale: Value, zero_point: Any = None, *, axis: int = 0) -> Value:
    """Take the real values of codes by parameters that are computed."""
    zeros = [] if zero_point is None else [site.real(zero_point)]
    along = axis if np.prod(scale.meta.shape) != 1 else None
    return _plain(site, site.add("DequantizeLinear", x.name, site.real(scale), *zeros, axis=along))


@row("quantize_by")
def quantize_by(site: Site, x: Value, scale: Value, zero_point: Value, *, axis: int = 0) -> Value:
    """Quantize by parameters that are computed."""
    along = axis if np.prod(scale.meta.shape) != 1 else None
    if site.meta.dtype not in TYPES:
        raise Unsupported(f"ONNX has no codes of {site.meta.dtype}")
    return _plain(site, site.add("QuantizeLinear", site.real(x), site.real(scale), site.real(zero_point), axis=along))
