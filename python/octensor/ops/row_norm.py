"""Layer, group and instance norm: every row is brought to mean 0 and variance 1, then scaled and shifted.

    y = (x - mean) / sqrt(var + eps) · weight + bias

A row is the last axes of a sample (layer norm), the channels of one group of a sample (group norm), or one channel of a
sample (instance norm, which is group norm with one channel in each group). `rows` is how many rows the input has.

Quantized, with given output qparams, the statistics are exact: with M codes q in a row, S = Σ q and T = Σ q² are
integers, and

    mean = f32(S / M)        inverse = f32(s / sqrt((M·T - S²) / M² · s² + eps))        both from float64
    y = ((f32(q) - mean) · inverse) · weight + bias                                     in float32, each step rounded

then y is quantized. The zero point of x has no influence: it shifts q and mean alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _C
from .._C import QParams, QTensor
from ..arrays import as_array
from .arguments import is_int
from .codes import byte_codes
from .float32 import on_float32
from .norm import batch_norm, move_statistics
from .spec import Context, OpSpec, Sample, apply

# Beyond this many codes in a row, M·T no longer fits int64.
_MOST_EXACT = 1 << 23


def _standard(x: np.ndarray, rows: int, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows with mean 0 and variance 1, and what they were multiplied by."""
    flat = x.reshape(rows, -1)
    centred = flat - flat.mean(axis=1, keepdims=True)
    inverse = 1 / np.sqrt(np.mean(centred * centred, axis=1, keepdims=True) + eps)
    return centred * inverse, inverse.astype(x.dtype, copy=False)


def _affine(values: Any, ndim: int, channels: bool) -> Any:
    """Shape weight or bias so that it broadcasts: along axis 1, or over the last axes as it is."""
    return np.reshape(values, (-1,) + (1,) * (ndim - 2)) if channels else values


def _float32(x: Any, weight: Any, bias: Any, *, rows: int, eps: float, channels: bool) -> np.ndarray:
    if not x.size:
        return np.empty_like(x)
    flat = x.reshape(rows, -1)
    groups, run = (rows // x.shape[0], math.prod(x.shape[2:])) if channels else (1, 1)
    weight, bias = (None if v is None else v.reshape(-1) for v in (weight, bias))
    return np.reshape(_C.float_norm(flat, weight, bias, eps, groups=groups, run=run), x.shape)


@on_float32(_float32)
def _forward(x: Any, weight: Any, bias: Any, *, rows: int, eps: float, channels: bool) -> np.ndarray:
    out = _standard(x, rows, eps)[0].reshape(x.shape)
    if weight is not None:
        out = out * _affine(weight, x.ndim, channels)
    if bias is not None:
        out = out + _affine(bias, x.ndim, channels)
    return np.asarray(out)


def _backward(ctx: Context, grad: np.ndarray) -> tuple[Any, ...]:
    x, weight, bias = ctx.arrays
    channels = ctx.attrs["channels"]
    normal, inverse = _standard(x, ctx.attrs["rows"], ctx.attrs["eps"])

    def reduced(values: np.ndarray, like: Any) -> Any:
        if like is None:
            return None
        axes = (0, *range(2, x.ndim)) if channels else tuple(range(x.ndim - like.ndim))
        return values.sum(axis=axes)

    to_x = None
    if ctx.needs[0]:
        inner = grad if weight is None else grad * _affine(weight, x.ndim, channels)
        inner = inner.reshape(normal.shape)
        along = np.mean(inner * normal, axis=1, keepdims=True)
        to_x = ((inner - inner.mean(axis=1, keepdims=True) - normal * along) * inverse).reshape(x.shape)
    return to_x, reduced(grad * normal.reshape(x.shape), weight), reduced(grad, bias)


def _quantized(
    x: QTensor, weight: Any, bias: Any, *, qparams: QParams, rows: int, eps: float, channels: bool
) -> QTensor:
    source = byte_codes("layer_norm, group_norm, instance_norm", x)
    codes = np.ascontiguousarray(x.int_repr()).reshape(rows, -1)
    count = codes.shape[1]
    wide = codes.astype(np.int32)
    total, squares = wide.sum(axis=1, dtype=np.int64), (wide * wide).sum(axis=1, dtype=np.int64)
    if count >= _MOST_EXACT:
        total, squares = total.astype(object), squares.astype(object)
    spread = (count * squares - total * total).astype(np.float64) / (float(count) * count)
    scale = np.float64(source.scale)
    inverse = (scale / np.sqrt(spread * (scale * scale) + eps)).astype(np.float32)
    mean = (total.astype(np.float64) / count).astype(np.float32)
    y = ((codes.astype(np.float32) - mean[:, None]) * inverse[:, None]).reshape(x.shape)
    if weight is not None:
        y *= _affine(as_array(weight), y.ndim, channels)
    if bias is not None:
        y += _affine(as_array(bias), y.ndim, channels)
    return _C.quantize(y, qparams, channels_last=channels and y.ndim == 4)


def _layer_samples(rng: np.random.Generator) -> list[Sample]:
    x, weight, bias = rng.standard_normal((2, 3, 4)), rng.uniform(0.5, 2.0, (3, 4)), rng.standard_normal((3, 4))
    return [
        ((x, weight[0], bias[0]), {"rows": 6, "eps": 1e-5, "channels": False}),
        ((x, weight, bias), {"rows": 2, "eps": 1e-5, "channels": False}),
        ((x, None, None), {"rows": 2, "eps": 1e-3, "channels": False}),
    ]


def _group_samples(rng: np.random.Generator) -> list[Sample]:
    x, weight, bias = rng.standard_normal((2, 4, 3, 2)), rng.uniform(0.5, 2.0, 4), rng.standard_normal(4)
    return [
        ((x, weight, bias), {"rows": 4, "eps": 1e-5, "channels": True}),
        ((x, None, bias), {"rows": 8, "eps": 1e-3, "channels": True}),
    ]


def _spec(name: str, samples: Any) -> OpSpec:
    return OpSpec(name, forward=_forward, backward=_backward, quantized=_quantized, quantized_inputs=1, samples=samples)


LAYER_NORM = _spec("layer_norm", _layer_samples)
GROUP_NORM = _spec("group_norm", _group_samples)
INSTANCE_NORM = _spec("instance_norm", _group_samples)


def _check_affine(op: str, shape: tuple[int, ...], weight: Any, bias: Any) -> None:
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and tuple(value.shape) != shape:
            raise ValueError(f"{op}: {name}: expected shape {shape}, got {tuple(value.shape)}")


@LAYER_NORM.public
def layer_norm(
    input: Any,
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    **given: Any,
) -> Any:
    """Normalise over the last axes.

    Parameters
    ----------
    input : Tensor or QTensor, shape (..., *normalized_shape)
    normalized_shape : int or sequence of int
    weight, bias : Tensor, shape `normalized_shape`, optional
    eps : float
    **given
        For a QTensor: `qparams` of the result.

    Raises
    ------
    ValueError
        If a shape does not fit.
    """
    inner = tuple(int(n) for n in normalized_shape) if not is_int(normalized_shape) else (int(normalized_shape),)  # type: ignore[union-attr,arg-type]
    shape = tuple(input.shape)
    if not inner or shape[len(shape) - len(inner) :] != inner or 0 in inner:
        raise ValueError(f"layer_norm: input: expected shape (..., {', '.join(map(str, inner))}), got {shape}")
    _check_affine("layer_norm", inner, weight, bias)
    rows = int(np.prod(shape[: len(shape) - len(inner)], dtype=np.int64))
    return apply(LAYER_NORM, input, weight, bias, rows=rows, eps=eps, channels=False, **given)


def _grouped(op: str, spec: OpSpec, input: Any, groups: int, weight: Any, bias: Any, eps: float, given: Any) -> Any:
    shape = tuple(input.shape)
    if len(shape) < 2 or 0 in shape[1:]:
        raise ValueError(f"{op}: input: expected shape (N, C, ...), got {shape}")
    if not is_int(groups) or groups < 1 or shape[1] % groups:
        raise ValueError(f"{op}: num_groups: expected a divisor of {shape[1]} channels, got {groups!r}")
    _check_affine(op, (shape[1],), weight, bias)
    return apply(spec, input, weight, bias, rows=shape[0] * int(groups), eps=eps, channels=True, **given)


@GROUP_NORM.public
def group_norm(
    input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, **given: Any
) -> Any:
    """Normalise each group of channels of each sample.

    Parameters
    ----------
    input : Tensor or QTensor, shape (N, C, ...)
    num_groups : int
        Divides C.
    weight, bias : Tensor, shape (C,), optional
    eps : float
    **given
        For a QTensor: `qparams` of the result.

    Raises
    ------
    ValueError
        If a shape does not fit.
    """
    return _grouped("group_norm", GROUP_NORM, input, num_groups, weight, bias, eps, given)


@INSTANCE_NORM.public
def instance_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    **given: Any,
) -> Any:
    """Normalise each channel of each sample.

    Parameters
    ----------
    input : Tensor or QTensor, shape (N, C, ...)
    running_mean, running_var : Tensor, shape (C,), optional
        Moved towards the average over the samples, or with `use_input_stats=False` used instead of the statistics of
        each sample.
    weight, bias : Tensor, shape (C,), optional
    use_input_stats : bool
    momentum, eps : float
    **given
        For a QTensor: `qparams` of the result.

    Raises
    ------
    ValueError
        If a shape does not fit.
    """
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps, **given)
    shape = tuple(input.shape)
    if len(shape) >= 3 and int(np.prod(shape[2:], dtype=np.int64)) < 2:
        raise ValueError(f"instance_norm: input: expected more than one value per channel, got shape {shape}")
    result = _grouped(
        "instance_norm", INSTANCE_NORM, input, shape[1] if len(shape) > 1 else 1, weight, bias, eps, given
    )
    if running_mean is not None and not isinstance(input, QTensor):
        x = as_array(input)
        flat = x.reshape(shape[0], shape[1], -1)
        move_statistics(running_mean, running_var, flat.mean((0, 2)), flat.var(2, ddof=1).mean(0), momentum)
    return result
