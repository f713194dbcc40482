"""`nn.intrinsic`: names for layers that carry what was fused into them (see `nn.views`)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..batchnorm import BatchNorm2d, BatchNorm3d
from ..conv import Conv1d, Conv2d, Conv3d
from ..linear import Linear
from ..views import FusedView
from . import quantized

__all__ = [
    "BNReLU2d",
    "BNReLU3d",
    "ConvBn1d",
    "ConvBn2d",
    "ConvBn3d",
    "ConvBnReLU1d",
    "ConvBnReLU2d",
    "ConvBnReLU3d",
    "ConvReLU1d",
    "ConvReLU2d",
    "ConvReLU3d",
    "LinearBn1d",
    "LinearReLU",
    "quantized",
]


class LinearReLU(FusedView):
    """`LinearReLU(linear, relu)`: a `Linear` with its activation."""

    layer = Linear
    fused = ("activation",)


class LinearBn1d(FusedView):
    """`LinearBn1d(linear, bn)`: a `Linear` with its batch norm, for training."""

    layer = Linear
    fused = ("norm",)


class ConvReLU1d(FusedView):
    """`ConvReLU1d(conv, relu)`: a `Conv1d` with its activation."""

    layer = Conv1d
    fused = ("activation",)


class ConvBn1d(FusedView):
    """`ConvBn1d(conv, bn)`: a `Conv1d` with its batch norm, for training."""

    layer = Conv1d
    fused = ("norm",)


class ConvBnReLU1d(FusedView):
    """`ConvBnReLU1d(conv, bn, relu)`: a `Conv1d` with both, for training."""

    layer = Conv1d
    fused = ("norm", "activation")


class ConvReLU2d(FusedView):
    """`ConvReLU2d(conv, relu)`: a `Conv2d` with its activation."""

    layer = Conv2d
    fused = ("activation",)


class ConvBn2d(FusedView):
    """`ConvBn2d(conv, bn)`: a `Conv2d` with its batch norm, for training."""

    layer = Conv2d
    fused = ("norm",)


class ConvBnReLU2d(FusedView):
    """`ConvBnReLU2d(conv, bn, relu)`: a `Conv2d` with both, for training."""

    layer = Conv2d
    fused = ("norm", "activation")


class ConvReLU3d(FusedView):
    """`ConvReLU3d(conv, relu)`: a `Conv3d` with its activation."""

    layer = Conv3d
    fused = ("activation",)


class ConvBn3d(FusedView):
    """`ConvBn3d(conv, bn)`: a `Conv3d` with its batch norm, for training."""

    layer = Conv3d
    fused = ("norm",)


class ConvBnReLU3d(FusedView):
    """`ConvBnReLU3d(conv, bn, relu)`: a `Conv3d` with both, for training."""

    layer = Conv3d
    fused = ("norm", "activation")


class BNReLU2d(FusedView):
    """`BNReLU2d(bn, relu)`: a `BatchNorm2d` with its activation."""

    layer = BatchNorm2d
    fused = ("activation",)


class BNReLU3d(FusedView):
    """`BNReLU3d(bn, relu)`: a `BatchNorm3d` with its activation."""

    layer = BatchNorm3d
    fused = ("activation",)


def __getattr__(name: str) -> Any:
    if name == "qat":  # loaded when asked for
        return import_module(f"{__name__}.qat")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
