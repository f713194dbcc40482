"""Activations, norms and pools of one QTensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..._C import QTensor
from .. import activation, curves, norm, pool, row_norm
from .checks import given, quantized

__all__ = [
    "batch_norm",
    "batch_norm1d",
    "batch_norm1d_relu",
    "batch_norm2d",
    "batch_norm2d_relu",
    "batch_norm3d",
    "batch_norm3d_relu",
    "batch_norm_relu",
    "celu",
    "clamp",
    "elu",
    "group_norm",
    "hardswish",
    "instance_norm",
    "layer_norm",
    "leaky_relu",
    "max_pool1d",
    "max_pool2d",
    "relu6",
    "sigmoid",
    "tanh",
    "threshold",
]

# --- activations ------------------------------------------------------------------------------------


def elu(
    qx: QTensor,
    output_scale: float,
    output_zero_point: int,
    alpha: float = 1.0,
    scale: float = 1.0,
    input_scale: float = 1.0,
) -> QTensor:
    """Return scale·x for x > 0, else scale·alpha·(exp(input_scale·x) - 1), quantized with the given parameters."""
    qparams = given("elu", qx, output_scale, output_zero_point)
    return curves.elu(qx, alpha, scale=scale, input_scale=input_scale, qparams=qparams)  # type: ignore[no-any-return]


def celu(qx: QTensor, output_scale: float, output_zero_point: int, alpha: float = 1.0) -> QTensor:
    """Return x for x > 0, else alpha·(exp(x / alpha) - 1), quantized with the given parameters."""
    qparams = given("celu", qx, output_scale, output_zero_point)
    return curves.celu(qx, alpha, qparams=qparams)  # type: ignore[no-any-return]


def hardswish(qx: QTensor, output_scale: float, output_zero_point: int) -> QTensor:
    """Return x·min(max(x + 3, 0), 6) / 6, quantized with the given parameters."""
    qparams = given("hardswish", qx, output_scale, output_zero_point)
    return curves.hardswish(qx, qparams=qparams)  # type: ignore[no-any-return]


def leaky_relu(
    qx: QTensor, negative_slope: float, inplace: bool, output_scale: float, output_zero_point: int
) -> QTensor:
    """Return the leaky ReLU, quantized with the given scale and zero point."""
    if inplace:
        raise ValueError("quantized.leaky_relu: inplace: expected False, got True")
    qparams = given("leaky_relu", qx, output_scale, output_zero_point)
    return activation.leaky_relu(qx, negative_slope, qparams=qparams)  # type: ignore[no-any-return]


def sigmoid(qx: QTensor, output_scale: float, output_zero_point: int) -> QTensor:
    """Return the sigmoid, quantized with the given scale and zero point."""
    qparams = given("sigmoid", qx, output_scale, output_zero_point)
    return activation.sigmoid(qx, qparams=qparams)  # type: ignore[no-any-return]


def tanh(qx: QTensor, output_scale: float, output_zero_point: int) -> QTensor:
    """Return tanh, quantized with the given scale and zero point."""
    qparams = given("tanh", qx, output_scale, output_zero_point)
    return activation.tanh(qx, qparams=qparams)  # type: ignore[no-any-return]


def clamp(qx: QTensor, min: float | None = None, max: float | None = None) -> QTensor:
    """Limit values to [min, max]; the qparams stay."""
    return activation.clamp(quantized("clamp", qx), min, max)  # type: ignore[no-any-return]


def relu6(qx: QTensor, inplace: bool = False) -> QTensor:
    """Return min(max(x, 0), 6); the qparams stay. `inplace` is accepted and changes nothing."""
    return activation.relu6(quantized("relu6", qx))  # type: ignore[no-any-return]


def threshold(qx: QTensor, threshold: float, value: float) -> QTensor:
    """Return x where x > `threshold`, else `value`; the qparams stay."""
    return activation.threshold(quantized("threshold", qx), threshold, value)  # type: ignore[no-any-return]


# --- pools ------------------------------------------------------------------------------------------


def max_pool1d(
    qx: QTensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> QTensor:
    """Return the largest value of each window of (N, C, L); the qparams stay."""
    result: QTensor = pool.max_pool1d(quantized("max_pool1d", qx), kernel_size, stride, padding, dilation, ceil_mode)
    return result


def max_pool2d(
    qx: QTensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> QTensor:
    """Return the largest value of each window of (N, C, H, W); the qparams stay."""
    result: QTensor = pool.max_pool2d(quantized("max_pool2d", qx), kernel_size, stride, padding, dilation, ceil_mode)
    return result


# --- norms ------------------------------------------------------------------------------------------


def _batch_norm(op: str, ranks: Sequence[int], relu: bool) -> Any:
    def call(
        qx: QTensor,
        weight: Any,
        bias: Any,
        mean: Any,
        var: Any,
        eps: float,
        output_scale: float,
        output_zero_point: int,
    ) -> QTensor:
        qparams = given(op, qx, output_scale, output_zero_point)
        if qx.ndim not in ranks:
            raise ValueError(f"quantized.{op}: input: expected one of {tuple(ranks)} axes, got shape {tuple(qx.shape)}")
        result: QTensor = norm.batch_norm(qx, mean, var, weight, bias, eps=eps, qparams=qparams, relu=relu)
        return result

    call.__name__ = call.__qualname__ = op
    call.__doc__ = (
        "Normalise each channel with given statistics: (x - mean) / sqrt(var + eps) · weight + bias"
        + (", at least 0." if relu else ".")
        + " Weight and bias may be None; the result has the given parameters."
    )
    return call


batch_norm = _batch_norm("batch_norm", range(2, 6), False)
batch_norm_relu = _batch_norm("batch_norm_relu", range(2, 6), True)
batch_norm1d = _batch_norm("batch_norm1d", (2, 3), False)
batch_norm1d_relu = _batch_norm("batch_norm1d_relu", (2, 3), True)
batch_norm2d = _batch_norm("batch_norm2d", (4,), False)
batch_norm2d_relu = _batch_norm("batch_norm2d_relu", (4,), True)
batch_norm3d = _batch_norm("batch_norm3d", (5,), False)
batch_norm3d_relu = _batch_norm("batch_norm3d_relu", (5,), True)


def layer_norm(
    qx: QTensor,
    normalized_shape: Any,
    weight: Any,
    bias: Any,
    eps: float,
    output_scale: float,
    output_zero_point: int,
) -> QTensor:
    """Normalise over the last axes with exact statistics; the result has the given parameters."""
    qparams = given("layer_norm", qx, output_scale, output_zero_point)
    return row_norm.layer_norm(qx, normalized_shape, weight, bias, eps, qparams=qparams)  # type: ignore[no-any-return]


def group_norm(
    qx: QTensor,
    num_groups: int,
    weight: Any,
    bias: Any,
    eps: float,
    output_scale: float,
    output_zero_point: int,
) -> QTensor:
    """Normalise each group of channels with exact statistics; the result has the given parameters."""
    qparams = given("group_norm", qx, output_scale, output_zero_point)
    return row_norm.group_norm(qx, num_groups, weight, bias, eps, qparams=qparams)  # type: ignore[no-any-return]


def instance_norm(
    qx: QTensor, weight: Any, bias: Any, eps: float, output_scale: float, output_zero_point: int
) -> QTensor:
    """Normalise each channel of each sample with exact statistics; the result has the given parameters."""
    qparams = given("instance_norm", qx, output_scale, output_zero_point)
    return row_norm.instance_norm(qx, None, None, weight, bias, eps=eps, qparams=qparams)  # type: ignore[no-any-return]
