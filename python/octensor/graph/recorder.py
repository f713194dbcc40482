"""`Recorder`: hears of every op while a model runs, and writes the graph of it.

What an op reads is found by identity: of the tensor, or of the array inside it. It is the result of a node, an input, a
parameter or buffer (then a get_attr node with its path), or something else, which becomes a constant of the graph.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .._C import QTensor
from ..nn.module import Module
from ..ops.shape import PERMUTE, RESHAPE
from ..tensor import Tensor
from .errors import TraceError, located, user_line
from .graph import Graph
from .immutable import map_aggregate
from .meta import meta_of
from .node import Node, map_arg
from .tracer import is_packed, paths_of

TENSORS = (Tensor, QTensor, np.ndarray)


class Recorder:
    """Writes the graph of what runs in the thread that made it.

    Parameters
    ----------
    root : Module
        Whose parameters and buffers are named by their paths.
    leaves : tuple of module classes
        Classes whose calls are one call_module node.

    Attributes
    ----------
    graph : Graph
    values : dict
        What the get_attr and call_module nodes name.
    constants : set of str
        Which of them are constants.
    """

    def __init__(self, root: Module, leaves: tuple[type[Module], ...] = ()) -> None:
        self.graph = Graph()
        self.values: dict[str, Any] = {}
        self.constants: set[str] = set()
        self._leaves = leaves
        self._thread = threading.get_ident()
        self._paths = paths_of(root)
        self._scope: tuple[str, type[Module] | None] = ("", type(root))
        self._nodes: dict[int, Node] = {}
        self._kept: list[Any] = []  # while they live their ids are theirs
        self._attributes: dict[str, Node] = {}
        self._paused = 0

    # --- hearing -----------------------------------------------------------------------------------------------------
    def is_mine(self) -> bool:
        """Whether what runs now is to be recorded."""
        return not self._paused and threading.get_ident() == self._thread

    def note(self, op: Any, tensors: tuple[Any, ...], attrs: dict[str, Any], result: Any) -> Any:
        """Hear that an op made `result`; return it."""
        if self.is_mine() and not any(result is tensor for tensor in tensors):
            self._add("call_function", op, tensors, attrs, result)
        return result

    def alias(self, result: Any, x: Any) -> Any:
        """Hear that `result` has the values of `x`; return it."""
        if self.is_mine() and self.knows(x):
            self._know(result, self._of(x))
        return result

    def view(self, name: str, x: QTensor, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
        """Hear that a method of QTensor made a view or a copy; return it."""
        if name in ("clone", "contiguous"):
            return self.alias(result, x)
        if name in ("reshape", "view", "flatten"):
            return self.note(RESHAPE, (x,), {"shape": tuple(result.shape)}, result)
        axes = list(range(x.ndim))
        if name == "transpose":
            a, b = (*args, *kwargs.values())
            axes[a], axes[b] = axes[b], axes[a]
        else:
            wanted = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
            axes = [int(axis) % x.ndim for axis in wanted]
        return self.note(PERMUTE, (x,), {"dims": tuple(axes)}, result)

    def written(self, x: Any) -> None:
        """Hear that a tensor is going to be written into."""
        if self.is_mine() and self.knows(x):
            raise TraceError(
                located(
                    "a tensor that the graph computes is written in place: a graph has no writes: use the form of the "
                    "operation that returns a new tensor"
                )
            )

    def module(self, m: Module, plain: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Follow the call of a module."""
        path = self._paths.get(id(m))
        if path is None or not self.is_mine():
            return plain(m, *args, **kwargs)
        before, self._scope = self._scope, (path, type(m))
        try:
            if not isinstance(m, self._leaves):
                return plain(m, *args, **kwargs)
            self.values[path] = m
            return self._whole("call_module", path, lambda *a, **k: plain(m, *a, **k), args, kwargs)
        finally:
            self._scope = before

    def function(self, target: Any, original: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a function and make one node of it, whatever it does inside."""
        if not self.is_mine():
            return original(*args, **kwargs)
        return self._whole("call_function", target, original, args, kwargs)

    def _whole(self, kind: str, target: Any, run: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._paused += 1
        try:
            result = run(*args, **kwargs)
        finally:
            self._paused -= 1
        if not any(result is arg for arg in args):
            self._add(kind, target, args, kwargs, result)
        return result

    # --- writing -----------------------------------------------------------------------------------------------------
    def input(self, name: str, value: Any) -> None:
        """Add an input of the model and of what is in it."""
        node = self.graph.placeholder(name)
        node.meta.update(tensor=meta_of(value), module="", scope=("", None))
        self._know(value, node)

    def output(self, value: Any) -> None:
        """End the graph with what the model returned; leave out what that does not need, and number the rest anew.

        What a run does besides differs between runs: the first one fills caches.
        """
        node = self.graph.output(map_aggregate(value, self._argument))
        node.meta["tensor"] = meta_of(value)
        self.graph.eliminate_dead_code()
        recorded, self.graph = self.graph, Graph()
        values, self.values = self.values, {}
        constants, self.constants = self.constants, set()
        copies: dict[Node, Node] = {}
        for node in recorded.nodes:
            target, args, kwargs = (
                node.target,
                *(map_arg(part, copies.__getitem__) for part in (node.args, node.kwargs)),
            )
            if node.op == "get_attr" and target in constants:
                target = f"_constant{len(self.constants)}"
                self.constants.add(target)
            if node.op in ("get_attr", "call_module"):
                self.values[target] = values[node.target]
            copies[node] = self.graph.create_node(node.op, target, args, kwargs)
            copies[node].meta = node.meta

    def knows(self, value: Any) -> bool:
        """Whether a tensor is an input or a result."""
        return id(value) in self._nodes or (isinstance(value, Tensor) and id(value._array) in self._nodes)

    def _add(self, kind: str, target: Any, args: Any, kwargs: Any, result: Any) -> None:
        arguments = tuple(map_aggregate(arg, self._argument) for arg in args)
        named = {key: map_aggregate(value, self._argument) for key, value in kwargs.items()}
        node = self.graph.create_node(kind, target, arguments, named)
        self._describe(node, result)
        self._know(result, node)

    def _describe(self, node: Node, value: Any) -> None:
        node.meta.update(tensor=meta_of(value), module=self._scope[0], scope=self._scope)
        line = user_line()
        if line is not None:
            node.meta["line"] = line

    def _know(self, value: Any, node: Node) -> None:
        """Remember that a node gives a value, and parts of it."""
        if isinstance(value, TENSORS):
            self._nodes[id(value)] = node
            self._kept.append(value)
            if isinstance(value, Tensor):
                self._nodes[id(value._array)] = node
                self._kept.append(value._array)
        elif isinstance(value, (tuple, list, dict)):
            for key, part in value.items() if isinstance(value, dict) else enumerate(value):
                if isinstance(part, (*TENSORS, tuple, list, dict)):
                    item = self.graph.call_function(operator.getitem, (node, key))
                    self._describe(item, part)
                    self._know(part, item)

    def _argument(self, value: Any) -> Any:
        if isinstance(value, TENSORS):
            return self._of(value)
        if is_packed(value):
            return self._attribute(self._paths.get(id(value)), value)
        return value

    def _of(self, value: Any) -> Node:
        """Return the node that gives a tensor or array."""
        for held in (value, value._array) if isinstance(value, Tensor) else (value,):
            node = self._nodes.get(id(held))
            if node is not None:
                return node
            path = self._paths.get(id(held))
            if path is not None:
                return self._attribute(path, value)
        return self._attribute(None, value)

    def _attribute(self, path: str | None, value: Any) -> Node:
        constant = path is None
        if path is None:
            path = f"_constant{len(self.constants)}"
            self.constants.add(path)
        node = self._attributes.get(path)
        if node is None:
            node = self._attributes[path] = self.graph.get_attr(path)
            self._describe(node, value)
            self.values[path] = value.copy() if isinstance(value, np.ndarray) else value
        if constant:
            self._kept.append(value)
            self._nodes[id(value)] = node
        return node
