"""`nn.intrinsic.quantized`: names for fused layers in the static stage (see `nn.views`)."""

from __future__ import annotations

from ...batchnorm import BatchNorm2d, BatchNorm3d
from ...conv import Conv1d, Conv2d, Conv3d
from ...linear import Linear
from ...views import SlotView, StaticView

__all__ = [
    "BNReLU2d",
    "BNReLU3d",
    "ConvReLU1d",
    "ConvReLU2d",
    "ConvReLU3d",
    "LinearReLU",
]


class LinearReLU(StaticView):
    """A static `Linear` with a ReLU."""

    layer = Linear
    fused = ("activation",)


class ConvReLU1d(StaticView):
    """A static `Conv1d` with a ReLU."""

    layer = Conv1d
    fused = ("activation",)


class ConvReLU2d(StaticView):
    """A static `Conv2d` with a ReLU."""

    layer = Conv2d
    fused = ("activation",)


class ConvReLU3d(StaticView):
    """A static `Conv3d` with a ReLU."""

    layer = Conv3d
    fused = ("activation",)


class BNReLU2d(SlotView):
    """A static `BatchNorm2d` with a ReLU."""

    layer = BatchNorm2d
    fused = ("activation",)
    arguments = ("num_features", "eps", "momentum")


class BNReLU3d(SlotView):
    """A static `BatchNorm3d` with a ReLU."""

    layer = BatchNorm3d
    fused = ("activation",)
    arguments = ("num_features", "eps", "momentum")
