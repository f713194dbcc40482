"""What in a recorded graph follows from the batch: found by recording again with one sample more.

Where an integer differs between both recordings it is taken for `fixed + per_batch * batch`; where a constant is longer
along an axis and the same at every place of it (initial states of zeros), it is one place, repeated. Anything else that
differs binds the program to the example's batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._C import QTensor
from ..graph.graph_module import GraphModule
from ..graph.node import Node
from ..graph.record import record
from ..nn.module import Module
from ..tensor import Tensor
from .ir import BatchSize


class BoundToBatch(Exception):
    """Something follows from the batch in a way that a program cannot follow; the text says what."""


def batch_size(x: Any, fixed: int, per_batch: int) -> int:
    """Return ``fixed + per_batch * x.shape[0]``: what a loaded model calls for a size that follows from the batch."""
    return fixed + per_batch * int(x.shape[0])


def one_more(value: Any, axis: int, batch: int) -> Any:
    """Return an input with its first sample once more, if its size along the axis is the batch."""
    if not isinstance(value, (Tensor, QTensor, np.ndarray)) or len(value.shape) <= axis or value.shape[axis] != batch:
        return value
    array = np.asarray(value)
    longer = np.concatenate([array, np.take(array, [0], axis)], axis)
    if isinstance(value, QTensor):
        return QTensor.from_numpy(longer, value.qparams)
    return Tensor(longer) if isinstance(value, Tensor) else longer


def generalize(
    first: GraphModule,
    model: Any,
    inputs: tuple[Any, ...],
    axis: int,
    batch: int,
    leaves: Sequence[type[Module]] = (),
) -> dict[Node, Any]:
    """Return, for nodes of `first`, what differs with the batch: their (args, kwargs), or (value, sizes) of a constant.

    `leaves` are those that `first` was recorded with.

    Raises
    ------
    BoundToBatch
        If the graph of another batch is another one.
    """
    try:
        second = record(model, tuple(one_more(x, axis, batch) for x in inputs), leaves=leaves, check=False)
    except Exception as error:
        raise BoundToBatch(f"the model does not run with another batch: {error}") from error
    nodes, others = list(first.graph.nodes), list(second.graph.nodes)
    if len(nodes) != len(others):
        raise BoundToBatch("the model runs other ops with another batch")
    found: dict[Node, Any] = {}
    for a, b in zip(nodes, others, strict=True):
        if a.op != b.op or (a.op == "call_function" and a.target is not b.target):
            raise BoundToBatch(f"the model runs other ops with another batch, from {_name(a)} on")
        if a.op == "get_attr":
            repeated = _constant(fetch(first, a.target), fetch(second, b.target), batch, a)
            if repeated is not None:
                found[a] = repeated
        elif a.op == "call_function":
            places = {id(x): y for x, y in zip(others, nodes, strict=True)}
            found[a] = tuple(_merge(x, y, batch, a, places) for x, y in ((a.args, b.args), (a.kwargs, b.kwargs)))
    return found


def fetch(module: GraphModule, target: Any) -> Any:
    """Return what a get_attr node names."""
    value: Any = module
    for part in str(target).split("."):
        value = getattr(value, part)
    return value


def _name(node: Node) -> str:
    where = node.meta.get("module", "")
    return f"{getattr(node.target, 'name', node.target)} in {where!r}" if where else str(node.target)


def _constant(a: Any, b: Any, batch: int, node: Node) -> Any:
    """Return (one place, sizes) of a constant that repeats along the batch; None where it does not change."""
    if not isinstance(a, (Tensor, QTensor, np.ndarray)):
        return None
    x, y = np.asarray(a), np.asarray(b)
    if x.shape == y.shape:
        if not np.array_equal(x, y, equal_nan=x.dtype.kind == "f"):
            raise BoundToBatch(f"the constant {node.target} follows from the batch")
        return None
    axes = [i for i, (n, m) in enumerate(zip(x.shape, y.shape, strict=False)) if n != m]
    if x.ndim != y.ndim or len(axes) != 1 or (isinstance(a, QTensor) and a.qparams.is_per_channel):
        raise BoundToBatch(f"the constant {node.target} follows from the batch")
    place, other = np.take(x, [0], axes[0]), np.take(y, [0], axes[0])
    if not (np.array_equal(np.broadcast_to(place, x.shape), x) and np.array_equal(np.broadcast_to(other, y.shape), y)):
        raise BoundToBatch(f"the constant {node.target} follows from the batch")
    if not np.array_equal(place, other):
        raise BoundToBatch(f"the constant {node.target} follows from the batch")
    sizes: list[Any] = list(x.shape)
    sizes[axes[0]] = _size(x.shape[axes[0]], y.shape[axes[0]], batch)
    held = np.ascontiguousarray(place)
    return (QTensor.from_numpy(held, a.qparams) if isinstance(a, QTensor) else held), tuple(sizes)


def _size(a: int, b: int, batch: int) -> BatchSize:
    return BatchSize(a - (b - a) * batch, b - a)


def _merge(a: Any, b: Any, batch: int, node: Node, places: dict[int, Node]) -> Any:
    if isinstance(a, Node):
        if not isinstance(b, Node) or places[id(b)] is not a:
            raise BoundToBatch(f"{_name(node)} reads another value with another batch")
        return a
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)) and len(a) == len(b):
        merged = [_merge(x, y, batch, node, places) for x, y in zip(a, b, strict=True)]
        return type(a)(*merged) if hasattr(a, "_fields") else tuple(merged) if isinstance(a, tuple) else merged
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return {key: _merge(a[key], b[key], batch, node, places) for key in a}
    if isinstance(a, slice) and isinstance(b, slice):
        parts = ((a.start, b.start), (a.stop, b.stop), (a.step, b.step))
        return slice(*(_merge(x, y, batch, node, places) for x, y in parts))
    if type(a) is int and type(b) is int and a != b:
        return _size(a, b, batch)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        same = np.array_equal(a, b)
    else:
        same = bool(a == b)
    if not same:
        raise BoundToBatch(f"an attribute of {_name(node)} follows from the batch: {a!r:.60} and {b!r:.60}")
    return a
