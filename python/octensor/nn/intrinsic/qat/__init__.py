"""`nn.intrinsic.qat`: names for fused layers in the qat stage (see `nn.views`), and the switch of their batch norms."""

from __future__ import annotations

from ...conv import Conv1d as _Conv1d
from ...conv import Conv2d as _Conv2d
from ...conv import Conv3d as _Conv3d
from ...linear import Linear as _Linear
from ...module import Module
from ...qat.views import QATView
from ...weighted import WeightedLayer

__all__ = [
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
    "freeze_bn_stats",
    "update_bn_stats",
]


class ConvBn1d(QATView):
    """A `Conv1d` with its batch norm, in the qat stage."""

    layer = _Conv1d
    fused = ("norm",)


class ConvBnReLU1d(QATView):
    """A `Conv1d` with its batch norm and ReLU, in the qat stage."""

    layer = _Conv1d
    fused = ("norm", "activation")


class ConvReLU1d(QATView):
    """A `Conv1d` with its ReLU, in the qat stage."""

    layer = _Conv1d
    fused = ("activation",)


class ConvBn2d(QATView):
    """A `Conv2d` with its batch norm, in the qat stage."""

    layer = _Conv2d
    fused = ("norm",)


class ConvBnReLU2d(QATView):
    """A `Conv2d` with its batch norm and ReLU, in the qat stage."""

    layer = _Conv2d
    fused = ("norm", "activation")


class ConvReLU2d(QATView):
    """A `Conv2d` with its ReLU, in the qat stage."""

    layer = _Conv2d
    fused = ("activation",)


class ConvBn3d(QATView):
    """A `Conv3d` with its batch norm, in the qat stage."""

    layer = _Conv3d
    fused = ("norm",)


class ConvBnReLU3d(QATView):
    """A `Conv3d` with its batch norm and ReLU, in the qat stage."""

    layer = _Conv3d
    fused = ("norm", "activation")


class ConvReLU3d(QATView):
    """A `Conv3d` with its ReLU, in the qat stage."""

    layer = _Conv3d
    fused = ("activation",)


class LinearBn1d(QATView):
    """A `Linear` with its batch norm, in the qat stage."""

    layer = _Linear
    fused = ("norm",)


class LinearReLU(QATView):
    """A `Linear` with its ReLU, in the qat stage."""

    layer = _Linear
    fused = ("activation",)


def freeze_bn_stats(mod: Module) -> None:
    """Stop a fused layer's batch norm from learning: ``model.apply(freeze_bn_stats)``; others are skipped."""
    _set_frozen(mod, True)


def update_bn_stats(mod: Module) -> None:
    """Let a fused layer's batch norm learn statistics again: ``model.apply(update_bn_stats)``."""
    _set_frozen(mod, False)


def _set_frozen(mod: Module, frozen: bool) -> None:
    if isinstance(mod, WeightedLayer) and mod.norm is not None:
        mod.freeze_bn = frozen
        mod.norm.train(not frozen)
