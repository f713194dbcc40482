"""Which parts of two graphs belong together, where one model was made of the other.

Both graphs are walked backwards from their outputs. What only moves, quantizes or observes values is passed over; of
the rest, the first of one graph belongs to the first of the other, the second to the second, and so on. Each pair must
be of related ops: the same op by another name (a convolution as layer, function or quantized function, with a ReLU in
it or behind it), or related by a table that the caller gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import octensor
from octensor.graph.graph_module import GraphModule
from octensor.graph.node import Node
from octensor.graph.patterns import called, function_of, layer_of
from octensor.graph.rules.movement import MOVES
from octensor.nn.dropout import Dropout
from octensor.nn.flatten import Flatten
from octensor.nn.linear import Identity
from octensor.nn.module import Module
from octensor.ops.half import to_float16
from octensor.quantization.fake_quantize import is_activation_post_process
from octensor.quantization.fx.lifted import Functional, FunctionLayer
from octensor.quantization.stubs import DeQuantStub, QuantStub


class GraphMatchingException(Exception):
    """Two graphs that are not of the same model."""


class Subgraph(NamedTuple):
    """Nodes that do one thing: one node, or an op and the ReLU behind it."""

    start: Node
    end: Node


_VIEWS = "chunk split unbind contiguous detach clone dequantize size dim numel dropout"
_PASSED_MODULES = (Identity, Dropout, Flatten, QuantStub, DeQuantStub)
_PASSED_FUNCTIONS = MOVES | {
    *map(
        function_of,
        ["chunk", "split", "unbind", "contiguous", "detach", "clone", "dequantize", "size", "dim", "numel", "dropout"],
    ),
    octensor.quantize_per_tensor,
    octensor.dequantize,
    octensor.nn.functional.dropout,
    to_float16,
    getattr,
}
# Ops that may have a ReLU in them.
_WITH_RELU = re.compile(r"(conv\dd|linear|add|mul|cat|batchnorm)")


def base_of(node: Node, modules: GraphModule) -> str:
    """Return the name of the op that a node does, whatever it is spelled as.

    "conv2d" for `nn.Conv2d`, ``F.conv2d`` and ``ops.quantized.conv2d_relu``; "add" for ``x + y`` and ``x + 1``.
    """
    layer = layer_of(node, modules)
    if isinstance(layer, Functional):
        name = layer.op
    elif isinstance(layer, FunctionLayer):
        name = layer.function.__name__
    elif layer is not None:
        name = type(layer).__name__
    else:
        target = called(node)
        name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
    name = re.sub("(_relu|_dynamic|_scalar|_fp16)+$", "", name).lower().replace("_", "")
    return re.sub(r"norm\dd$", "norm", name)


def get_matching_subgraph_pairs(
    gm_a: GraphModule,
    gm_b: GraphModule,
    base_name_to_sets_of_related_ops: Mapping[str, Any] | None = None,
    unmatchable_types_map: Mapping[str, Any] | None = None,
) -> dict[str, tuple[Subgraph, Subgraph]]:
    """Return {name: (part of a, part of b)}, in the order in which a runs.

    Parameters
    ----------
    gm_a, gm_b : GraphModule
    base_name_to_sets_of_related_ops : mapping from str to sets, optional
        Classes and functions that belong together besides those that do the same op.
    unmatchable_types_map : mapping from str to sets, optional
        What is passed over besides what moves or quantizes: "funs_unmatchable", "mods_unmatchable",
        "meths_unmatchable".

    Raises
    ------
    GraphMatchingException
        If a pair is of ops that are not related, or one graph has more of them.
    """
    extra = unmatchable_types_map or {}
    ignored = frozenset(kind for kinds in extra.values() for kind in kinds)
    ours, theirs = (list(_subgraphs(gm, ignored)) for gm in (gm_a, gm_b))
    related = [set(group) for groups in (base_name_to_sets_of_related_ops or {}).values() for group in _groups(groups)]
    pairs: dict[str, tuple[Subgraph, Subgraph]] = {}
    for a, b in zip(ours, theirs, strict=False):
        if not _are_related(a, b, gm_a, gm_b, related):
            raise GraphMatchingException(
                f"the graphs differ: {_shown(a, gm_a)} in the first stands where {_shown(b, gm_b)} does in the second: "
                "compare a prepared (or fused) model with what became of it"
            )
        pairs[_unique(name_of(a), pairs)] = a, b
    if len(ours) != len(theirs):
        longer, gm, number = (ours, gm_a, "first") if len(ours) > len(theirs) else (theirs, gm_b, "second")
        left = _shown(longer[min(len(ours), len(theirs))], gm)
        raise GraphMatchingException(
            f"the graphs differ: {left} in the {number} has no counterpart: compare a prepared (or fused) model with "
            "what became of it"
        )
    return dict(reversed(pairs.items()))


def name_of(part: Subgraph) -> str:
    """Return what a part is called: the path of a layer, or the name of a node."""
    return str(part.start.target) if part.start.op == "call_module" else part.start.name


def _unique(name: str, taken: Mapping[str, Any]) -> str:
    number, free = 0, name
    while free in taken:
        number, free = number + 1, f"{name}_{number + 1}"
    return free


def _groups(groups: Any) -> Iterator[Any]:
    """Yield the sets of an entry, which is a set or a list of them."""
    if isinstance(groups, (set, frozenset)):
        yield groups
    else:
        yield from groups


def _subgraphs(modules: GraphModule, ignored: frozenset[Any]) -> Iterator[Subgraph]:
    """Yield the parts of a graph from its output backwards, depth first, the first argument first."""
    seen: set[Node] = set()
    output = next(node for node in reversed(modules.graph.nodes) if node.op == "output")
    waiting = [output]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        start = node
        if node.op not in ("output", "placeholder", "get_attr") and not _is_passed(node, modules, ignored):
            start = _start(node, modules)
            seen.add(start)
            yield Subgraph(start, node)
        waiting.extend(n for n in reversed(start.all_input_nodes) if not n.meta.get("is_number"))


def _is_passed(node: Node, modules: GraphModule, ignored: frozenset[Any]) -> bool:
    layer = layer_of(node, modules)
    if layer is not None:
        return isinstance(layer, _PASSED_MODULES) or is_activation_post_process(layer) or type(layer) in ignored
    return called(node) in _PASSED_FUNCTIONS or node.target in ignored or node.target == "dequantize"


def _start(node: Node, modules: GraphModule) -> Node:
    """Return the op before a ReLU that could be one with it; else the node itself."""
    if base_of(node, modules) != "relu" or not node.args or not isinstance(node.args[0], Node):
        return node
    before = node.args[0]
    is_op = before.op in ("call_function", "call_method", "call_module")
    fits = is_op and len(before.users) == 1 and _WITH_RELU.fullmatch(base_of(before, modules))
    return before if fits else node


def _types(part: Subgraph, modules: GraphModule) -> set[Any]:
    found: set[Any] = set()
    for node in part:
        layer: Module | None = layer_of(node, modules)
        found |= {type(layer)} if layer is not None else {node.target, called(node)}
    return found


def _are_related(a: Subgraph, b: Subgraph, gm_a: GraphModule, gm_b: GraphModule, related: list[set[Any]]) -> bool:
    if base_of(a.start, gm_a) == base_of(b.start, gm_b):
        return True
    ours, theirs = _types(a, gm_a), _types(b, gm_b)
    return any(ours & group and theirs & group for group in related)


def _shown(part: Subgraph, modules: GraphModule) -> str:
    return f"{name_of(part)} ({base_of(part.start, modules)})"
