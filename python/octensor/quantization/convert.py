"""`convert`: turn a calibrated model into a quantized one, by changing what its layers hold.

For every module whose output slot holds an observer or a fake quantizer, `to_static_`:

1. a batch norm attached while training is folded into the weight;
2. the weight is quantized and becomes a `QTensor`: with the parameters of the fake quantizer in the weight slot, if the
   layer was trained with one, else with those that ``qconfig.weight()`` finds for it;
3. the `QParams` of what is in the output slot take its place there.

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
from octensor.quantization.fake_quantize import FakeQuantizeBase
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
    weight_observer,
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
    swapped = swap_children(module, lambda m: swapped_for(m, swaps, custom))
    observed = get_observers(swapped)
    observed.update((k, v) for k, v in get_observers(swapped, "weight_fake_quant").items() if k not in observed)
    if not observed and swapped is module and not (custom or swaps):
        did = "it is quantized already" if module.stage == "static" else "call prepare(model) first, then calibrate it"
        raise ValueError(
            f"convert: {type(module).__name__}: expected a prepared model, got one in the {module.stage} stage "
            f"without observers: {did}"
        )
    _check_all_observed(observed)
    raised = {}
    for path, (layer, _) in observed.items():
        try:
            channels = to_static_(layer)
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


def _is_idle(observer: Any) -> bool:
    return isinstance(observer, (UniformQuantizationObserverBase, FakeQuantizeBase)) and not observer.is_observed


def swapped_for(
    mod: Module, mapping: Mapping[type[Module], Any], custom_module_class_mapping: Mapping[type[Module], Any]
) -> Module | None:
    """Return the module that the tables put in the place of `mod`, or None where they have none.

    A class that names a state of the module's own class (``nn.quantized.Linear`` for ``nn.Linear``) is none.
    """
    if type(mod) in custom_module_class_mapping:
        return custom_module_class_mapping[type(mod)].from_observed(mod)  # type: ignore[no-any-return]
    target = mapping.get(type(mod))
    if target is None or getattr(mod, "qconfig", None) is None:
        return None
    if target is type(mod) or getattr(target, "layer", None) is type(mod):
        return None
    return target.from_float(mod)  # type: ignore[no-any-return]


def swap_module(
    mod: Module,
    mapping: Mapping[type[Module], Any],
    custom_module_class_mapping: Mapping[type[Module], Any] | None = None,
) -> Module:
    """Return what the tables put in the place of one module, with its hooks; or the module itself.

    Where a table names a state of the module's own class, a copy of the module is brought to it.
    """
    _check_model("swap_module", mod)
    custom = custom_module_class_mapping or {}
    target = mapping.get(type(mod))
    if target is not None and getattr(target, "layer", None) is type(mod) and getattr(mod, "qconfig", None) is not None:
        return target.from_float(mod)  # type: ignore[no-any-return]
    return swap_children(mod, lambda m: swapped_for(m, mapping, custom) if m is mod else m)


def to_static_(layer: Module) -> tuple[int, ...]:
    """Bring one prepared layer to the stage that its slots stand for, in place.

    Returns
    -------
    The weight channels whose scale was raised for the bias.
    """
    raised: tuple[int, ...] = ()
    slot = layer._modules.get("activation_post_process")
    seen = InputRange.remove_from(layer)
    if is_weighted(layer):
        if layer.norm is not None:
            fold_norm_(layer, layer.norm)
            layer.norm = None
        layer.weight, raised = quantize_weight(layer, "weight", seen)
        layer.weight_fake_quant = None
        if raised:
            layer.raised_weight_channels = raised
    # A container observed as one has no qparams of its own, nor has a FloatFunctional used in scalar forms only.
    # Where the op itself fixes its output's parameters, the slot goes too.
    empty = slot is None or layer.output_rule != "given" or _is_idle(slot)
    if empty or getattr(slot, "dtype", None) is np.float16:
        layer.activation_post_process = None
        if is_weighted(layer) and layer.input_dtype is not None:
            layer.input_dtype = None  # its qconfig is for weights only: the input stays float
    else:
        layer.activation_post_process = slot.qparams()  # type: ignore[union-attr]
    return raised


def quantize_weight(layer: Module, name: str = "weight", seen: InputRange | None = None) -> tuple[Any, tuple[int, ...]]:
    """Quantize one of a layer's weights with its weight slot or its ``qconfig.weight()``.

    Parameters
    ----------
    layer
        A float layer with a qconfig.
    name
        Of the weight.
    seen
        The range of the layer's input, if it is known: then the bias is checked to fit.

    Returns
    -------
    The weight as a `QTensor` (or a float16 array, where the qconfig says so), and the channels whose scale was raised.
    """
    weight = np.asarray(getattr(layer, name))
    _check_finite(name, weight)
    observer = layer._modules.get("weight_fake_quant")
    if observer is None:
        observer = weight_observer(layer)
        if getattr(observer, "dtype", None) is np.float16:
            return saturated_to_float16(weight), ()
        if not hasattr(observer, "qparams"):
            raise ValueError(
                f"qconfig.weight: expected an observer or a fake quantizer, got {type(observer).__name__}: a qconfig "
                "for activations only is for experiments in training, there is no converted form of it"
            )
        observer(weight)
    qparams = observer.qparams()
    raised: tuple[int, ...] = ()
    if seen is not None and seen.hi > seen.lo and layer.bias is not None:
        bias = np.asarray(layer.bias)
        _check_finite("bias", bias)
        input_scale = float(choose_qparams(seen.lo, seen.hi, _C.quint8)[0][0]) / _SPARE
        old = np.atleast_1d(np.asarray(qparams.scale, np.float32))
        if 1 < old.size < bias.size:  # a grouped transposed convolution: the groups share scales
            bias = np.abs(bias).reshape(-1, old.size).max(0)
        new = fit_bias(old, bias, input_scale)
        raised = tuple(int(c) for c in np.flatnonzero(new != old))
        if raised:
            scale = new if qparams.is_per_channel else float(new[0])
            qparams = _C.QParams(scale, qparams.zero_point, qparams.dtype, axis=qparams.axis)
    codes = _C.quantize(weight, qparams)
    low, high = getattr(observer, "quant_min", None), getattr(observer, "quant_max", None)
    if low is not None and (low, high) != (qparams.dtype.qmin, qparams.dtype.qmax) and qparams.dtype.qmax > 15:
        clipped = np.clip(codes.int_repr(), low, high).astype(qparams.dtype.numpy, copy=False)
        codes = _C.QTensor.from_numpy(clipped, qparams)
    return codes, raised


def saturated_to_float16(weight: np.ndarray) -> np.ndarray:
    """Return a weight as float16; values beyond its range are clamped to it, with a warning."""
    largest = np.finfo(np.float16).max
    beyond = int((np.abs(weight) > largest).sum())
    if beyond:
        warnings.warn(f"weight: {beyond} of {weight.size} values are beyond float16 and were clamped", stacklevel=3)
    return np.asarray(np.clip(weight, -largest, largest).astype(np.float16))


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
