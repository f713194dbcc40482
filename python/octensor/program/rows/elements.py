"""Comparisons, logic, choices, whole numbers and casts."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph.rows import Unsupported
from ..ir import BatchSize, Value, is_plain
from ..lower import Site, row
from .codes import quantized
from .places import movable

NUMBERS = ("float32", "int64", "int32", "bool")


def numbers(site: Site, *values: Any) -> list[Value]:
    """Return operands as values of one dtype: numbers take that of the tensors."""
    tensors = [v for v in values if isinstance(v, Value)]
    dtypes = {v.meta.dtype for v in tensors}
    if len(dtypes) != 1 or not dtypes <= set(NUMBERS):
        raise Unsupported(f"it works on {' and '.join(sorted(dtypes))} here: programs have {', '.join(NUMBERS)}, alike")
    dtype = np.dtype(dtypes.pop())
    return [v if isinstance(v, Value) else site.constant(np.asarray(v, dtype)) for v in values]


def pair(site: Site, function: str, a: Any, b: Any) -> Value:
    """Add a function of two elements."""
    return site.add("pair", numbers(site, a, b), site.meta, name=function)


@row("pairwise")
def pairwise(site: Site, a: Any, b: Any, *, function: str) -> Value:
    """Compute with whole numbers or booleans, or compare."""
    if function == "pow":
        raise Unsupported("programs have no powers of whole numbers")
    return pair(site, function, a, b)


@row("elementwise")
def elementwise(site: Site, x: Value, *, function: str) -> Value:
    """Apply a function of one element."""
    return site.add("unary", numbers(site, x), site.meta, name=function)


@row("where")
def where(site: Site, condition: Value, a: Any, b: Any) -> Value:
    """Choose one of two by a condition."""
    if not isinstance(condition, Value) or condition.meta.dtype != "bool":
        raise Unsupported("its condition is not a boolean tensor")
    if any(isinstance(v, Value) and quantized(movable(v)) for v in (a, b)):
        if isinstance(a, Value) and isinstance(b, Value) and is_plain(a.qparams) and is_plain(b.qparams):
            return site.add("select", [condition, a, b], site.meta)
        raise Unsupported("programs choose between floats, whole numbers or booleans: dequantize before it")
    if not any(isinstance(v, Value) for v in (a, b)):
        a = site.constant(np.asarray(a, site.meta.dtype))
    return site.add("select", [condition, *numbers(site, a, b)], site.meta)


@row("masked_fill")
def masked_fill(site: Site, x: Value, *, mask: Any, value: float) -> Value:
    """Put a number where a mask is true."""
    chosen = mask if isinstance(mask, Value) else site.constant(np.asarray(mask))
    filled: Value = where(site, chosen, value, x)
    return filled


@row("cast")
def cast(site: Site, x: Value, *, dtype: str) -> Value:
    """Give the values in another dtype."""
    if x.meta.dtype == dtype:
        return x
    if quantized(x) and is_plain(x.qparams) and dtype in NUMBERS:
        x = site.add("dequantize", [x], x.meta._replace(dtype="float32", qparams=None))
        return x if dtype == "float32" else site.add("cast", [x], site.meta, dtype=dtype)
    if x.meta.dtype not in NUMBERS or dtype not in NUMBERS:
        raise Unsupported(f"programs have no cast from {x.meta.dtype} to {dtype}: they have {', '.join(NUMBERS)}")
    return site.add("cast", [x], site.meta, dtype=dtype)


@row("range", batched=True)
def range_(site: Site, *, start: Any, stop: Any, step: Any) -> Value:
    """Count from one whole number to another."""
    if isinstance(step, BatchSize):
        raise Unsupported("the step of a range follows from the batch")
    ends = [v.pair() if isinstance(v, BatchSize) else (int(v), 0) for v in (start, stop)]
    return site.add("range", [], site.meta, start=ends[0], stop=ends[1], by=int(step))


@row("pow")
def power(site: Site, x: Value, exponent: Any) -> Value:
    """Take to the power of a number."""
    if isinstance(exponent, Value) and exponent.constant is not None and np.size(exponent.constant) == 1:
        exponent = float(np.asarray(exponent.constant).reshape(()))
    if not isinstance(exponent, (int, float)) or not isinstance(x, Value) or x.meta.dtype != "float32":
        raise Unsupported("programs have powers of floats to one number alone")
    return site.add("float_power", [x], site.meta, exponent=float(exponent))


@row("local_response_norm")
def local_response_norm(site: Site, x: Value, *, size: int, alpha: float, beta: float, bias: float) -> Value:
    """Divide by a norm over neighbouring channels."""
    if x.meta.dtype != "float32":
        raise Unsupported("programs have it on floats alone: call .dequantize() before it")
    given = {"size": int(size), "alpha": float(alpha), "beta": float(beta), "bias": float(bias)}
    return site.add("float_response_norm", [x], site.meta, **given)


_COMPARISONS = {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater"}
for _name, _function in {**_COMPARISONS, "ge": "greater_equal"}.items():
    row(f"call.{_name}")(lambda site, a, b, _function=_function: pair(site, _function, a, b))
row("call.invert")(lambda site, x: elementwise(site, x, function="not"))
row("call.to")(lambda site, x, target: cast(site, x, dtype=np.dtype(target).name))
for _function in ("maximum", "minimum"):
    row(_function)(lambda site, a, b, _function=_function: pair(site, _function, a, b))
for _function in ("abs", "sign", "floor", "ceil", "round", "reciprocal"):
    row(_function)(lambda site, x, _function=_function: elementwise(site, x, function=_function))
