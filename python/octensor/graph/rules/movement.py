"""Which nodes quantize, dequantize, or move values without changing them.

Moving commutes with quantizing and dequantizing, value by value. It also may leave values out or repeat them, and then
it matters for the work on which side it stands: `SHRINKING` belongs before, `GROWING` behind.
"""

from __future__ import annotations

from typing import Any

import octensor
from octensor.graph.node import Node
from octensor.graph.patterns import called, function_of
from octensor.ops.shape import getitem

_NAMES = "reshape view flatten squeeze unsqueeze permute transpose t flip"
KEEPING = frozenset(
    [*map(function_of, _NAMES.split()), octensor.channel_shuffle, octensor.pixel_shuffle, octensor.pixel_unshuffle]
)
SHRINKING = frozenset([*map(function_of, ("select", "narrow")), getitem])
GROWING = frozenset(map(function_of, ("expand", "repeat", "repeat_interleave")))
MOVES = KEEPING | SHRINKING | GROWING


def is_quantize(node: Any) -> bool:
    """Whether a node is ``quantize_per_tensor(x, scale, zero_point, dtype)``."""
    return isinstance(node, Node) and node.target is octensor.quantize_per_tensor and len(node.args) == 4


def is_dequantize(node: Any) -> bool:
    """Whether a node is ``x.dequantize()``."""
    return isinstance(node, Node) and node.op == "call_method" and node.target == "dequantize"


_SEVERAL = frozenset(map(function_of, ["chunk", "split", "unbind", "sort", "topk", "max", "min"]))


def gives_several(node: Node) -> bool:
    """Whether a node may give several tensors."""
    return called(node) in _SEVERAL


def moves(node: Any, kinds: frozenset[Any]) -> bool:
    """Whether a node moves the values of its first argument, as one of `kinds` does, and reads no other tensor."""
    if not isinstance(node, Node) or called(node) not in kinds or node.target == "__getitem__":
        return False
    inputs = node.all_input_nodes
    return bool(node.args) and inputs[:1] == [node.args[0]] and all(n.meta.get("is_number") for n in inputs[1:])
