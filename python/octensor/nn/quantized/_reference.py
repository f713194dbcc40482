"""Reference layers: static layers that dequantize input and weight, compute in float, and quantize the result.

They hold what static layers hold and are for comparing them with what PyTorch calls the reference; the integer layers
differ from these by float rounding only. `view.from_float(layer)` takes a prepared or an already static layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _C
from ..._C import QParams, QTensor
from ...arrays import as_array
from ...tensor import Tensor
from .. import conv, linear
from ..module import Module
from ..views import converted
from ..weighted import WeightedLayer

__all__ = ["Conv1d", "Conv2d", "Conv3d", "Linear"]


class Reference(WeightedLayer):
    """Mixin: the static kernel of a layer class, done in float."""

    layer: type[Module]

    def _pack(self, weight: QTensor, bias: np.ndarray | None) -> Any:
        return Tensor(_C.dequantize(weight)), bias

    def _run(self, x: QTensor, packed: Any, qparams: QParams, relu: bool) -> QTensor:
        y = as_array(self._compute(Tensor(_C.dequantize(x)), *packed))
        return _C.quantize(np.maximum(y, 0) if relu else y, qparams, channels_last=y.ndim == 4)

    @classmethod
    def from_float(cls, mod: Any) -> Module:
        """Return the reference form of a prepared or static layer, with copies of its parameters."""
        static = mod if mod.stage == "static" else converted(cls, mod)
        new = static.shallow_copy()
        new.__class__ = cls
        return new


class Linear(Reference, linear.Linear):
    """`nn.Linear` by reference."""

    layer = linear.Linear


class Conv1d(Reference, conv.Conv1d):
    """`nn.Conv1d` by reference."""

    layer = conv.Conv1d


class Conv2d(Reference, conv.Conv2d):
    """`nn.Conv2d` by reference."""

    layer = conv.Conv2d


class Conv3d(Reference, conv.Conv3d):
    """`nn.Conv3d` by reference."""

    layer = conv.Conv3d
