"""Views: class names for states of a layer.

PyTorch has a class for each combination of layer, fusion and stage. Here there is one `Linear`, and
`nn.quantized.Linear` or `nn.intrinsic.LinearReLU` are names for it in one state: calling a view makes the layer in that
state, `isinstance(layer, view)` looks at the state, and the view itself has no behaviour. No layer ever is an instance
of a view by its type.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import numpy as np

from .. import _C
from .._C import QParams
from .module import Module
from .weighted import WeightedLayer


class View(type):
    """Metaclass: a class that makes and recognises layers in one state.

    A view defines `layer` (the class of its layers), `stages`, and `fused` (which of "norm", "activation" the layer
    carries), and `make(...)`, what calling it does.
    """

    layer: type[Module]
    stages: tuple[str, ...]
    fused: tuple[str, ...]

    def __instancecheck__(cls, instance: Any) -> bool:
        if not isinstance(instance, cls.layer) or instance.stage not in cls.stages:
            return False
        carried = tuple(name for name in ("norm", "activation") if getattr(instance, name, None) is not None)
        return carried == cls.fused

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make a layer in the state that the view names."""
        return cls.make(*args, **kwargs)  # type: ignore[attr-defined]


class FusedView(metaclass=View):
    """A layer that carries others: `view(layer, ...)` returns one that shares the parameters of `layer`."""

    layer: ClassVar[type[Module]]
    stages: ClassVar[tuple[str, ...]] = ("float", "calibrating")
    fused: ClassVar[tuple[str, ...]]

    @classmethod
    def make(cls, layer: Module, *carried: Module) -> Module:
        """Return `layer` (a copy that shares its parameters) carrying the other modules."""
        if type(layer) is not cls.layer or len(carried) != len(cls.fused):
            got = ", ".join(type(module).__name__ for module in (layer, *carried))
            want = ", ".join((cls.layer.__name__, *cls.fused))
            raise TypeError(f"{cls.__name__}: expected modules ({want}), got ({got})")
        fused = layer.shallow_copy()
        for name, module in zip(cls.fused, carried, strict=True):
            setattr(fused, name, module)
        return fused


class StaticView(metaclass=View):
    """A weighted layer in the static stage: made with codes of 0, scale 1 and zero point 0, to be loaded into."""

    layer: ClassVar[type[Module]]
    stages: ClassVar[tuple[str, ...]] = ("static",)
    fused: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def make(cls, *args: Any, **kwargs: Any) -> Module:
        """Construct the layer with the arguments of its float class, then make it static."""
        kwargs.pop("dtype", None)  # weights are always qint8
        if "bias_" in kwargs:
            kwargs["bias"] = kwargs.pop("bias_")
        layer = cls.layer(*args, **kwargs)
        assert isinstance(layer, WeightedLayer)
        codes = np.zeros(layer.weight.shape, np.int8)
        layer.weight = _C.QTensor.from_numpy(codes, QParams(1.0, 0, _C.qint8))
        layer.activation_post_process = QParams(1.0, 0, _C.quint8)
        for name in cls.fused:
            from .activation import ReLU

            setattr(layer, name, ReLU())
        return layer

    @classmethod
    def from_float(cls, mod: Module) -> Module:
        """Return a converted copy of a layer that was prepared and calibrated."""
        from ..quantization.convert import quantize_layer_

        slot = mod.activation_post_process
        if not isinstance(mod, cls.layer) or not isinstance(slot, Module):
            raise ValueError(
                f"{cls.__name__}.from_float: expected a prepared {cls.layer.__name__} (with an observer in its output "
                f"slot), got a {type(mod).__name__} in the {mod.stage} stage"
            )
        layer = copy.deepcopy(mod)
        quantize_layer_(layer, layer.activation_post_process)
        return layer
