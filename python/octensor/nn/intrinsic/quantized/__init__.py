"""`nn.intrinsic.quantized`: names for fused layers in the static stage (see `nn.views`)."""

from __future__ import annotations

from ...conv import Conv2d
from ...linear import Linear
from ...views import StaticView

__all__ = ["ConvReLU2d", "LinearReLU"]


class LinearReLU(StaticView):
    """A static `Linear` with a ReLU."""

    layer = Linear
    fused = ("activation",)


class ConvReLU2d(StaticView):
    """A static `Conv2d` with a ReLU."""

    layer = Conv2d
    fused = ("activation",)
