"""Which layer costs accuracy: signal to quantization noise, layer by layer.

Both models run on the same input; for every layer (a module without modules of its own, fused ones counted as one)

    SQNR = 10 log10( sum(float²) / sum((float - quantized)²) )  decibels

tells how well the quantized output follows the float one, errors of all layers before it included. 6 dB are one bit. A
layer whose value drops far below that of the layers before it is the one to look at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import numpy as np

from octensor import _C, nn
from octensor.autograd import no_grad
from octensor.nn.hooks import RemovableHandle
from octensor.nn.module import Module
from octensor.quantization.fake_quantize import is_activation_post_process
from octensor.quantization.prepare import _check_model, _some
from octensor.tensor import Tensor


class LayerError(NamedTuple):
    """One row of `compare_layers`."""

    path: str  #: dotted name in the model
    kind: str  #: class name, with "+ReLU" where that is fused in
    sqnr: float  #: signal to quantization noise in dB; inf where both agree exactly
    max_error: float  #: largest absolute difference


def sqnr(reference: Any, approximation: Any) -> float:
    """Return the signal to quantization noise of an approximation in dB.

    Parameters
    ----------
    reference, approximation
        Arrays, `Tensor`s or `QTensor`s (dequantized) of the same shape.

    Returns
    -------
    float
        inf if both are equal, -inf if the reference is all zero and the approximation is not.

    >>> import numpy as np
    >>> round(sqnr(np.array([3.0, 4.0]), np.array([3.0, 4.5])), 6)
    20.0
    """
    a, b = _values(reference).astype(np.float64), _values(approximation).astype(np.float64)
    if a.shape != b.shape:
        raise ValueError(f"sqnr: approximation: expected shape {a.shape} as the reference has, got {b.shape}")
    signal, noise = float(np.sum(a * a)), float(np.sum((a - b) ** 2))
    if noise == 0:
        return float("inf")
    return 10 * float(np.log10(signal / noise)) if signal else float("-inf")


def compare_layers(float_model: Module, quantized_model: Module, *inputs: Any) -> list[LayerError]:
    """Run both models on the same input and return the error of every layer, in the order in which they run.

    Parameters
    ----------
    float_model
        The float model that was prepared (after `fuse_modules`), in eval mode.
    quantized_model
        What became of it: prepared or converted.
    *inputs
        Arguments of the models.

    Raises
    ------
    ValueError
        If the two models do not have the same layers.
    """
    for name, model in (("float_model", float_model), ("quantized_model", quantized_model)):
        _check_model(f"compare_layers: {name}", model)
    ours = dict(_layers(float_model))
    theirs = dict(_layers(quantized_model, ours))
    different = [path for path in {**ours, **theirs} if _kind(ours.get(path)) != _kind(theirs.get(path))]
    if different:
        pairs = [f"{path} ({_kind(ours.get(path))} and {_kind(theirs.get(path))})" for path in different]
        raise ValueError(
            f"compare_layers: float_model: expected the same layers as in the quantized model, these differ: "
            f"{_some(pairs)}: pass the model as it was given to prepare, after fuse_modules"
        )
    expected, got = _record(float_model, ours, inputs), _record(quantized_model, theirs, inputs)
    rows = []
    for path, outputs in expected.items():
        a, b = (np.concatenate([x.reshape(-1) for x in side]) for side in (outputs, got[path]))
        largest = float(np.max(np.abs(a - b), initial=0.0))
        rows.append(LayerError(path, _kind(ours[path]), sqnr(a, b), largest))
    return rows


def _layers(model: Module, known: Collection[str] = (), path: str = "") -> Iterator[tuple[str, Module]]:
    """Yield (path, module) of all layers; what a layer carries (norm, activation, a slot) belongs to it.

    At paths that are ``known`` stands a layer, also where it is made of parts (as the observable LSTM is).
    """
    children = [(name, child) for name, child in model.named_children() if not is_activation_post_process(child)]
    if path in known or model.output_rule in ("given", "float") or not children:
        if not isinstance(model, nn.Identity):
            yield path, model
        return
    for name, child in children:
        yield from _layers(child, known, f"{path}.{name}" if path else name)


def _kind(module: Module | None) -> str:
    if module is None:
        return "nothing"
    fused = getattr(module, "activation", None)
    return type(module).__name__ + (f"+{type(fused).__name__}" if isinstance(fused, Module) else "")


def _record(model: Module, layers: dict[str, Module], inputs: tuple[Any, ...]) -> dict[str, list[np.ndarray]]:
    """Run a model and return the outputs of its layers by path, one for each time a layer ran."""
    outputs: dict[str, list[np.ndarray]] = {}

    def keep(path: str) -> Callable[[Any], None]:
        return lambda output: outputs.setdefault(path, []).append(_values(_first(output)))

    handles = [log_output(module, keep(path)) for path, module in layers.items()]
    try:
        with no_grad():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def log_output(module: Module, log: Callable[[Any], Any]) -> RemovableHandle:
    """Hand every output of a module to ``log`` from now on, until the handle's ``remove()`` is called."""

    def hook(module: Module, args: Any, output: Any) -> None:
        log(output)

    return module.register_forward_hook(hook)


def _first(output: Any) -> Any:
    """Return a layer's output; of what recurrent layers return, the sequence without the state."""
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output


def _values(x: Any) -> np.ndarray:
    if isinstance(x, _C.QTensor):
        return np.asarray(_C.dequantize(x))
    return np.asarray(x.detach() if isinstance(x, Tensor) else x)
