"""Graph mode: quantize a model without changing its code.

`prepare_fx` traces the model, fuses what can be fused, and finds every place where a tensor becomes quantized or float
again; functions such as ``+``, ``torch.cat`` and ``F.relu`` need no `FloatFunctional`. The `QuantStub`s of eager mode
are not needed either.

>>> import octensor as ot
>>> from octensor.quantization import get_default_qconfig, quantize_fx
>>> model = ot.nn.Sequential(ot.nn.Linear(8, 4), ot.nn.ReLU()).eval()
>>> prepared = quantize_fx.prepare_fx(model, {"": get_default_qconfig()})
>>> _ = prepared(ot.randn(32, 8))
>>> quantized = quantize_fx.convert_fx(prepared)
>>> [node.name for node in quantized.graph.nodes if node.op.startswith("call")]
['quantize_per_tensor', '_0', 'dequantize']

None of the functions changes the model it is given.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

from octensor.graph.graph_module import GraphModule
from octensor.graph.patterns import Match, MatchAllNode
from octensor.graph.rules import drop_unused_attributes
from octensor.nn.module import Module
from octensor.quantization.fx.convert import convert_graph
from octensor.quantization.fx.custom_config import (
    ConvertCustomConfig,
    FuseCustomConfig,
    PrepareCustomConfig,
)
from octensor.quantization.fx.decide import agree
from octensor.quantization.fx.fuse import (
    FuseHandler,
    fuse_graph,
    get_default_fusion_patterns,
    register_fusion_pattern,
)
from octensor.quantization.fx.graph_modules import (
    FusedGraphModule,
    ObservedGraphModule,
    Prepared,
    QuantizedGraphModule,
)
from octensor.quantization.fx.handlers import (
    QuantizeHandler,
    get_default_output_activation_post_process_map,
    get_default_quant_patterns,
    register_quant_pattern,
)
from octensor.quantization.fx.prepare import Preparation
from octensor.quantization.fx.qconfig_mapping import (
    QConfigMapping,
    get_default_qat_qconfig_mapping,
    get_default_qconfig_mapping,
)
from octensor.quantization.fx.tracing import QuantizationTracer, preserve, trace
from octensor.quantization.prepare import _check_model, _some, swap_children
from octensor.quantization.qat import settle_fakes
from octensor.quantization.quant_type import QuantType, get_quant_type

__all__ = [
    "ConvertCustomConfig",
    "FuseCustomConfig",
    "FuseHandler",
    "FusedGraphModule",
    "Match",
    "MatchAllNode",
    "ObservedGraphModule",
    "PrepareCustomConfig",
    "QConfigMapping",
    "QuantizationTracer",
    "QuantizeHandler",
    "QuantizedGraphModule",
    "convert_fx",
    "convert_to_reference_fx",
    "fuse_fx",
    "get_default_fusion_patterns",
    "get_default_output_activation_post_process_map",
    "get_default_qat_qconfig_mapping",
    "get_default_qconfig_mapping",
    "get_default_quant_patterns",
    "prepare_fx",
    "prepare_qat_fx",
    "register_fusion_pattern",
    "register_quant_pattern",
]


def fuse_fx(model: Module, fuse_custom_config_dict: Any = None) -> GraphModule:
    """Trace a model and fuse all sequences of layers that can be fused.

    Parameters
    ----------
    model
        In eval mode, where batch norms are folded; in train mode they are attached instead, as `fuse_modules` does.
    fuse_custom_config_dict
        See `FuseCustomConfig`.

    Returns
    -------
    A graph module.

    >>> import octensor as ot
    >>> model = ot.nn.Sequential(ot.nn.Conv2d(3, 8, 3), ot.nn.BatchNorm2d(8), ot.nn.ReLU()).eval()
    >>> [node.target for node in fuse_fx(model).graph.nodes]
    ['input', '0', 'output']
    """
    _check_model("fuse_fx", model)
    config = FuseCustomConfig.from_dict(fuse_custom_config_dict)
    model = copy.deepcopy(model)
    modules = trace(model, QuantizationTracer(), FusedGraphModule)
    fuse_graph(modules, config.additional_fuser_method_mapping, config.additional_fusion_pattern)
    return _finished(model, modules, config.preserved_attributes)  # type: ignore[no-any-return]


def prepare_fx(model: Module, qconfig_dict: Any, prepare_custom_config_dict: Any = None) -> ObservedGraphModule:
    """Make a float model ready for calibration.

    Parameters
    ----------
    model
        A float model in eval mode, not fused; it is not changed.
    qconfig_dict
        Which qconfig each part of it gets: see `QConfigMapping`, which may stand here too.
    prepare_custom_config_dict
        See `PrepareCustomConfig`.

    Returns
    -------
    A graph module. Run representative data through it where activations are quantized, then `convert_fx` it.

    Raises
    ------
    ValueError
        If the model is in train mode, a key or a name in a dictionary is unknown, or nothing would be quantized.
    TraceError
        If the model cannot be traced; the message names the line and what to do.
    """
    _check_model("prepare_fx", model)
    if model.training:
        raise ValueError(
            "prepare_fx: expected a model in eval mode, got train mode: call model.eval() first "
            "(quantization-aware training starts with prepare_qat_fx)"
        )
    return _prepared("prepare_fx", model, qconfig_dict, prepare_custom_config_dict)


def prepare_qat_fx(model: Module, qconfig_dict: Any, prepare_custom_config_dict: Any = None) -> ObservedGraphModule:
    """Make a float model ready for quantization-aware training; parameters as `prepare_fx`, the model in train mode.

    The result trains with its weights and activations rounded. In eval mode it returns what the model that `convert_fx`
    makes of it will return.
    """
    _check_model("prepare_qat_fx", model)
    if not model.training:
        raise ValueError(
            "prepare_qat_fx: expected a model in train mode, got eval mode: call model.train() first "
            "(calibration without training starts with prepare_fx)"
        )
    modules = _prepared("prepare_qat_fx", model, qconfig_dict, prepare_custom_config_dict)
    settle_fakes("prepare_qat_fx", modules)
    return modules


def convert_fx(
    graph_module: GraphModule,
    is_reference: bool = False,
    convert_custom_config_dict: Any = None,
    _remove_qconfig: bool = True,
) -> GraphModule:
    """Make a quantized model of a prepared one.

    Parameters
    ----------
    graph_module
        What `prepare_fx` or `prepare_qat_fx` returned, after data went through it; it is not changed.
    is_reference
        Compute in float, with every result of its own between a dequantize and a quantize.
    convert_custom_config_dict
        See `ConvertCustomConfig`.

    Returns
    -------
    A graph module of quantized layers and functions, in eval mode.

    Raises
    ------
    TypeError
        If the graph module was not prepared.
    ValueError
        If observers saw no data; their places are named.
    """
    config = ConvertCustomConfig.from_dict(convert_custom_config_dict)
    return convert_graph(graph_module, is_reference, config, _remove_qconfig)


def convert_to_reference_fx(graph_module: GraphModule, convert_custom_config_dict: Any = None) -> GraphModule:
    """`convert_fx` with `is_reference`."""
    return convert_fx(graph_module, True, convert_custom_config_dict)


# --- preparing ------------------------------------------------------------------------------------------------------


def _prepared(function: str, model: Module, qconfig_dict: Any, custom_config: Any) -> ObservedGraphModule:
    mapping = QConfigMapping.from_dict(qconfig_dict)
    config = PrepareCustomConfig.from_dict(custom_config)
    paths = [path for path, _ in model.named_modules(remove_duplicate=False)]
    mapping.check_names(paths)
    model = copy.deepcopy(model)
    own = [path or type(m).__name__ for path, m in model.named_modules() if m.__dict__.pop("qconfig", None) is not None]
    if own:
        warnings.warn(
            f"{function}: the qconfig attribute of {_some(own)} is not looked at: graph mode goes by qconfig_dict",
            stacklevel=3,
        )
    modules = _prepare(function, model, mapping, config, ObservedGraphModule)
    rules = {node.meta.get("rule") for node in modules.graph.nodes}
    if not rules & {"given", "weights", "half", "standalone"} and not any(
        "qconfig" in vars(m) for m in modules.modules()
    ):
        raise ValueError(
            f"{function}: {type(model).__name__}: expected at least one layer or function to quantize, found none with "
            'a qconfig that fits: write {"": get_default_qconfig()}'
        )
    return modules  # type: ignore[no-any-return]


def _prepare(
    function: str, model: Module, mapping: QConfigMapping, config: PrepareCustomConfig, kind: type[ObservedGraphModule]
) -> Any:
    custom = tuple(config.observed_classes().values())
    model = _swap_custom(model, mapping, config)
    units = _prepare_standalone(function, model, mapping, config)
    tracer = QuantizationTracer(
        [*config.non_traceable_module_name, *units], [*config.non_traceable_module_class, *custom]
    )
    modules = trace(model, tracer, kind)
    fuse_graph(
        modules,
        config.additional_fuser_method_mapping,
        config.additional_fusion_pattern,
        lambda match: agree(match, mapping, modules),
    )
    Preparation(modules, mapping, config, custom).run()
    return _finished(model, modules, config.preserved_attributes)


def _swap_custom(model: Module, mapping: QConfigMapping, config: PrepareCustomConfig) -> Module:
    """Replace custom modules by their observed classes."""
    paths = {id(m): path for path, m in model.named_modules()}

    def observed(module: Module) -> Module | None:
        qconfig = mapping.of_module(paths[id(module)], type(module)).qconfig
        if qconfig is None:
            return None
        quant_type = get_quant_type(qconfig)
        # Training ends in the static form.
        table = config.observed_classes(QuantType.STATIC if quant_type is QuantType.QAT else quant_type)
        if type(module) not in table:
            return None
        module.qconfig = qconfig
        return table[type(module)].from_float(module)  # type: ignore[no-any-return]

    return swap_children(model, observed) if config.float_to_observed_custom_module_class else model


def _prepare_standalone(
    function: str, model: Module, mapping: QConfigMapping, config: PrepareCustomConfig
) -> list[str]:
    """Prepare the units inside of a model, in place; return their paths."""
    found: list[str] = []
    for path, module in list(model.named_modules()):
        unit = config.standalone(path, type(module)) if path else None
        if unit is None or any(path.startswith(f"{outer}.") for outer in found):
            continue
        own = mapping.of_module(path, type(module)).qconfig
        inner = QConfigMapping().set_global(own) if unit.qconfig_dict is None else unit.qconfig_dict
        inner = QConfigMapping.from_dict(inner)
        inner_config = PrepareCustomConfig.from_dict(unit.prepare_custom_config_dict)
        prepared = _prepare(function, module, inner, inner_config, Prepared)
        prepared.qconfig = inner.global_qconfig
        prepared.input_quantized_idxs = tuple(inner_config.input_quantized_idxs)
        prepared.output_quantized_idxs = tuple(inner_config.output_quantized_idxs)
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, prepared)
        found.append(path)
    return found


def _finished(model: Module, modules: Any, preserved: Any) -> Any:
    modules.delete_all_unused_submodules()
    drop_unused_attributes(modules)
    modules.recompile()
    preserve(model, modules, preserved)
    return modules.train(model.training)
