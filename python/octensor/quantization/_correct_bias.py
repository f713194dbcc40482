"""Bias correction: what quantization adds to a layer's mean output, channel by channel, is taken off its bias.

Rounding weights shifts the expected output of a channel by E[Δw · x], which does not average out. Each quantized layer
runs beside its float twin on the same dequantized input (`_numeric_suite.Shadow`); then

    bias -= mean(quantized output) - mean(float output)      per channel, over samples and positions

Layers are corrected in the order in which they run, each seeing those before it already corrected.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from octensor import nn
from octensor.autograd import no_grad
from octensor.nn.module import Module
from octensor.nn.parameter import Parameter
from octensor.quantization._numeric_suite import (
    DEFAULT_SHADOWED,
    Logger,
    Shadow,
    _check_models,
    prepare_model_with_stubs,
    strip_shadows,
)
from octensor.quantization.compare import _first, _record, _values


class MeanShadowLogger(Logger):
    """Keeps the mean over all samples of both outputs, ``stats["float"]`` and ``stats["quantized"]``.

    Batches may differ in size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.stats = {"float": None, "quantized": None}
        self.count = 0

    def forward(self, x: Any, y: Any) -> None:
        """Take in a quantized output ``x`` and a float output ``y``."""
        outputs = {"quantized": _values(_first(x)), "float": _values(_first(y))}
        samples = outputs["float"].shape[0]
        self.count += samples
        for name, values in outputs.items():
            total = values.sum(axis=0, keepdims=True, dtype=np.float64)
            old = self.stats[name]
            self.stats[name] = total / samples if old is None else old + (total - samples * old) / self.count


def bias_correction(
    float_model: Module,
    quantized_model: Module,
    img_data: Iterable[Any],
    target_modules: Collection[type] | None = None,
    neval_batches: int | None = None,
) -> None:
    """Correct the biases of a quantized model, in place.

    Parameters
    ----------
    float_model
        The float model that was given to `prepare`, in eval mode.
    quantized_model
        What `convert` made of it.
    img_data
        An iterable of batches that can be gone through repeatedly; element 0 of each is the model's input.
    target_modules
        Types of the quantized layers to correct; by default ``nn.quantized.Linear`` and ``nn.quantized.Conv2d``. A
        layer without bias gets one.
    neval_batches
        How many batches to use; by default all.

    Raises
    ------
    ValueError
        If no layer is of these types, or there is no batch.
    TypeError
        If ``img_data`` is an iterator, which is empty after the first layer.
    """
    _check_models("bias_correction", float_model, quantized_model)
    if isinstance(img_data, Iterator):
        raise TypeError(
            f"bias_correction: img_data: expected batches that can be gone through once for each layer, got a "
            f"{type(img_data).__name__}: pass a list"
        )
    kinds = (nn.quantized.Linear, nn.quantized.Conv2d) if target_modules is None else tuple(target_modules)
    targets = {path: m for path, m in quantized_model.named_modules() if isinstance(m, kinds)}
    if not targets:
        raise ValueError(
            f"bias_correction: target_modules: expected types of layers in quantized_model, got "
            f"[{', '.join(kind.__name__ for kind in kinds)}]: name states of layers, as nn.quantized.Linear"
        )
    batches = [batch[0] for batch in islice(img_data, neval_batches)]
    if not batches:
        raise ValueError("bias_correction: img_data: expected at least one batch, got none")
    order = list(_record(quantized_model, targets, (batches[0],)))
    twins = {type(float_model.get_submodule(path)) for path in order} | set(DEFAULT_SHADOWED)
    prepare_model_with_stubs(float_model, quantized_model, twins, MeanShadowLogger)
    try:
        for path in order:
            shadow = quantized_model.get_submodule(path)
            if isinstance(shadow, Shadow):
                _correct(quantized_model, shadow, batches)
    finally:
        strip_shadows(quantized_model)


def _correct(model: Module, shadow: Shadow, batches: list[Any]) -> None:
    """Run all batches and take the mean error of one layer off its bias."""
    shadow.logger.clear()
    with no_grad():
        for batch in batches:
            model(batch)
    stats, layer = shadow.logger.stats, shadow.orig_module
    error = stats["quantized"] - stats["float"]
    channel = error.ndim - 1 if isinstance(layer, nn.Linear) else 1
    shift = error.mean(axis=tuple(axis for axis in range(error.ndim) if axis != channel))
    bias = np.zeros(shift.shape) if layer.bias is None else np.asarray(layer.bias)
    layer.bias = Parameter((bias - shift).astype(np.float32))
