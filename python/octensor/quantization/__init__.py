"""Quantization: observers, qconfigs and the steps from a float model to an integer one, under PyTorch's names."""

from __future__ import annotations

from octensor.quantization.compare import LayerError, compare_layers, sqnr
from octensor.quantization.convert import convert, quantize
from octensor.quantization.functional import FloatFunctional
from octensor.quantization.fuse import (
    fuse_conv_bn,
    fuse_conv_bn_relu,
    fuse_known_modules,
    fuse_linear_bn,
    fuse_modules,
    get_fuser_method,
)
from octensor.quantization.histogram import HistogramObserver, default_histogram_observer
from octensor.quantization.observer import (
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    NoopObserver,
    ObserverBase,
    PerChannelMinMaxObserver,
    PlaceholderObserver,
    RecordingObserver,
    UniformQuantizationObserverBase,
    default_debug_observer,
    default_dynamic_quant_observer,
    default_float_qparams_observer,
    default_observer,
    default_per_channel_weight_observer,
    default_placeholder_observer,
    default_weight_observer,
)
from octensor.quantization.prepare import (
    add_observer_,
    calibrate,
    default_eval_fn,
    get_observer_dict,
    is_activation_post_process,
    prepare,
    propagate_qconfig_,
)
from octensor.quantization.qconfig import (
    QConfig,
    assert_valid_qconfig,
    default_debug_qconfig,
    default_per_channel_qconfig,
    default_qconfig,
    get_default_qconfig,
)
from octensor.quantization.qparams import choose_qparams
from octensor.quantization.stubs import DeQuantStub, QuantStub, QuantWrapper

__all__ = [
    # the workflow
    "fuse_modules",
    "prepare",
    "calibrate",
    "convert",
    "quantize",
    "compare_layers",
    # marking a model
    "QuantStub",
    "DeQuantStub",
    "QuantWrapper",
    "FloatFunctional",
    # choosing how
    "QConfig",
    "get_default_qconfig",
    "default_qconfig",
    "default_per_channel_qconfig",
    "default_debug_qconfig",
    "assert_valid_qconfig",
    "propagate_qconfig_",
    "add_observer_",
    "get_observer_dict",
    "is_activation_post_process",
    "default_eval_fn",
    # observers
    "ObserverBase",
    "UniformQuantizationObserverBase",
    "MinMaxObserver",
    "MovingAverageMinMaxObserver",
    "PerChannelMinMaxObserver",
    "MovingAveragePerChannelMinMaxObserver",
    "HistogramObserver",
    "PlaceholderObserver",
    "RecordingObserver",
    "NoopObserver",
    "default_observer",
    "default_weight_observer",
    "default_per_channel_weight_observer",
    "default_histogram_observer",
    "default_placeholder_observer",
    "default_debug_observer",
    "default_dynamic_quant_observer",
    "default_float_qparams_observer",
    # parts
    "fuse_known_modules",
    "get_fuser_method",
    "fuse_conv_bn",
    "fuse_conv_bn_relu",
    "fuse_linear_bn",
    "choose_qparams",
    "sqnr",
    "LayerError",
]
