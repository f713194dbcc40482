"""`nn.quantized`: names for layers in the static stage (see `nn.views`), and layers that take QTensors as they are."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from ... import _C
from ..._C import QParams
from .. import activation, batchnorm, conv, embedding, linear, norms
from ..activation import Hardsigmoid, Hardtanh, ReLU, ReLU6, Softmax, Tanh, Threshold
from ..dropout import Dropout
from ..flatten import Flatten
from ..linear import Identity
from ..module import Module
from ..pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)
from ..resize import ChannelShuffle, PixelShuffle, Upsample
from ..views import DynamicView, SlotView, StaticView, empty_weights_

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "ChannelShuffle",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "DeQuantize",
    "Dropout",
    "Embedding",
    "EmbeddingBag",
    "FXFloatFunctional",
    "Flatten",
    "FloatFunctional",
    "GroupNorm",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "PixelShuffle",
    "QFunctional",
    "Quantize",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Threshold",
    "Upsample",
]


# --- with a weight ---------------------------------------------------------------------------------


class Linear(StaticView):
    """`nn.Linear` in the static stage."""

    layer = linear.Linear


class Conv1d(StaticView):
    """`nn.Conv1d` in the static stage."""

    layer = conv.Conv1d


class Conv2d(StaticView):
    """`nn.Conv2d` in the static stage."""

    layer = conv.Conv2d


class Conv3d(StaticView):
    """`nn.Conv3d` in the static stage."""

    layer = conv.Conv3d


class ConvTranspose1d(StaticView):
    """`nn.ConvTranspose1d` in the static stage."""

    layer = conv.ConvTranspose1d


class ConvTranspose2d(StaticView):
    """`nn.ConvTranspose2d` in the static stage."""

    layer = conv.ConvTranspose2d


class ConvTranspose3d(StaticView):
    """`nn.ConvTranspose3d` in the static stage."""

    layer = conv.ConvTranspose3d


class _TableView(DynamicView):
    """A table with quantized rows: made with codes of 0, scale 1 and zero point 0 for each row."""

    stages = ("weight-only",)
    dtypes = (_C.quint8, _C.quint4x2)

    @classmethod
    def make(cls, *args: Any, dtype: Any = None, _weight: Any = None, **kwargs: Any) -> Module:
        """Construct the layer; `_weight` is a QTensor to put into it."""
        dtype = cls.dtypes[0] if dtype is None else dtype
        if dtype not in cls.dtypes:
            raise ValueError(f"{cls.__name__}: dtype: expected quint8 or quint4x2, got {dtype}")
        layer = cls.layer(*args, **kwargs)
        if _weight is not None:
            layer.weight = _weight
            return layer.eval()
        rows = layer.weight.shape[0]
        return empty_weights_(layer, QParams(np.ones(rows, np.float32), np.zeros(rows, np.int32), dtype, axis=0))


class Embedding(_TableView):
    """`nn.Embedding` with a quint8 or quint4x2 table."""

    layer = embedding.Embedding


class EmbeddingBag(_TableView):
    """`nn.EmbeddingBag` with a quint8 or quint4x2 table."""

    layer = embedding.EmbeddingBag

    @classmethod
    def make(cls, *args: Any, mode: str = "sum", **kwargs: Any) -> Module:
        """Construct the layer; bags are summed unless `mode` says otherwise."""
        return super().make(*args, mode=mode, **kwargs)


# --- norms -----------------------------------------------------------------------------------------


class BatchNorm1d(SlotView):
    """`nn.BatchNorm1d` in the static stage."""

    layer = batchnorm.BatchNorm1d
    arguments = ("num_features", "eps", "momentum")


class BatchNorm2d(SlotView):
    """`nn.BatchNorm2d` in the static stage."""

    layer = batchnorm.BatchNorm2d
    arguments = ("num_features", "eps", "momentum")


class BatchNorm3d(SlotView):
    """`nn.BatchNorm3d` in the static stage."""

    layer = batchnorm.BatchNorm3d
    arguments = ("num_features", "eps", "momentum")


class LayerNorm(SlotView):
    """`nn.LayerNorm` in the static stage."""

    layer = norms.LayerNorm
    arguments = ("normalized_shape", "weight", "bias", "scale", "zero_point", "eps", "elementwise_affine")


class GroupNorm(SlotView):
    """`nn.GroupNorm` in the static stage."""

    layer = norms.GroupNorm
    arguments = ("num_groups", "num_channels", "weight", "bias", "scale", "zero_point", "eps", "affine")


_INSTANCE = (
    "num_features",
    "weight",
    "bias",
    "scale",
    "zero_point",
    "eps",
    "momentum",
    "affine",
    "track_running_stats",
)


class InstanceNorm1d(SlotView):
    """`nn.InstanceNorm1d` in the static stage."""

    layer = norms.InstanceNorm1d
    arguments = _INSTANCE


class InstanceNorm2d(SlotView):
    """`nn.InstanceNorm2d` in the static stage."""

    layer = norms.InstanceNorm2d
    arguments = _INSTANCE


class InstanceNorm3d(SlotView):
    """`nn.InstanceNorm3d` in the static stage."""

    layer = norms.InstanceNorm3d
    arguments = _INSTANCE


# --- activations -----------------------------------------------------------------------------------


class Hardswish(SlotView):
    """`nn.Hardswish` in the static stage."""

    layer = activation.Hardswish


class ELU(SlotView):
    """`nn.ELU` in the static stage."""

    layer = activation.ELU
    arguments = ("scale", "zero_point", "alpha")


class CELU(SlotView):
    """`nn.CELU` in the static stage."""

    layer = activation.CELU
    arguments = ("scale", "zero_point", "alpha")


class LeakyReLU(SlotView):
    """`nn.LeakyReLU` in the static stage."""

    layer = activation.LeakyReLU
    arguments = ("scale", "zero_point", "negative_slope", "inplace")


class GELU(SlotView):
    """`nn.GELU` in the static stage."""

    layer = activation.GELU


class SiLU(SlotView):
    """`nn.SiLU` in the static stage."""

    layer = activation.SiLU


class Sigmoid(SlotView):
    """`nn.Sigmoid` with output qparams of its own, in place of scale 1/256."""

    layer = activation.Sigmoid


# What is made of layers above this package: looked up when asked for.
_ABOVE = {
    "FloatFunctional": "octensor.quantization.functional",
    "FXFloatFunctional": "octensor.nn.quantized.stubs",
    "QFunctional": "octensor.nn.quantized.stubs",
    "Quantize": "octensor.nn.quantized.stubs",
    "DeQuantize": "octensor.nn.quantized.stubs",
}
_PARTS = ("functional", "dynamic", "_reference")


def __getattr__(name: str) -> Any:
    if name in _ABOVE:
        return getattr(import_module(_ABOVE[name]), name)
    if name in _PARTS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
