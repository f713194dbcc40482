"""`nn.quantized.functional`: functions of QTensors by PyTorch's names. Nothing is computed here: each is an op.

Every one refuses an input that is not quantized. Results keep the input's scale and zero point unless a function takes
those of its result.
"""

from __future__ import annotations

import warnings
from typing import Any

from ..._C import QParams, QTensor, qint8, quint8
from ..._C import dtype as Dtype
from ...ops import activation, curves, pool, resample
from ...ops.codes import write
from ...ops.conv import conv as _conv
from ...ops.matmul import LINEAR
from ...ops.spec import apply

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "avg_pool2d",
    "avg_pool3d",
    "celu",
    "clamp",
    "conv1d",
    "conv2d",
    "conv3d",
    "elu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "interpolate",
    "leaky_relu",
    "linear",
    "max_pool1d",
    "max_pool2d",
    "threshold",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]


def _quantized(op: str, input: Any) -> QTensor:
    if not isinstance(input, QTensor):
        raise ValueError(
            f"nn.quantized.functional.{op}: input: expected a QTensor, got {type(input).__name__}: "
            "quantize it first (octensor.quantize_per_tensor)"
        )
    return input


def _given(op: str, input: Any, scale: float, zero_point: int) -> QParams:
    return QParams(float(scale), int(zero_point), _quantized(op, input).dtype)


# --- pools ------------------------------------------------------------------------------------------


def avg_pool2d(
    input: QTensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Return the mean of each window of (N, C, H, W)."""
    x = _quantized("avg_pool2d", input)
    return pool.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: QTensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Return the mean of each window of (N, C, D, H, W)."""
    x = _quantized("avg_pool3d", input)
    return pool.avg_pool3d(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def adaptive_avg_pool2d(input: QTensor, output_size: Any) -> Any:
    """Return means over windows chosen so that the result has `output_size`."""
    return pool.adaptive_avg_pool2d(_quantized("adaptive_avg_pool2d", input), output_size)


def adaptive_avg_pool3d(input: QTensor, output_size: Any) -> Any:
    """Return means over windows chosen so that the result has `output_size`."""
    return pool.adaptive_avg_pool3d(_quantized("adaptive_avg_pool3d", input), output_size)


def max_pool1d(
    input: QTensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest value of each window of (N, C, L); indices are not offered."""
    x = _quantized("max_pool1d", input)
    return pool.max_pool1d(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: QTensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest value of each window of (N, C, H, W); indices are not offered."""
    x = _quantized("max_pool2d", input)
    return pool.max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


# --- weighted ---------------------------------------------------------------------------------------


def _convolve(
    axes: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    padding_mode: str,
    scale: float,
    zero_point: int,
    dtype: Dtype,
) -> Any:
    op = f"conv{axes}d"
    x = _quantized(op, input)
    if padding_mode != "zeros":
        raise NotImplementedError(f"{op}: padding_mode: expected 'zeros' (pad the input first), got {padding_mode!r}")
    if x.dtype != quint8 or dtype != quint8:
        raise NotImplementedError(f"{op}: input, dtype: expected quint8, got {x.dtype} and {dtype}")
    if not isinstance(weight, QTensor) or weight.dtype != qint8:
        raise NotImplementedError(f"{op}: weight: expected a qint8 QTensor, got {getattr(weight, 'dtype', weight)}")
    qparams = QParams(float(scale), int(zero_point), dtype)
    return _conv(axes, x, weight, bias, stride, padding, dilation, groups, qparams=qparams)


def conv1d(
    input: QTensor,
    weight: QTensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    scale: float = 1.0,
    zero_point: int = 0,
    dtype: Dtype = quint8,
) -> Any:
    """Cross-correlate sequences (N, C, L); packs the weight on every call, the result has the given parameters."""
    args = (stride, padding, dilation, groups, padding_mode, scale, zero_point, dtype)
    return _convolve(1, input, weight, bias, *args)


def conv2d(
    input: QTensor,
    weight: QTensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    scale: float = 1.0,
    zero_point: int = 0,
    dtype: Dtype = quint8,
) -> Any:
    """Cross-correlate images (N, C, H, W); packs the weight on every call, the result has the given parameters."""
    args = (stride, padding, dilation, groups, padding_mode, scale, zero_point, dtype)
    return _convolve(2, input, weight, bias, *args)


def conv3d(
    input: QTensor,
    weight: QTensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    scale: float = 1.0,
    zero_point: int = 0,
    dtype: Dtype = quint8,
) -> Any:
    """Cross-correlate volumes (N, C, D, H, W); packs the weight on every call, the result has the given parameters."""
    args = (stride, padding, dilation, groups, padding_mode, scale, zero_point, dtype)
    return _convolve(3, input, weight, bias, *args)


def linear(
    input: QTensor, weight: QTensor, bias: Any = None, scale: float | None = None, zero_point: int | None = None
) -> Any:
    """Return `input @ weight.T + bias`; packs the weight on every call.

    A scale or zero point that is None is the input's.
    """
    x = _quantized("linear", input)
    scale = x.q_scale() if scale is None else scale
    zero_point = x.q_zero_point() if zero_point is None else zero_point
    return apply(LINEAR, x, weight, bias, qparams=_given("linear", x, scale, zero_point))


# --- activations ------------------------------------------------------------------------------------


def celu(input: QTensor, scale: float, zero_point: int, alpha: float = 1.0) -> Any:
    """Return x for x > 0, else alpha·(exp(x / alpha) - 1), with the given parameters."""
    return curves.celu(input, alpha, qparams=_given("celu", input, scale, zero_point))


def elu(input: QTensor, scale: float, zero_point: int, alpha: float = 1.0) -> Any:
    """Return x for x > 0, else alpha·(exp(x) - 1), with the given parameters."""
    return curves.elu(input, alpha, qparams=_given("elu", input, scale, zero_point))


def hardswish(input: QTensor, scale: float, zero_point: int) -> Any:
    """Return x·min(max(x + 3, 0), 6) / 6, with the given parameters."""
    return curves.hardswish(input, qparams=_given("hardswish", input, scale, zero_point))


def leaky_relu(
    input: QTensor,
    negative_slope: float = 0.01,
    inplace: bool = False,
    scale: float | None = None,
    zero_point: int | None = None,
) -> Any:
    """Return x where x > 0, else `negative_slope`·x; with the given parameters, or the input's.

    With `inplace` the input is overwritten; not where parameters are given.
    """
    x = _quantized("leaky_relu", input)
    if scale is not None and zero_point is not None:
        if inplace:
            raise ValueError("leaky_relu: inplace: expected False where scale and zero_point are given, got True")
        return activation.leaky_relu(x, negative_slope, qparams=_given("leaky_relu", x, scale, zero_point))
    result = activation.leaky_relu(x, negative_slope)
    return write(x, result) if inplace else result


def hardtanh(input: QTensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """Limit values to [min_val, max_val]; with `inplace` the input is overwritten."""
    x = _quantized("hardtanh", input)
    result = activation.hardtanh(x, min_val, max_val)
    return write(x, result) if inplace else result


def threshold(input: QTensor, threshold: float, value: float) -> Any:
    """Return x where x > `threshold`, else `value`."""
    return activation.threshold(_quantized("threshold", input), threshold, value)


def hardsigmoid(input: QTensor, inplace: bool = False) -> Any:
    """Return min(max(x + 3, 0), 6) / 6, with scale 1/256. `inplace` is accepted and changes nothing."""
    return activation.hardsigmoid(_quantized("hardsigmoid", input))


def clamp(input: QTensor, min_: float, max_: float) -> Any:
    """Limit values to [min_, max_]."""
    return activation.clamp(_quantized("clamp", input), min_, max_)


# --- interpolation ----------------------------------------------------------------------------------


def interpolate(
    input: QTensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Any:
    """Resample the spatial axes to another size."""
    return resample.interpolate(_quantized("interpolate", input), size, scale_factor, mode, align_corners)


def _deprecated(name: str) -> None:
    warnings.warn(f"nn.quantized.functional.{name} is deprecated: use interpolate", UserWarning, stacklevel=3)


def upsample(
    input: QTensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Any:
    """Return `interpolate` with the same arguments; deprecated."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_bilinear(input: QTensor, size: Any = None, scale_factor: Any = None) -> Any:
    """Return `interpolate` with mode "bilinear" and aligned corners; deprecated."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, "bilinear", True)


def upsample_nearest(input: QTensor, size: Any = None, scale_factor: Any = None) -> Any:
    """Return `interpolate` with mode "nearest"; deprecated."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor, "nearest")
