"""`merge_observers_`: calibrate in several places, then put together what was seen.

Copies of one prepared model observe different parts of the data, in other threads, processes or machines (a prepared
model can be pickled). Merged, the observers know what one pass over all data would have told them, bit for bit and in
whatever order the parts come, for all observers that have `merge` (moving averages depend on the order of batches, and
refuse).
"""

from __future__ import annotations

from octensor.nn.module import Module
from octensor.quantization.observer import UniformQuantizationObserverBase
from octensor.quantization.prepare import InputRange, _check_model, _some, get_observers


def merge_observers_(model: Module, *others: Module) -> Module:
    """Take what the observers of other copies of a prepared model saw into this one, in place.

    Parameters
    ----------
    model
        What `prepare` returned, calibrated or not.
    *others
        Copies of it, each calibrated with data of its own.

    Returns
    -------
    ``model``, ready to `convert`.

    Raises
    ------
    ValueError
        If a model is not prepared, or the models have observers at different places.
    TypeError
        If an observer cannot be merged; the message names its place.

    >>> import copy
    >>> import octensor as ot
    >>> from octensor.quantization import QuantWrapper, calibrate, default_qconfig, prepare
    >>> model = QuantWrapper(ot.nn.Linear(4, 2)).eval()
    >>> model.qconfig = default_qconfig
    >>> parts = [calibrate(prepare(model), ot.randn(8, 4)) for _ in range(2)]
    >>> merge_observers_(prepare(model), *parts).quant.activation_post_process.is_observed
    True
    """
    for part in (model, *others):
        _check_model("merge_observers_", part)
    ours = get_observers(model)
    if not ours:
        raise ValueError(
            f"merge_observers_: model: expected a prepared model, got one in the {model.stage} stage: "
            "call prepare(model) first"
        )
    for other in others:
        theirs = get_observers(other)
        different = sorted(ours.keys() ^ theirs.keys())
        if different:
            raise ValueError(
                f"merge_observers_: others: expected copies of the prepared model, one differs in the observers of "
                f"{_some(different)}"
            )
        for path, (layer, observer) in ours.items():
            twin, seen = theirs[path]
            if isinstance(observer, UniformQuantizationObserverBase):
                try:
                    observer.merge(seen)
                except (TypeError, ValueError) as error:
                    raise type(error)(f"merge_observers_: {path or type(layer).__name__}: {error}") from None
            _merge_input_range(layer, twin)
            if getattr(twin, "used_scalar_form", False):
                layer.used_scalar_form = True
    return model


def _merge_input_range(layer: Module, twin: Module) -> None:
    for ours in _input_ranges(layer):
        for theirs in _input_ranges(twin):
            ours.lo, ours.hi = min(ours.lo, theirs.lo), max(ours.hi, theirs.hi)


def _input_ranges(layer: Module) -> list[InputRange]:
    return [hook for hook in layer._forward_pre_hooks.values() if isinstance(hook, InputRange)]
