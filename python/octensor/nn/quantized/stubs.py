"""Views of the stubs and of `FloatFunctional` in their states."""

from __future__ import annotations

from ...quantization.functional import FloatFunctional
from ...quantization.stubs import DeQuantStub, QuantStub
from ..module import Module
from ..views import SlotView


class Quantize(SlotView):
    """`Quantize(scale, zero_point, dtype)`: a converted `QuantStub`."""

    layer = QuantStub
    arguments = ("scale", "zero_point", "dtype")


class DeQuantize(SlotView):
    """`DeQuantize()`: a `DeQuantStub`, which is the same before and after it is converted."""

    layer = DeQuantStub
    stages = ("float",)

    @classmethod
    def make(cls) -> Module:
        """Return a `DeQuantStub`."""
        return DeQuantStub()

    @classmethod
    def from_float(cls, mod: Module) -> Module:
        """Return `mod`."""
        return mod


class FXFloatFunctional(SlotView):
    """`FXFloatFunctional()`: a `FloatFunctional` that is not observed."""

    layer = FloatFunctional
    stages = ("float",)

    @classmethod
    def make(cls) -> Module:
        """Return a `FloatFunctional` without a qconfig."""
        functional = FloatFunctional()
        functional.qconfig = None
        return functional


class QFunctional(SlotView):
    """`QFunctional()`: a converted `FloatFunctional`; its `scale` and `zero_point` can be set."""

    layer = FloatFunctional
