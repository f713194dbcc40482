"""Comparisons, boolean logic, and choices by them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops.mathematics import WHERE
from ...ops.mathematics import where as choose
from ...ops.whole import ELEMENTWISE, PAIRWISE
from ..registry import operator
from .values import array, is_float, run


def _compare(name: str, function: str) -> None:
    def compared(a: Any, b: Any) -> Any:
        return run(PAIRWISE, array(a), array(b), function=function)

    compared.__name__ = compared.__qualname__ = name.lower()
    operator(name)(compared)


_compare("Equal", "equal")
_compare("Less", "less")
_compare("LessOrEqual", "less_equal")
_compare("Greater", "greater")
_compare("GreaterOrEqual", "greater_equal")
_compare("And", "and")
_compare("Or", "or")
_compare("Xor", "xor")


@operator("Not")
def logical_not(x: Any) -> Any:
    """Return the opposite of booleans."""
    return run(ELEMENTWISE, array(x), function="not")


@operator("IsNaN")
def is_nan(x: Any) -> Any:
    """Return where values are NaN."""
    return run(ELEMENTWISE, array(x), function="isnan")


@operator("IsInf")
def is_inf(x: Any, *, detect_negative: int = 1, detect_positive: int = 1) -> Any:
    """Return where values are infinite, of the signs asked for."""
    values = array(x)
    infinite = run(ELEMENTWISE, values, function="isinf")
    for unwanted, side in ((not detect_negative, "greater"), (not detect_positive, "less")):
        if unwanted:
            kept = run(PAIRWISE, values, np.zeros((), values.dtype), function=side)
            infinite = run(PAIRWISE, infinite, kept, function="and")
    return infinite


@operator("Where")
def where(condition: Any, x: Any, y: Any) -> Any:
    """Return x where the condition holds, else y."""
    if is_float(x, y):
        return choose(array(condition), x, y)
    return run(WHERE, array(condition), array(x), array(y))


@operator("NonZero")
def non_zero(x: Any) -> Any:
    """Return the indices of values other than 0, an axis per row."""
    return np.array(np.nonzero(array(x)), np.int64)
