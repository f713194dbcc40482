"""Pooling over the one to three last axes of (N, C, ...): maxima, means, and means over windows of a wanted number.

Quantized pools keep the input's qparams and work on the integers: the largest code, or

    q = clamp(rint(f32(sum of (q - z)) / f32(divisor)) + z, qmin, qmax)

One kernel serves all three.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _C
from .._C import QTensor
from .arguments import LAYOUTS, is_int, per_axis, rank
from .float32 import on_float32
from .spec import Context, OpSpec, Sample, apply
from .windows import Sizes, Windows, adaptive_windows, pool_arguments


def _cases(base: dict[str, Any], axes: int, values: Any) -> list[Sample]:
    """Return samples over `axes` axes: plain, padded, and with windows cut short in ceil mode."""

    def case(size: Sizes, **changes: Any) -> Sample:
        attrs = {"kernel": (2,) * axes, "stride": (2,) * axes, "padding": (0,) * axes, "ceil_mode": False}
        return (values((2, 2, *size[-axes:])),), attrs | base | changes

    ceil = {"kernel": (2, 2, 3)[-axes:], "stride": (2, 2, 2)[-axes:], "ceil_mode": True}
    return [
        case((2, 4, 6)),
        case((3, 5, 5), kernel=(3,) * axes, padding=(1,) * axes),
        case((3, 3, 6), **ceil),
    ]


# The order in which the kernels take their arguments.
_MAX = ("kernel", "stride", "padding", "dilation", "ceil_mode")
_AVG = ("kernel", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")


# --- max_pool -------------------------------------------------------------------------------------


@on_float32(lambda x, **attrs: _C.float_max_pool(x, *(attrs[name] for name in _MAX)))
def _max(x: Any, **attrs: Any) -> Any:
    windows = Windows(x.shape, **attrs)
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    taps = windows.taps(windows.bordered(x, lowest))
    out = next(taps).copy(order="K")
    for view in taps:
        np.maximum(out, view, out=out)
    return out


def _max_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    """Each window's gradient goes to the first place that holds its maximum."""
    x = ctx.arrays[0]
    windows = Windows(x.shape, **ctx.attrs)
    bordered = windows.bordered(x, -np.inf)
    result = np.zeros_like(bordered, grad.dtype)
    free = np.ones(ctx.out.shape, bool)
    for view, target in zip(windows.taps(bordered), windows.taps(result), strict=True):
        hit = (view == ctx.out) & free
        free &= ~hit
        target += grad * hit
    return (windows.inside(result),)


def _max_q(x: QTensor, **attrs: Any) -> QTensor:
    return _C.max_pool(x, *(attrs[name] for name in _MAX))


def _max_samples(axes: int) -> Any:
    def samples(rng: np.random.Generator) -> list[Sample]:
        def values(shape: Sizes) -> np.ndarray:  # no two alike
            count = int(np.prod(shape))
            return rng.permutation(count).reshape(shape) + rng.uniform(0.0, 0.5, shape)

        cases = _cases({"dilation": (1,) * axes}, axes, values)
        spread = (2, *(1,) * (axes - 1))
        return [*cases, ((values((1, 1, *(5, 4, 3)[:axes])),), cases[0][1] | {"dilation": spread})]

    return samples


# --- avg_pool -------------------------------------------------------------------------------------


def _sums(windows: Windows, x: np.ndarray) -> np.ndarray:
    taps = windows.taps(windows.bordered(x, 0))
    out: np.ndarray = next(taps).copy(order="K")
    for view in taps:
        out += view
    return out


@on_float32(lambda x, **attrs: _C.float_avg_pool(x, *(attrs[name] for name in _AVG)))
def _avg(x: Any, *, count_include_pad: bool, divisor_override: int | None, **attrs: Any) -> Any:
    windows = Windows(x.shape, **attrs)
    out: np.ndarray = _sums(windows, x) / windows.divisors(count_include_pad, divisor_override)
    return out.astype(x.dtype, copy=False)


def _avg_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    attrs = dict(ctx.attrs)
    rule = attrs.pop("count_include_pad"), attrs.pop("divisor_override")
    x = ctx.arrays[0]
    windows = Windows(x.shape, **attrs)
    result = np.zeros_like(x, grad.dtype, shape=(*x.shape[:2], *windows.reach))
    share = (grad / windows.divisors(*rule)).astype(grad.dtype, copy=False)
    for target in windows.taps(result):
        target += share
    return (windows.inside(result),)


def _avg_q(x: QTensor, **attrs: Any) -> QTensor:
    return _C.avg_pool(x, *(attrs[name] for name in _AVG))


def _avg_samples(axes: int) -> Any:
    def samples(rng: np.random.Generator) -> list[Sample]:
        def cases(include: bool, divisor: int | None) -> list[Sample]:
            base = {"count_include_pad": include, "divisor_override": divisor}
            return _cases(base, axes, rng.standard_normal)

        return [*cases(True, None), cases(False, None)[1], cases(True, 3)[0]]

    return samples


# --- adaptive_avg_pool ----------------------------------------------------------------------------


def _wanted(output_size: tuple[int | None, ...], size: Sizes) -> Sizes:
    return tuple(n if want is None else want for want, n in zip(output_size, size, strict=True))


@on_float32(lambda x, output_size: _C.float_adaptive_avg_pool(x, _wanted(output_size, x.shape[2:])))
def _adaptive(x: Any, output_size: tuple[int | None, ...]) -> Any:
    wanted = _wanted(output_size, x.shape[2:])
    over = tuple(range(2, x.ndim))
    if set(wanted) == {1}:
        return np.mean(x, axis=over, keepdims=True)
    out = np.empty((*x.shape[:2], *wanted), x.dtype)
    for place, window, _ in adaptive_windows(x.shape[2:], wanted):
        out[place] = x[window].mean(axis=over)
    return out


def _adaptive_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    x = ctx.arrays[0]
    result = np.zeros_like(x, grad.dtype)
    spread = (..., *(None,) * (x.ndim - 2))
    for place, window, count in adaptive_windows(x.shape[2:], grad.shape[2:]):
        result[window] += (grad[place] / np.asarray(count, grad.dtype))[spread]
    return (result,)


def _adaptive_q(x: QTensor, output_size: tuple[int | None, ...]) -> QTensor:
    return _C.adaptive_avg_pool(x, output_size)


def _adaptive_samples(axes: int) -> Any:
    def samples(rng: np.random.Generator) -> list[Sample]:
        x = rng.standard_normal((2, 2, *(5, 4, 3)[:axes]))
        return [((x,), {"output_size": size[:axes]}) for size in ((1, 1, 1), (2, 3, 2), (None, 2, None))]

    return samples


# --- the ops --------------------------------------------------------------------------------------

# By number of pooled axes.
MAX_POOL: dict[int, OpSpec] = {}
AVG_POOL: dict[int, OpSpec] = {}
ADAPTIVE_AVG_POOL: dict[int, OpSpec] = {}
for _axes in (1, 2, 3):
    MAX_POOL[_axes] = OpSpec(
        f"max_pool{_axes}d",
        forward=_max,
        backward=_max_back,
        quantized=_max_q,
        output_qparams="same",
        samples=_max_samples(_axes),
    )
    AVG_POOL[_axes] = OpSpec(
        f"avg_pool{_axes}d",
        forward=_avg,
        backward=_avg_back,
        quantized=_avg_q,
        output_qparams="same",
        samples=_avg_samples(_axes),
    )
    ADAPTIVE_AVG_POOL[_axes] = OpSpec(
        f"adaptive_avg_pool{_axes}d",
        forward=_adaptive,
        backward=_adaptive_back,
        quantized=_adaptive_q,
        output_qparams="same",
        samples=_adaptive_samples(_axes),
    )


def max_pool(
    axes: int,
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest value of each window; padding never wins. `max_pool1d` to `max_pool3d` are this.

    Parameters
    ----------
    axes : int
        1, 2 or 3.
    input : Tensor or QTensor, shape (N, C, size...)
    kernel_size, stride, padding, dilation : int or tuple of `axes` int
        `stride=None` is the kernel size; padding is at most half of it.
    ceil_mode : bool
        Whether a window may reach beyond the end of an axis.
    return_indices : bool
        Not offered; True raises ValueError.
    """
    op = f"max_pool{axes}d"
    if return_indices:
        raise ValueError(f"{op}: return_indices: expected False (indices are not offered), got True")
    attrs = pool_arguments(op, axes, input, kernel_size, stride, padding, dilation, ceil_mode)
    return apply(MAX_POOL[axes], input, **attrs, dilation=per_axis(op, "dilation", dilation, 1, axes))


def avg_pool(
    axes: int,
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Return the mean of each window. `avg_pool1d` to `avg_pool3d` are this.

    Parameters
    ----------
    axes : int
        1, 2 or 3.
    input : Tensor or QTensor, shape (N, C, size...)
    kernel_size, stride, padding : int or tuple of `axes` int
        `stride=None` is the kernel size; padding is at most half of it.
    ceil_mode : bool
        Whether a window may reach beyond the end of an axis.
    count_include_pad : bool
        Whether the zeros of the padding count in the mean.
    divisor_override : int, optional
        Divide every sum by this instead.
    """
    op = f"avg_pool{axes}d"
    if divisor_override is not None and (not is_int(divisor_override) or divisor_override < 1):
        raise ValueError(f"{op}: divisor_override: expected an integer of at least 1, got {divisor_override!r}")
    attrs = pool_arguments(op, axes, input, kernel_size, stride, padding, ceil_mode=ceil_mode)
    rule = {"count_include_pad": bool(count_include_pad), "divisor_override": divisor_override}
    return apply(AVG_POOL[axes], input, **attrs, **rule)


def adaptive_avg_pool(axes: int, input: Any, output_size: Any) -> Any:
    """Return means over windows chosen so that the result has `output_size`.

    `adaptive_avg_pool1d` to `adaptive_avg_pool3d` are this.

    Parameters
    ----------
    axes : int
        1, 2 or 3.
    input : Tensor or QTensor, shape (N, C, size...)
    output_size : int, or tuple of `axes` int or None
        None keeps the input's.
    """
    op = f"adaptive_avg_pool{axes}d"
    rank(op, input, axes + 2, LAYOUTS[axes])
    wanted = adaptive_size(op, axes, output_size)
    if min(input.shape[2:]) < 1:
        raise ValueError(f"{op}: input: expected pixels, got shape {tuple(input.shape)}")
    return apply(ADAPTIVE_AVG_POOL[axes], input, output_size=wanted)


def adaptive_size(op: str, axes: int, value: Any) -> tuple[int | None, ...]:
    """Return an adaptive output size as a tuple."""
    sizes = tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes
    if len(sizes) != axes or not all(v is None or (is_int(v) and v >= 1) for v in sizes):
        many = ("an integer", "one or two integers", "one or three integers")[axes - 1]
        raise ValueError(f"{op}: output_size: expected {many} of at least 1 or None, got {value!r}")
    return sizes


# --- public functions -----------------------------------------------------------------------------


@MAX_POOL[1].public
def max_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest value of each window of sequences (N, C, L); see `max_pool`."""
    return max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@MAX_POOL[2].public
def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest value of each window of images (N, C, H, W); see `max_pool`."""
    return max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@MAX_POOL[3].public
def max_pool3d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest value of each window of volumes (N, C, D, H, W); see `max_pool`."""
    return max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@AVG_POOL[1].public
def avg_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:
    """Return the mean of each window of sequences (N, C, L); see `avg_pool`."""
    return avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


@AVG_POOL[2].public
def avg_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Return the mean of each window of images (N, C, H, W); see `avg_pool`."""
    return avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@AVG_POOL[3].public
def avg_pool3d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Return the mean of each window of volumes (N, C, D, H, W); see `avg_pool`."""
    return avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@ADAPTIVE_AVG_POOL[1].public
def adaptive_avg_pool1d(input: Any, output_size: Any) -> Any:
    """Return means of sequences (N, C, L) in a wanted number; see `adaptive_avg_pool`."""
    return adaptive_avg_pool(1, input, output_size)


@ADAPTIVE_AVG_POOL[2].public
def adaptive_avg_pool2d(input: Any, output_size: Any) -> Any:
    """Return means of images (N, C, H, W) in a wanted number; see `adaptive_avg_pool`."""
    return adaptive_avg_pool(2, input, output_size)


@ADAPTIVE_AVG_POOL[3].public
def adaptive_avg_pool3d(input: Any, output_size: Any) -> Any:
    """Return means of volumes (N, C, D, H, W) in a wanted number; see `adaptive_avg_pool`."""
    return adaptive_avg_pool(3, input, output_size)
