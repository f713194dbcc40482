"""Activations that limit values, and sigmoid and tanh: quantized through 256-entry tables.

The qparams of a quantized result are the input's where the op only limits or scales values (relu, relu6, hardtanh,
clamp, leaky_relu), and constants where its range is known: sigmoid has scale 1/256 and the lowest code as zero point,
tanh scale 2/256 and the middle code. Where the caller gives `qparams`, the result has those.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _C
from .._C import QParams
from .arguments import number
from .codes import write
from .float32 import on_float32, unary
from .spec import Context, OpSpec, Sample, apply


def _away(rng: np.random.Generator, *corners: float) -> np.ndarray:
    """Sample values at least 0.1 away from the corners of a function."""
    x = rng.uniform(-8.0, 8.0, (3, 7))
    for corner in corners:
        near = np.abs(x - corner) < 0.1
        x = np.where(near, corner + np.copysign(0.2, x - corner), x)
    return x


@unary("relu")
def _relu(x: Any) -> Any:
    return np.maximum(x, 0)


def _relu_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (grad * (ctx.out > 0),)


def _relu_samples(rng: np.random.Generator) -> list[Sample]:
    return [((_away(rng, 0),), {})]


RELU = OpSpec(
    "relu",
    forward=_relu,
    backward=_relu_back,
    samples=_relu_samples,
    table=True,
    output_qparams="same",
    method="relu",
)


@RELU.public
def relu(input: Any) -> Any:
    """Return max(x, 0).

    Examples
    --------
    >>> import octensor as ot
    >>> ot.relu(ot.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return apply(RELU, input)


def _limited(x: Any, low: float | None, high: float | None) -> Any:
    return _C.float_unary("clamp", x, -np.inf if low is None else low, np.inf if high is None else high)


@on_float32(lambda x, min=None, max=None: _limited(x, min, max))
def _clamp(x: Any, min: float | None = None, max: float | None = None) -> Any:
    x = x if min is None else np.maximum(x, min)
    return x if max is None else np.minimum(x, max)


def _clamp_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    x, low, high = ctx.arrays[0], ctx.attrs["min"], ctx.attrs["max"]
    if low is not None:
        grad = grad * (x >= low)
    if high is not None:
        grad = grad * (x <= high)
    return (grad,)


def _clamp_samples(rng: np.random.Generator) -> list[Sample]:
    x = _away(rng, -1.5, 2.0)
    return [((x,), {"min": -1.5, "max": 2.0}), ((x,), {"min": None, "max": 2.0})]


CLAMP = OpSpec(
    "clamp",
    forward=_clamp,
    backward=_clamp_back,
    samples=_clamp_samples,
    table=True,
    output_qparams="same",
    method="clamp",
)


@CLAMP.public
def clamp(input: Any, min: float | None = None, max: float | None = None) -> Any:
    """Limit values to [min, max]; a bound that is None does not limit.

    Raises
    ------
    ValueError
        If both bounds are None.
    """
    if min is None and max is None:
        raise ValueError("clamp: min, max: expected at least one bound, got none")
    low = None if min is None else number("clamp", "min", min)
    high = None if max is None else number("clamp", "max", max)
    return apply(CLAMP, input, min=low, max=high)


@on_float32(lambda x, min_val=-1.0, max_val=1.0: _limited(x, min_val, max_val))
def _hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    return np.minimum(np.maximum(x, min_val), max_val)


def _hardtanh_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    x = ctx.arrays[0]
    return (grad * ((x > ctx.attrs["min_val"]) & (x < ctx.attrs["max_val"])),)


def _hardtanh_samples(rng: np.random.Generator) -> list[Sample]:
    return [((_away(rng, -1.0, 2.5),), {"min_val": -1.0, "max_val": 2.5})]


HARDTANH = OpSpec(
    "hardtanh",
    forward=_hardtanh,
    backward=_hardtanh_back,
    samples=_hardtanh_samples,
    table=True,
    output_qparams="same",
)


@HARDTANH.public
def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """Limit values to [min_val, max_val]; the gradient at the bounds is 0.

    `inplace` is accepted for compatibility and changes nothing.
    """
    min_val, max_val = number("hardtanh", "min_val", min_val), number("hardtanh", "max_val", max_val)
    if not min_val < max_val:
        raise ValueError(f"hardtanh: expected min_val < max_val, got {min_val} and {max_val}")
    return apply(HARDTANH, input, min_val=min_val, max_val=max_val)


@on_float32(lambda x: _limited(x, 0, 6))
def _relu6(x: Any) -> Any:
    return np.minimum(np.maximum(x, 0), 6)


def _relu6_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (grad * ((ctx.out > 0) & (ctx.out < 6)),)


def _relu6_samples(rng: np.random.Generator) -> list[Sample]:
    return [((_away(rng, 0, 6),), {})]


RELU6 = OpSpec(
    "relu6",
    forward=_relu6,
    backward=_relu6_back,
    samples=_relu6_samples,
    table=True,
    output_qparams="same",
)


@RELU6.public
def relu6(input: Any, inplace: bool = False) -> Any:
    """Return min(max(x, 0), 6). `inplace` is accepted for compatibility and changes nothing."""
    return apply(RELU6, input)


@on_float32(lambda x, negative_slope=0.01: _C.float_unary("leaky_relu", x, negative_slope))
def _leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    return np.where(x > 0, x, x * negative_slope)


def _leaky_relu_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (np.where(ctx.arrays[0] > 0, grad, grad * ctx.attrs["negative_slope"]),)


def _leaky_relu_samples(rng: np.random.Generator) -> list[Sample]:
    return [((_away(rng, 0),), {"negative_slope": 0.2})]


LEAKY_RELU = OpSpec(
    "leaky_relu",
    forward=_leaky_relu,
    backward=_leaky_relu_back,
    samples=_leaky_relu_samples,
    table=True,
    output_qparams="same",
)


@LEAKY_RELU.public
def leaky_relu(
    input: Any, negative_slope: float = 0.01, inplace: bool = False, *, out: Any = None, **given: Any
) -> Any:
    """Return x where x > 0, else `negative_slope`·x.

    Parameters
    ----------
    input : Tensor or QTensor
    negative_slope : float
    inplace : bool
        Accepted for compatibility; changes nothing.
    out : QTensor, optional
        For a QTensor: write the result there, with the parameters it has.
    **given
        For a QTensor: `qparams` of the result, if not the input's.
    """
    negative_slope = number("leaky_relu", "negative_slope", negative_slope)
    if out is not None:
        given["qparams"] = out.qparams
    result = apply(LEAKY_RELU, input, negative_slope=negative_slope, **given)
    return result if out is None else write(out, result)


def _threshold(x: Any, threshold: float, value: float) -> Any:
    return np.where(x > threshold, x, np.asarray(value, x.dtype))


def _threshold_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (grad * (ctx.arrays[0] > ctx.attrs["threshold"]),)


def _threshold_samples(rng: np.random.Generator) -> list[Sample]:
    return [((_away(rng, 0.5),), {"threshold": 0.5, "value": -2.0})]


THRESHOLD = OpSpec(
    "threshold",
    forward=_threshold,
    backward=_threshold_back,
    samples=_threshold_samples,
    table=True,
    output_qparams="same",
)


@THRESHOLD.public
def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """Return x where x > `threshold`, else `value`. `inplace` is accepted and changes nothing."""
    limit, below = number("threshold", "threshold", threshold), number("threshold", "value", value)
    return apply(THRESHOLD, input, threshold=float(limit), value=float(below))


@unary("sigmoid")
def _sigmoid(x: Any) -> Any:
    small = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1, small) / (1 + small)


def _sigmoid_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (grad * ctx.out * (1 - ctx.out),)


def _sigmoid_qparams(dtype: Any) -> QParams:
    return QParams(1 / 256, dtype.qmin, dtype)


def _smooth_samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.uniform(-4.0, 4.0, (3, 7)),), {})]


SIGMOID = OpSpec(
    "sigmoid",
    forward=_sigmoid,
    backward=_sigmoid_back,
    samples=_smooth_samples,
    table=True,
    output_qparams="fixed",
    fixed=_sigmoid_qparams,
    method="sigmoid",
)


@SIGMOID.public
def sigmoid(input: Any, **given: Any) -> Any:
    """Return 1 / (1 + exp(-x)); quantized: scale 1/256, zero point 0 (quint8) or -128 (qint8), or `qparams`."""
    return apply(SIGMOID, input, **given)


@unary("hardsigmoid")
def _hardsigmoid(x: Any) -> Any:
    return np.minimum(np.maximum(x + 3, 0), 6) / 6


def _hardsigmoid_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    x = ctx.arrays[0]
    return (grad * ((x > -3) & (x < 3)) / np.asarray(6, grad.dtype),)


def _hard_samples(rng: np.random.Generator) -> list[Sample]:
    return [((_away(rng, -3.0, 3.0),), {})]


HARDSIGMOID = OpSpec(
    "hardsigmoid",
    forward=_hardsigmoid,
    backward=_hardsigmoid_back,
    samples=_hard_samples,
    table=True,
    output_qparams="fixed",
    fixed=_sigmoid_qparams,
)


@HARDSIGMOID.public
def hardsigmoid(input: Any, inplace: bool = False) -> Any:
    """Return min(max(x + 3, 0), 6) / 6; quantized like `sigmoid`. `inplace` is accepted and changes nothing."""
    return apply(HARDSIGMOID, input)


def _tanh_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (grad * (1 - ctx.out * ctx.out),)


def _tanh_qparams(dtype: Any) -> QParams:
    return QParams(2 / 256, (dtype.qmin + dtype.qmax + 1) // 2, dtype)


TANH = OpSpec(
    "tanh",
    forward=unary("tanh")(np.tanh),
    backward=_tanh_back,
    samples=_smooth_samples,
    table=True,
    output_qparams="fixed",
    fixed=_tanh_qparams,
    method="tanh",
)


@TANH.public
def tanh(input: Any, **given: Any) -> Any:
    """Return tanh(x); quantized: scale 2/256, zero point 128 (quint8) or 0 (qint8), or `qparams`."""
    return apply(TANH, input, **given)
