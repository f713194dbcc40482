"""A layer on codes as ONNX: its input, weight, bias and result in units in which its multiplier is exact.

The bias is written as int32 with the scale of the sums, input scale times weight scale: that is what integer kernels
add, octensor's as well as others'. Its codes are those of the model's own scales.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._C import QTensor
from . import scales
from .draft import Site, Value, real_constant


class Product:
    """What a row writes a layer with; in a layer that is not quantized, what it was given.

    Parameters
    ----------
    site : Site
    x, weight : Value
    groups : int
        How often the weight's scales repeat over the outputs (a transposed convolution's lie along axis 1).
    """

    def __init__(self, site: Site, x: Value, weight: Value, groups: int = 1) -> None:
        self.site, self.x, self.weight, self.groups = site, x, weight, groups
        self._meta, self._step = site.meta, self._scale_of_sums()
        of_x, of_weight, of_result = x.qparams, weight.qparams, site.meta.qparams
        if site.draft.exact and of_x and of_weight and of_result and isinstance(weight.constant, QTensor):
            of_x, of_weight, of_result = scales.of_product(of_x, of_weight, of_result)
            self.x, self.weight = x.with_qparams(of_x), weight.with_qparams(of_weight)
            self._meta = site.meta._replace(qparams=of_result)

    def bias(self, bias: Any) -> str:
        """Return the name of a bias: int32 codes where the sums are integers, else floats."""
        step, unit = self._step, self._scale_of_sums()
        if step is None or unit is None:
            return self.site.real(bias)
        values = real_constant(bias, "bias")
        assert values is not None
        codes, scale = np.rint(values.astype(np.float64) / step), unit.astype(np.float32)
        if not (scale >= np.finfo(np.float32).tiny).all() or not (np.abs(codes) < 1 << 31).all():
            return self.site.real(bias)
        name = bias.name if isinstance(bias, Value) else "bias"
        axis = 0 if scale.ndim else None
        draft = self.site.draft
        inputs = [draft.constant(codes.astype(np.int32), f"{name}.codes"), self.site.floats(scale, "bias.scale")]
        return draft.add("DequantizeLinear", inputs, f"{name}.real", axis=axis)[0]

    def end(self, y: str, relu: bool) -> Value:
        """Return the layer's result, after the ReLU fused into it."""
        codes = self.site.result(self.site.add("Relu", y) if relu else y, self._meta)
        return Value(codes.name, self.site.meta)

    def _scale_of_sums(self) -> np.ndarray | None:
        """Return the real value of a sum's 1: one, or one per output."""
        x, w = self.x.qparams, self.weight.qparams
        if x is None or w is None or x.is_per_channel:
            return None
        scale = np.asarray(w.scale, np.float64)
        return np.asarray(np.float64(x.scale) * (np.tile(scale, self.groups) if w.is_per_channel else scale))
