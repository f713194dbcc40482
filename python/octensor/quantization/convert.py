"""`convert`: turn a calibrated model into a quantized one, by changing what its layers hold.

For every module whose output slot holds an observer:

1. a batch norm attached while training is folded into the weight;
2. the weight is quantized with the parameters that ``qconfig.weight()`` finds for it, and becomes a `QTensor`;
3. the observer's `QParams` take its place in the output slot.

That makes the layer's stage "static"; its class, its place in the model and its hooks stay, and no table of classes is
needed.

A bias is stored at scale ``s_x s_w[c]`` in int32. Where it would not fit, the weight scale of that channel is raised
until it does. ``s_x`` is known only when the layer runs, so it is estimated from the input's range in calibration, with
a factor 16 to spare; what that costs is below what the layer's output can resolve. The layer lists such channels in
``raised_weight_channels``, and a warning names them.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from octensor import _C
from octensor.nn.module import Module
from octensor.quantization.fuse import fold_norm_
from octensor.quantization.observer import ObserverBase, UniformQuantizationObserverBase
from octensor.quantization.prepare import (
    InputRange,
    _check_model,
    _some,
    get_observers,
    is_weighted,
    prepare,
    swap_children,
)
from octensor.quantization.qparams import choose_qparams, fit_bias

_SPARE = 16


def convert(
    module: Module,
    mapping: Mapping[type[Module], Any] | None = None,
    inplace: bool = False,
    remove_qconfig: bool = True,
    convert_custom_config_dict: Mapping[str, Any] | None = None,
) -> Module:
    """Make a quantized model of a prepared and calibrated one.

    Parameters
    ----------
    module
        What `prepare` returned, after calibration data went through it.
    mapping
        Additional swaps, ``{Class: QuantizedClass}``: modules of these types that have a qconfig are replaced by
        ``QuantizedClass.from_float(module)`` instead of being converted as described above.
    inplace
        Change ``module`` itself; by default a copy is changed.
    remove_qconfig
        Remove the ``qconfig`` attributes.
    convert_custom_config_dict
        ``{"observed_to_quantized_custom_module_class": {Observed: Quantized}}``: modules of these types are replaced
        by ``Quantized.from_observed(module)``, at any depth.

    Returns
    -------
    The quantized model.

    Raises
    ------
    ValueError
        If the model holds no observers, or some observers saw no data (their modules are named).
    """
    _check_model("convert", module)
    if not inplace:
        module = copy.deepcopy(module)
    custom = (convert_custom_config_dict or {}).get("observed_to_quantized_custom_module_class", {})
    swaps = mapping or {}

    def swap(m: Module) -> Module | None:
        if type(m) in custom:
            return custom[type(m)].from_observed(m)  # type: ignore[no-any-return]
        if type(m) in swaps and getattr(m, "qconfig", None) is not None:
            return swaps[type(m)].from_float(m)  # type: ignore[no-any-return]
        return None

    swapped = swap_children(module, swap)
    observed = get_observers(swapped)
    if not observed and swapped is module and not (custom or swaps):
        did = "it is quantized already" if module.stage == "static" else "call prepare(model) first, then calibrate it"
        raise ValueError(
            f"convert: {type(module).__name__}: expected a prepared model, got one in the {module.stage} stage "
            f"without observers: {did}"
        )
    _check_all_observed(observed)
    raised = {}
    for path, (layer, observer) in observed.items():
        try:
            channels = quantize_layer_(layer, observer)
        except (ValueError, TypeError) as error:
            raise type(error)(f"convert: {path or type(layer).__name__}: {error}") from None
        if channels:
            raised[path] = channels
    if raised:
        named = "; ".join(f"{path}: {_some([str(c) for c in channels])}" for path, channels in raised.items())
        warnings.warn(
            f"convert: the weight scales of these channels were raised so that their bias fits int32: {named}",
            stacklevel=2,
        )
    if remove_qconfig:
        for m in swapped.modules():
            if "qconfig" in m.__dict__:
                del m.qconfig
    return swapped


def _check_all_observed(observed: dict[str, tuple[Module, ObserverBase]]) -> None:
    """Refuse to convert with observers that know nothing."""
    empty = [
        path or type(module).__name__
        for path, (module, observer) in observed.items()
        if _is_idle(observer) and not getattr(module, "used_scalar_form", False)
    ]
    if empty:
        raise ValueError(
            f"convert: no calibration data reached {_some(empty)}: run the prepared model on representative data first "
            "(calibrate(model, data)), or keep modules that never run in float (module.qconfig = None before prepare)"
        )


def _is_idle(observer: ObserverBase) -> bool:
    return isinstance(observer, UniformQuantizationObserverBase) and not observer.is_observed


def quantize_layer_(layer: Module, observer: ObserverBase) -> tuple[int, ...]:
    """Bring one observed layer to the static stage, in place.

    Returns
    -------
    The weight channels whose scale was raised for the bias.
    """
    raised: tuple[int, ...] = ()
    seen = InputRange.remove_from(layer)
    if is_weighted(layer):
        if layer.norm is not None:
            fold_norm_(layer, layer.norm)
            layer.norm = None
        layer.weight, raised = quantize_weight(layer, seen)
        if raised:
            layer.raised_weight_channels = raised
    # A container observed as one has no qparams of its own, nor has a FloatFunctional used in scalar forms only.
    empty = layer.output_rule != "given" or _is_idle(observer)
    layer.activation_post_process = None if empty else observer.qparams()
    return raised


def quantize_weight(layer: Module, seen: InputRange | None = None) -> tuple[_C.QTensor, tuple[int, ...]]:
    """Quantize a layer's weight with its ``qconfig.weight()``.

    Parameters
    ----------
    layer
        A float layer with a qconfig.
    seen
        The range of the layer's input, if it is known: then the bias is checked to fit.

    Returns
    -------
    The quantized weight, and the channels whose scale was raised.
    """
    observer = layer.qconfig.weight()
    weight = np.asarray(layer.weight)
    _check_finite("weight", weight)
    observer(weight)
    qparams = observer.qparams()
    raised: tuple[int, ...] = ()
    if layer.bias is not None and seen is not None and seen.hi > seen.lo:
        bias = np.asarray(layer.bias)
        _check_finite("bias", bias)
        input_scale = float(choose_qparams(seen.lo, seen.hi, _C.quint8)[0][0]) / _SPARE
        old = np.atleast_1d(np.asarray(qparams.scale, np.float32))
        new = fit_bias(old, bias, input_scale)
        raised = tuple(int(c) for c in np.flatnonzero(new != old))
        if raised:
            scale = new if qparams.is_per_channel else float(new[0])
            qparams = _C.QParams(scale, qparams.zero_point, qparams.dtype, axis=qparams.axis)
    return _C.quantize(weight, qparams), raised


def _check_finite(name: str, values: np.ndarray) -> None:
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise ValueError(
            f"{name}: expected finite values, got {bad} NaN or infinite of {values.size}: the float model is damaged "
            "there, train it again or load a good state"
        )


def quantize(
    model: Module,
    run_fn: Callable[..., Any],
    run_args: Any,
    mapping: Mapping[type[Module], Any] | None = None,
    inplace: bool = False,
) -> Module:
    """Prepare a model in eval mode, calibrate it with ``run_fn(model, *run_args)``, and convert it.

    >>> import octensor as ot
    >>> from octensor.quantization import QuantWrapper, default_eval_fn, default_qconfig
    >>> model = QuantWrapper(ot.nn.Linear(4, 2))
    >>> model.qconfig = default_qconfig
    >>> data = [(ot.randn(8, 4), None)]
    >>> quantize(model, default_eval_fn, [data]).stage
    'static'
    """
    _check_model("quantize", model)
    if not inplace:
        model = copy.deepcopy(model)
    model.eval()
    prepare(model, inplace=True)
    run_fn(model, *run_args)
    return convert(model, mapping, inplace=True)
