"""`ProjectingLayer`: layers that multiply by several weights of their own (recurrent layers, attention).

Each product is  y = x Wᵀ + b  for a weight and bias known by name. What a weight holds says how:

* a `Parameter`: in float, recorded on the tape;
* a `QTensor` (stage "dynamic"): x is quantized over its whole range, the sum is an integer one, y is float;
* a float16 array (stage "dynamic"): the product in float32.

The forms of the weights that the products read are kept in the layer's cache.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .. import _C
from .._C import QTensor
from ..arrays import as_array
from ..ops.exact import LINEAR_DYNAMIC
from ..ops.matmul import linear
from ..ops.packing import pack_linear
from ..ops.recording import RECORDING
from ..tensor import Tensor
from .module import Module, OutputRule, is_reduced


class ProjectingLayer(Module):
    """Base of layers with several weights, named by `weight_names`.

    Attributes
    ----------
    reduce_range : bool
        Whether dynamic products quantize their input to 7 bits instead of 8. Never needed: no kernel saturates.
    """

    output_rule: ClassVar[OutputRule] = "float"
    input_dtype = _C.quint8
    reduce_range: bool = False

    @property
    def is_dynamic(self) -> bool:
        """Whether the weights are quantized (or float16)."""
        return any(is_reduced(getattr(self, name)) for name in self.weight_names)

    def _project(self, x: Any, weight_name: str, bias_name: str) -> Any:
        """Return x Wᵀ + b: a Tensor in float, an ndarray where the weight is quantized."""
        return self._product(x, getattr(self, weight_name), getattr(self, bias_name, None), weight_name)

    def _product(self, x: Any, weight: Any, bias: Any, key: Any) -> Any:
        """Return x Wᵀ + b for a weight or a part of one; `key` names it in the cache."""
        if isinstance(weight, Tensor):
            return linear(x, weight, bias)
        ready = self._ready(weight, bias, key)
        if isinstance(weight, QTensor):
            result = _C.linear_dynamic(as_array(x), ready, self.reduce_range)
            if RECORDING.recorder is not None:
                attrs = {"reduce_range": self.reduce_range}
                RECORDING.recorder.note(LINEAR_DYNAMIC, (x, weight, bias), attrs, result)
            return result
        return as_array(linear(as_array(x), ready, None if bias is None else as_array(bias)))

    def _ready(self, weight: Any, bias: Any, key: Any) -> Any:
        """Return a reduced weight as products read it, packed with its bias or in float32, made on first use."""
        if self._cache is None:
            self.__dict__["_cache"] = {}
        ready = self._cache.get(key)
        if ready is None:
            integers = isinstance(weight, QTensor)
            ready = pack_linear(weight, bias) if integers else weight.astype(np.float32)
            self._cache[key] = ready
        return ready

    def _packed_pair(self, suffix: str) -> tuple[_C.PackedLinear, _C.PackedLinear] | None:
        """Return the packed weights of the input and of the hidden state, where both are integers."""
        names = [(f"weight_{part}{suffix}", f"bias_{part}{suffix}") for part in ("ih", "hh")]
        weights = [(getattr(self, weight), getattr(self, bias, None), weight) for weight, bias in names]
        if not all(isinstance(weight, QTensor) for weight, _, _ in weights):
            return None
        pair = [self._ready(*each) for each in weights]
        return pair[0], pair[1]

    def weights_of(self, suffix: str) -> tuple[Any, Any, Any, Any]:
        """Return weight_ih, bias_ih, weight_hh and bias_hh of one layer and direction; None for a bias there is not."""
        w_ih, b_ih, w_hh, b_hh = (
            getattr(self, f"{kind}_{part}{suffix}", None) for part in ("ih", "hh") for kind in ("weight", "bias")
        )
        return w_ih, b_ih, w_hh, b_hh

    def get_weight(self) -> dict[str, Any]:
        """Return {name: weight}; QTensors in the dynamic stage."""
        return {name: getattr(self, name) for name in self.weight_names}

    def get_bias(self) -> dict[str, Any]:
        """Return {name: bias}, for the same products and in the same order as `get_weight`."""
        names = (name.replace("weight", "bias") for name in self.weight_names)
        return {name: getattr(self, name) for name in names if getattr(self, name, None) is not None}
