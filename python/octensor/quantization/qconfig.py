"""`QConfig`: what to put into a layer's output slot and weight slot.

`get_default_qconfig(engine)` and `get_default_qat_qconfig(engine)` know five engines. They differ in how weights are
quantized, never in arithmetic:

========================= =========================== ==================================
engine                    activations                 weights
========================= =========================== ==================================
fbgemm, x86, onednn       histogram, quint8, affine   per channel, qint8, symmetric
arm                       histogram, quint8, affine   per channel, qint8, symmetric
qnnpack                   histogram, quint8, affine   per tensor, qint8, symmetric
========================= =========================== ==================================

For training, moving averages of minimum and maximum take the place of the histogram.

All of these use the full range of codes. PyTorch halves the range of activations for fbgemm, because its kernels can
saturate there; octensor's are exact on every CPU. Give an observer `reduce_range=True` to do it all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from octensor import _C
from octensor.nn.linear import Identity
from octensor.nn.module import Module
from octensor.quantization.fake_quantize import (
    default_dynamic_fake_quant,
    default_embedding_fake_quant,
    default_embedding_fake_quant_4bit,
    default_fake_quant,
    default_fused_act_fake_quant,
    default_fused_wt_fake_quant,
    default_per_channel_weight_fake_quant,
    default_weight_fake_quant,
)
from octensor.quantization.histogram import HistogramObserver, default_histogram_observer
from octensor.quantization.observer import (
    NoopObserver,
    PlaceholderObserver,
    default_debug_observer,
    default_dynamic_quant_observer,
    default_float_qparams_observer,
    default_float_qparams_observer_4bit,
    default_observer,
    default_per_channel_weight_observer,
    default_placeholder_observer,
    default_weight_observer,
    per_channel_weight_observer_range_neg_127_to_127,
    weight_observer_range_neg_127_to_127,
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


def QConfigDynamic(
    activation: Callable[..., Any] = PlaceholderObserver, weight: Callable[..., Any] = default_weight_observer
) -> QConfig:
    """Return a `QConfig` for dynamic and weight-only quantization, where activations are not observed.

    PyTorch has a type of its own for these; here a qconfig says by its activation factory what it is
    (see `quant_type.get_quant_type`).
    """
    return QConfig(activation, weight)


default_qconfig = QConfig(default_observer, default_weight_observer)
default_per_channel_qconfig = QConfig(default_observer, default_per_channel_weight_observer)
default_debug_qconfig = QConfig(default_debug_observer, default_weight_observer)
default_symmetric_qnnpack_qconfig = QConfig(
    HistogramObserver.with_args(dtype=_C.qint8, eps=2**-12), weight_observer_range_neg_127_to_127
)
default_per_channel_symmetric_qnnpack_qconfig = QConfig(
    HistogramObserver.with_args(dtype=_C.qint8, eps=2**-12), per_channel_weight_observer_range_neg_127_to_127
)

# Dynamic and weight-only.
default_dynamic_qconfig = QConfigDynamic(default_dynamic_quant_observer, default_weight_observer)
per_channel_dynamic_qconfig = QConfigDynamic(default_dynamic_quant_observer, default_per_channel_weight_observer)
float16_dynamic_qconfig = QConfigDynamic(
    PlaceholderObserver.with_args(dtype=np.float32), PlaceholderObserver.with_args(dtype=np.float16)
)
float16_static_qconfig = QConfig(
    PlaceholderObserver.with_args(dtype=np.float16), PlaceholderObserver.with_args(dtype=np.float16)
)
float_qparams_weight_only_qconfig = QConfigDynamic(default_placeholder_observer, default_float_qparams_observer)
float_qparams_weight_only_qconfig_4bit = QConfigDynamic(
    default_placeholder_observer, default_float_qparams_observer_4bit
)

# Quantization-aware training.
default_qat_qconfig = QConfig(default_fake_quant, default_weight_fake_quant)
default_qat_qconfig_v2 = QConfig(default_fused_act_fake_quant, default_fused_wt_fake_quant)
default_per_channel_qat_qconfig = QConfig(default_fake_quant, default_per_channel_weight_fake_quant)
default_dynamic_qat_qconfig = QConfig(default_dynamic_fake_quant, default_weight_fake_quant)
default_weight_only_qconfig = QConfig(Identity, default_weight_fake_quant)
default_activation_only_qconfig = QConfig(default_fake_quant, Identity)
default_embedding_qat_qconfig = QConfig(NoopObserver.with_args(dtype=np.float32), default_embedding_fake_quant)
default_embedding_qat_qconfig_4bit = QConfig(
    NoopObserver.with_args(dtype=np.float32), default_embedding_fake_quant_4bit
)

# Post-training and training defaults by engine.
_PTQ = QConfig(default_histogram_observer, default_per_channel_weight_observer)
_PTQ_PER_TENSOR = QConfig(default_histogram_observer, default_weight_observer)
_BY_ENGINE = {
    "fbgemm": (_PTQ, default_per_channel_qat_qconfig),
    "x86": (_PTQ, default_per_channel_qat_qconfig),
    "onednn": (_PTQ, default_per_channel_qat_qconfig),
    "arm": (_PTQ, default_per_channel_qat_qconfig),
    "qnnpack": (_PTQ_PER_TENSOR, default_qat_qconfig),
}


def get_default_qconfig(backend: str | None = None) -> QConfig:
    """Return the default `QConfig` of an engine for calibration (see the table at the head of this file).

    Parameters
    ----------
    backend
        Its name; by default ``octensor.backends.quantized.engine``.

    Raises
    ------
    ValueError
        If there is no engine of that name.
    """
    return _default("get_default_qconfig", backend, 0)


def get_default_qat_qconfig(backend: str | None = None) -> QConfig:
    """Return the default `QConfig` of an engine for quantization-aware training; as `get_default_qconfig`."""
    return _default("get_default_qat_qconfig", backend, 1)


def _default(function: str, backend: str | None, which: int) -> QConfig:
    if backend is None:
        from octensor.backends import quantized

        backend = quantized.engine  # type: ignore[attr-defined]
    if backend not in _BY_ENGINE:
        known = ", ".join(map(repr, _BY_ENGINE))
        raise ValueError(f"{function}: backend: expected one of {known}, got {backend!r}")
    return _BY_ENGINE[backend][which]


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
