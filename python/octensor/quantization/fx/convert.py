"""`convert_fx`: from a prepared graph to a quantized one.

The layers are converted by what converts layers in eager mode: `convert` for what was observed or trained,
`quantize_layer_dynamic_` where only weights are quantized. The graph is then lowered (`lower`) and simplified by the
rules of `octensor.graph.rules`.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from octensor.graph.graph_module import GraphModule
from octensor.graph.patterns import function_of
from octensor.graph.rules import RULES, drop_dead, drop_idle, simplify
from octensor.nn.module import Module
from octensor.quantization.convert import convert
from octensor.quantization.dynamic import quantize_layer_dynamic_
from octensor.quantization.fx.custom_config import ConvertCustomConfig
from octensor.quantization.fx.decide import where
from octensor.quantization.fx.graph_modules import ObservedGraphModule, Prepared, QuantizedGraphModule, as_class
from octensor.quantization.fx.lower import Lowering
from octensor.quantization.fx.tracing import preserve
from octensor.quantization.prepare import get_observers


def convert_graph(
    prepared: Any, is_reference: bool, config: ConvertCustomConfig, remove_qconfig: bool = True
) -> GraphModule:
    """Return the quantized form of a prepared graph module; see `quantize_fx.convert_fx`."""
    if not isinstance(prepared, ObservedGraphModule):
        did = ": it is quantized already" if isinstance(prepared, QuantizedGraphModule) else ""
        raise TypeError(
            "convert_fx: graph_module: expected what prepare_fx or prepare_qat_fx returned, got a "
            f"{type(prepared).__name__}{did}"
        )
    modules: Any = copy.deepcopy(prepared).eval()
    for path, child in list(modules.named_modules()):
        if isinstance(child, Prepared) and child is not modules and _is_outermost(modules, path):
            modules.add_submodule(path, _standalone(child, is_reference, config, remove_qconfig))
    replaced = {function_of(k): v for k, v in config.objects().items()}
    _quantize_weights(modules)
    _convert_layers(modules, replaced, config)
    _replace_functions(modules, replaced)
    Lowering(modules, is_reference).run()
    simplify(modules, (drop_idle, drop_dead) if is_reference else RULES)
    if remove_qconfig:
        for m in modules.modules():
            m.__dict__.pop("qconfig", None)
    preserve(prepared, modules, config.preserved_attributes)
    return as_class(modules, QuantizedGraphModule)  # type: ignore[no-any-return]


def _is_outermost(modules: Module, path: str) -> bool:
    parts = path.split(".")
    return not any(
        isinstance(modules.get_submodule(".".join(parts[:i])), ObservedGraphModule) for i in range(1, len(parts))
    )


def _standalone(child: Prepared, is_reference: bool, config: ConvertCustomConfig, remove_qconfig: bool) -> Module:
    converted = convert_graph(child, is_reference, config, remove_qconfig)
    converted.input_quantized_idxs = child.input_quantized_idxs
    converted.output_quantized_idxs = child.output_quantized_idxs
    return converted


def _quantize_weights(modules: Module) -> None:
    """Quantize the weights of the layers whose activations were not observed."""
    for path, layer in modules.named_modules():
        qconfig = layer.__dict__.get("qconfig")
        if qconfig is None or not layer.weight_names or layer.stage != "float":
            continue
        try:
            quantize_layer_dynamic_(layer, qconfig)
        except (ValueError, TypeError) as error:
            raise type(error)(f"convert_fx: {path}: {error}") from None


def _convert_layers(modules: GraphModule, replaced: dict[Any, Any], config: ConvertCustomConfig) -> None:
    swaps = {k: v for k, v in replaced.items() if isinstance(k, type)}
    custom = config.quantized_classes()
    observed = get_observers(modules) or get_observers(modules, "weight_fake_quant")
    if observed or any(type(m) in custom for m in modules.modules()):
        try:
            convert(
                modules,
                mapping=swaps,
                inplace=True,
                remove_qconfig=False,
                convert_custom_config_dict={"observed_to_quantized_custom_module_class": custom},
            )
        except (ValueError, TypeError) as error:
            message = str(error).replace("convert: ", "convert_fx: ", 1)
            raise type(error)(message + _places(message, modules)) from None


def _places(message: str, modules: GraphModule) -> str:
    """Say where in the user's code the layers were made that a message names and the user did not."""
    made = [n for n in modules.graph.nodes if "call" in n.meta or n.meta.get("rule") == "stub"]
    named = [where(n) for n in made if "line" in n.meta and re.search(rf"\b{re.escape(str(n.target))}\b", message)]
    return f" ({'; '.join(named[:3])})" if named else ""


def _replace_functions(modules: GraphModule, replaced: dict[Any, Any]) -> None:
    """Call the functions of ``additional_object_mapping`` in the place of others."""
    for node in modules.graph.nodes:
        target = function_of(node.target) if node.op in ("call_function", "call_method") else None
        if target in replaced and not isinstance(target, type):
            with modules.graph.inserting_before(node):
                new = modules.graph.call_function(replaced[target], node.args, node.kwargs)
            new.meta = dict(node.meta)
            node.replace_all_uses_with(new)
            modules.graph.erase_node(node)
