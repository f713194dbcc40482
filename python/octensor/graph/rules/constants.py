"""`fold_constants`: what is quantized or moved of constants alone is done once, when the rule fires."""

from __future__ import annotations

import re
from typing import Any

from octensor.graph.graph_module import GraphModule
from octensor.graph.node import Node, map_arg
from octensor.graph.patterns import called
from octensor.graph.rules.drop import replace
from octensor.graph.rules.movement import MOVES, is_quantize


def fold_constants(modules: GraphModule) -> int:
    """Replace quantized or moved parameters and buffers by buffers of the root, outside of training."""
    if modules.training:
        return 0
    count = 0
    for node in modules.graph.nodes:
        if not (is_quantize(node) or called(node) in MOVES):
            continue
        inputs = node.all_input_nodes
        if not inputs or any(n.op != "get_attr" for n in inputs):
            continue
        name = _free(modules, re.sub(r"_folded_\d+$", "", inputs[0].name))
        modules.register_buffer(name, _value(node, modules))
        with modules.graph.inserting_before(node):
            constant = modules.graph.get_attr(name)
        constant.meta = dict(node.meta)
        replace(node, constant)
        count += 1
    return count


def _free(modules: GraphModule, name: str) -> str:
    number = 0
    while hasattr(modules, f"{name}_folded_{number}"):
        number += 1
    return f"{name}_folded_{number}"


def _value(node: Node, modules: GraphModule) -> Any:
    """Return the value of a node whose inputs are attributes."""

    def read(part: Node) -> Any:
        held: Any = modules
        for name in str(part.target).split("."):
            held = getattr(held, name)
        return held.detach() if hasattr(held, "detach") else held

    args, kwargs = map_arg(node.args, read), map_arg(node.kwargs, read)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return node.target(*args, **kwargs)
