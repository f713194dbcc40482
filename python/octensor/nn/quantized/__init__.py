"""`nn.quantized`: names for layers in the static stage (see `nn.views`), and layers that take QTensors as they are."""

from __future__ import annotations

from typing import Any

from ..activation import Hardtanh, LeakyReLU, ReLU, ReLU6, Sigmoid, Tanh
from ..conv import Conv2d as _Conv2d
from ..linear import Linear as _Linear
from ..pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from ..views import StaticView

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "Conv2d",
    "FloatFunctional",
    "Hardtanh",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "ReLU",
    "ReLU6",
    "Sigmoid",
    "Tanh",
]


class Linear(StaticView):
    """`nn.Linear` in the static stage."""

    layer = _Linear


class Conv2d(StaticView):
    """`nn.Conv2d` in the static stage."""

    layer = _Conv2d


def __getattr__(name: str) -> Any:
    # Lives above this package: looked up when asked for.
    if name == "FloatFunctional":
        from ...quantization.functional import FloatFunctional

        return FloatFunctional
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
