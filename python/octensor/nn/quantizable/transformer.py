"""`TransformerEncoderLayer` whose sums and attention are observed, for static quantization."""

from __future__ import annotations

import copy
from typing import Any

from ...quantization.functional import FloatFunctional
from .. import transformer
from ..activation import ReLU
from ..linear import Identity
from .attention import MultiheadAttention
from .base import Quantizable


class TransformerEncoderLayer(transformer.TransformerEncoderLayer, Quantizable):
    """A `nn.TransformerEncoderLayer` with `FloatFunctional` sums and `nn.quantizable.MultiheadAttention`.

    A ReLU between the linear layers becomes part of the first one.
    """

    float_class = transformer.TransformerEncoderLayer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._make_observable()

    def _make_observable(self) -> None:
        self.self_attn = MultiheadAttention.from_float(self.self_attn)
        self.add1 = FloatFunctional()
        self.add2 = FloatFunctional()
        if isinstance(self.activation, ReLU):
            self.linear1.activation = self.activation
            self.activation = Identity()

    def _sum(self, place: int, x: Any, y: Any) -> Any:
        return (self.add1 if place == 1 else self.add2).add(x, y)

    @classmethod
    def _from_float(cls, mod: Any) -> TransformerEncoderLayer:
        new = cls.__new__(cls)
        new.__dict__.update(copy.deepcopy(mod).__dict__)
        new._make_observable()
        return new
