"""`FakeQuantize`: a slot module that makes a float layer compute with the values that codes can have.

In training it observes what passes, chooses scale and zero point, and rounds (`fake_ops`), with straight-through
gradients. Two switches, saved in the state, turn observing and rounding on and off.

**Eval mode is what convert will make of it.** There the module

* rounds with `_C.quantize` and `_C.dequantize`, and returns a `grid.GridTensor`, which carries the codes;
* makes its layer's output that of the converted layer: `as_converted` brings a shallow copy of the layer to the static
  stage by the very function that `convert` uses (`convert.to_static_`), runs it on the codes of the layer's inputs, and
  puts the result in the place of the float one.

The prepared model and the converted one therefore run the same code on the same integers from the first `QuantStub` to
the last `DeQuantStub`, and agree on every output value. Where no converted layer could run (an input without codes,
rounding switched off, nothing observed yet) the float result stays.

For that, evaluating must not change anything: below `prepare_qat`, fake-quantize modules observe in train mode only
(`observe_in_eval` is False), and once in eval mode if they have seen nothing at all. A module made by hand, or
by `prepare`, observes whenever its switch is on, as PyTorch's do.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from octensor import _C
from octensor.arrays import as_array
from octensor.autograd import no_grad
from octensor.grid import GridTensor, codes_of
from octensor.nn.module import Module
from octensor.ops.arguments import is_int
from octensor.quantization.fake_ops import fake_quantize_per_channel_affine, fake_quantize_per_tensor_affine
from octensor.quantization.histogram import HistogramObserver
from octensor.quantization.observer import (
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    ObserverBase,
    ObserverFactory,
    default_fixed_qparams_range_0to1_observer,
    default_fixed_qparams_range_neg1to1_observer,
    default_float_qparams_observer,
    default_float_qparams_observer_4bit,
)
from octensor.tensor import Tensor


class FakeQuantizeBase(Module):
    """What the fake-quantize modules share: two switches, and the layer they belong to in eval mode.

    Attributes
    ----------
    dtype : octensor.dtype
    quant_min, quant_max : int
        The codes in use; all of ``dtype`` or fewer (weights of 4 bits: -8..7 of qint8).
    ch_axis : int
        The channel axis, or -1 where there is one scale for all.
    observe_in_eval : bool
        See the head of this file.
    """

    slots = ()
    slot_stage: ClassVar[Literal["calibrating", "qat"]] = "qat"
    observe_in_eval = True

    dtype: Any
    quant_min: int
    quant_max: int
    ch_axis: int

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("fake_quant_enabled", np.ones(1, np.uint8))
        self.register_buffer("observer_enabled", np.ones(1, np.uint8))

    @classmethod
    def with_args(cls, **kwargs: Any) -> ObserverFactory:
        """Return a factory of this class with arguments chosen; chainable."""
        return ObserverFactory(cls, kwargs)

    def enable_fake_quant(self, enabled: bool = True) -> None:
        """Turn rounding on or off."""
        self.fake_quant_enabled[0] = bool(enabled)

    def disable_fake_quant(self) -> None:
        """Turn rounding off."""
        self.enable_fake_quant(False)

    def enable_observer(self, enabled: bool = True) -> None:
        """Turn observing on or off."""
        self.observer_enabled[0] = bool(enabled)

    def disable_observer(self) -> None:
        """Turn observing off."""
        self.enable_observer(False)

    @property
    def is_observed(self) -> bool:
        """Whether scale and zero point stand for data."""
        return True

    @property
    def is_settled(self) -> bool:
        """Whether it rounds, with parameters that stand for data."""
        return bool(self.fake_quant_enabled[0]) and self.is_observed

    def qparams(self) -> _C.QParams:
        """Return scale and zero point as a converted layer holds them."""
        raise NotImplementedError

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Return (scale, zero_point)."""
        raise NotImplementedError

    def quantize(self, values: np.ndarray) -> _C.QTensor:
        """Return values as codes, clamped to ``quant_min..quant_max``."""
        codes = _C.quantize(values, self.qparams(), channels_last=values.ndim == 4 and self.ch_axis < 0)
        if (self.quant_min, self.quant_max) == (self.dtype.qmin, self.dtype.qmax):
            return codes
        clipped = np.clip(codes.int_repr(), self.quant_min, self.quant_max)
        return _C.QTensor.from_numpy(clipped.astype(self.dtype.numpy, copy=False), codes.qparams)

    def as_converted(self, layer: Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Return `output` of `layer`, in whose output slot this module is, with the values of the converted layer."""
        arguments = [*args, *kwargs.values()]
        if not self.is_settled or not isinstance(output, Tensor):
            return output
        takes_float = getattr(layer, "takes_float", False)
        if not takes_float and any(isinstance(a, (Tensor, np.ndarray)) and codes_of(a) is None for a in arguments):
            return output
        if "weight_fake_quant" in layer.slots:
            of_weight = layer._modules.get("weight_fake_quant")
            if not isinstance(of_weight, FakeQuantizeBase) or not of_weight.is_settled:
                return output
        from octensor.quantization.convert import to_static_

        converted = layer.shallow_copy()
        to_static_(converted)

        def input_of(value: Any) -> Any:
            codes = None if takes_float else codes_of(value)
            return value if codes is None else codes

        with no_grad():
            result = converted.forward(*map(input_of, args), **{k: input_of(v) for k, v in kwargs.items()})
        return GridTensor.of(result, output) if isinstance(result, _C.QTensor) else output

    def _rounded(self, x: Any) -> Any:
        """Return x rounded with the present parameters."""
        if isinstance(x, np.ndarray):
            x = Tensor(x)
        parameters = self.qparams()
        if not self.training:
            codes = codes_of(x)
            if codes is not None and codes.qparams == parameters:
                return x
        low, high = self.quant_min, self.quant_max
        if parameters.is_per_channel:
            result = fake_quantize_per_channel_affine(
                x, parameters.scale, parameters.zero_point, parameters.axis, low, high
            )
        else:
            result = fake_quantize_per_tensor_affine(x, parameters.scale, parameters.zero_point, low, high)
        return result if self.training else GridTensor.of(self.quantize(as_array(x, np.float32)), result)


class FakeQuantize(FakeQuantizeBase):
    """Observes what passes, and rounds it with the parameters found.

    Parameters
    ----------
    observer : type
        The observer's class; it becomes the child ``activation_post_process``.
    quant_min, quant_max : int, optional
        The codes to use; by default all of the observer's dtype. Where they are fewer, the observer plans with them.
    **observer_kwargs
        Arguments of the observer, such as ``dtype``, ``qscheme``, ``reduce_range``.

    Raises
    ------
    ValueError
        If the bounds do not lie inside the dtype.

    >>> import octensor as ot
    >>> fake = FakeQuantize(quant_min=0, quant_max=3)
    >>> fake(ot.tensor([0.0, 0.9, 1.2, 3.0]))
    tensor([0., 1., 1., 3.])
    """

    def __init__(
        self,
        observer: Any = MovingAverageMinMaxObserver,
        quant_min: int | None = None,
        quant_max: int | None = None,
        **observer_kwargs: Any,
    ) -> None:
        super().__init__()
        bounds = {} if quant_min is None and quant_max is None else {"quant_min": quant_min, "quant_max": quant_max}
        full = observer(**observer_kwargs)
        dtype = full.dtype
        if bounds:
            if not (is_int(quant_min) and is_int(quant_max) and dtype.qmin <= quant_min < quant_max <= dtype.qmax):  # type: ignore[operator]
                raise ValueError(
                    f"{type(self).__name__}: quant_min, quant_max: expected bounds inside {dtype!r} "
                    f"({dtype.qmin}..{dtype.qmax}), got {quant_min} and {quant_max}"
                )
            if (quant_min, quant_max) != (dtype.qmin, dtype.qmax):
                full = observer(**observer_kwargs, **bounds)
        self.dtype = dtype
        self.qscheme = full.qscheme
        self.quant_min = dtype.qmin if quant_min is None else int(quant_min)
        self.quant_max = dtype.qmax if quant_max is None else int(quant_max)
        self.is_per_channel = full.ch_axis is not None
        self.ch_axis = full.ch_axis if self.is_per_channel else -1
        self.activation_post_process = full
        self.register_buffer("scale", np.ones(1, np.float32))
        self.register_buffer("zero_point", np.zeros(1, np.int32))

    @property
    def is_observed(self) -> bool:
        """Whether the observer has seen data."""
        return bool(self.activation_post_process.is_observed)

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Return (scale, zero_point) that the observer chooses now."""
        return self.activation_post_process.calculate_qparams()  # type: ignore[no-any-return]

    def qparams(self) -> _C.QParams:
        """Return the scale and zero point in use."""
        scale, zero_point = self.scale, self.zero_point
        if not self.is_per_channel or scale.size == 1 != self._channels():
            return _C.QParams(float(scale[0]), int(zero_point[0]), self.dtype)
        if zero_point.dtype.kind == "f":
            return _C.QParams(scale, zero_point, self.dtype, self.ch_axis, float_zero_point=True)
        return _C.QParams(scale, zero_point, self.dtype, self.ch_axis)

    def _channels(self) -> int:
        return int(np.size(self.activation_post_process.min_val))

    def forward(self, x: Any) -> Any:
        """Observe, then round, as far as the switches say."""
        observer = self.activation_post_process
        if self.observer_enabled[0] and (self.training or self.observe_in_eval or not observer.is_observed):
            observer.forward(x)
            if observer.is_observed:
                scale, zero_point = self.calculate_qparams()
                self.scale, self.zero_point = np.asarray(scale), np.asarray(zero_point)
        return self._rounded(x) if self.fake_quant_enabled[0] else x

    def _check_own_state(self, values: Any) -> dict[str, str]:
        """Accept vectors of any length: they grow to the channels on first use."""
        return {}

    def _load_own_state(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            old = getattr(self, name)
            setattr(self, name, np.array(value, dtype=old.dtype if old.dtype.kind != "i" else None).reshape(-1))

    def extra_repr(self) -> str:
        """Switches, bounds and parameters."""
        switches = f"fake_quant_enabled={bool(self.fake_quant_enabled[0])}, "
        switches += f"observer_enabled={bool(self.observer_enabled[0])}"
        return f"{switches}, dtype={self.dtype.name}, quant_min={self.quant_min}, quant_max={self.quant_max}"


class FixedQParamsFakeQuantize(FakeQuantizeBase):
    """Rounds with a scale and a zero point that were given; observes nothing.

    Parameters
    ----------
    scale, zero_point
        Per tensor. Or, as ``observer``, a factory of a `FixedQParamsObserver`.
    dtype, qscheme, quant_min, quant_max
    """

    def __init__(
        self,
        scale: float | None = None,
        zero_point: int | None = None,
        dtype: _C.dtype = _C.quint8,
        qscheme: _C.qscheme = _C.qscheme.per_tensor_affine,
        quant_min: int | None = None,
        quant_max: int | None = None,
        observer: Any = None,
    ) -> None:
        super().__init__()
        if observer is not None:
            made = observer()
            scale, zero_point, dtype = float(made.scale[0]), int(made.zero_point[0]), made.dtype
        if scale is None or zero_point is None:
            raise TypeError("FixedQParamsFakeQuantize: scale, zero_point: expected both, got none")
        self._fixed = _C.QParams(scale, zero_point, dtype)
        self.dtype = dtype
        self.qscheme = qscheme
        self.quant_min = dtype.qmin if quant_min is None else quant_min
        self.quant_max = dtype.qmax if quant_max is None else quant_max
        if not dtype.qmin <= self.quant_min <= zero_point <= self.quant_max <= dtype.qmax:
            raise ValueError(
                f"FixedQParamsFakeQuantize: quant_min, quant_max: expected bounds inside {dtype!r} that hold "
                f"zero_point={zero_point}, got {self.quant_min} and {self.quant_max}"
            )
        self.is_per_channel = False
        self.ch_axis = -1
        self.register_buffer("scale", np.array([scale], np.float32))
        self.register_buffer("zero_point", np.array([zero_point], np.int32))

    def qparams(self) -> _C.QParams:
        """Return what was given."""
        return self._fixed

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Return (scale, zero_point)."""
        return Tensor(self.scale), Tensor(self.zero_point)

    def forward(self, x: Any) -> Any:
        """Round, unless switched off."""
        return self._rounded(x) if self.fake_quant_enabled[0] else x

    def extra_repr(self) -> str:
        """Parameters."""
        return f"scale={self._fixed.scale:g}, zero_point={self._fixed.zero_point}, dtype={self.dtype.name}"


class FusedMovingAvgObsFakeQuantize(FakeQuantize):
    """`FakeQuantize` with a moving-average observer; PyTorch's name for doing both in one kernel.

    The results are the same; here it only checks that the observer is one of the two.
    """

    def __init__(
        self,
        observer: Any = MovingAverageMinMaxObserver,
        quant_min: int | None = None,
        quant_max: int | None = None,
        **observer_kwargs: Any,
    ) -> None:
        if observer not in (MovingAverageMinMaxObserver, MovingAveragePerChannelMinMaxObserver):
            raise ValueError(
                "FusedMovingAvgObsFakeQuantize: observer: expected MovingAverageMinMaxObserver or "
                f"MovingAveragePerChannelMinMaxObserver, got {observer!r}: use FakeQuantize for others"
            )
        super().__init__(observer, quant_min, quant_max, **observer_kwargs)


def is_activation_post_process(module: Any) -> bool:
    """Whether a module is one that sits in a slot, rather than a layer."""
    return isinstance(module, (ObserverBase, FakeQuantizeBase))


def enable_fake_quant(mod: Module) -> None:
    """Turn rounding on, if `mod` is a fake-quantize module: ``model.apply(enable_fake_quant)``."""
    if isinstance(mod, FakeQuantizeBase):
        mod.enable_fake_quant()


def disable_fake_quant(mod: Module) -> None:
    """Turn rounding off, if `mod` is a fake-quantize module: ``model.apply(disable_fake_quant)``."""
    if isinstance(mod, FakeQuantizeBase):
        mod.disable_fake_quant()


def enable_observer(mod: Module) -> None:
    """Turn observing on, if `mod` is a fake-quantize module: ``model.apply(enable_observer)``."""
    if isinstance(mod, FakeQuantizeBase):
        mod.enable_observer()


def disable_observer(mod: Module) -> None:
    """Turn observing off, if `mod` is a fake-quantize module: ``model.apply(disable_observer)``."""
    if isinstance(mod, FakeQuantizeBase):
        mod.disable_observer()


_SYMMETRIC = _C.qscheme.per_tensor_symmetric
_CHANNELS = {
    "observer": MovingAveragePerChannelMinMaxObserver,
    "dtype": _C.qint8,
    "qscheme": _C.qscheme.per_channel_symmetric,
    "ch_axis": 0,
}

default_fake_quant = FakeQuantize.with_args(observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255)
default_weight_fake_quant = FakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, quant_min=-128, quant_max=127, dtype=_C.qint8, qscheme=_SYMMETRIC
)
default_per_channel_weight_fake_quant = FakeQuantize.with_args(quant_min=-128, quant_max=127, **_CHANNELS)
default_histogram_fake_quant = FakeQuantize.with_args(observer=HistogramObserver, quant_min=0, quant_max=255)
default_dynamic_fake_quant = FakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255, averaging_constant=1
)
default_fixed_qparams_range_0to1_fake_quant = FixedQParamsFakeQuantize.with_args(
    observer=default_fixed_qparams_range_0to1_observer
)
default_fixed_qparams_range_neg1to1_fake_quant = FixedQParamsFakeQuantize.with_args(
    observer=default_fixed_qparams_range_neg1to1_observer
)
default_affine_fixed_qparams_fake_quant = default_fixed_qparams_range_0to1_fake_quant
default_symmetric_fixed_qparams_fake_quant = default_fixed_qparams_range_neg1to1_fake_quant
default_embedding_fake_quant = FakeQuantize.with_args(observer=default_float_qparams_observer)
default_embedding_fake_quant_4bit = FakeQuantize.with_args(observer=default_float_qparams_observer_4bit)
default_fused_act_fake_quant = FusedMovingAvgObsFakeQuantize.with_args(quant_min=0, quant_max=255)
default_fused_wt_fake_quant = FusedMovingAvgObsFakeQuantize.with_args(
    quant_min=-128, quant_max=127, dtype=_C.qint8, qscheme=_SYMMETRIC
)
default_fused_per_channel_wt_fake_quant = FusedMovingAvgObsFakeQuantize.with_args(
    quant_min=-128, quant_max=127, **_CHANNELS
)
fused_wt_fake_quant_range_neg_127_to_127 = FusedMovingAvgObsFakeQuantize.with_args(
    quant_min=-127, quant_max=127, dtype=_C.qint8, qscheme=_SYMMETRIC, eps=2**-12
)
fused_per_channel_wt_fake_quant_range_neg_127_to_127 = FusedMovingAvgObsFakeQuantize.with_args(
    quant_min=-127, quant_max=127, eps=2**-12, **_CHANNELS
)
