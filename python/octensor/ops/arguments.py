"""Checks and normal forms of op arguments, shared by all ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._C import QTensor
from ..arrays import Holder, array_of


def per_axis(op: str, name: str, value: Any, least: int, count: int) -> tuple[int, ...]:
    """Return one integer, or one for each of `count` axes, as a tuple, each at least `least`."""
    values = value if isinstance(value, (tuple, list)) else (value,) * count
    if len(values) == 1:
        values = tuple(values) * count
    if len(values) != count or not all(is_int(v) and v >= least for v in values):
        many = ("an integer", "one or two integers", "one or three integers")[count - 1]
        raise ValueError(f"{op}: {name}: expected {many} of at least {least}, got {value!r}")
    return tuple(int(v) for v in values)


def pair(op: str, name: str, value: Any, least: int) -> tuple[int, int]:
    """Return one integer or two as a pair, each at least `least`."""
    first, second = per_axis(op, name, value, least, 2)
    return first, second


# Shapes of batches with one to three spatial axes, as error messages write them.
LAYOUTS = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}


def is_int(value: Any) -> bool:
    """Whether the value is an integer number (a bool is not)."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def number(op: str, name: str, value: Any) -> Any:
    """Return a number as it is, a tensor with one value as a number; a bool is not one."""
    if isinstance(value, Holder) and value._array.size == 1:
        value = value._array.item()
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{op}: {name}: expected a number, got {type(value).__name__}")
    return value


def tensor(op: str, input: Any) -> Any:
    """Return the input of a function made of other ops, or raise for that function if it is no tensor."""
    if not isinstance(input, QTensor):
        array_of(op, "input", input)
    return input


def axis(op: str, dim: Any, ndim: int, name: str = "dim") -> int:
    """Return a dimension counted from the front."""
    if not is_int(dim) or not -ndim <= dim < ndim:
        raise ValueError(f"{op}: {name}: expected an integer in [{-ndim}, {ndim - 1}], got {dim!r}")
    return int(dim) % ndim


def axes(op: str, dim: Any, ndim: int) -> tuple[int, ...]:
    """Return one dimension or several as a tuple; None and () mean all."""
    if dim is None or dim == ():
        return tuple(range(ndim))
    dims = tuple(axis(op, d, ndim) for d in (dim if isinstance(dim, (tuple, list)) else (dim,)))
    if len(set(dims)) != len(dims):
        raise ValueError(f"{op}: dim: expected different dimensions, got {dim!r}")
    return dims


def sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    """Return sizes given either as several integers or as one sequence."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    if not all(hasattr(a, "__index__") and not isinstance(a, bool) for a in args):
        raise TypeError(f"size: expected integers, got {args!r}")
    return tuple(int(a) for a in args)


def rank(op: str, x: Any, ndim: int, layout: str) -> None:
    """Raise unless x has `ndim` axes, named by `layout`."""
    if len(x.shape) != ndim:
        raise ValueError(f"{op}: input: expected shape {layout}, got {tuple(x.shape)}")
