"""Observers: modules that look at every tensor passing through a slot and choose quantization parameters for it.

An observer returns its input unchanged. It ignores empty tensors, keeps memory bounded (`RecordingObserver`
excepted, which says so), and refuses NaN and infinities with an error, because one of them would silently make
every later result useless. Four observers keep a range; they are one reduction and one update each:

======================================= ======================= =======================================
observer                                reduces                 updates
======================================= ======================= =======================================
`MinMaxObserver`                        to one number           with the smaller / the larger
`MovingAverageMinMaxObserver`           to one number           ``v += averaging_constant * (now - v)``
`PerChannelMinMaxObserver`              along ``ch_axis``       with the smaller / the larger
`MovingAveragePerChannelMinMaxObserver` along ``ch_axis``       ``v += averaging_constant * (now - v)``
======================================= ======================= =======================================

`histogram.HistogramObserver` adds the fifth, `histogram_search` three that search its counts. The step
from a range to scale and zero point is `qparams.choose_qparams`.

`merge` takes in what another observer of the same kind saw. It is exact, in any order and however the data was cut,
for everything but the moving averages, which depend on the order of batches and refuse it: minima and maxima are
associative, and the histogram's counts are integers on a grid that depends on the range alone.

Write an observer of your own by deriving from `UniformQuantizationObserverBase` and defining `observe`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from octensor import _C
from octensor.nn.module import Module
from octensor.quantization.qparams import EPS, choose_qparams, integer_range, is_per_channel
from octensor.tensor import Tensor

_FLOAT32_MAX = np.finfo(np.float32).max


class ObserverFactory:
    """An observer class with some of its arguments chosen: call it to make an observer.

    It is what a `QConfig` holds. Two factories are equal when they would make equal observers.

    >>> from octensor.quantization import MinMaxObserver
    >>> MinMaxObserver.with_args(reduce_range=True).with_args(eps=1e-6)
    MinMaxObserver.with_args(reduce_range=True, eps=1e-06)
    """

    def __init__(self, cls: type[Module], kwargs: dict[str, Any]) -> None:
        self.cls = cls
        self.kwargs = kwargs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make an observer."""
        return self.cls(*args, **{**self.kwargs, **kwargs})

    def with_args(self, **kwargs: Any) -> ObserverFactory:
        """Return a factory with these arguments too; the later choice wins."""
        return ObserverFactory(self.cls, {**self.kwargs, **kwargs})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObserverFactory) and (self.cls, self.kwargs) == (other.cls, other.kwargs)

    def __hash__(self) -> int:
        return hash((self.cls, tuple(sorted(self.kwargs))))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.kwargs.items())
        return f"{self.cls.__name__}.with_args({arguments})"


class ObserverBase(Module):
    """What every observer is: a module that returns its input, and may know quantization parameters.

    Parameters
    ----------
    dtype
        What the observed tensor will be quantized to. `PlaceholderObserver` and `NoopObserver` also take float dtypes.
    """

    def __init__(self, dtype: Any) -> None:
        super().__init__()
        self.dtype = dtype

    @classmethod
    def with_args(cls, **kwargs: Any) -> ObserverFactory:
        """Return a factory of this observer with arguments chosen; chainable."""
        return ObserverFactory(cls, kwargs)

    def forward(self, x: Any) -> Any:
        """Look at ``x`` and return it."""
        values = self._values(x)
        if values.size:
            self.observe(values)
        return x

    def observe(self, values: np.ndarray) -> None:
        """Take in a non-empty float32 array; subclasses override it."""

    @property
    def is_observed(self) -> bool:
        """Whether `calculate_qparams` has data to go by."""
        return False

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Return (scale, zero_point); observers that know none raise ValueError."""
        raise ValueError(
            f"{type(self).__name__}.calculate_qparams: this observer chooses no scale and zero point: "
            "put MinMaxObserver, HistogramObserver or a relative into the qconfig"
        )

    def qparams(self) -> _C.QParams:
        """Return what `calculate_qparams` chose, as the `QParams` a converted layer holds."""
        scale, zero_point = (np.asarray(values) for values in self.calculate_qparams())
        axis = getattr(self, "ch_axis", None)
        if axis is None:
            return _C.QParams(float(scale.reshape(-1)[0]), int(zero_point.reshape(-1)[0]), self.dtype)
        if zero_point.dtype.kind == "f":
            return _C.QParams(scale, zero_point, self.dtype, axis=axis, float_zero_point=True)
        return _C.QParams(scale.astype(np.float32), zero_point.astype(np.int32), self.dtype, axis=axis)

    def _values(self, x: Any) -> np.ndarray:
        """Check what came and return it as a float32 array, without copying where it is one."""
        values = np.asarray(x.detach() if isinstance(x, Tensor) else x) if isinstance(x, (Tensor, np.ndarray)) else None
        if values is None or values.dtype.kind != "f":
            got = type(x).__name__ if values is None else f"{type(x).__name__} of {values.dtype}"
            raise TypeError(
                f"{type(self).__name__}: input: expected a float Tensor or ndarray, got {got}: "
                "observers look at float tensors, before conversion"
            )
        return values.astype(np.float32, copy=False)

    def _bounds(self, values: np.ndarray, axis: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return (min, max) of all values, or of each row along the second axis; NaN and infinities are an error."""
        lo, hi = np.asarray(values.min(axis=axis)), np.asarray(values.max(axis=axis))
        if np.isfinite(lo).all() and np.isfinite(hi).all():
            return lo, hi
        nan, inf = int(np.isnan(values).sum()), int(np.isinf(values).sum())
        raise ValueError(
            f"{type(self).__name__}: input: expected finite values, got {nan} NaN and {inf} infinite of {values.size}: "
            "remove such samples from the calibration data, or look for the layer that makes them"
        )


class UniformQuantizationObserverBase(ObserverBase):
    """An observer that ends in a range ``[lo, hi]`` and formulas 3.2 of `qparams`.

    Parameters
    ----------
    dtype : octensor.dtype
        ``quint8`` or ``qint8``.
    qscheme : octensor.qscheme
        Per-tensor or per-channel, as the class says.
    reduce_range : bool
        Plan with half of the codes. octensor's kernels are exact and do not need it; it is here for models that
        must match another runtime.
    quant_min, quant_max : int, optional
        Plan with exactly these codes; both or none.
    eps : float
        Floor of the scale.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; the message starts with the class and argument.
    """

    per_channel = False

    def __init__(
        self,
        dtype: _C.dtype = _C.quint8,
        qscheme: _C.qscheme | None = None,
        reduce_range: bool = False,
        quant_min: int | None = None,
        quant_max: int | None = None,
        eps: float = EPS,
    ) -> None:
        name = type(self).__name__
        if not isinstance(dtype, _C.dtype):
            raise TypeError(f"{name}: dtype: expected octensor.quint8 or octensor.qint8, got {dtype!r}")
        if dtype.qmax > 255:
            raise ValueError(f"{name}: dtype: expected octensor.quint8 or octensor.qint8, got {dtype!r}")
        if qscheme is None:
            qscheme = _C.qscheme.per_channel_affine if self.per_channel else _C.qscheme.per_tensor_affine
        if not isinstance(qscheme, _C.qscheme):
            raise TypeError(f"{name}: qscheme: expected a member of octensor.qscheme, got {qscheme!r}")
        if is_per_channel(qscheme) != self.per_channel:
            kind, other = ("channel", "per-tensor") if self.per_channel else ("tensor", "PerChannel")
            raise ValueError(
                f"{name}: qscheme: expected a per-{kind} scheme, got {qscheme}: use a {other} observer for that"
            )
        if not (isinstance(eps, (float, int)) and np.finfo(np.float32).tiny <= eps <= _FLOAT32_MAX):
            raise ValueError(f"{name}: eps: expected a positive normal float32 number, got {eps!r}")
        super().__init__(dtype)
        try:
            self._codes = integer_range(dtype, reduce_range, quant_min, quant_max)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        self.qscheme = qscheme
        self.reduce_range = reduce_range
        self.quant_min, self.quant_max = self._codes.qmin, self._codes.qmax
        self.eps = float(eps)
        self.ch_axis: int | None = None
        self.register_buffer("min_val", np.empty(0, np.float32))
        self.register_buffer("max_val", np.empty(0, np.float32))
        self.reset_min_max_vals()

    def reset_min_max_vals(self) -> None:
        """Forget everything observed."""
        shape = (0,) if self.per_channel else ()
        self.min_val = np.full(shape, np.inf, np.float32)
        self.max_val = np.full(shape, -np.inf, np.float32)

    @property
    def is_observed(self) -> bool:
        """Whether any non-empty tensor came through."""
        return self.min_val.size > 0 and bool((self.min_val <= self.max_val).all())

    def range(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the range to quantize, ``(lo, hi)``; by default all that was seen."""
        return self.min_val, self.max_val

    def merge(self, other: UniformQuantizationObserverBase) -> None:
        """Take in what another observer of this class saw; observers for which that is not defined raise TypeError."""
        raise TypeError(
            f"{type(self).__name__}.merge: expected an observer whose result does not depend on the order of batches, "
            "got this one: use MinMaxObserver, PerChannelMinMaxObserver, HistogramObserver or one that derives from it"
        )

    def _check_mergeable(self, other: Any) -> None:
        name = type(self).__name__
        if type(other) is not type(self):
            raise TypeError(f"{name}.merge: other: expected a {name}, got {type(other).__name__}")
        for field in ("dtype", "qscheme", "quant_min", "quant_max", "ch_axis"):
            ours, theirs = getattr(self, field), getattr(other, field)
            if ours != theirs:
                raise ValueError(f"{name}.merge: other: expected {field}={ours}, got {field}={theirs}")

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Choose scale and zero point from what was observed.

        Returns
        -------
        scale, zero_point
            Tensors of shape (1,) or (channels,), float32 and int32. ``(1.0, 0)`` with a warning if nothing came.
        """
        if not self.is_observed:
            warnings.warn(
                f"{type(self).__name__}.calculate_qparams: nothing was observed yet, returning scale 1.0 and zero "
                "point 0: run calibration data through the observer first",
                stacklevel=2,
            )
            return Tensor(np.ones(1, np.float32)), Tensor(np.zeros(1, np.int32))
        lo, hi = self.range()
        scale, zero_point = choose_qparams(lo, hi, self.dtype, self.qscheme, self._codes, self.eps)
        return Tensor(scale), Tensor(zero_point)

    def _check_own_state(self, values: Any) -> dict[str, str]:
        """Accept buffers of any shape: they grow to the data's on first use."""
        return {}

    def _load_own_state(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            setattr(self, name, np.array(value, dtype=getattr(self, name).dtype))

    def extra_repr(self) -> str:
        """Show what was observed."""
        if not self.is_observed:
            return "nothing observed"
        if self.per_channel:
            return f"channels={self.min_val.size}, min_val={self.min_val.min():g}, max_val={self.max_val.max():g}"
        return f"min_val={self.min_val:g}, max_val={self.max_val:g}"


class MinMaxObserver(UniformQuantizationObserverBase):
    """Keeps the smallest and the largest value seen.

    >>> import numpy as np
    >>> observer = MinMaxObserver()
    >>> _ = observer(np.array([-1.0, 2.0], np.float32))
    >>> observer.qparams()
    QParams(scale=0.011764706, zero_point=85, dtype=octensor.quint8)
    """

    def observe(self, values: np.ndarray) -> None:
        """Widen the range."""
        self._update(*self._bounds(values))

    def _update(self, lo: np.ndarray, hi: np.ndarray) -> None:
        if self.is_observed:
            lo, hi = np.minimum(self.min_val, lo), np.maximum(self.max_val, hi)
        self.min_val, self.max_val = np.asarray(lo), np.asarray(hi)

    def merge(self, other: UniformQuantizationObserverBase) -> None:
        """Take in what another observer saw, as if its data had come here."""
        self._check_mergeable(other)
        if not other.is_observed:
            return
        if self.is_observed and self.min_val.shape != other.min_val.shape:
            raise ValueError(
                f"{type(self).__name__}.merge: other: expected {self.min_val.size} channels, got {other.min_val.size}"
            )
        self._update(other.min_val, other.max_val)


class MovingAverageMinMaxObserver(MinMaxObserver):
    """Keeps exponential moving averages of each batch's smallest and largest value.

    Parameters
    ----------
    averaging_constant : float
        Weight of each batch after the first, in (0, 1].
    dtype, qscheme, reduce_range, quant_min, quant_max, eps
        As in `UniformQuantizationObserverBase`.
    """

    def __init__(self, averaging_constant: float = 0.01, *args: Any, **kwargs: Any) -> None:
        name = type(self).__name__
        if isinstance(averaging_constant, bool) or not isinstance(averaging_constant, (int, float)):
            raise TypeError(f"{name}: averaging_constant: expected a number, got {averaging_constant!r}")
        if not 0 < averaging_constant <= 1:
            raise ValueError(f"{name}: averaging_constant: expected 0 < c <= 1, got {averaging_constant!r}")
        super().__init__(*args, **kwargs)
        self.averaging_constant = averaging_constant

    def _update(self, lo: np.ndarray, hi: np.ndarray) -> None:
        if self.is_observed:
            lo, hi = self._average(self.min_val, lo), self._average(self.max_val, hi)
        self.min_val, self.max_val = np.asarray(lo), np.asarray(hi)

    merge = UniformQuantizationObserverBase.merge  # an average of averages depends on the order

    def _average(self, old: np.ndarray, now: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            moved = old + np.float32(self.averaging_constant) * (now - old)
        return np.asarray(np.clip(moved, -_FLOAT32_MAX, _FLOAT32_MAX))


class PerChannelMinMaxObserver(MinMaxObserver):
    """Keeps the smallest and the largest value of every channel.

    Parameters
    ----------
    ch_axis : int
        The channel axis of the input; 0 for the weight of a convolution or linear layer.
    dtype, qscheme, reduce_range, quant_min, quant_max, eps
        As in `UniformQuantizationObserverBase`.
    """

    per_channel = True

    def __init__(self, ch_axis: int = 0, *args: Any, **kwargs: Any) -> None:
        if not isinstance(ch_axis, (int, np.integer)) or isinstance(ch_axis, bool) or ch_axis < 0:
            raise ValueError(f"{type(self).__name__}: ch_axis: expected a non-negative integer, got {ch_axis!r}")
        super().__init__(*args, **kwargs)
        self.ch_axis = int(ch_axis)

    def observe(self, values: np.ndarray) -> None:
        """Widen each channel's range."""
        name, axis = type(self).__name__, self.ch_axis
        if axis is None or axis >= values.ndim:
            raise ValueError(
                f"{name}: ch_axis: expected less than {values.ndim}, the number of dimensions of the input of shape "
                f"{values.shape}, got {axis}"
            )
        rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
        if self.is_observed and rows.shape[0] != self.min_val.size:
            raise ValueError(
                f"{name}: input: expected {self.min_val.size} channels on axis {axis}, as observed before, "
                f"got shape {values.shape}"
            )
        self._update(*self._bounds(rows, axis=1))


class MovingAveragePerChannelMinMaxObserver(MovingAverageMinMaxObserver, PerChannelMinMaxObserver):
    """Keeps exponential moving averages of each batch's smallest and largest value of every channel.

    Parameters
    ----------
    averaging_constant : float
        Weight of each batch after the first, in (0, 1].
    ch_axis : int
        The channel axis of the input.
    dtype, qscheme, reduce_range, quant_min, quant_max, eps
        As in `UniformQuantizationObserverBase`.
    """


class PlaceholderObserver(ObserverBase):
    """Looks at nothing; carries the dtypes of a dynamic or float16 qconfig."""

    def __init__(self, dtype: Any = np.float32, custom_op_name: str = "", compute_dtype: Any = None) -> None:
        super().__init__(dtype)
        self.custom_op = custom_op_name
        self.compute_dtype = compute_dtype

    def forward(self, x: Any) -> Any:
        """Return ``x``."""
        return x


class NoopObserver(ObserverBase):
    """Looks at nothing; marks a tensor as one that stays float."""

    def __init__(self, dtype: Any = np.float16, custom_op_name: str = "") -> None:
        super().__init__(dtype)
        self.custom_op = custom_op_name

    def forward(self, x: Any) -> Any:
        """Return ``x``."""
        return x


class FixedQParamsObserver(ObserverBase):
    """Looks at nothing; its scale and zero point were given.

    Parameters
    ----------
    scale, zero_point
        Per tensor.
    dtype, qscheme, quant_min, quant_max
    """

    def __init__(
        self,
        scale: float,
        zero_point: int,
        dtype: _C.dtype = _C.quint8,
        qscheme: _C.qscheme = _C.qscheme.per_tensor_affine,
        quant_min: int | None = None,
        quant_max: int | None = None,
    ) -> None:
        super().__init__(dtype)
        codes = integer_range(dtype, False, quant_min, quant_max)
        try:
            _C.QParams(scale, zero_point, dtype)
        except ValueError as error:
            raise ValueError(f"FixedQParamsObserver: {error}") from None
        self.qscheme = qscheme
        self.quant_min, self.quant_max = codes.qmin, codes.qmax
        self.register_buffer("scale", np.array([scale], np.float32))
        self.register_buffer("zero_point", np.array([zero_point], np.int32))

    def forward(self, x: Any) -> Any:
        """Return ``x``."""
        return x

    @property
    def is_observed(self) -> bool:
        """True: there is nothing to find out."""
        return True

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Return what was given."""
        return Tensor(self.scale), Tensor(self.zero_point)


class RecordingObserver(ObserverBase):
    """Keeps a copy of every tensor, for debugging. Its memory grows with each batch."""

    def __init__(self, dtype: Any = _C.quint8) -> None:
        super().__init__(dtype)
        self.tensor_val: list[np.ndarray] = []

    def observe(self, values: np.ndarray) -> None:
        """Keep a copy."""
        self.tensor_val.append(values.copy())

    def get_tensor_value(self) -> list[np.ndarray]:
        """Return what came so far, one float32 array per call."""
        return self.tensor_val


default_observer = MinMaxObserver.with_args()
default_weight_observer = MinMaxObserver.with_args(dtype=_C.qint8, qscheme=_C.qscheme.per_tensor_symmetric)
default_per_channel_weight_observer = PerChannelMinMaxObserver.with_args(
    dtype=_C.qint8, qscheme=_C.qscheme.per_channel_symmetric
)
default_placeholder_observer = PlaceholderObserver
default_debug_observer = RecordingObserver
default_dynamic_quant_observer = PlaceholderObserver.with_args(dtype=np.float32, compute_dtype=_C.quint8)
default_float_qparams_observer = PerChannelMinMaxObserver.with_args(
    dtype=_C.quint8, qscheme=_C.qscheme.per_channel_affine_float_qparams
)
default_float_qparams_observer_4bit = PerChannelMinMaxObserver.with_args(
    dtype=_C.quint4x2, qscheme=_C.qscheme.per_channel_affine_float_qparams
)
default_fixed_qparams_range_0to1_observer = FixedQParamsObserver.with_args(scale=1 / 256, zero_point=0)
default_fixed_qparams_range_neg1to1_observer = FixedQParamsObserver.with_args(scale=2 / 256, zero_point=128)
weight_observer_range_neg_127_to_127 = default_weight_observer.with_args(quant_min=-127, quant_max=127, eps=2**-12)
per_channel_weight_observer_range_neg_127_to_127 = default_per_channel_weight_observer.with_args(
    quant_min=-127, quant_max=127, eps=2**-12
)
