"""`nn.qat`: names for layers in the qat stage, with a fake-quantized weight (see `nn.views`)."""

from __future__ import annotations

from ..conv import Conv1d as _Conv1d
from ..conv import Conv2d as _Conv2d
from ..conv import Conv3d as _Conv3d
from ..linear import Linear as _Linear
from .views import QATView

__all__ = ["Conv1d", "Conv2d", "Conv3d", "Linear"]


class Linear(QATView):
    """`nn.Linear` in the qat stage."""

    layer = _Linear


class Conv1d(QATView):
    """`nn.Conv1d` in the qat stage."""

    layer = _Conv1d


class Conv2d(QATView):
    """`nn.Conv2d` in the qat stage."""

    layer = _Conv2d


class Conv3d(QATView):
    """`nn.Conv3d` in the qat stage."""

    layer = _Conv3d
