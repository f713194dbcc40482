"""`QATView`: names for weighted layers in the qat stage (see `nn.views`)."""

from __future__ import annotations

from typing import Any, ClassVar

from ..activation import ReLU
from ..batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from ..module import Module
from ..views import View

_NORMS = {1: BatchNorm1d, 2: BatchNorm2d, 3: BatchNorm3d}


class QATView(metaclass=View):
    """A weighted layer with a fake quantizer in its weight slot, which its qconfig makes.

    Calling the view takes the arguments of the float class and ``qconfig``; views with a norm also ``eps``,
    ``momentum`` and ``freeze_bn``.
    """

    layer: ClassVar[type[Module]]
    stages: ClassVar[tuple[str, ...]] = ("qat",)
    fused: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def make(cls, *args: Any, qconfig: Any = None, **kwargs: Any) -> Module:
        """Construct the layer in the qat stage."""
        norm = {name: kwargs.pop(name) for name in ("eps", "momentum") if name in kwargs and "norm" in cls.fused}
        freeze = kwargs.pop("freeze_bn", False) if "norm" in cls.fused else False
        layer = cls.layer(*args, **kwargs)
        if "norm" in cls.fused:
            layer.norm = _NORMS.get(getattr(layer, "axes", 1), BatchNorm1d)(layer.weight.shape[0], **norm)
        if "activation" in cls.fused:
            layer.activation = ReLU()
        layer.qconfig = qconfig
        layer = cls.from_float(layer)
        if freeze:
            layer.freeze_bn = True
            layer.train(layer.training)
        return layer

    @classmethod
    def from_float(cls, mod: Module) -> Module:
        """Return a layer in the qat stage that shares the parameters of a float one, which has a qconfig."""
        from ...quantization.prepare import weight_observer

        carried = tuple(name for name in ("norm", "activation") if getattr(mod, name, None) is not None)
        if type(mod) is not cls.layer or mod.stage != "float" or carried != cls.fused:
            want = " + ".join((cls.layer.__name__, *cls.fused))
            raise TypeError(
                f"{cls.__name__}: expected a float {want}, got {' + '.join((type(mod).__name__, *carried))} in the "
                f"{mod.stage} stage"
            )
        if getattr(mod, "qconfig", None) is None:
            raise ValueError(
                f"{cls.__name__}: qconfig: expected one with a fake quantizer for the weight, got none: "
                "use quantization.get_default_qat_qconfig()"
            )
        layer = mod.shallow_copy()
        fake = weight_observer(layer)
        if fake.slot_stage != "qat":
            raise ValueError(
                f"{cls.__name__}: qconfig.weight: expected a fake quantizer, got {type(fake).__name__}: "
                "use quantization.get_default_qat_qconfig()"
            )
        layer.weight_fake_quant = fake.train(layer.training)
        return layer
