"""Ops on whole numbers, booleans and indices: what models compute with token ids, positions and masks.

Values keep their dtype; sums wrap as NumPy's do. Every function stands in a table by its name, which is what a recorded
model or a file holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._C import QTensor
from ..tensor import Tensor
from .exact import exact

Numbers = Callable[..., Any]
MOST_VALUES = 1 << 30  # that a few numbers may ask for


def plain_values(x: Any) -> Any:
    """Return the array of a tensor; codes of a QTensor; numbers as they are."""
    return x._array if isinstance(x, Tensor) else np.asarray(x) if isinstance(x, QTensor) else x


def _named(op: str, table: Mapping[str, Numbers], function: Any) -> Numbers:
    if not isinstance(function, str) or function not in table:
        raise ValueError(f"{op}: function: expected one of {', '.join(sorted(table))}, got {function!r:.40}")
    return table[function]


def _quotient(a: np.ndarray, b: np.ndarray) -> Any:
    """Divide; whole numbers toward zero, as C does."""
    if np.result_type(a, b).kind not in "iu":
        return a / b
    quotient = np.abs(np.asarray(a, np.int64)) // np.abs(np.asarray(b, np.int64)) * np.sign(a) * np.sign(b)
    return quotient.astype(np.result_type(a, b))


PAIRS: Mapping[str, Numbers] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _quotient,
    "mod": np.mod,
    "fmod": np.fmod,
    "pow": np.power,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
}
SINGLES: Mapping[str, Numbers] = {
    "abs": np.abs,
    "neg": np.negative,
    "sign": np.sign,
    "not": np.logical_not,
    "isnan": np.isnan,
    "isinf": np.isinf,
}
REDUCERS: Mapping[str, Numbers] = {"sum": np.sum, "mean": np.mean, "prod": np.prod, "max": np.max, "min": np.min}


@exact("pairwise")
def PAIRWISE(a: Any, b: Any, *, function: str) -> np.ndarray:
    """Apply a function of two elements, broadcast: arithmetic, a comparison or logic."""
    with np.errstate(divide="ignore"):
        return np.asarray(_named("pairwise", PAIRS, function)(plain_values(a), plain_values(b)))


@exact("elementwise")
def ELEMENTWISE(x: Any, *, function: str) -> np.ndarray:
    """Apply a function of one element."""
    return np.asarray(_named("elementwise", SINGLES, function)(plain_values(x)))


@exact("reduce_whole")
def REDUCE_WHOLE(x: Any, *, function: str, dim: tuple[int, ...], keepdim: bool) -> np.ndarray:
    """Reduce whole numbers over axes; the result has their dtype."""
    values = plain_values(x)
    return np.asarray(_named("reduce_whole", REDUCERS, function)(values, axis=dim, keepdims=keepdim)).astype(
        values.dtype
    )


@exact("running_sums")
def RUNNING_SUMS(x: Any, *, dim: int) -> np.ndarray:
    """Return the running sums of whole numbers along an axis."""
    values = plain_values(x)
    return np.cumsum(values, dim, dtype=values.dtype)


@exact("arg_extreme")
def ARG_EXTREME(x: Any, *, dim: int, keepdim: bool, largest: bool, last: bool = False) -> np.ndarray:
    """Return where the first, or the last, extreme value along an axis is."""
    values, find = plain_values(x), np.argmax if largest else np.argmin
    place = values.shape[dim] - 1 - find(np.flip(values, dim), dim) if last else find(values, dim)
    return np.expand_dims(place, dim) if keepdim else np.asarray(place)


@exact("range")
def RANGE(*, start: int, stop: int, step: int) -> np.ndarray:
    """Return the whole numbers from start to stop, as int64."""
    if step == 0 or (stop - start) // step > MOST_VALUES:
        raise ValueError(f"range: expected at most {MOST_VALUES} numbers, got {start} to {stop} by {step}")
    return np.arange(start, stop, step, dtype=np.int64)
