"""`QConfig`: what to put into a layer's output slot and weight slot.

`get_default_qconfig(engine)` knows five engines. They differ in how weights are quantized, never in arithmetic:

========================= =========================== ==================================
engine                    activations                 weights
========================= =========================== ==================================
fbgemm, x86, onednn       histogram, quint8, affine   per channel, qint8, symmetric
arm                       histogram, quint8, affine   per channel, qint8, symmetric
qnnpack                   histogram, quint8, affine   per tensor, qint8, symmetric
========================= =========================== ==================================

All of these use the full range of codes. PyTorch halves the range of activations for fbgemm, because its kernels can
saturate there; octensor's are exact on every CPU. Give an observer `reduce_range=True` to do it all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from octensor.nn.module import Module
from octensor.quantization.histogram import default_histogram_observer
from octensor.quantization.observer import (
    default_debug_observer,
    default_observer,
    default_per_channel_weight_observer,
    default_weight_observer,
)


class _QConfigFields(NamedTuple):
    activation: Callable[..., Any]
    weight: Callable[..., Any]


class QConfig(_QConfigFields):
    """Two factories: one makes the observer of a layer's output, the other that of its weight.

    Parameters
    ----------
    activation, weight
        An observer class, or one with arguments: ``MinMaxObserver.with_args(reduce_range=True)``. Every layer
        gets an observer of its own from it, so an instance cannot stand here.

    Raises
    ------
    ValueError
        If an instance of a module is given.
    TypeError
        If what is given cannot be called.

    >>> from octensor.quantization import HistogramObserver, default_weight_observer
    >>> QConfig(activation=HistogramObserver.with_args(bins=512), weight=default_weight_observer).activation
    HistogramObserver.with_args(bins=512)
    """

    __slots__ = ()

    def __new__(cls, activation: Callable[..., Any], weight: Callable[..., Any]) -> QConfig:
        """Check both factories."""
        for name, factory in (("activation", activation), ("weight", weight)):
            kind = type(factory).__name__
            if isinstance(factory, Module):
                raise ValueError(
                    f"QConfig: {name}: expected a factory, got an instance of {kind}, which all layers would share: "
                    f"pass the class {kind}, or {kind}.with_args(...)"
                )
            if not callable(factory):
                raise TypeError(
                    f"QConfig: {name}: expected a factory such as MinMaxObserver.with_args(...), got {kind} {factory!r}"
                )
        return super().__new__(cls, activation, weight)


default_qconfig = QConfig(default_observer, default_weight_observer)
default_per_channel_qconfig = QConfig(default_observer, default_per_channel_weight_observer)
default_debug_qconfig = QConfig(default_debug_observer, default_weight_observer)

_HISTOGRAM_PER_CHANNEL = QConfig(default_histogram_observer, default_per_channel_weight_observer)
_HISTOGRAM_PER_TENSOR = QConfig(default_histogram_observer, default_weight_observer)
_BY_ENGINE = {
    "fbgemm": _HISTOGRAM_PER_CHANNEL,
    "x86": _HISTOGRAM_PER_CHANNEL,
    "onednn": _HISTOGRAM_PER_CHANNEL,
    "arm": _HISTOGRAM_PER_CHANNEL,
    "qnnpack": _HISTOGRAM_PER_TENSOR,
}


def get_default_qconfig(backend: str = "fbgemm") -> QConfig:
    """Return the default `QConfig` of an engine (see the table at the head of this file).

    Raises
    ------
    ValueError
        If there is no engine of that name.
    """
    if backend not in _BY_ENGINE:
        raise ValueError(
            f"get_default_qconfig: backend: expected one of {', '.join(map(repr, _BY_ENGINE))}, got {backend!r}"
        )
    return _BY_ENGINE[backend]


def assert_valid_qconfig(qconfig: Any, mod: Module | None = None) -> None:
    """Raise TypeError unless ``qconfig`` is a `QConfig` or None (None leaves the module in float)."""
    if qconfig is None or isinstance(qconfig, QConfig):
        return
    place = "" if mod is None else f" of {type(mod).__name__}"
    hint = (
        f"write QConfig(activation={type(qconfig).__name__}, weight=default_weight_observer)"
        if isinstance(qconfig, Module)
        else "use get_default_qconfig(), or build one with QConfig(activation=..., weight=...)"
    )
    raise TypeError(f"qconfig{place}: expected a QConfig or None, got {type(qconfig).__name__} {qconfig!r}: {hint}")
