"""Convolutions, pools and norms as functions; the importer makes modules of those whose weights are constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ops import conv, elementwise, mathematics, norm, padding, pool, reduce, row_norm, unary
from ...ops.whole import PAIRWISE
from ..registry import operator
from .values import array, check_size, innermost_first, run

_CONV = {3: conv.conv1d, 4: conv.conv2d, 5: conv.conv3d}
_TRANSPOSED = {3: conv.conv_transpose1d, 4: conv.conv_transpose2d, 5: conv.conv_transpose3d}
_MAX = {3: pool.max_pool1d, 4: pool.max_pool2d, 5: pool.max_pool3d}
_AVERAGE = {3: pool.avg_pool1d, 4: pool.avg_pool2d, 5: pool.avg_pool3d}
_ADAPTIVE = {3: pool.adaptive_avg_pool1d, 4: pool.adaptive_avg_pool2d, 5: pool.adaptive_avg_pool3d}


def amounts(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Return strides, dilations and padding (before, after) per spatial axis; SAME pads to ceil(size / stride)."""
    n = len(kernel)
    stride, dilation = tuple(strides or (1,) * n), tuple(dilations or (1,) * n)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        total = [
            max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
            for size, k, s, d in zip(sizes, kernel, stride, dilation, strict=True)
        ]
        less = [t // 2 for t in total]
        more = [t - t // 2 for t in total]
        both = (less, more) if auto_pad == "SAME_UPPER" else (more, less)
        return stride, dilation, tuple(zip(*both, strict=True))
    if auto_pad not in ("NOTSET", "VALID"):
        raise ValueError(f"auto_pad: expected NOTSET, VALID, SAME_UPPER or SAME_LOWER, got {auto_pad!r}")
    given = tuple(pads or (0,) * (2 * n)) if auto_pad == "NOTSET" else (0,) * (2 * n)
    if len(given) != 2 * n:
        raise ValueError(f"pads: expected {2 * n} amounts, got {given}")
    return stride, dilation, tuple(zip(given[:n], given[n:], strict=True))


def padded(x: Any, pads: tuple[tuple[int, int], ...], value: float = 0.0) -> tuple[Any, tuple[int, ...]]:
    """Return the input and the symmetric padding that is left to the layer: none, if it was padded here."""
    if all(a == b for a, b in pads):
        return x, tuple(a for a, _ in pads)
    check_size("pads", [*x.shape[:2], *(max(0, n + a + b) for n, (a, b) in zip(x.shape[2:], pads, strict=True))])
    return padding.pad(x, innermost_first(pads), "constant", value), (0,) * len(pads)


@operator("Conv")
def convolution(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    """Return the convolution of 1, 2 or 3 spatial axes."""
    if x.ndim not in _CONV:
        raise ValueError(f"Conv: X: expected 1 to 3 spatial axes, got shape {tuple(x.shape)}")
    stride, dilation, around = amounts(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad)
    x, padding_ = padded(x, around)
    return _CONV[x.ndim](x, w, b, stride, padding_, dilation, group)


def transposed_padding(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    extra: Sequence[int],
    pads: Sequence[int] | None,
    auto_pad: str,
    output_shape: Sequence[int] | None,
) -> tuple[tuple[int, int], ...]:
    """Return what a transposed convolution cuts from its result, before and after."""
    n = len(kernel)
    if output_shape is None and auto_pad in ("NOTSET", "VALID"):
        given = tuple(pads or (0,) * (2 * n))
        return tuple(zip(given[:n], given[n:], strict=True))
    wanted = output_shape or [size * s for size, s in zip(sizes, stride, strict=True)]
    total = [
        s * (size - 1) + e + (k - 1) * d + 1 - out
        for size, k, s, d, e, out in zip(sizes, kernel, stride, dilation, extra, wanted, strict=True)
    ]
    low = [t // 2 for t in total] if auto_pad == "SAME_UPPER" else [t - t // 2 for t in total]
    return tuple((a, t - a) for a, t in zip(low, total, strict=True))


@operator("ConvTranspose")
def convolution_transposed(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    output_padding: Any = None,
    output_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    """Return the transposed convolution of 1, 2 or 3 spatial axes."""
    n = x.ndim - 2
    stride, dilation = tuple(strides or (1,) * n), tuple(dilations or (1,) * n)
    extra = tuple(output_padding or (0,) * n)
    cut = transposed_padding(x.shape[2:], w.shape[2:], stride, dilation, extra, pads, auto_pad, output_shape)
    same = all(a == b_ and a >= 0 for a, b_ in cut)
    common = tuple(a for a, _ in cut) if same else (0,) * n
    fits = all(e < max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True))
    result = _TRANSPOSED[x.ndim](x, w, b, stride, common, extra if fits else (0,) * n, group, dilation)
    rest = tuple(
        (0, 0 if fits else e) if same else (-a, -b_ + (0 if fits else e)) for (a, b_), e in zip(cut, extra, strict=True)
    )
    if any(p != (0, 0) for p in rest):
        result = padding.pad(result, innermost_first(rest))
    return result


@operator("MaxPool")
def max_pool(
    x: Any,
    *,
    kernel_shape: Any,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Any = None,
    pads: Any = None,
    storage_order: int = 0,
    strides: Any = None,
    outputs: int = 1,
) -> Any:
    """Return the largest values of windows; and where they are in the whole input, if asked for."""
    if outputs > 1:
        return _max_with_places(x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides, storage_order)
    stride, dilation, around = amounts(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
    too_wide = any(2 * max(p) > k for p, k in zip(around, kernel_shape, strict=True))
    if too_wide:
        flat = innermost_first(around)
        x, padding_ = padding.pad(x, flat, "constant", -np.inf), (0,) * len(around)
    else:
        x, padding_ = padded(x, around, -np.inf)
    return _MAX[x.ndim](x, tuple(kernel_shape), stride, padding_, dilation, bool(ceil_mode))


def _max_with_places(
    x: Any, kernel: Any, auto_pad: str, ceil_mode: int, dilations: Any, pads: Any, strides: Any, storage_order: int
) -> Any:
    values = array(x)
    spatial = values.shape[2:]
    stride, dilation, around = amounts(spatial, kernel, strides, dilations, pads, auto_pad)
    y = max_pool(
        x, kernel_shape=kernel, auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations, pads=pads, strides=strides
    )
    order = np.arange(int(np.prod(spatial))).reshape(spatial, order="F" if storage_order else "C")
    wide = [(a, b + k * d + s) for (a, b), k, d, s in zip(around, kernel, dilation, stride, strict=True)]
    low = np.pad(values.astype(np.float64), [(0, 0), (0, 0), *wide], constant_values=-np.inf)
    places = np.pad(order, wide)
    best = np.full(tuple(y.shape), -np.inf)
    found = np.zeros(tuple(y.shape), np.int64)
    for tap in np.ndindex(*kernel):
        window = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, dilation, y.shape[2:], stride, strict=True)
        )
        here = low[np.index_exp[:, :] + window]
        better = here > best
        best, found = np.where(better, here, best), np.where(better, places[window], found)
    image = np.arange(values.shape[0] * values.shape[1]).reshape(values.shape[:2] + (1,) * len(spatial))
    return y, found + image * int(np.prod(spatial))


@operator("AveragePool")
def average_pool(
    x: Any,
    *,
    kernel_shape: Any,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    """Return the means of windows, with or without the padding."""
    stride, dilation, around = amounts(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
    if any(d != 1 for d in dilation):
        return _dilated_average(x, kernel_shape, stride, dilation, around, bool(ceil_mode), bool(count_include_pad))
    symmetric = all(a == b and 2 * a <= k for (a, b), k in zip(around, kernel_shape, strict=True))
    average = _AVERAGE[x.ndim]
    if symmetric:
        sides = tuple(a for a, _ in around)
        return average(x, tuple(kernel_shape), stride, sides, bool(ceil_mode), bool(count_include_pad))
    flat = innermost_first(around)
    sums = average(padding.pad(x, flat), tuple(kernel_shape), stride, 0, bool(ceil_mode))
    if count_include_pad:
        return sums
    ones = np.ones((1, 1, *x.shape[2:]), np.float32)
    shares = average(padding.pad(ones, flat), tuple(kernel_shape), stride, 0, bool(ceil_mode))
    return elementwise.div(sums, shares)


def _dilated_average(
    x: Any, kernel: Any, stride: Any, dilation: Any, around: Any, ceil_mode: bool, with_padding: bool
) -> Any:
    """Average over windows with gaps, as a convolution by ones of each channel alone."""
    sizes = [n + a + b for n, (a, b) in zip(x.shape[2:], around, strict=True)]
    more: list[int] = []
    for n, k, s, d, (a, _) in zip(sizes, kernel, stride, dilation, around, strict=True):
        left = (n - (k - 1) * d - 1) % s if ceil_mode else 0
        last = n - (k - 1) * d - 1 - left + s  # where a window that is cut short would begin
        more.append(s - left if left and last < x.shape[2 + len(more)] + a else 0)
    channels = x.shape[1]
    ones = np.ones((channels, 1, *kernel), np.float32)
    tail = [amount for m in reversed(more) for amount in (0, m)]
    flat = innermost_first(around)
    none = (0,) * len(kernel)

    def total(values: Any, weight: Any, groups: int) -> Any:
        return _CONV[x.ndim](padding.pad(values, tail), weight, None, stride, none, dilation, groups)

    counted = np.ones((1, 1, *x.shape[2:]), np.float32)
    inside = padding.pad(counted, flat, "constant", 1.0 if with_padding else 0.0)
    return elementwise.div(total(padding.pad(x, flat), ones, channels), total(inside, ones[:1], 1))


@operator("GlobalAveragePool")
def global_average_pool(x: Any) -> Any:
    """Return the mean over the spatial axes."""
    return _ADAPTIVE[x.ndim](x, 1) if x.ndim in _ADAPTIVE else reduce.mean(x, tuple(range(2, x.ndim)), True)


@operator("GlobalMaxPool")
def global_max_pool(x: Any) -> Any:
    """Return the largest value over the spatial axes."""
    return reduce.amax(x, tuple(range(2, x.ndim)), True)


@operator("LpNormalization")
def lp_normalization(x: Any, *, axis: int = -1, p: int = 2) -> Any:
    """Divide by the norm along an axis; where it is 0 the result is 0."""
    along = axis % x.ndim
    if p == 1:
        length = reduce.sum(unary.abs(x), along, True)
    else:
        length = unary.sqrt(reduce.sum(elementwise.mul(x, x), along, True))
    return elementwise.div(
        x, mathematics.where(run(PAIRWISE, array(length), np.float32(0), function="equal"), 1.0, length)
    )


@operator("BatchNormalization", ignored=("spatial",))
def batch_normalization(
    x: Any,
    scale: Any,
    b: Any,
    mean: Any,
    var: Any,
    *,
    epsilon: float = 1e-5,
    training_mode: int = 0,
    momentum: float = 0.9,
) -> Any:
    """Return the batch norm by running statistics; in training by the batch's, with new running ones."""
    if training_mode:
        return _train_norm(x, scale, b, mean, var, epsilon, momentum)
    return norm.batch_norm(x, mean, var, scale, b, False, 0.0, epsilon)


def _train_norm(x: Any, scale: Any, b: Any, mean: Any, var: Any, epsilon: float, momentum: float) -> Any:
    values = array(x)
    axes = (0, *range(2, values.ndim))
    batch = (values.mean(axes, dtype=np.float64), values.var(axes, dtype=np.float64))
    new = tuple(
        (array(old) * momentum + now * (1 - momentum)).astype(np.float32)
        for old, now in zip((mean, var), batch, strict=True)
    )
    y = norm.batch_norm(x, batch[0].astype(np.float32), batch[1].astype(np.float32), scale, b, False, 0.0, epsilon)
    return (y, *new)


@operator("InstanceNormalization")
def instance_normalization(x: Any, scale: Any, b: Any, *, epsilon: float = 1e-5) -> Any:
    """Return the norm over the spatial axes, of each channel."""
    return row_norm.instance_norm(x, weight=scale, bias=b, eps=epsilon)


@operator("LayerNormalization", ignored=("stash_type",))
def layer_normalization(
    x: Any, scale: Any, b: Any = None, *, axis: int = -1, epsilon: float = 1e-5, outputs: int = 1
) -> Any:
    """Return the norm over the axes from `axis` on; and their means and reciprocal deviations, if asked for."""
    first = axis % x.ndim
    y = row_norm.layer_norm(x, tuple(x.shape)[first:], scale, b, epsilon)
    if outputs == 1:
        return y
    axes = tuple(range(first, x.ndim))
    mean = reduce.mean(x, axes, True)
    apart = elementwise.sub(x, mean)
    variance = reduce.mean(elementwise.mul(apart, apart), axes, True)
    return y, mean, mathematics.reciprocal(unary.sqrt(elementwise.add(variance, epsilon)))


@operator("GroupNormalization", ignored=("stash_type",))
def group_normalization(x: Any, scale: Any, b: Any, *, num_groups: int, epsilon: float = 1e-5, opset: int = 21) -> Any:
    """Return the norm over groups of channels; before version 21 scale and bias were per group."""
    if opset < 21:
        each = x.shape[1] // num_groups
        scale, b = np.repeat(array(scale), each), np.repeat(array(b), each)
    return row_norm.group_norm(x, num_groups, scale, b, epsilon)


@operator("LRN")
def local_response_normalization(
    x: Any, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Any:
    """Divide by a power of the squares of neighbouring channels."""
    return mathematics.local_response_norm(x, size, alpha, beta, bias)


@operator("Dropout", ignored=("seed", "is_test"))
def dropout(x: Any, ratio: Any = None, training_mode: Any = None, *, outputs: int = 1) -> Any:
    """Return the input, as dropout does outside training."""
    if training_mode is not None and bool(array(training_mode)):
        raise ValueError("Dropout: training_mode: expected False")
    return (x, np.ones(tuple(x.shape), bool)) if outputs > 1 else x
