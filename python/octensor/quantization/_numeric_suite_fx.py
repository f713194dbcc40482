"""The numeric suite of graph mode: two graphs beside each other, also where functions do the work.

* `extract_weights`: the weights of matching parts;
* `add_loggers`, run both models, `extract_logger_info`: their results. The error of a part includes that of all before;
* `add_shadow_loggers`, run the one model it returns, `extract_shadow_logger_info`: model b runs, and each part of a
  runs on the input of its counterpart. The error of a part is its own.

All return ``{part: {"weight" | "node_output" | "node_input": {name of model: [entry, ...]}}}`` with entries

    {"type", "values": [...], "prev_node_name", "prev_node_target_type", "ref_node_name", "index_within_arg",
     "index_of_arg"}

A part has the name that it has in model a: the path of a layer, or the name of the node of a function. What belongs
together is found by `fx.matching`. The models given stay as they are.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

from octensor import _C
from octensor.graph.graph import Graph
from octensor.graph.graph_module import GraphModule
from octensor.graph.node import Node
from octensor.graph.patterns import layer_of
from octensor.nn.module import Module
from octensor.quantization._numeric_suite import _kept
from octensor.quantization.compare import sqnr
from octensor.quantization.fx.matching import (
    GraphMatchingException,
    Subgraph,
    get_matching_subgraph_pairs,
)
from octensor.quantization.fx.packed_weight import PackedWeight
from octensor.quantization.fx.tracing import QuantizationTracer, trace
from octensor.quantization.prepare import _check_model, _some

__all__ = [
    "GraphMatchingException",
    "NSTracer",
    "OutputLogger",
    "add_loggers",
    "add_shadow_loggers",
    "extend_logger_results_with_comparison",
    "extract_logger_info",
    "extract_shadow_logger_info",
    "extract_weights",
    "get_matching_subgraph_pairs",
    "sqnr",
]

Results = dict[str, dict[str, dict[str, list[dict[str, Any]]]]]


class NSTracer(QuantizationTracer):
    """Traces models that are not graphs yet."""


class OutputLogger(Module):
    """Keeps every value that passes, in `stats`, and what it is the value of.

    Parameters
    ----------
    ref_node_name, prev_node_name : str
        The node that the value is about, and the one that made it.
    model_name, ref_name : str
        Name of the model, and of the part.
    prev_node_target_type : str
        What made the value.
    results_type : {"node_output", "node_input"}
    index_within_arg, index_of_arg : int
        Which of the inputs, where it is one: the place in a list, and of the argument.
    """

    def __init__(
        self,
        ref_node_name: str,
        prev_node_name: str,
        model_name: str,
        ref_name: str,
        prev_node_target_type: str,
        results_type: str,
        index_within_arg: int,
        index_of_arg: int,
    ) -> None:
        super().__init__()
        self.stats: list[Any] = []
        self.ref_node_name = ref_node_name
        self.prev_node_name = prev_node_name
        self.model_name = model_name
        self.ref_name = ref_name
        self.prev_node_target_type = prev_node_target_type
        self.results_type = results_type
        self.index_within_arg = index_within_arg
        self.index_of_arg = index_of_arg

    def forward(self, x: Any) -> Any:
        """Keep ``x`` (of a recurrent layer's results the sequence) and return it."""
        self.stats.append(_kept(x))
        return x

    def extra_repr(self) -> str:
        """Say what is logged."""
        return f"{self.model_name}: {self.results_type} of {self.ref_name}"


# --- weights ----------------------------------------------------------------------------------------------------------


def extract_weights(
    model_name_a: str,
    model_a: Module,
    model_name_b: str,
    model_b: Module,
    base_name_to_sets_of_related_ops: Any = None,
    unmatchable_types_map: Any = None,
) -> Results:
    """Pair the weights of two models; parameters as `add_loggers`.

    >>> import octensor as ot
    >>> from octensor.quantization import default_dynamic_qconfig, quantize_fx
    >>> prepared = quantize_fx.prepare_fx(ot.nn.Sequential(ot.nn.Linear(4, 2)).eval(), {"": default_dynamic_qconfig})
    >>> found = extract_weights("float", prepared, "int8", quantize_fx.convert_fx(prepared))
    >>> found["0"]["weight"]["int8"][0]["values"][0].dtype
    octensor.qint8
    """
    a, b = _as_graph(model_a), _as_graph(model_b)
    pairs = get_matching_subgraph_pairs(a, b, base_name_to_sets_of_related_ops, unmatchable_types_map)
    results: Results = {}
    for name, parts in pairs.items():
        for model_name, modules, part in zip((model_name_a, model_name_b), (a, b), parts, strict=True):
            weights = _weights_of(part.start, modules)
            if weights:
                entry = _entry("weight", weights, part.start, part.start, modules)
                results.setdefault(name, {}).setdefault("weight", {})[model_name] = [entry]
    return results


def _weights_of(node: Node, modules: GraphModule) -> list[Any]:
    """Return the weights that a node computes with."""
    layer = layer_of(node, modules)
    if layer is not None:
        values = [getattr(layer, name) for name in layer.weight_names]
        return [v if isinstance(v, _C.QTensor) else _kept(v) for v in values]
    found = []
    for argument in node.args[1:]:
        if isinstance(argument, Node) and argument.op == "get_attr":
            path, _, name = str(argument.target).rpartition(".")
            owner = modules.get_submodule(path)
            value = owner.weight if isinstance(owner, PackedWeight) else getattr(owner, name)
            if len(getattr(value, "shape", ())) > 1:
                found.append(value if isinstance(value, _C.QTensor) else _kept(value))
    return found


# --- outputs ----------------------------------------------------------------------------------------------------------


def add_loggers(
    name_a: str,
    model_a: Module,
    name_b: str,
    model_b: Module,
    logger_cls: Callable[..., Module] = OutputLogger,
    should_log_inputs: bool = False,
    base_name_to_sets_of_related_ops: Any = None,
    unmatchable_types_map: Any = None,
) -> tuple[GraphModule, GraphModule]:
    """Return copies of two models with a logger behind every part that has a counterpart.

    Parameters
    ----------
    name_a, name_b
        Names of the models in the results.
    model_a, model_b
        Graph modules, of which one was made of the other (or models that can be traced): prepared, fused, converted.
    logger_cls
        Makes the loggers; takes what `OutputLogger` does.
    should_log_inputs
        Log the inputs of each part as well.
    base_name_to_sets_of_related_ops, unmatchable_types_map
        See `get_matching_subgraph_pairs`.

    Raises
    ------
    GraphMatchingException
        If the graphs are not of the same model.
    """
    a, b = copy.deepcopy(_as_graph(model_a)), copy.deepcopy(_as_graph(model_b))
    pairs = get_matching_subgraph_pairs(a, b, base_name_to_sets_of_related_ops, unmatchable_types_map)
    for name, parts in pairs.items():
        for model_name, modules, part in zip((name_a, name_b), (a, b), parts, strict=True):
            if should_log_inputs:
                for i, node in enumerate(_tensor_inputs(part)):
                    _log(modules, node, part, logger_cls, model_name, name, "node_input", i)
            _log(modules, part.end, part, logger_cls, model_name, name, "node_output", 0)
    for modules in (a, b):
        modules.recompile()
    return a, b


def _tensor_inputs(part: Subgraph) -> list[Node]:
    return [n for n in part.start.all_input_nodes if n.op != "get_attr" and not n.meta.get("is_number")]


def _log(
    modules: GraphModule,
    node: Node,
    part: Subgraph,
    logger_cls: Callable[..., Module],
    model_name: str,
    ref_name: str,
    results_type: str,
    index: int,
) -> Node:
    """Let a node's value pass through a logger on its way to those who use it (an input: to the part)."""
    kind = _target_type(node, modules)
    logger = logger_cls(part.start.name, node.name, model_name, ref_name, kind, results_type, 0, index)
    path = _free(modules, f"{node.name}_ns_logger_")
    modules.add_submodule(path, logger.train(modules.training))
    with modules.graph.inserting_after(node):
        logged = modules.graph.call_module(path, (node,))
    is_input = results_type == "node_input"
    node.replace_all_uses_with(logged, lambda user: user is part.start if is_input else user is not logged)
    return logged


def _free(modules: Module, prefix: str) -> str:
    number = 0
    while hasattr(modules, f"{prefix}{number}"):
        number += 1
    return f"{prefix}{number}"


def _target_type(node: Node, modules: GraphModule) -> str:
    layer = layer_of(node, modules)
    target = type(layer) if layer is not None else node.target
    return target if isinstance(target, str) else f"{target.__module__}.{getattr(target, '__qualname__', target)}"


def extract_logger_info(
    model_a: Module,
    model_b: Module,
    logger_cls: type[Module] = OutputLogger,
    model_name_to_use_for_layer_names: str | None = None,
) -> Results:
    """Return what the loggers of two models kept; with a name, parts are called as in the model of that name."""
    results: Results = {}
    for model in (model_a, model_b):
        _collect(model, logger_cls, results)
    return _renamed(results, model_name_to_use_for_layer_names)


def _collect(model: Module, logger_cls: type[Module], results: Results) -> None:
    for logger in model.modules():
        if isinstance(logger, logger_cls):
            entry = {
                "type": logger.results_type,
                "values": logger.stats,
                "prev_node_name": logger.prev_node_name,
                "prev_node_target_type": logger.prev_node_target_type,
                "ref_node_name": logger.ref_node_name,
                "index_within_arg": logger.index_within_arg,
                "index_of_arg": logger.index_of_arg,
            }
            of_part = results.setdefault(logger.ref_name, {}).setdefault(logger.results_type, {})
            entries = of_part.setdefault(logger.model_name, [])
            entries.append(entry)
            entries.sort(key=lambda e: (e["index_of_arg"], e["index_within_arg"]))


def _renamed(results: Results, model_name: str | None) -> Results:
    if model_name is None:
        return results
    named = {}
    for name, kinds in results.items():
        entries = next(iter(kinds.values())).get(model_name)
        named[entries[0]["ref_node_name"] if entries else name] = kinds
    return named


def _entry(kind: str, values: list[Any], node: Node, reference: Node, modules: GraphModule) -> dict[str, Any]:
    return {
        "type": kind,
        "values": values,
        "prev_node_name": node.name,
        "prev_node_target_type": _target_type(node, modules),
        "ref_node_name": reference.name,
        "index_within_arg": 0,
        "index_of_arg": 0,
    }


# --- shadows ----------------------------------------------------------------------------------------------------------


def add_shadow_loggers(
    name_a: str,
    model_a: Module,
    name_b: str,
    model_b: Module,
    logger_cls: Callable[..., Module] = OutputLogger,
    should_log_inputs: bool = False,
    base_name_to_sets_of_related_ops: Any = None,
    unmatchable_types_map: Any = None,
) -> GraphModule:
    """Return a copy of model b in which each part of a runs beside its counterpart, on the same input, and is logged.

    What the copy returns is what b returns. A quantized input is dequantized for a part that takes floats; a part of a
    that takes quantized tensors where b has floats is left out, with a warning. Parameters are as in `add_loggers`.
    """
    a, b = copy.deepcopy(_as_graph(model_a)), copy.deepcopy(_as_graph(model_b))
    pairs = get_matching_subgraph_pairs(a, b, base_name_to_sets_of_related_ops, unmatchable_types_map)
    skipped = []
    for name, (ours, theirs) in pairs.items():
        counts = [len(_tensor_inputs(part)) for part in (ours, theirs)]
        if counts[0] != counts[1] or _takes_codes(ours, a) > _takes_codes(theirs, b):
            skipped.append(name)
        else:
            _shadow(a, ours, b, theirs, (name_a, name_b, name), logger_cls, should_log_inputs)
    if skipped:
        warnings.warn(
            f"add_shadow_loggers: left out {_some(skipped)}: {name_a} takes other inputs there than {name_b} has",
            stacklevel=2,
        )
    b.recompile()
    return b


def _shadow(
    a: GraphModule,
    ours: Subgraph,
    b: GraphModule,
    theirs: Subgraph,
    names: tuple[str, str, str],
    logger_cls: Callable[..., Module],
    should_log_inputs: bool,
) -> None:
    name_a, name_b, name = names
    inputs = _tensor_inputs(theirs)
    if should_log_inputs:
        for i, node in enumerate(inputs):
            _log(b, node, theirs, logger_cls, name_b, name, "node_input", i)
        inputs = _tensor_inputs(theirs)
    path = _free(b, f"{name.replace('.', '_')}_shadow_")
    b.add_submodule(path, _cut(a, ours).train(b.training))
    codes = _takes_codes(ours, a)
    with b.graph.inserting_before(theirs.start):
        if not codes and _takes_codes(theirs, b):
            inputs = [b.graph.call_method("dequantize", (node,)) for node in inputs]
        if should_log_inputs:
            inputs = [_logged(b, node, ours, a, logger_cls, name_a, name, i) for i, node in enumerate(inputs)]
        shadow = b.graph.call_module(path, tuple(inputs))
    _log(b, shadow, ours, logger_cls, name_a, name, "node_output", 0)
    _log(b, theirs.end, theirs, logger_cls, name_b, name, "node_output", 0)


def _logged(
    modules: GraphModule,
    node: Node,
    part: Subgraph,
    of: GraphModule,
    logger_cls: Callable[..., Module],
    model_name: str,
    ref_name: str,
    index: int,
) -> Node:
    """Return the node of an input after it passed a logger."""
    before = _tensor_inputs(part)[index]
    kind = _target_type(before, of)
    logger = logger_cls(part.start.name, before.name, model_name, ref_name, kind, "node_input", 0, index)
    path = _free(modules, f"{node.name}_ns_logger_")
    modules.add_submodule(path, logger)
    return modules.graph.call_module(path, (node,))


def _cut(modules: GraphModule, part: Subgraph) -> GraphModule:
    """Return a part of a graph as a module that takes its tensors."""
    graph = Graph()
    known = {node: graph.placeholder(f"x{i}") for i, node in enumerate(_tensor_inputs(part))}
    for node in dict.fromkeys((*part.start.all_input_nodes, part.start, part.end)):
        if node not in known:
            known[node] = graph.node_copy(node, known.__getitem__)
    graph.output(known[part.end])
    return GraphModule(modules, graph, "Shadow")


def _takes_codes(part: Subgraph, modules: GraphModule) -> bool:
    """Whether a part computes with quantized tensors."""
    layer = layer_of(part.start, modules)
    if layer is not None:
        if isinstance(layer.activation_post_process, _C.QParams):
            return not getattr(layer, "takes_float", False)
        if layer.output_rule not in ("same", "fixed"):
            return False
    elif str(getattr(part.start.target, "__module__", "")).startswith("octensor.ops.library"):
        return "dynamic" not in getattr(part.start.target, "__name__", "")
    return any(_is_quantized(node, modules) for node in _tensor_inputs(part)[:1])


def _is_quantized(node: Node, modules: GraphModule) -> bool:
    """Whether a value is quantized, as the nodes that made it say."""
    layer = layer_of(node, modules)
    if layer is not None and isinstance(layer.activation_post_process, _C.QParams):
        return True
    if getattr(node.target, "__name__", "") == "quantize_per_tensor" or node.meta.get("is_quantized"):
        return True
    if node.target == "dequantize" or node.op in ("placeholder", "get_attr"):
        return False
    if str(getattr(node.target, "__module__", "")).startswith("octensor.ops.library"):
        return "dynamic" not in getattr(node.target, "__name__", "")
    if node.meta.get("rule") in ("same", "fixed") or isinstance(layer, OutputLogger):
        return any(_is_quantized(n, modules) for n in node.all_input_nodes[:1])
    return False


def extract_shadow_logger_info(
    model_a_shadows_b: Module,
    logger_cls: type[Module] = OutputLogger,
    model_name_to_use_for_layer_names: str | None = None,
) -> Results:
    """Return what the loggers of a model with shadows kept."""
    results: Results = {}
    _collect(model_a_shadows_b, logger_cls, results)
    return _renamed(results, model_name_to_use_for_layer_names)


def extend_logger_results_with_comparison(
    results: Results,
    model_name_1: str,
    model_name_2: str,
    comparison_fn: Callable[[Any, Any], float] = sqnr,
    comparison_name: str = "sqnr",
) -> None:
    """Add to each entry of model 2 how it compares with that of model 1: a list under `comparison_name`, in place."""
    for kinds in results.values():
        for models in kinds.values():
            for first, second in zip(models.get(model_name_1, []), models.get(model_name_2, []), strict=False):
                values = zip(first["values"], second["values"], strict=True)
                second[comparison_name] = [comparison_fn(x, y) for x, y in values]


def _as_graph(model: Module) -> GraphModule:
    _check_model("numeric suite", model)
    return model if isinstance(model, GraphModule) else trace(copy.deepcopy(model), NSTracer())
