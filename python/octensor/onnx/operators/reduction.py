"""Sums, means and extremes along axes; softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ops import elementwise, mathematics, moving, reduce, shape, unary
from ...ops.moving import order
from ...ops.softmax import log_softmax as log_softmax_op
from ...ops.softmax import softmax as softmax_op
from ...ops.whole import ARG_EXTREME, PAIRWISE, REDUCE_WHOLE, RUNNING_SUMS
from ..registry import operator
from .values import array, axes_of, is_float, run


def _reducer(name: str, for_floats: Callable[..., Any], for_others: str | None = None) -> Callable[..., Any]:
    def function(data: Any, axes: Any = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Any:
        ndim = data.ndim
        if name in _EMPTY and 0 in data.shape:
            return _of_nothing(data, axes, keepdims, _EMPTY[name])
        chosen = () if axes is None else axes_of(axes, ndim)
        if not chosen:
            if noop_with_empty_axes:
                return data
            chosen = tuple(range(ndim))
        if not is_float(data) and for_others is not None:
            values = array(data)
            return run(REDUCE_WHOLE, values, function=for_others, dim=chosen, keepdim=bool(keepdims))
        return for_floats(data, chosen, bool(keepdims)) if ndim else for_floats(shape.reshape(data, 1), (0,), False)

    function.__name__ = function.__qualname__ = name
    operator(name)(function)
    return function


# What reductions of no values give, where NumPy has nothing to give.
_EMPTY = {"ReduceMax": -np.inf, "ReduceMin": np.inf, "ReduceLogSumExp": -np.inf}


def _of_nothing(data: Any, axes: Any, keepdims: int, value: float) -> Any:
    values = array(data)
    chosen = tuple(range(values.ndim)) if axes is None else axes_of(axes, values.ndim)
    shape_ = np.sum(values, chosen, keepdims=bool(keepdims)).shape
    if values.dtype.kind == "b":
        return np.full(shape_, value > 0)
    if values.dtype.kind in "iu":
        info = np.iinfo(values.dtype)
        return np.full(shape_, info.min if value < 0 else info.max, values.dtype)
    return np.full(shape_, value, values.dtype)


def _norm2(x: Any, axes: Any, keep: bool) -> Any:
    return unary.sqrt(reduce.sum(elementwise.mul(x, x), axes, keep))


def _log_sum_exp(x: Any, axes: Any, keep: bool) -> Any:
    top = reduce.amax(x, axes, True)
    total = unary.log(reduce.sum(unary.exp(elementwise.sub(x, top)), axes, True))
    result = elementwise.add(total, top)
    return result if keep else reduce.sum(result, axes, False)


_reducer("ReduceSum", reduce.sum, "sum")
_reducer("ReduceMean", reduce.mean, "mean")
_reducer("ReduceMax", reduce.amax, "max")
_reducer("ReduceMin", reduce.amin, "min")
_reducer("ReduceProd", mathematics.prod, "prod")
_reducer("ReduceL1", lambda x, axes, keep: reduce.sum(unary.abs(x), axes, keep))
_reducer("ReduceL2", _norm2)
_reducer("ReduceSumSquare", lambda x, axes, keep: reduce.sum(elementwise.mul(x, x), axes, keep))
_reducer("ReduceLogSum", lambda x, axes, keep: unary.log(reduce.sum(x, axes, keep)))
_reducer("ReduceLogSumExp", _log_sum_exp)


def _along(op: Callable[..., Any], x: Any, axis: int | None, opset: int) -> Any:
    """Run a softmax; before version 13 all axes from `axis` on were one."""
    if opset >= 13:
        return op(x, -1 if axis is None else axis)
    first = (1 if axis is None else axis) % max(x.ndim, 1)
    sizes = tuple(x.shape)
    rows = int(np.prod(sizes[:first], dtype=np.int64))
    return shape.reshape(op(shape.reshape(x, (rows, -1)), 1), sizes)


@operator("Softmax")
def softmax(x: Any, *, axis: int | None = None, opset: int = 13) -> Any:
    """Return exp(x) over its sum along an axis."""
    return _along(softmax_op, x, axis, opset)


@operator("LogSoftmax")
def log_softmax(x: Any, *, axis: int | None = None, opset: int = 13) -> Any:
    """Return the logarithm of softmax."""
    return _along(log_softmax_op, x, axis, opset)


@operator("ArgMax")
def arg_max(x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
    """Return the index of the largest value."""
    return run(ARG_EXTREME, array(x), dim=axis, keepdim=bool(keepdims), largest=True, last=bool(select_last_index))


@operator("ArgMin")
def arg_min(x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
    """Return the index of the smallest value."""
    return run(ARG_EXTREME, array(x), dim=axis, keepdim=bool(keepdims), largest=False, last=bool(select_last_index))


@operator("TopK")
def top_k(x: Any, k: Any, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> Any:
    """Return the k largest (smallest) values along an axis, and their indices."""
    count = int(array(k).reshape(()))
    if not 0 <= count <= x.shape[axis]:
        raise ValueError(f"TopK: k: expected 0 to {x.shape[axis]}, got {count}")
    places = order(x, axis, bool(largest))
    taken = run(shape.GETITEM, array(places), index=(*(slice(None),) * (axis % x.ndim), slice(count)))
    if is_float(x):
        from ...ops.moving import GATHER
        from ...ops.spec import apply

        return apply(GATHER, x, indices=taken, dim=axis % x.ndim), taken
    return run(moving.GATHER, array(x), indices=taken, dim=axis), taken


@operator("CumSum")
def cum_sum(x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
    """Return running sums along an axis, with or without the value itself, from either end."""
    along = int(array(axis).reshape(()))
    if is_float(x):
        flipped = moving.flip(x, along) if reverse else x
        total = mathematics.cumsum(flipped, along)
        total = elementwise.sub(total, flipped) if exclusive else total
        return moving.flip(total, along) if reverse else total
    dims = (along % x.ndim,)
    whole = run(moving.FLIP, array(x), dims=dims) if reverse else array(x)
    sums = run(RUNNING_SUMS, whole, dim=along)
    sums = run(PAIRWISE, sums, whole, function="sub") if exclusive else sums
    return run(moving.FLIP, sums, dims=dims) if reverse else sums
