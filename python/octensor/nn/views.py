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
from ..arrays import as_array
from .activation import ReLU
from .module import Module
from .parameter import Parameter


class View(type):
    """Metaclass: a class that makes and recognises layers in one state.

    A view defines `layer` (the class of its layers), `stages`, and `fused` (which of "norm", "activation" the layer
    carries), and `make(...)`, what calling it does.
    """

    layer: type[Module]
    stages: tuple[str, ...]
    fused: tuple[str, ...] = ()

    def __instancecheck__(cls, instance: Any) -> bool:
        if not isinstance(instance, cls.layer) or instance.stage not in cls.stages:
            return False
        carried = tuple(name for name in ("norm", "activation") if isinstance(getattr(instance, name, None), Module))
        # A layer that carries a ReLU6 has no name of its own among PyTorch's classes.
        return carried == cls.fused and ("activation" not in carried or isinstance(instance.activation, ReLU))

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
        from .batchnorm import BatchNormLayer

        kinds = {"norm": BatchNormLayer, "activation": ReLU}
        wanted = [cls.layer, *(kinds[name] for name in cls.fused)]
        given = (layer, *carried)
        fits = len(given) == len(wanted) and type(layer) is cls.layer
        if not fits or not all(isinstance(m, kind) for m, kind in zip(given, wanted, strict=True)):
            got = ", ".join(type(module).__name__ for module in given)
            want = ", ".join((cls.layer.__name__, *cls.fused))
            raise TypeError(f"{cls.__name__}: expected modules ({want}), got ({got})")
        fused = layer.shallow_copy()
        for name, module in zip(cls.fused, carried, strict=True):
            setattr(fused, name, module)
        return fused


def placed(layer: Module, scale: Any = 1.0, zero_point: Any = 0, dtype: Any = _C.quint8) -> Module:
    """Bring a layer to the static stage: put the qparams of its output into the slot; return it, in eval mode."""
    scale, zero_point = (np.asarray(as_array(v)).reshape(()).item() for v in (scale, zero_point))
    layer.activation_post_process = QParams(scale, int(zero_point), dtype)
    return layer.eval()


class SlotView(metaclass=View):
    """A layer in the static stage that has no quantized weight: made with the qparams of its output.

    The arguments of `view(...)` are those named in `arguments`; `output_scale` and `output_zero_point` are other names
    for `scale` and `zero_point`. Those that are parameters of the layer (weight, bias) are set, the others go to the
    layer's class.
    """

    layer: ClassVar[type[Module]]
    stages: ClassVar[tuple[str, ...]] = ("static",)
    fused: ClassVar[tuple[str, ...]] = ()
    arguments: ClassVar[tuple[str, ...]] = ("scale", "zero_point")

    @classmethod
    def make(cls, *args: Any, **kwargs: Any) -> Module:
        """Construct the layer, set its parameters, and put the qparams into its slot."""
        if len(args) > len(cls.arguments):
            raise TypeError(f"{cls.__name__}: expected at most {len(cls.arguments)} arguments, got {len(args)}")
        given = {**dict(zip(cls.arguments, args, strict=False)), **kwargs}
        for name in ("scale", "zero_point"):
            if f"output_{name}" in given:
                given[name] = given.pop(f"output_{name}")
        slot = {name: given.pop(name) for name in ("scale", "zero_point", "dtype") if name in given}
        parameters = {name: given.pop(name) for name in ("weight", "bias") if name in given}
        layer: Module = cls.layer(**given)
        for name, value in parameters.items():
            setattr(layer, name, None if value is None else Parameter(as_array(value)))
        for name in cls.fused:
            setattr(layer, name, ReLU())
        return placed(layer, **slot)

    @classmethod
    def from_float(cls, mod: Module) -> Module:
        """Return a converted copy of a layer that was prepared and calibrated."""
        return converted(cls, mod)


def converted(view: Any, mod: Module) -> Module:
    """Return a converted copy of a prepared layer, for the view that was asked for it."""
    from ..quantization.convert import to_static_

    slot = mod.activation_post_process
    if not isinstance(mod, view.layer) or not isinstance(slot, Module):
        raise ValueError(
            f"{view.__name__}.from_float: expected a prepared {view.layer.__name__} (with an observer in its output "
            f"slot), got a {type(mod).__name__} in the {mod.stage} stage"
        )
    layer: Module = copy.deepcopy(mod)
    to_static_(layer)
    return layer


def empty_weights_(layer: Module, qparams: QParams | None) -> Module:
    """Replace a layer's weights by codes of 0 (None: float16 zeros), to be loaded into; return it, in eval mode."""
    for name in layer.weight_names:
        shape = getattr(layer, name).shape
        if qparams is None:
            weight: Any = np.zeros(shape, np.float16)
        else:
            weight = _C.QTensor.from_numpy(np.zeros(shape, qparams.dtype.numpy), qparams)
        setattr(layer, name, weight)
    return layer.eval()


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
        layer = empty_weights_(cls.layer(*args, **kwargs), QParams(1.0, 0, _C.qint8))
        for name in cls.fused:
            setattr(layer, name, ReLU())
        return placed(layer)

    @classmethod
    def from_float(cls, mod: Module) -> Module:
        """Return a converted copy of a layer that was prepared and calibrated."""
        return converted(cls, mod)


class DynamicView(metaclass=View):
    """A layer with quantized weights and an empty slot: made with codes of 0, to be loaded into.

    `dtype` is that of the weights, an integer one or float16.
    """

    layer: ClassVar[type[Module]]
    stages: ClassVar[tuple[str, ...]] = ("dynamic", "weight-only")
    fused: ClassVar[tuple[str, ...]] = ()
    dtypes: ClassVar[tuple[Any, ...]] = (_C.qint8, np.float16)

    @classmethod
    def make(cls, *args: Any, dtype: Any = None, **kwargs: Any) -> Module:
        """Construct the layer with the arguments of its float class, then empty its weights."""
        dtype = cls.dtypes[0] if dtype is None else dtype
        if dtype not in cls.dtypes:
            known = ", ".join(getattr(d, "__name__", str(d)) for d in cls.dtypes)
            raise ValueError(f"{cls.__name__}: dtype: expected one of {known}, got {dtype}")
        if "bias_" in kwargs:
            kwargs["bias"] = kwargs.pop("bias_")
        layer = cls.layer(*args, **kwargs)
        return empty_weights_(layer, None if dtype is np.float16 else QParams(1.0, 0, dtype))

    @classmethod
    def from_float(cls, mod: Module) -> Module:
        """Return a copy of a float layer with weights quantized as its `qconfig` says."""
        from ..quantization.dynamic import quantize_layer_dynamic_

        if not isinstance(mod, cls.layer) or mod.stage != "float":
            raise ValueError(
                f"{cls.__name__}.from_float: expected a float {cls.layer.__name__}, got a {type(mod).__name__} "
                f"in the {mod.stage} stage"
            )
        qconfig = getattr(mod, "qconfig", None)
        if qconfig is None:
            raise ValueError(
                f"{cls.__name__}.from_float: mod.qconfig: expected a QConfig, got none: set the layer's qconfig first"
            )
        layer = copy.deepcopy(mod).eval()
        quantize_layer_dynamic_(layer, qconfig)
        return layer
