"""Patterns: small trees of layers and calls, and finding them in a graph.

A pattern is written consumer first, as PyTorch writes them: ``nn.Linear``, ``(nn.ReLU, nn.Conv2d)``,
``(nn.ReLU, (nn.BatchNorm2d, nn.Conv2d))``. Each part is one of

* a class of layers, or a name for a state of one (``nn.intrinsic.LinearReLU``): a call of such a layer;
* a function, or the name of a method: a call of it, however it is spelled. ``torch.relu``, ``F.relu`` and
  ``x.relu()`` are one function here, as are ``x + y`` and ``torch.add(x, y)``;
* `MatchAllNode`: anything.

What stands inside of a pattern (all but its first part) must have no user outside, and a layer in a pattern of several
parts must be called once only: what fusing does to it would otherwise reach somebody else.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from octensor.graph.graph_module import GraphModule
from octensor.graph.node import Node
from octensor.nn.module import Module
from octensor.nn.views import View
from octensor.ops import OpSpec, elementwise, matmul, unary
from octensor.ops.shape import getitem
from octensor.tensor import Tensor

Pattern = Any


class MatchAllNode:
    """The part of a pattern that every node fits."""


_OPERATORS: dict[Any, Any] = {
    operator.add: elementwise.add,
    operator.sub: elementwise.sub,
    operator.mul: elementwise.mul,
    operator.truediv: elementwise.div,
    operator.neg: unary.neg,
    operator.matmul: matmul.matmul,
    operator.pow: elementwise.pow,
    operator.getitem: getitem,
}


@cache
def _method(name: str) -> Any:
    """Return the function that a method of tensors is, or its name where it is none."""
    for spelled in (name, name.removesuffix("_")):
        function = getattr(Tensor, spelled, None)
        if callable(function):
            return function
    return name


def function_of(target: Any) -> Any:
    """Return one function for all spellings of it: operators, methods by name, and ops.

    >>> import octensor as ot
    >>> function_of("relu") is ot.nn.functional.relu
    True
    """
    if isinstance(target, str):
        return _method(target)
    if isinstance(target, OpSpec):
        return target.function or target
    return _OPERATORS.get(target, target)


def called(node: Node) -> Any:
    """Return the function (as `function_of` has it) that a node calls; None for other nodes."""
    return function_of(node.target) if node.op in ("call_function", "call_method") else None


def layer_of(node: Any, modules: GraphModule) -> Module | None:
    """Return the layer that a node calls; None for other nodes."""
    return modules.get_submodule(node.target) if isinstance(node, Node) and node.op == "call_module" else None


class Match(NamedTuple):
    """Where a pattern was found."""

    pattern: Pattern
    #: The nodes, the consumer first.
    nodes: tuple[Node, ...]

    @property
    def first(self) -> Node:
        """The node that takes what comes from outside."""
        return self.nodes[-1]

    @property
    def last(self) -> Node:
        """The node whose value is used outside."""
        return self.nodes[0]


def match(node: Node, pattern: Pattern, modules: GraphModule) -> Match | None:
    """Return where a pattern is found that ends at a node, or None."""
    found: list[Node] = []
    if not _fits(node, pattern, modules, found):
        return None
    if len(found) > 1:
        inner = set(found)
        for part in found[1:]:
            if set(part.users) - inner or len(part.users) != 1:
                return None
        if any(part.op == "call_module" and calls(part.target, modules) > 1 for part in found):
            return None
    return Match(pattern, tuple(found))


def calls(target: str, modules: GraphModule) -> int:
    """Return how often the layer at a path is called, by whatever path."""
    layer = modules.get_submodule(target)
    return sum(n.op == "call_module" and modules.get_submodule(n.target) is layer for n in modules.graph.nodes)


def _fits(node: Any, pattern: Pattern, modules: GraphModule, found: list[Node]) -> bool:
    own, *inputs = pattern if isinstance(pattern, tuple) else (pattern,)
    if not isinstance(node, Node) or not is_one(node, own, modules):
        return False
    if inputs and len(node.args) < len(inputs):
        return False
    if own is not MatchAllNode:
        found.append(node)
    return all(_fits(arg, part, modules, found) for arg, part in zip(node.args, inputs, strict=False))


def is_one(node: Node, part: Any, modules: GraphModule) -> bool:
    """Whether a node is what one part of a pattern names."""
    if part is MatchAllNode:
        return True
    if isinstance(part, type) and (isinstance(part, View) or issubclass(part, Module)):
        layer = layer_of(node, modules)
        return layer is not None and (isinstance(layer, part) if isinstance(part, View) else type(layer) is part)
    return called(node) is not None and called(node) == function_of(part)


def find(
    modules: GraphModule, patterns: Mapping[Pattern, Any], accepts: Callable[[Match, Any], bool] = lambda m, h: True
) -> Iterator[tuple[Match, Any]]:
    """Yield (match, what the table has for it), the last nodes of the graph first; matches do not overlap.

    For each node the first pattern of the table that fits and is accepted wins.
    """
    taken: set[Node] = set()
    for node in reversed(modules.graph.nodes):
        if node in taken:
            continue
        for pattern, handler in patterns.items():
            found = match(node, pattern, modules)
            if found is not None and not taken.intersection(found.nodes) and accepts(found, handler):
                taken.update(found.nodes)
                yield found, handler
                break


def layered(*tables: Mapping[Pattern, Any]) -> dict[Pattern, Any]:
    """Return one table of several: what stands in an earlier one comes first, and hides the same in later ones."""
    found: dict[Pattern, Any] = {}
    for table in tables:
        for pattern, handler in table.items():
            found.setdefault(pattern, handler)
    return found


def put_first(table: dict[Pattern, Any], pattern: Pattern, handler: Any) -> None:
    """Put a row before all others of a table, in place."""
    others = {key: value for key, value in table.items() if key != pattern}
    table.clear()
    table[pattern] = handler
    table.update(others)
