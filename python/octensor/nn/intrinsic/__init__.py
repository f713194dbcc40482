"""`nn.intrinsic`: names for layers that carry what was fused into them (see `nn.views`)."""

from __future__ import annotations

from ..conv import Conv2d
from ..linear import Linear
from ..views import FusedView
from . import quantized

__all__ = ["ConvBn2d", "ConvBnReLU2d", "ConvReLU2d", "LinearBn1d", "LinearReLU", "quantized"]


class LinearReLU(FusedView):
    """`LinearReLU(linear, relu)`: a `Linear` with its activation."""

    layer = Linear
    fused = ("activation",)


class LinearBn1d(FusedView):
    """`LinearBn1d(linear, bn)`: a `Linear` with its batch norm, for training."""

    layer = Linear
    fused = ("norm",)


class ConvReLU2d(FusedView):
    """`ConvReLU2d(conv, relu)`: a `Conv2d` with its activation."""

    layer = Conv2d
    fused = ("activation",)


class ConvBn2d(FusedView):
    """`ConvBn2d(conv, bn)`: a `Conv2d` with its batch norm, for training."""

    layer = Conv2d
    fused = ("norm",)


class ConvBnReLU2d(FusedView):
    """`ConvBnReLU2d(conv, bn, relu)`: a `Conv2d` with its batch norm and activation, for training."""

    layer = Conv2d
    fused = ("norm", "activation")
