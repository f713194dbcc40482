"""Rules that drop work: what returns its input, what nobody reads, and what was computed before."""

from __future__ import annotations

from typing import Any

from octensor.graph.graph_module import GraphModule
from octensor.graph.node import Node
from octensor.graph.patterns import called, layer_of
from octensor.graph.rules.movement import MOVES, is_dequantize, is_quantize
from octensor.nn.dropout import Dropout
from octensor.nn.linear import Identity
from octensor.nn.module import Module
from octensor.ops.dropout import dropout
from octensor.ops.half import to_float16


def replace(node: Node, by: Node) -> None:
    """Let the users of a node read another one, and erase it."""
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)


def drop_idle(modules: GraphModule) -> int:
    """Drop identities, and dropout in eval mode."""
    idle = [node for node in modules.graph.nodes if _is_idle(node, modules)]
    for node in idle:
        replace(node, node.all_input_nodes[0])
    return len(idle)


def _is_idle(node: Node, modules: GraphModule) -> bool:
    if len(node.all_input_nodes) != 1:
        return False
    layer = layer_of(node, modules)
    if layer is not None:
        if layer._forward_hooks or layer._forward_pre_hooks or list(layer.children()):
            return False
        return type(layer) is Identity or (type(layer) is Dropout and not layer.training)
    training = node.kwargs.get("training", node.args[2] if len(node.args) > 2 else True)
    return called(node) is dropout and training is False


def drop_dead(modules: GraphModule) -> int:
    """Drop nodes whose value nobody uses and that have no effect."""
    before = len(modules.graph.nodes)
    modules.graph.eliminate_dead_code()
    return before - len(modules.graph.nodes)


def drop_unused_attributes(modules: GraphModule) -> None:
    """Remove parameters and buffers that belong to no layer and that the graph does not read."""
    read = {node.target for node in modules.graph.nodes if node.op == "get_attr"}
    for path, owner in modules.named_modules():
        if owner is modules or type(owner) is Module:
            for name in [*owner._parameters, *owner._buffers]:
                if (f"{path}.{name}" if path else name) not in read:
                    delattr(owner, name)


def merge_duplicates(modules: GraphModule) -> int:
    """Let the users of equal values read the first: quantized, dequantized or moved alike, or the same attribute."""
    seen: dict[Any, Node] = {}
    count = 0
    for node in modules.graph.nodes:
        if not _is_pure(node):
            continue
        key = (node.op, called(node) or node.target, repr(node.args), repr(node.kwargs))
        first = seen.setdefault(key, node)
        if first is not node:
            replace(node, first)
            count += 1
    return count


def _is_pure(node: Node) -> bool:
    if node.op == "get_attr" or is_quantize(node) or is_dequantize(node):
        return True
    return called(node) is to_float16 or called(node) in MOVES
