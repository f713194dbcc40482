"""`replace_pattern`: every part of a graph that looks like one function is replaced by another.

Pattern and replacement are functions, traced like models. A pattern matches where ops, targets and constants are the
same and its inputs are any values; nothing outside may use what is inside a match, but for its result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..nn.module import Module
from .graph import Graph
from .graph_module import GraphModule, _share
from .node import Node
from .tracer import symbolic_trace


class Match(NamedTuple):
    """Where a pattern was found.

    Attributes
    ----------
    anchor : Node
        The last node of the match, in the graph as it was.
    nodes_map : dict from Node to Node
        Nodes of the pattern, and the ones they stand for.
    """

    anchor: Node
    nodes_map: dict[Node, Any]


Pattern = Callable[..., Any] | GraphModule


def replace_pattern(gm: GraphModule, pattern: Pattern, replacement: Pattern) -> list[Match]:
    """Replace all matches of a pattern that do not overlap; the module is changed and recompiled.

    Parameters
    ----------
    gm : GraphModule
    pattern, replacement : callable or GraphModule
        With the same number of inputs. Modules that they call are found by their paths: in `gm` for the pattern; those
        of the replacement are added to it.

    Returns
    -------
    list of Match

    Examples
    --------
    >>> import octensor as ot
    >>> traced = ot.fx.symbolic_trace(lambda x, y: ot.relu(x + y) + ot.relu(y + x))
    >>> found = ot.fx.replace_pattern(traced, lambda a, b: ot.relu(a + b), lambda a, b: ot.ops.quantized.add_relu(a, b))
    >>> print(traced.code)
    def forward(self, x, y):
        add_relu = octensor.ops.quantized.add_relu(x, y)
        add_relu_1 = octensor.ops.quantized.add_relu(y, x);  y = x = None
        add_2 = add_relu + add_relu_1;  add_relu = add_relu_1 = None
        return add_2
    <BLANKLINE>
    """
    wanted, new = _graph_of(pattern), _graph_of(replacement)
    inputs = [n for n in wanted.nodes if n.op == "placeholder"]
    places = [n for n in new.nodes if n.op == "placeholder"]
    if len(inputs) != len(places):
        raise ValueError(
            f"replace_pattern: replacement: expected {len(inputs)} inputs as the pattern has, got {len(places)}"
        )
    ends = [n for n in wanted.nodes if n.op == "output"]
    last = ends[0].args[0] if ends else None
    if not isinstance(last, Node) or last.op == "placeholder":
        raise ValueError("replace_pattern: pattern: expected a function that computes one value")
    if isinstance(replacement, Module):
        for node in new.nodes:
            if node.op in ("call_module", "get_attr"):
                _share(replacement, gm, node.target)
    taken: set[Node] = set()
    matches: list[Match] = []
    replaced: dict[Node, Node] = {}  # what earlier matches ended in, and what stands for it now
    for anchor in list(gm.graph.nodes):
        found: dict[Node, Any] = {}
        if not _matches(last, anchor, found) or not _is_closed(last, found):
            continue
        inside = {held for node, held in found.items() if node.op != "placeholder"}
        if inside & taken:
            continue
        taken |= inside
        matches.append(Match(anchor, found))
        values = {p: replaced.get(found[i], found[i]) for i, p in zip(inputs, places, strict=True)}
        with gm.graph.inserting_before(anchor):
            result = gm.graph.graph_copy(new, values)
        if isinstance(result, Node):
            anchor.replace_all_uses_with(result)
            replaced[anchor] = result
        else:
            raise ValueError("replace_pattern: replacement: expected a function that computes one value")
        for node in reversed(list(gm.graph.nodes)):
            if node in inside and not node.users:
                gm.graph.erase_node(node)
    gm.recompile()
    return matches


def _graph_of(function: Pattern) -> Graph:
    return function.graph if isinstance(function, GraphModule) else symbolic_trace(function).graph


def _matches(pattern: Node, node: Any, found: dict[Node, Any]) -> bool:
    """Whether a node computes what the pattern's does, from values that `found` takes in."""
    if pattern in found:
        return found[pattern] is node
    if pattern.op == "placeholder":
        found[pattern] = node
        return True
    if not isinstance(node, Node) or node.op != pattern.op or node.target != pattern.target:
        return False
    found[pattern] = node
    return _same(pattern.args, node.args, found) and _same(pattern.kwargs, node.kwargs, found)


def _same(pattern: Any, value: Any, found: dict[Node, Any]) -> bool:
    if isinstance(pattern, Node):
        return _matches(pattern, value, found)
    if isinstance(value, Node):
        return False
    if isinstance(pattern, (tuple, list)):
        same_kind = isinstance(value, (tuple, list)) and len(pattern) == len(value)
        return same_kind and all(_same(p, v, found) for p, v in zip(pattern, value, strict=True))
    if isinstance(pattern, dict):
        same_keys = isinstance(value, dict) and pattern.keys() == value.keys()
        return same_keys and all(_same(p, value[key], found) for key, p in pattern.items())
    if isinstance(pattern, slice):
        ends = ("start", "stop", "step")
        return isinstance(value, slice) and all(_same(getattr(pattern, e), getattr(value, e), found) for e in ends)
    return type(pattern) is type(value) and bool(pattern == value)


def _is_closed(last: Node, found: dict[Node, Any]) -> bool:
    """Whether nothing outside uses a value from inside, but for the result."""
    inside = {held for node, held in found.items() if node.op not in ("placeholder", "get_attr")}
    return all(
        set(found[n].users) <= inside for n in found if n.op not in ("placeholder", "get_attr") and n is not last
    )
