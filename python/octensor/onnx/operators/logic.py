"""Comparisons, boolean logic, and choices by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ops.mathematics import where as choose
from ..registry import operator
from .values import array, is_float


def _compare(name: str, function: Callable[..., Any]) -> None:
    def compared(a: Any, b: Any) -> Any:
        return function(array(a), array(b))

    compared.__name__ = compared.__qualname__ = name.lower()
    operator(name)(compared)


_compare("Equal", np.equal)
_compare("Less", np.less)
_compare("LessOrEqual", np.less_equal)
_compare("Greater", np.greater)
_compare("GreaterOrEqual", np.greater_equal)
_compare("And", np.logical_and)
_compare("Or", np.logical_or)
_compare("Xor", np.logical_xor)


@operator("Not")
def logical_not(x: Any) -> Any:
    """Return the opposite of booleans."""
    return np.logical_not(array(x))


@operator("IsNaN")
def is_nan(x: Any) -> Any:
    """Return where values are NaN."""
    return np.isnan(array(x))


@operator("IsInf")
def is_inf(x: Any, *, detect_negative: int = 1, detect_positive: int = 1) -> Any:
    """Return where values are infinite, of the signs asked for."""
    values = array(x)
    return np.isinf(values) & ((values < 0) & bool(detect_negative) | (values > 0) & bool(detect_positive))


@operator("Where")
def where(condition: Any, x: Any, y: Any) -> Any:
    """Return x where the condition holds, else y."""
    return choose(array(condition), x, y) if is_float(x, y) else np.where(array(condition), array(x), array(y))


@operator("NonZero")
def non_zero(x: Any) -> Any:
    """Return the indices of values other than 0, an axis per row."""
    return np.array(np.nonzero(array(x)), np.int64)
