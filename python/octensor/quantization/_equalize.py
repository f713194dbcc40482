"""Cross-layer equalization: scale the channels between two layers so that both use their weight range evenly.

For layers y = W2 f(W1 x + b1) with f(s·u) = s·f(u) for s > 0 (a ReLU, or nothing), any positive s per channel between
them leaves y as it is when W1 and b1 are divided by it and W2 is multiplied:

    r1[c] = max W1[c] - min W1[c]      r2[c] = max W2[:, c] - min W2[:, c] + 1e-9      s = sqrt(r1 / r2)

makes both ranges of a channel equal (Nagel et al., 2019). With one scale for a whole weight, no channel is then left
with a few codes only. A float model is equalized, after `fuse_modules` in eval mode and before `prepare`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from octensor import nn
from octensor.nn.module import Module
from octensor.nn.parameter import Parameter
from octensor.nn.weighted import WeightedLayer
from octensor.quantization.prepare import _check_model


def max_over_ndim(input: Any, axis_list: Sequence[int], keepdim: bool = False) -> np.ndarray:
    """Return the maximum over several axes."""
    return np.asarray(np.asarray(input).max(axis=tuple(axis_list), keepdims=keepdim))


def min_over_ndim(input: Any, axis_list: Sequence[int], keepdim: bool = False) -> np.ndarray:
    """Return the minimum over several axes."""
    return np.asarray(np.asarray(input).min(axis=tuple(axis_list), keepdims=keepdim))


def channel_range(input: Any, axis: int = 0) -> np.ndarray:
    """Return max - min of every channel along ``axis``.

    >>> import numpy as np
    >>> channel_range(np.array([[1.0, 4.0], [-2.0, 2.0]]))
    array([3., 4.])
    """
    others = [a for a in range(np.ndim(input)) if a != axis]
    spread: np.ndarray = max_over_ndim(input, others) - min_over_ndim(input, others)
    return spread


def cross_layer_equalization(module1: Module, module2: Module, output_axis: int = 0, input_axis: int = 1) -> None:
    """Equalize two float layers that follow each other, in place.

    Parameters
    ----------
    module1, module2
        `nn.Linear` or convolutions; the second reads the first, with nothing but a ReLU or pools in between.
    output_axis, input_axis
        The axis of the first weight's output channels and of the second's input channels.

    Raises
    ------
    TypeError
        If a module is no such layer.
    ValueError
        If one is not in the float stage, still carries a batch norm, or their channels differ.
    """
    for name, module in (("module1", module1), ("module2", module2)):
        _check_layer(name, module)
    first, second = np.asarray(module1.weight), np.asarray(module2.weight)
    channels, readers = first.shape[output_axis], second.shape[input_axis]
    if channels != readers:
        grouped = ": grouped convolutions cannot be the second of a pair" if getattr(module2, "groups", 1) > 1 else ""
        raise ValueError(
            f"cross_layer_equalization: module2: expected {channels} input channels on axis {input_axis} of its "
            f"weight, as module1 has output channels, got {readers}{grouped}"
        )
    r1 = channel_range(first, output_axis).astype(np.float64)
    r2 = channel_range(second, input_axis).astype(np.float64) + 1e-9
    scale = np.where(r1 > 0, np.sqrt(r1 / r2), 1.0)  # a channel without range has nothing to share
    _set(module1, "weight", first / _along(scale, output_axis, first.ndim))
    if module1.bias is not None:
        _set(module1, "bias", np.asarray(module1.bias) / scale)
    _set(module2, "weight", second * _along(scale, input_axis, second.ndim))


def _check_layer(name: str, module: Any) -> None:
    if not isinstance(module, WeightedLayer):
        raise TypeError(
            f"cross_layer_equalization: {name}: expected nn.Linear or a convolution, got {type(module).__name__}"
        )
    if module.stage != "float":
        raise ValueError(
            f"cross_layer_equalization: {name}: expected a float layer, got one in the {module.stage} stage: "
            "equalize before prepare"
        )
    if module.norm is not None:
        raise ValueError(
            f"cross_layer_equalization: {name}: expected a layer without batch norm, got one that carries "
            f"{type(module.norm).__name__}: fuse in eval mode, which folds it"
        )


def _along(scale: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    """Shape a vector so that it broadcasts along one axis."""
    return scale.reshape([-1 if a == axis else 1 for a in range(ndim)])


def _set(module: Module, name: str, values: np.ndarray) -> None:
    setattr(module, name, Parameter(values.astype(np.float32)))


def equalize(
    model: Module,
    paired_modules_list: Iterable[Sequence[str]],
    threshold: float = 1e-4,
    inplace: bool = True,
) -> Module:
    """Equalize pairs of layers of a model, sweeping over all pairs until the weights settle.

    Parameters
    ----------
    model
        A float model.
    paired_modules_list
        Pairs of dotted names, ``[["conv1", "conv2"], ["conv2", "fc"]]``.
    threshold
        A sweep that changes the weights by less (see `converged`) is the last.
    inplace
        Change ``model`` itself; else a copy.

    Returns
    -------
    The equalized model.

    >>> import octensor as ot
    >>> model = ot.nn.Sequential(ot.nn.Linear(3, 4), ot.nn.ReLU(), ot.nn.Linear(4, 2))
    >>> x = ot.randn(5, 3)
    >>> bool(equalize(model, [["0", "2"]], inplace=False)(x).allclose(model(x), atol=1e-5))
    True
    """
    _check_model("equalize", model)
    pairs = [tuple(pair) for pair in paired_modules_list]
    if not pairs or any(len(pair) != 2 or not all(isinstance(name, str) for name in pair) for pair in pairs):
        raise ValueError(
            f"equalize: paired_modules_list: expected pairs of names, [['conv1', 'conv2']], got {paired_modules_list!r}"
        )
    if not threshold > 0:
        raise ValueError(f"equalize: threshold: expected a positive number, got {threshold!r}")
    if not inplace:
        model = copy.deepcopy(model)
    layers = {name: _find(model, name) for pair in pairs for name in pair}
    while True:
        before = {name: copy.deepcopy(layer) for name, layer in layers.items()}
        for first, second in pairs:
            try:
                cross_layer_equalization(layers[first], layers[second])
            except (TypeError, ValueError) as error:
                raise type(error)(f"equalize: {[first, second]}: {error}") from None
        if converged(layers, before, threshold):
            return model


def _find(model: Module, name: str) -> Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        named = [path for path, module in model.named_modules() if isinstance(module, (nn.Linear, WeightedLayer))]
        raise ValueError(
            f"equalize: paired_modules_list: the model has no module {name!r}; its layers are {', '.join(named)}"
        ) from None


def converged(curr_modules: Mapping[str, Module], prev_modules: Mapping[str, Module], threshold: float = 1e-4) -> bool:
    """Whether the weights of two sets of modules differ by less than ``threshold``, as the sum of their L2 norms."""
    if curr_modules.keys() != prev_modules.keys():
        raise ValueError(
            f"converged: prev_modules: expected the same names as curr_modules, {sorted(curr_modules)}, got "
            f"{sorted(prev_modules)}"
        )
    total = 0.0
    for name, module in curr_modules.items():
        change = np.asarray(module.weight).astype(np.float64) - np.asarray(prev_modules[name].weight)
        total += float(np.sqrt((change * change).sum()))
    return total < threshold
