"""The tape: reverse-mode differentiation of what `ops.apply` recorded.

Each recorded result carries a `Node`: the tensors it came from, and a function that maps the gradient of the result to
the gradients of those tensors. Nodes are numbered as they are made, so "largest number first" is an order in which
every node comes after all nodes that use it: `backward` needs no recursion, and a deep network no deep stack.

Recording is on by default and per thread; `no_grad` turns it off inside a `with` block or a decorated function.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import wraps
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .tensor import Tensor

Pull = Callable[[np.ndarray], Sequence["np.ndarray | None"]]


class _Mode(threading.local):
    recording = True


_mode = _Mode()
_numbers = count()


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return _mode.recording


class set_grad_enabled:
    """Turn recording on or off: at once, and back at the end when used in a `with` block.

    Parameters
    ----------
    mode : bool
        Whether to record.
    """

    def __init__(self, mode: bool) -> None:
        if not isinstance(mode, (bool, np.bool_)):
            raise TypeError(f"set_grad_enabled: mode: expected True or False, got {mode!r}")
        self._previous = _mode.recording
        _mode.recording = bool(mode)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        _mode.recording = self._previous


class _Switch:
    """A context manager and decorator that sets recording to `value`; it may be nested and used again."""

    value: bool

    def __init__(self) -> None:
        self._previous: list[bool] = []

    def __enter__(self) -> None:
        self._previous.append(_mode.recording)
        _mode.recording = self.value

    def __exit__(self, *exc: object) -> None:
        _mode.recording = self._previous.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return call


class no_grad(_Switch):
    """Record nothing inside the block or the decorated function.

    Examples
    --------
    >>> import octensor as ot
    >>> x = ot.ones(2, requires_grad=True)
    >>> with ot.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    value = False


class enable_grad(_Switch):
    """Record inside the block or the decorated function, also within `no_grad`."""

    value = True


class Node:
    """How one result was made: its inputs, and the function from its gradient to theirs."""

    __slots__ = ("inputs", "name", "number", "pull")

    def __init__(self, name: str, inputs: tuple[Tensor | None, ...], pull: Pull) -> None:
        self.name = name
        self.inputs = inputs  # None where no gradient is wanted
        self.pull: Pull | None = pull
        self.number = next(_numbers)


def backward(root: Tensor, grad: np.ndarray, retain_graph: bool = False) -> None:
    """Add d(root)/d(leaf) · `grad` to the `grad` of every leaf that `root` was computed from.

    Parameters
    ----------
    root : Tensor
        A tensor that requires a gradient.
    grad : ndarray
        The gradient of the objective with respect to `root`, in its shape.
    retain_graph : bool
        Whether a second `backward` through the same nodes must be possible; otherwise they are let go.

    Raises
    ------
    RuntimeError
        If a node was let go by an earlier call.
    """
    if root._node is None:
        root._accumulate(grad)
        return
    pending: dict[int, tuple[Node, np.ndarray]] = {root._node.number: (root._node, grad)}
    heap = [-root._node.number]
    while heap:
        node, gradient = pending.pop(-heappop(heap))
        if node.pull is None:
            raise RuntimeError(
                f"backward: the graph behind {node.name!r} was already used and let go; "
                "call backward(retain_graph=True) the first time to go through it twice"
            )
        for tensor, part in zip(node.inputs, node.pull(gradient), strict=False):
            if tensor is None or part is None:
                continue
            parent = tensor._node
            if parent is None:
                tensor._accumulate(part)
            elif parent.number in pending:
                pending[parent.number] = (parent, pending[parent.number][1] + part)
            else:
                pending[parent.number] = (parent, part)
                heappush(heap, -parent.number)
        if not retain_graph:
            node.pull = None
            node.inputs = ()
