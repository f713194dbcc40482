"""Batch normalisation.

    y = (x - mean) / sqrt(var + eps) · weight + bias        per channel (axis 1)

In training, mean and (biased) variance are those of the batch, over all axes but the channel's, and gradients pass
through them; otherwise they are the running statistics, constants.

Quantized, with running statistics and given output qparams: x is dequantized, y = x · a + b in float32, where
a = weight / sqrt(var + eps) and b = bias - mean · a are rounded once from float64, and y is quantized.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _C
from .._C import QParams, QTensor
from ..arrays import as_array
from .spec import Context, OpSpec, Sample, apply

Statistics = tuple[np.ndarray, np.ndarray]


def _channel(values: Any, ndim: int) -> Any:
    """Shape per-channel values so that they broadcast along axis 1."""
    return values if values is None else np.reshape(values, (1, -1) + (1,) * (ndim - 2))


def statistics(x: np.ndarray) -> Statistics:
    """Return mean and biased variance per channel of x (N, C, ...)."""
    over = (0, *range(2, x.ndim))
    mean = x.mean(axis=over)
    centred = x - _channel(mean, x.ndim)
    return mean, np.mean(centred * centred, axis=over)


def _forward(
    x: Any,
    weight: Any,
    bias: Any,
    mean: Any,
    var: Any,
    *,
    training: bool,
    eps: float,
    batch: Statistics | None = None,
) -> np.ndarray:
    if training:
        mean, var = statistics(x) if batch is None else batch
    scale = 1 / np.sqrt(var + eps)
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    if bias is not None:
        shift = shift + bias
    out: np.ndarray = x * _channel(scale, x.ndim)
    out += _channel(shift, x.ndim)
    return out


def _backward(ctx: Context, grad: np.ndarray) -> tuple[Any, ...]:
    x, weight, _, mean, var = ctx.arrays
    training, batch = ctx.attrs["training"], ctx.attrs.get("batch")
    if training:
        mean, var = statistics(x) if batch is None else batch
    over = (0, *range(2, x.ndim))
    inverse = 1 / np.sqrt(var + ctx.attrs["eps"])
    normal = (x - _channel(mean, x.ndim)) * _channel(inverse, x.ndim)
    to_bias = grad.sum(axis=over)
    to_weight = np.sum(grad * normal, axis=over)
    to_x = None
    if ctx.needs[0]:
        scale = inverse if weight is None else inverse * weight
        if training:
            count = x.size // x.shape[1]
            grad = grad - _channel(to_bias / count, x.ndim) - normal * _channel(to_weight / count, x.ndim)
        to_x = grad * _channel(scale, x.ndim)
    return to_x, to_weight, to_bias, None, None


def _samples(rng: np.random.Generator) -> list[Sample]:
    x, weight, bias = rng.standard_normal((3, 2, 2, 3)), rng.uniform(0.5, 2.0, 2), rng.standard_normal(2)
    mean, var = rng.standard_normal(2), rng.uniform(0.5, 2.0, 2)
    return [
        ((x, weight, bias, mean, var), {"training": True, "eps": 1e-5}),
        ((x, weight, bias, mean, var), {"training": False, "eps": 1e-5}),
        ((x[:, :, 0, 0], None, None, mean, var), {"training": True, "eps": 1e-3}),
    ]


def _quantized(
    x: QTensor,
    weight: Any,
    bias: Any,
    mean: Any,
    var: Any,
    *,
    qparams: QParams,
    eps: float,
    relu: bool = False,
    training: bool = False,
    batch: None = None,
) -> QTensor:
    if training:
        raise ValueError("batch_norm: training: expected False for a QTensor, got True: train in float")
    scale = 1 / np.sqrt(as_array(var).astype(np.float64) + eps)
    if weight is not None:
        scale = scale * as_array(weight)
    shift = -as_array(mean).astype(np.float64) * scale
    if bias is not None:
        shift = shift + as_array(bias)
    y = _C.dequantize(x)
    y = y * _channel(scale.astype(np.float32), y.ndim) + _channel(shift.astype(np.float32), y.ndim)
    if relu:
        y = np.maximum(y, 0)
    return _C.quantize(y, qparams, channels_last=y.ndim == 4)


BATCH_NORM = OpSpec(
    "batch_norm",
    forward=_forward,
    backward=_backward,
    quantized=_quantized,
    quantized_inputs=1,
    samples=_samples,
)


@BATCH_NORM.public
def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    **given: Any,
) -> Any:
    """Normalise each channel.

    Parameters
    ----------
    input : Tensor or QTensor, shape (N, C, ...)
    running_mean, running_var : Tensor, shape (C,), or None
        Used as the statistics in eval; updated in place in training: r ← (1 - momentum)·r + momentum·batch, with the
        unbiased batch variance.
    weight, bias : Tensor, shape (C,), optional
    training : bool
        Whether to use the batch's statistics.
    momentum, eps : float
    **given
        For a QTensor: `qparams` of the result, and `relu=True` to clamp it at real 0.

    Raises
    ------
    ValueError
        If a shape does not fit, or training meets one value per channel.
    """
    shape = tuple(input.shape)
    if len(shape) < 2:
        raise ValueError(f"batch_norm: input: expected shape (N, C, ...), got {shape}")
    named = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, value in named.items():
        if value is not None and tuple(value.shape) != (shape[1],):
            raise ValueError(
                f"batch_norm: {name}: expected shape ({shape[1]},) for input {shape}, got {tuple(value.shape)}"
            )
    if not training and (running_mean is None or running_var is None):
        raise ValueError("batch_norm: running_mean, running_var: expected tensors in eval, got None")
    batch = None
    if training and not getattr(input, "is_quantized", False):
        x = np.asarray(input)
        count = x.size // shape[1] if shape[1] else 0
        if count < 2:
            raise ValueError(f"batch_norm: input: training needs more than one value per channel, got {shape}")
        batch = statistics(x)
        move_statistics(running_mean, running_var, batch[0], batch[1] * (count / (count - 1)), momentum)
    tensors = (input, weight, bias, running_mean, running_var)
    return apply(BATCH_NORM, *tensors, training=training, eps=eps, batch=batch, **given)


def move_statistics(running_mean: Any, running_var: Any, mean: np.ndarray, var: np.ndarray, momentum: float) -> None:
    """Move running statistics (None where there are none) towards those of a batch, in place."""
    for running, new in ((running_mean, mean), (running_var, var)):
        if running is not None:
            array = np.asarray(running)
            array += np.asarray(momentum, array.dtype) * (new - array)
