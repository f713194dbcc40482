"""What operators receive: float tensors, which go through octensor's ops, and arrays of everything else.

Integers and booleans (shapes, axes, indices, masks) are plain NumPy arrays; so are float64 and float16 numbers, which
octensor's tensors do not have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..._C import QTensor
from ...ops.exact import CAST
from ...ops.recording import RECORDING
from ...tensor import Tensor

MOST_VALUES = 1 << 30  # of one result that a few numbers of a file could ask for
_most: ContextVar[int] = ContextVar("most values of a result", default=MOST_VALUES)


class TooLarge(ValueError):
    """A result would have more values than it may."""


@contextmanager
def at_most(values: int) -> Iterator[None]:
    """Let results that a few numbers ask for have fewer values, within."""
    token = _most.set(min(values, MOST_VALUES))
    try:
        yield
    finally:
        _most.reset(token)


def array(value: Any) -> np.ndarray:
    """Return the values of a tensor or array; of a QTensor the codes."""
    return value.int_repr() if isinstance(value, QTensor) else np.asarray(value)


def run(op: Any, *values: Any, **attrs: Any) -> Any:
    """Run an op on arrays of any dtype; a recorder hears of it where it follows from the model's inputs.

    What is made of shapes and constants alone stays what it is: a number in the graph, or a constant.
    """
    recorder = RECORDING.recorder
    if recorder is not None:
        given = [v for v in (*values, *attrs.values()) if isinstance(v, (Tensor, QTensor, np.ndarray))]
        if any(recorder.knows(v) for v in given) and all(_is_held(v) for v in given):
            return recorder.note(op, values, attrs, op.forward(*values, **attrs))
    return op.forward(*values, **attrs)


def follows(value: Any) -> bool:
    """Whether somebody records, and a value was made of the model's inputs."""
    return RECORDING.recorder is not None and RECORDING.recorder.knows(value)


def as_dtype(values: np.ndarray, dtype: Any) -> Any:
    """Return an array in another dtype."""
    wanted = np.dtype(dtype)
    if values.dtype == wanted:
        return values
    if any(d.kind == "f" and d != np.float32 for d in (values.dtype, wanted)):
        return values.astype(wanted)  # which no tensor has
    return run(CAST, values, dtype=wanted.name)


def _is_held(value: Any) -> bool:
    """Whether a recorded graph can hold values of this dtype."""
    return isinstance(value, QTensor) or value.dtype == np.float32 or value.dtype.kind in "iub"


def ints(value: Any) -> tuple[int, ...]:
    """Return whole numbers, given as a tensor, an array or a sequence."""
    return tuple(int(v) for v in array(value).reshape(-1))


def is_float(*values: Any) -> bool:
    """Whether one of the values goes through octensor's ops: a float32 tensor, array or number, or a QTensor."""
    return any(
        isinstance(v, float)
        or (isinstance(v, (Tensor, QTensor, np.ndarray)) and str(v.dtype) == "float32")
        or isinstance(v, QTensor)
        for v in values
    )


def check_size(name: str, shape: Sequence[int], costs_nothing: bool = False) -> tuple[int, ...]:
    """Return a shape that a result may have; `costs_nothing`: all its values are one in memory.

    Raises
    ------
    ValueError
        If it has negative sizes, or more values than memory is for; `TooLarge` for more than `at_most` allows.
    """
    sizes = tuple(int(n) for n in shape)
    if any(n < 0 for n in sizes) or math.prod(sizes) > MOST_VALUES:
        raise ValueError(f"{name}: expected a result of at most {MOST_VALUES} values, got shape {sizes}")
    if not costs_nothing and math.prod(sizes) > _most.get():
        raise TooLarge(f"{name}: expected a result of at most {_most.get()} values here, got shape {sizes}")
    return sizes


def innermost_first(pads: Sequence[tuple[int, int]]) -> list[int]:
    """Return padding (before, after) per axis in the order of `pad`: the last axis first, flat."""
    return [amount for pair in reversed(pads) for amount in pair]


def axes_of(value: Any, ndim: int) -> tuple[int, ...]:
    """Return axes counted from the front."""
    axes = ints(value)
    if any(not -ndim <= a < ndim for a in axes):
        raise ValueError(f"axes: expected axes of a tensor with {ndim}, got {axes}")
    return tuple(a % ndim for a in axes)
