"""Rules about quantizing and dequantizing: where it happens, and that it does not happen twice.

With M a movement of values (`movement`), q quantized and x float:

    M(dequantize(q))                 →  dequantize(M(q))      a quarter of the bytes are moved
    quantize(M(x))                   →  M(quantize(x))        the same
    quantize(dequantize(q))          →  q                     where both have the same scale, zero point and dtype
"""

from __future__ import annotations

from typing import Any

from octensor import _C, nn
from octensor.graph.graph_module import GraphModule
from octensor.graph.node import Node
from octensor.graph.patterns import layer_of
from octensor.graph.rules.drop import replace
from octensor.graph.rules.movement import (
    GROWING,
    KEEPING,
    MOVES,
    SHRINKING,
    gives_several,
    is_dequantize,
    is_quantize,
    moves,
)

MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
MEAN_POOLS = (
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
)
POOLS = MAX_POOLS + MEAN_POOLS  # of codes, they keep their parameters


def push_dequantize(modules: GraphModule) -> int:
    """Move first, then dequantize."""
    count = 0
    for node in modules.graph.nodes:
        if not moves(node, KEEPING | SHRINKING):
            continue
        source: Any = node.args[0]
        if not is_dequantize(source) or len(source.users) != 1 or not _is_one_tensor(source.args[0]):
            continue
        exchange(node, source)
        count += 1
    return count


def push_quantize(modules: GraphModule) -> int:
    """Quantize first, then move."""
    count = 0
    for node in modules.graph.nodes:
        if not is_quantize(node):
            continue
        source: Any = node.args[0]
        if not moves(source, KEEPING | GROWING) or len(source.users) != 1 or not _is_one_tensor(source.args[0]):
            continue
        exchange(node, source)
        count += 1
    return count


def exchange(node: Node, source: Node) -> None:
    """Let a node and the only one it takes a tensor from change places."""
    graph = node.graph
    with graph.inserting_before(node):
        first = graph.create_node(node.op, node.target, (source.args[0], *node.args[1:]), node.kwargs)
        second = graph.create_node(source.op, source.target, (first, *source.args[1:]), source.kwargs)
    first.meta, second.meta = dict(node.meta), dict(source.meta)
    replace(node, second)
    graph.erase_node(source)


def merge_requantizations(modules: GraphModule) -> int:
    """Drop a quantize of what was dequantized with the same parameters."""
    count = 0
    for node in modules.graph.nodes:
        source: Any = node.args[0] if is_quantize(node) else None
        if is_dequantize(source) and qparams_of(node, modules) == qparams_of(source.args[0], modules) is not None:
            replace(node, source.args[0])
            count += 1
    return count


def qparams_of(node: Any, modules: GraphModule) -> _C.QParams | None:
    """Return the scale and zero point of a node's value, if they can be seen in the graph."""
    if moves(node, MOVES):
        return qparams_of(node.args[0], modules)
    if is_quantize(node):
        scale, zero_point = (_number(argument, modules) for argument in node.args[1:3])
        return None if scale is None or zero_point is None else _C.QParams(scale, int(zero_point), node.args[3])
    known = node.meta.get("qparams") if isinstance(node, Node) else None  # of a call with quantized operands
    if isinstance(known, _C.QParams):
        return known
    layer = layer_of(node, modules)
    if isinstance(layer, POOLS):
        return qparams_of(node.args[0], modules)
    slot = getattr(layer, "activation_post_process", None)
    return slot if isinstance(slot, _C.QParams) else None


def _number(argument: Any, modules: GraphModule) -> Any:
    if not isinstance(argument, Node):
        return argument
    if argument.op != "get_attr":
        return None
    held: Any = modules
    for part in str(argument.target).split("."):
        held = getattr(held, part)
    return held.item()


def _is_one_tensor(node: Any) -> bool:
    """Whether a node's value is a tensor, not several of them."""
    return isinstance(node, Node) and not gives_several(node)
