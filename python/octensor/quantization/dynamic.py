"""`quantize_dynamic`: weights are quantized now, activations when they come, without calibration.

What becomes of a layer follows from its qconfig and its class, for every layer that names its `weight_names`:

============================== ==================================================================================
weight observer                result
============================== ==================================================================================
integer, `compute_dtype` set   weights are QTensors; a class with an `input_dtype` quantizes its input by the range of
                               each call (stage "dynamic": Linear, LSTM, GRU, cells), others compute in float
integer, float activations     weights are QTensors; computed in float (stage "weight-only": Embedding, EmbeddingBag)
float16                        weights are float16 arrays; computed in float (stage "weight-only")
============================== ==================================================================================
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from octensor import _C
from octensor.nn.module import Module
from octensor.quantization.convert import quantize_weight, swapped_for
from octensor.quantization.fuse import fold_norm_
from octensor.quantization.mappings import get_default_dynamic_quant_module_mappings
from octensor.quantization.prepare import _check_model, propagate_qconfig_, swap_children
from octensor.quantization.qconfig import (
    QConfig,
    default_dynamic_qconfig,
    float16_dynamic_qconfig,
    float_qparams_weight_only_qconfig,
    float_qparams_weight_only_qconfig_4bit,
)
from octensor.quantization.quant_type import QuantType, get_quant_type


def quantize_dynamic(
    model: Module,
    qconfig_spec: Mapping[Any, QConfig | None] | Collection[Any] | None = None,
    dtype: Any = _C.qint8,
    mapping: Mapping[type[Module], Any] | None = None,
    inplace: bool = False,
) -> Module:
    """Quantize the weights of a float model; its inputs and outputs stay float.

    Parameters
    ----------
    model
        A float model.
    qconfig_spec
        What to quantize: a set of types or dotted names, which get the default qconfig of ``dtype``; or a mapping from
        types and names to a qconfig (None excludes). By default all types that ``dtype`` is for.
    dtype
        ``qint8`` or ``float16`` for Linear and recurrent layers, ``quint8`` or ``quint4x2`` for embeddings.
    mapping
        Additional swaps, ``{Class: QuantizedClass}``, done by ``QuantizedClass.from_float(module)``.
    inplace
        Change ``model`` itself; by default a copy is changed.

    Returns
    -------
    The quantized model, in eval mode.

    Raises
    ------
    ValueError
        If ``dtype`` is another one, a name is unknown, or nothing in the model is of the types asked for.

    >>> import octensor as ot
    >>> quantize_dynamic(ot.nn.Sequential(ot.nn.Linear(4, 2))).stage
    'dynamic'
    """
    _check_model("quantize_dynamic", model)
    spec = _spec(qconfig_spec, dtype)
    if not inplace:
        model = copy.deepcopy(model)
    model.eval()
    try:
        propagate_qconfig_(model, spec)
    except (ValueError, TypeError) as error:
        raise type(error)(f"quantize_dynamic: qconfig_spec: {error}") from None
    swaps = mapping or {}
    model = swap_children(model, lambda m: swapped_for(m, swaps, {}))
    done = 0
    for path, layer in model.named_modules():
        qconfig = layer.__dict__.get("qconfig")
        if qconfig is None or not layer.weight_names or type(layer) in swaps:
            continue
        if layer.stage != "float":
            raise ValueError(
                f"quantize_dynamic: {path or type(layer).__name__}: expected a float layer, got one in the "
                f"{layer.stage} stage"
            )
        try:
            quantize_layer_dynamic_(layer, qconfig)
        except (ValueError, TypeError) as error:
            raise type(error)(f"quantize_dynamic: {path or type(layer).__name__}: {error}") from None
        done += 1
    for m in model.modules():
        m.__dict__.pop("qconfig", None)
    if not done and not swaps:
        wanted = ", ".join(sorted(key if isinstance(key, str) else key.__name__ for key in spec))
        raise ValueError(
            f"quantize_dynamic: {type(model).__name__}: expected at least one layer to quantize, found none of {wanted}"
        )
    return model


def _spec(qconfig_spec: Any, dtype: Any) -> dict[Any, QConfig | None]:
    embeddings = dtype in (_C.quint8, _C.quint4x2)
    defaults = {
        _C.qint8: default_dynamic_qconfig,
        _C.quint8: float_qparams_weight_only_qconfig,
        _C.quint4x2: float_qparams_weight_only_qconfig_4bit,
    }
    qconfig = defaults.get(dtype) if isinstance(dtype, _C.dtype) else None
    if qconfig is None and not isinstance(dtype, _C.dtype) and np.dtype(dtype) == np.float16:
        qconfig = float16_dynamic_qconfig
    if isinstance(qconfig_spec, Mapping):
        return dict(qconfig_spec)
    if qconfig is None:
        raise ValueError(
            f"quantize_dynamic: dtype: expected qint8 or float16, or quint8 or quint4x2 for embeddings, got {dtype!r}"
        )
    if qconfig_spec is None:
        types = get_default_dynamic_quant_module_mappings()
        return {t: qconfig for t in types if (t.input_dtype is None) == embeddings}
    if isinstance(qconfig_spec, str) or not isinstance(qconfig_spec, Collection):
        raise TypeError(
            "quantize_dynamic: qconfig_spec: expected a set of types or names, or a mapping from these to qconfigs, "
            f"got {qconfig_spec!r}"
        )
    return dict.fromkeys(qconfig_spec, qconfig)


def quantize_layer_dynamic_(layer: Module, qconfig: QConfig) -> None:
    """Bring one float layer to the dynamic or weight-only stage, in place.

    Parameters
    ----------
    layer
        One with `weight_names`.
    qconfig
        Its weight factory chooses dtype and scales.
    """
    _check_model("quantize_layer_dynamic_", layer)
    if not layer.weight_names:
        raise TypeError(
            f"quantize_layer_dynamic_: layer: expected one with weights (Linear, LSTM, Embedding, ...), got a "
            f"{type(layer).__name__}"
        )
    if not isinstance(qconfig, QConfig):
        raise TypeError(f"quantize_layer_dynamic_: qconfig: expected a QConfig, got {type(qconfig).__name__}")
    layer.qconfig = qconfig
    if getattr(layer, "norm", None) is not None:
        fold_norm_(layer, layer.norm)
        layer.norm = None
    quantized = {name: quantize_weight(layer, name)[0] for name in layer.weight_names}
    for name, weight in quantized.items():
        setattr(layer, name, weight)
    if layer.input_dtype is not None and get_quant_type(qconfig) is QuantType.WEIGHT_ONLY:
        layer.input_dtype = None
