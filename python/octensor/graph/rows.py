"""Turning a recorded graph into something else by a table with a row per op: what `compile` and `onnx.export` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .graph_module import GraphModule
from .immutable import map_aggregate
from .meta import TensorMeta
from .node import Node

Row = Callable[..., Any]


class Unsupported(Exception):
    """A row does not cover what it was asked for; the text says what and what to do."""


class Rows(dict[str, Row]):
    """Functions by the names of the ops that they turn into something else.

    Attributes
    ----------
    batched : set of str
        Ops whose row understands attributes that follow from the batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.batched: set[str] = set()

    def row(self, *names: str, batched: bool = False) -> Callable[[Row], Row]:
        """Decorate the function for the ops of these names."""

        def register(function: Row) -> Row:
            self.update(dict.fromkeys(names, function))
            if batched:
                self.batched.update(names)
            return function

        return register


def walk(
    module: GraphModule,
    known: dict[Node, Any],
    attribute: Callable[[Node], Any],
    call: Callable[[Node, Any, Any], Any],
    differing: Mapping[Node, Any],
) -> tuple[Any, list[str]]:
    """Go through a recorded graph in order; return its result in the new values, and a line per thing `Unsupported`.

    Parameters
    ----------
    module : GraphModule
    known : dict
        The new values by node: those of the inputs to begin with.
    attribute, call : callable
        `attribute(node)` and `call(node, args, kwargs)` give a node's new value.
    differing : mapping
        (args, kwargs) in place of a node's own, where the batch is in them.
    """
    faults: list[str] = []
    broken: set[Node] = set()
    for node in module.graph.nodes:
        if node.op == "output":
            return values_of(node.args[0], known), list(dict.fromkeys(faults))
        if any(n in broken for n in node.all_input_nodes):
            broken.add(node)
            continue
        try:
            if node.op == "get_attr":
                known[node] = attribute(node)
            elif node.op != "placeholder":
                args, kwargs = differing.get(node) or (node.args, dict(node.kwargs))
                known[node] = call(node, values_of(args, known), values_of(kwargs, known))
        except Unsupported as fault:
            broken.add(node)
            faults.append(f"  {where(node)}: {fault}")
    raise AssertionError("a graph ends with its output")


def values_of(tree: Any, known: Mapping[Node, Any]) -> Any:
    """Return a tree of arguments with values in place of nodes."""
    return map_aggregate(tree, lambda part: known.get(part) if isinstance(part, Node) else part, frozen=False)


def where(node: Node) -> str:
    """Return a text that says where a node stands in the model."""
    name = getattr(node.target, "name", None) or getattr(node.target, "__name__", None) or str(node.target)
    path, line = node.meta.get("module", ""), node.meta.get("line")
    meta = node.meta.get("tensor")
    text = f"{path}: {name}" if path else str(name)
    if isinstance(meta, TensorMeta):
        text += f" -> {meta.dtype} {meta.shape}"
    return f"{text} ({line})" if line else text
