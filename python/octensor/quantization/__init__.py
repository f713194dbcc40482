"""Quantization: observers, qconfigs and the steps from a float model to an integer one, under PyTorch's names.

* static: `fuse_modules`, `prepare`, `calibrate`, `convert`;
* training: `fuse_modules`, `prepare_qat`, train, `convert`;
* dynamic and weight-only: `quantize_dynamic`;
* all of these without changing the model's code: `quantize_fx`;
* then: `report` says what became of every layer, `compare_layers` what it cost.
"""

from __future__ import annotations

from typing import Any

from octensor.quantization.calibrate import (
    calibrate,
    default_eval_fn,
)
from octensor.quantization.compare import (
    LayerError,
    compare_layers,
    sqnr,
)
from octensor.quantization.convert import (
    convert,
    quantize,
    swap_module,
)
from octensor.quantization.dynamic import (
    quantize_dynamic,
    quantize_layer_dynamic_,
)
from octensor.quantization.fake_ops import (
    fake_quantize_per_channel_affine,
    fake_quantize_per_channel_affine_cachemask,
    fake_quantize_per_tensor_affine,
    fake_quantize_per_tensor_affine_cachemask,
)
from octensor.quantization.fake_quantize import (
    FakeQuantize,
    FakeQuantizeBase,
    FixedQParamsFakeQuantize,
    FusedMovingAvgObsFakeQuantize,
    default_affine_fixed_qparams_fake_quant,
    default_dynamic_fake_quant,
    default_embedding_fake_quant,
    default_embedding_fake_quant_4bit,
    default_fake_quant,
    default_fixed_qparams_range_0to1_fake_quant,
    default_fixed_qparams_range_neg1to1_fake_quant,
    default_fused_act_fake_quant,
    default_fused_per_channel_wt_fake_quant,
    default_fused_wt_fake_quant,
    default_histogram_fake_quant,
    default_per_channel_weight_fake_quant,
    default_symmetric_fixed_qparams_fake_quant,
    default_weight_fake_quant,
    disable_fake_quant,
    disable_observer,
    enable_fake_quant,
    enable_observer,
    fused_per_channel_wt_fake_quant_range_neg_127_to_127,
    fused_wt_fake_quant_range_neg_127_to_127,
    is_activation_post_process,
)
from octensor.quantization.functional import (
    FloatFunctional,
)
from octensor.quantization.fuse import (
    fuse_conv_bn,
    fuse_conv_bn_relu,
    fuse_known_modules,
    fuse_linear_bn,
    fuse_modules,
    get_fuser_method,
)
from octensor.quantization.histogram import (
    HistogramObserver,
    default_histogram_observer,
)
from octensor.quantization.histogram_search import (
    EntropyObserver,
    MSEObserver,
    PercentileObserver,
    default_entropy_observer,
    default_mse_observer,
    default_percentile_observer,
)
from octensor.quantization.learnable import (
    _LearnableFakeQuantize as _LearnableFakeQuantize,
)
from octensor.quantization.mappings import (
    get_default_compare_output_module_list,
    get_default_dynamic_quant_module_mappings,
    get_default_float_to_quantized_operator_mappings,
    get_default_qat_module_mappings,
    get_default_qconfig_propagation_list,
    get_default_static_quant_module_mappings,
    get_dynamic_quant_module_class,
    get_quantized_operator,
    get_static_quant_module_class,
    no_observer_set,
)
from octensor.quantization.merge import merge_observers_
from octensor.quantization.observer import (
    FixedQParamsObserver,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    NoopObserver,
    ObserverBase,
    ObserverFactory,
    PerChannelMinMaxObserver,
    PlaceholderObserver,
    RecordingObserver,
    UniformQuantizationObserverBase,
    default_debug_observer,
    default_dynamic_quant_observer,
    default_fixed_qparams_range_0to1_observer,
    default_fixed_qparams_range_neg1to1_observer,
    default_float_qparams_observer,
    default_float_qparams_observer_4bit,
    default_observer,
    default_per_channel_weight_observer,
    default_placeholder_observer,
    default_weight_observer,
    per_channel_weight_observer_range_neg_127_to_127,
    weight_observer_range_neg_127_to_127,
)
from octensor.quantization.observer_state import (
    get_observer_state_dict,
    load_observer_state_dict,
    register_activation_post_process_hook,
)
from octensor.quantization.prepare import (
    add_observer_,
    get_observer_dict,
    prepare,
    propagate_qconfig_,
)
from octensor.quantization.qat import (
    prepare_qat,
    quantize_qat,
)
from octensor.quantization.qconfig import (
    QConfig,
    QConfigDynamic,
    assert_valid_qconfig,
    default_activation_only_qconfig,
    default_debug_qconfig,
    default_dynamic_qat_qconfig,
    default_dynamic_qconfig,
    default_embedding_qat_qconfig,
    default_embedding_qat_qconfig_4bit,
    default_per_channel_qat_qconfig,
    default_per_channel_qconfig,
    default_per_channel_symmetric_qnnpack_qconfig,
    default_qat_qconfig,
    default_qat_qconfig_v2,
    default_qconfig,
    default_symmetric_qnnpack_qconfig,
    default_weight_only_qconfig,
    float16_dynamic_qconfig,
    float16_static_qconfig,
    float_qparams_weight_only_qconfig,
    float_qparams_weight_only_qconfig_4bit,
    get_default_qat_qconfig,
    get_default_qconfig,
    per_channel_dynamic_qconfig,
)
from octensor.quantization.qparams import (
    choose_qparams,
)
from octensor.quantization.quant_type import (
    QuantType,
    get_quant_type,
    quant_type_to_str,
)
from octensor.quantization.report import (
    LayerReport,
    Report,
    report,
)
from octensor.quantization.stubs import (
    DeQuantStub,
    QuantStub,
    QuantWrapper,
    add_quant_dequant,
)

__all__ = [
    "DeQuantStub",
    "EntropyObserver",
    "FakeQuantize",
    "FakeQuantizeBase",
    "FixedQParamsFakeQuantize",
    "FixedQParamsObserver",
    "FloatFunctional",
    "FusedMovingAvgObsFakeQuantize",
    "HistogramObserver",
    "LayerError",
    "LayerReport",
    "MSEObserver",
    "MinMaxObserver",
    "MovingAverageMinMaxObserver",
    "MovingAveragePerChannelMinMaxObserver",
    "NoopObserver",
    "ObserverBase",
    "ObserverFactory",
    "PerChannelMinMaxObserver",
    "PercentileObserver",
    "PlaceholderObserver",
    "QConfig",
    "QConfigDynamic",
    "QuantStub",
    "QuantType",
    "QuantWrapper",
    "RecordingObserver",
    "Report",
    "UniformQuantizationObserverBase",
    "add_observer_",
    "add_quant_dequant",
    "assert_valid_qconfig",
    "calibrate",
    "choose_qparams",
    "compare_layers",
    "convert",
    "default_activation_only_qconfig",
    "default_affine_fixed_qparams_fake_quant",
    "default_debug_observer",
    "default_debug_qconfig",
    "default_dynamic_fake_quant",
    "default_dynamic_qat_qconfig",
    "default_dynamic_qconfig",
    "default_dynamic_quant_observer",
    "default_embedding_fake_quant",
    "default_embedding_fake_quant_4bit",
    "default_embedding_qat_qconfig",
    "default_embedding_qat_qconfig_4bit",
    "default_entropy_observer",
    "default_eval_fn",
    "default_fake_quant",
    "default_fixed_qparams_range_0to1_fake_quant",
    "default_fixed_qparams_range_0to1_observer",
    "default_fixed_qparams_range_neg1to1_fake_quant",
    "default_fixed_qparams_range_neg1to1_observer",
    "default_float_qparams_observer",
    "default_float_qparams_observer_4bit",
    "default_fused_act_fake_quant",
    "default_fused_per_channel_wt_fake_quant",
    "default_fused_wt_fake_quant",
    "default_histogram_fake_quant",
    "default_histogram_observer",
    "default_mse_observer",
    "default_observer",
    "default_per_channel_qat_qconfig",
    "default_per_channel_qconfig",
    "default_per_channel_symmetric_qnnpack_qconfig",
    "default_per_channel_weight_fake_quant",
    "default_per_channel_weight_observer",
    "default_percentile_observer",
    "default_placeholder_observer",
    "default_qat_qconfig",
    "default_qat_qconfig_v2",
    "default_qconfig",
    "default_symmetric_fixed_qparams_fake_quant",
    "default_symmetric_qnnpack_qconfig",
    "default_weight_fake_quant",
    "default_weight_observer",
    "default_weight_only_qconfig",
    "disable_fake_quant",
    "disable_observer",
    "enable_fake_quant",
    "enable_observer",
    "fake_quantize_per_channel_affine",
    "fake_quantize_per_channel_affine_cachemask",
    "fake_quantize_per_tensor_affine",
    "fake_quantize_per_tensor_affine_cachemask",
    "float16_dynamic_qconfig",
    "float16_static_qconfig",
    "float_qparams_weight_only_qconfig",
    "float_qparams_weight_only_qconfig_4bit",
    "fuse_conv_bn",
    "fuse_conv_bn_relu",
    "fuse_known_modules",
    "fuse_linear_bn",
    "fuse_modules",
    "fused_per_channel_wt_fake_quant_range_neg_127_to_127",
    "fused_wt_fake_quant_range_neg_127_to_127",
    "get_default_compare_output_module_list",
    "get_default_dynamic_quant_module_mappings",
    "get_default_float_to_quantized_operator_mappings",
    "get_default_qat_module_mappings",
    "get_default_qat_qconfig",
    "get_default_qconfig",
    "get_default_qconfig_propagation_list",
    "get_default_static_quant_module_mappings",
    "get_dynamic_quant_module_class",
    "get_fuser_method",
    "get_observer_dict",
    "get_observer_state_dict",
    "get_quant_type",
    "get_quantized_operator",
    "get_static_quant_module_class",
    "is_activation_post_process",
    "load_observer_state_dict",
    "merge_observers_",
    "no_observer_set",
    "per_channel_dynamic_qconfig",
    "per_channel_weight_observer_range_neg_127_to_127",
    "prepare",
    "prepare_qat",
    "propagate_qconfig_",
    "quant_type_to_str",
    "quantize",
    "quantize_dynamic",
    "quantize_layer_dynamic_",
    "quantize_qat",
    "register_activation_post_process_hook",
    "report",
    "sqnr",
    "swap_module",
    "weight_observer_range_neg_127_to_127",
]

_TORCHSCRIPT = (
    "quantize_jit",
    "quantize_dynamic_jit",
    "prepare_jit",
    "prepare_dynamic_jit",
    "convert_jit",
    "convert_dynamic_jit",
    "fuse_conv_bn_jit",
    "script_qconfig",
    "script_qconfig_dict",
)
_SUBMODULES = ("_numeric_suite", "_numeric_suite_fx", "_correct_bias", "_equalize", "quantize_fx")


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        from importlib import import_module

        return import_module(f"{__name__}.{name}")
    hint = ""
    if name in _TORCHSCRIPT:
        hint = ": there is no TorchScript here: use prepare, calibrate and convert (or quantize_dynamic)"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
