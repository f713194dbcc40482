"""Checks and normal forms of op arguments, shared by all ops."""

from __future__ import annotations

from typing import Any

import numpy as np


def pair(op: str, name: str, value: Any, least: int) -> tuple[int, int]:
    """Return one integer or two as a pair, each at least `least`."""
    values = value if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2 or not all(is_int(v) and v >= least for v in values):
        raise ValueError(f"{op}: {name}: expected one or two integers of at least {least}, got {value!r}")
    return int(values[0]), int(values[1])


def is_int(value: Any) -> bool:
    """Whether the value is an integer number (a bool is not)."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


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
    return tuple(int(a) for a in args)


def rank(op: str, x: Any, ndim: int, layout: str) -> None:
    """Raise unless x has `ndim` axes, named by `layout`."""
    if len(x.shape) != ndim:
        raise ValueError(f"{op}: input: expected shape {layout}, got {tuple(x.shape)}")
