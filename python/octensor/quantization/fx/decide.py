"""What becomes of each node of a traced model: its handler, its qconfig, and from both its rule.

Besides the rules of `handlers` there are, for the steps that follow:

========== ==========================================================================================
number     a sum or product with a number: "same" if the tensor is quantized, else "float"
weights    only the weights are quantized
half       computed in float, the result rounded to float16
standalone a module that was prepared as a unit of its own
inside     part of a match whose last node stands for it
========== ==========================================================================================

and the kinds of nodes that compute nothing: placeholder, get_attr, output.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from octensor import _C
from octensor.graph.graph_module import GraphModule
from octensor.graph.node import Node
from octensor.graph.patterns import Match, Pattern, called, find, function_of, layer_of
from octensor.nn.embedding import EmbeddingTable
from octensor.nn.module import Module
from octensor.nn.observed import ObservedLayer
from octensor.nn.projection import ProjectingLayer
from octensor.nn.weighted import WeightedLayer
from octensor.ops.shape import getitem
from octensor.quantization.fake_quantize import FakeQuantizeBase, is_activation_post_process
from octensor.quantization.fx.graph_modules import Prepared
from octensor.quantization.fx.handlers import BinaryOpQuantizeHandler, QuantizeHandler
from octensor.quantization.fx.qconfig_mapping import GLOBAL, Found, QConfigMapping
from octensor.quantization.mappings import get_default_dynamic_quant_module_mappings, no_observer_set
from octensor.quantization.qconfig import QConfig
from octensor.quantization.quant_type import QuantType, get_quant_type


class Decision(NamedTuple):
    """What becomes of a node."""

    rule: str
    qconfig: QConfig | None
    handler: QuantizeHandler | None


def activation_dtype(qconfig: QConfig | None) -> Any:
    """Return what a qconfig quantizes activations to: an integer dtype, float16, or None for float."""
    if qconfig is None or quant_type_of(qconfig) is QuantType.DYNAMIC:
        return None
    observer = qconfig.activation()
    dtype = getattr(observer, "dtype", None)
    integer = isinstance(dtype, _C.dtype) and is_activation_post_process(observer)
    return dtype if integer or dtype is np.float16 else None


def quant_type_of(qconfig: QConfig | None) -> QuantType | None:
    """Return what a qconfig asks for; None where its parts are for experiments."""
    try:
        return None if qconfig is None else get_quant_type(qconfig)
    except ValueError:
        return None


def takes_weights(kind: type | None, found: Found) -> bool:
    """Whether an entry is for the weights of a layer alone, and fits a layer of this class.

    Tables of embeddings want zero points that are floats, other weights do not. Layers that `quantize_dynamic` leaves
    alone where nothing is said of them (convolutions) are meant only by an entry of their own.
    """
    if kind is None or found.qconfig is None or not issubclass(kind, Module):
        return False
    if not issubclass(kind, (WeightedLayer, EmbeddingTable, ProjectingLayer)):
        return False
    weight, quant_type = found.qconfig.weight(), quant_type_of(found.qconfig)
    if quant_type is QuantType.QAT:
        return issubclass(kind, WeightedLayer) and isinstance(weight, FakeQuantizeBase)
    if quant_type not in (QuantType.DYNAMIC, QuantType.WEIGHT_ONLY):
        return False
    is_table = getattr(weight, "qscheme", None) is _C.qscheme.per_channel_affine_float_qparams
    if issubclass(kind, EmbeddingTable) or is_table:
        return issubclass(kind, EmbeddingTable) and is_table
    return found.level > GLOBAL or kind in get_default_dynamic_quant_module_mappings()


def _lifted_kind(handler: QuantizeHandler) -> type | None:
    return getattr(handler, "kinds", {}).get(called(handler.match.first))


def found_for(node: Node, mapping: QConfigMapping, modules: GraphModule) -> Found:
    """Return the entry of the mapping that holds for a node."""
    scope, kind = node.meta.get("scope", ("", None))
    if node.op == "call_module":
        return mapping.of_module(str(node.target), type(modules.get_submodule(str(node.target))))
    if node.op in ("call_function", "call_method"):
        function, own = called(node), kind if scope else None
        found = mapping.of_call(function, scope, own)
        spelled = mapping.of_call(node.target, scope, own)
        return spelled if spelled.level > found.level else found
    if node.op == "get_attr":
        return mapping.of_module(str(node.target).rpartition(".")[0], type(modules))
    return Found(mapping.global_qconfig, GLOBAL)


def agree(match: Match, mapping: QConfigMapping, modules: GraphModule) -> bool:
    """Whether no entry gives a later part of a match another qconfig than its first node has."""
    first = found_for(match.first, mapping, modules)
    others = [found_for(node, mapping, modules) for node in match.nodes[:-1]]
    return all(other.level == GLOBAL or other.qconfig == first.qconfig for other in others)


def decide(
    modules: GraphModule, mapping: QConfigMapping, table: dict[Pattern, type[QuantizeHandler]], custom: tuple[type, ...]
) -> dict[Node, Decision]:
    """Return what becomes of every node.

    Parameters
    ----------
    modules : GraphModule
    mapping : QConfigMapping
    table : dict
        {pattern: handler}, in the order in which they are tried.
    custom : tuple of type
        Classes of observed custom modules.
    """
    decisions: dict[Node, Decision] = {}
    handlers: dict[Match, QuantizeHandler] = {}
    mark_numbers(modules)

    def accepts(match: Match, handler: type[QuantizeHandler]) -> bool:
        if match.last.meta.get("is_number") or not agree(match, mapping, modules):
            return False
        made = handlers[match] = handler(match, modules)
        return made.accepts() and (len(match.nodes) == 1 or _matched(made, mapping).rule != "float")

    for match, _ in find(modules, table, accepts):
        decisions[match.last] = _matched(handlers[match], mapping)
        for node in match.nodes[1:]:
            decisions[node] = Decision("inside", None, None)
    for node in modules.graph.nodes:
        if node not in decisions:
            decisions[node] = _unmatched(node, modules, mapping, custom)
    return decisions


def _matched(handler: QuantizeHandler, mapping: QConfigMapping) -> Decision:
    """Return the rule of a matched node under its qconfig."""
    found = found_for(handler.match.first, mapping, handler.modules)
    qconfig = found.qconfig
    rule, dtype = handler.rule, activation_dtype(qconfig)
    if rule == "reads" or (rule == "same" and qconfig is not None):
        return Decision(rule, qconfig, handler)
    if dtype is np.float16 and handler.float16:
        return Decision("half", qconfig, handler)
    if not isinstance(dtype, _C.dtype) or not handler.int8:
        kind = type(handler.layer) if handler.layer is not None else _lifted_kind(handler)
        return Decision("weights" if takes_weights(kind, found) else "float", qconfig, handler)
    if isinstance(handler, BinaryOpQuantizeHandler) and handler.is_scalar:
        return Decision("number", qconfig, handler)
    return Decision(rule, qconfig, handler)


def _unmatched(node: Node, modules: GraphModule, mapping: QConfigMapping, custom: tuple[type, ...]) -> Decision:
    qconfig = found_for(node, mapping, modules).qconfig
    layer = layer_of(node, modules)
    if node.op in ("placeholder", "get_attr", "output"):
        return Decision(node.op, qconfig, None)
    if node.meta.get("is_number"):
        return Decision("reads", None, None)
    if isinstance(layer, Prepared):
        return Decision("standalone", qconfig, None)
    dtype = activation_dtype(qconfig)
    if isinstance(layer, (*custom, *no_observer_set())):
        return Decision("given" if isinstance(dtype, _C.dtype) else "float", qconfig, None)
    if isinstance(layer, (WeightedLayer, ObservedLayer)) and isinstance(dtype, _C.dtype):
        return Decision(layer.output_rule, qconfig, None)
    return Decision("float", qconfig, None)


def mark_numbers(modules: GraphModule) -> None:
    """Note which nodes have no tensor: sizes, and what is computed of them."""
    for node in modules.graph.nodes:
        if node.op in ("call_function", "call_method"):
            inputs = node.all_input_nodes
            of_numbers = bool(inputs) and all(n.meta.get("is_number") for n in inputs)
            is_plain = getattr(node.target, "__module__", "") in ("_operator", "operator", "builtins", "math")
            if (of_numbers and is_plain) or _reads_number(node):
                node.meta["is_number"] = True


def _reads_number(node: Node) -> bool:
    """Whether a node gives a number or a size of a tensor."""
    if node.target is getattr:
        return node.args[1] in ("shape", "ndim", "dtype", "device", "is_quantized", "requires_grad")
    return node.op == "call_method" and node.target in ("size", "dim", "numel", "nelement", "stride", "is_contiguous")


_WITH_INDICES = {function_of(name) for name in ("sort", "topk", "max", "min")}


def is_index(node: Node) -> bool:
    """Whether a node takes the indices out of what sort, topk, max or min return."""
    return (
        called(node) is getitem
        and len(node.args) == 2
        and node.args[1] == 1
        and isinstance(node.args[0], Node)
        and called(node.args[0]) in _WITH_INDICES
    )


def where(node: Node) -> str:
    """Say which node that is: its name, the module it is in, and the line of the user's code."""
    scope = node.meta.get("module", "")
    line = node.meta.get("line")
    is_layer = node.op == "call_module" and "call" not in node.meta and node.meta.get("rule") != "stub"
    inside = f" in {scope}" if scope and not is_layer else ""
    target = f" ({node.target})" if node.op == "call_module" and node.target != node.name else ""
    return f"{node.name}{target}{inside}" + (f", {line}" if line else "")
