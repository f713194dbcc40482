"""Pooling over the two last axes of (N, C, H, W).

Sizes follow PyTorch: `floor((H + 2p - d·(k - 1) - 1) / s) + 1` windows, or the ceiling; with `ceil_mode` the last
window must still start inside the input or its left padding. Windows are summed or compared tap by tap: one
whole-image operation for each of the kh·kw kernel places.

Quantized pools keep the input's qparams and work on the integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _C
from .._C import QTensor
from .arguments import is_int, pair, rank
from .spec import Context, OpSpec, Sample, apply

Pair = tuple[int, int]


def output_size(size: int, kernel: int, stride: int, padding: int, dilation: int = 1, ceil_mode: bool = False) -> int:
    """Return the number of windows along one axis."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    return count


class _Windows:
    """The windows of one pooling call: what each kernel place meets, within a border of `fill`."""

    def __init__(
        self,
        shape: tuple[int, ...],
        kernel: Pair,
        stride: Pair,
        padding: Pair,
        dilation: Pair = (1, 1),
        ceil_mode: bool = False,
    ) -> None:
        self.shape, self.kernel, self.stride, self.padding, self.dilation = shape, kernel, stride, padding, dilation
        self.out = tuple(
            output_size(shape[2 + a], kernel[a], stride[a], padding[a], dilation[a], ceil_mode) for a in (0, 1)
        )
        # The last window of ceil mode may reach beyond the right padding.
        self.reach = tuple(
            max((self.out[a] - 1) * stride[a] + dilation[a] * (kernel[a] - 1) + 1, shape[2 + a] + padding[a])
            for a in (0, 1)
        )

    def bordered(self, x: np.ndarray, fill: Any) -> np.ndarray:
        """Return x with its border."""
        (ph, pw), (h, w) = self.padding, self.shape[2:]
        if (h, w) == self.reach and not ph and not pw:
            return x
        out = np.full_like(x, fill, shape=(*self.shape[:2], *self.reach))  # in the layout of x
        out[:, :, ph : ph + h, pw : pw + w] = x
        return out

    def inside(self, bordered: np.ndarray) -> np.ndarray:
        """Return the part of a bordered array that is x."""
        (ph, pw), (h, w) = self.padding, self.shape[2:]
        return bordered[:, :, ph : ph + h, pw : pw + w]

    def taps(self, bordered: np.ndarray) -> Iterator[np.ndarray]:
        """Yield, for every kernel place, the view (..., OH, OW) of what it meets."""
        (sh, sw), (dh, dw), (oh, ow) = self.stride, self.dilation, self.out
        for i in range(self.kernel[0]):
            rows = slice(i * dh, i * dh + (oh - 1) * sh + 1, sh)
            for j in range(self.kernel[1]):
                yield bordered[..., rows, j * dw : j * dw + (ow - 1) * sw + 1 : sw]


def _pool_arguments(
    op: str,
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> dict[str, Any]:
    """Check the arguments that all pools share and return them in normal form."""
    rank(op, input, 4, "(N, C, H, W)")
    kernel = pair(op, "kernel_size", kernel_size, 1)
    attrs: dict[str, Any] = {
        "kernel": kernel,
        "stride": kernel if stride is None or stride == () else pair(op, "stride", stride, 1),
        "padding": pair(op, "padding", padding, 0),
        "ceil_mode": bool(ceil_mode),
    }
    spread = pair(op, "dilation", dilation, 1)
    if any(p > k // 2 for p, k in zip(attrs["padding"], kernel, strict=True)):
        raise ValueError(f"{op}: padding: expected at most half of kernel_size {kernel}, got {attrs['padding']}")
    out = _Windows(tuple(input.shape), dilation=spread, **attrs).out
    if min(out) < 1:
        raise ValueError(
            f"{op}: input: a {kernel[0]}x{kernel[1]} window does not fit shape {tuple(input.shape)} padded by "
            f"{attrs['padding']}"
        )
    return attrs


# --- max_pool2d -----------------------------------------------------------------------------------


def _max(x: Any, **attrs: Any) -> Any:
    windows = _Windows(x.shape, **attrs)
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    taps = windows.taps(windows.bordered(x, lowest))
    out = next(taps).copy(order="K")
    for view in taps:
        np.maximum(out, view, out=out)
    return out


def _max_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    """Each window's gradient goes to the first place that holds its maximum."""
    x = ctx.arrays[0]
    windows = _Windows(x.shape, **ctx.attrs)
    bordered = windows.bordered(x, -np.inf)
    result = np.zeros_like(bordered, grad.dtype)
    free = np.ones(ctx.out.shape, bool)
    for view, target in zip(windows.taps(bordered), windows.taps(result), strict=True):
        hit = (view == ctx.out) & free
        free &= ~hit
        target += grad * hit
    return (windows.inside(result),)


def _max_samples(rng: np.random.Generator) -> list[Sample]:
    def case(h: int, w: int, **attrs: Any) -> Sample:
        x = rng.permutation(2 * 2 * h * w).reshape(2, 2, h, w) + rng.uniform(0.0, 0.5, (2, 2, h, w))
        base = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1), "ceil_mode": False}
        return (x,), base | attrs

    return [
        case(4, 6),
        case(5, 5, kernel=(3, 3), padding=(1, 1)),
        case(7, 5, kernel=(2, 3), stride=(2, 1), dilation=(2, 1), ceil_mode=True),
    ]


def _max_q(x: QTensor, **attrs: Any) -> QTensor:
    order = ("kernel", "stride", "padding", "dilation", "ceil_mode")
    return _C.max_pool2d(x, *(attrs[name] for name in order))


MAX_POOL2D = OpSpec(
    "max_pool2d",
    forward=_max,
    backward=_max_back,
    quantized=_max_q,
    output_qparams="same",
    samples=_max_samples,
)


@MAX_POOL2D.public
def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest value of each window; padding never wins.

    Parameters
    ----------
    input : Tensor or QTensor, shape (N, C, H, W)
    kernel_size, stride, padding, dilation : int or pair of int
        `stride=None` is the kernel size; padding is at most half of it.
    ceil_mode : bool
        Whether a window may reach beyond the right and lower edge.
    return_indices : bool
        Not offered; True raises ValueError.
    """
    if return_indices:
        raise ValueError("max_pool2d: return_indices: expected False (indices are not offered), got True")
    attrs = _pool_arguments("max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode)
    return apply(MAX_POOL2D, input, **attrs, dilation=pair("max_pool2d", "dilation", dilation, 1))


# --- avg_pool2d -----------------------------------------------------------------------------------


def _divisors(windows: _Windows, count_include_pad: bool, divisor_override: int | None) -> Any:
    """Return what each window's sum is divided by, (OH, OW) or a number."""
    if divisor_override is not None:
        return float(divisor_override)
    counts = []
    for a in (0, 1):
        size, pad, kernel = windows.shape[2 + a], windows.padding[a], windows.kernel[a]
        start = np.arange(windows.out[a]) * windows.stride[a] - pad
        end = np.minimum(start + kernel, size + pad)  # what ceil mode adds beyond the padding never counts
        if not count_include_pad:
            start, end = np.maximum(start, 0), np.minimum(end, size)
        counts.append(end - start)
    return np.multiply.outer(counts[0], counts[1])


def _avg(x: Any, *, count_include_pad: bool, divisor_override: int | None, **attrs: Any) -> Any:
    windows = _Windows(x.shape, **attrs)
    taps = windows.taps(windows.bordered(x, 0))
    out = next(taps).copy(order="K")
    for view in taps:
        out += view
    return (out / _divisors(windows, count_include_pad, divisor_override)).astype(x.dtype, copy=False)


def _avg_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    attrs = dict(ctx.attrs)
    rule = attrs.pop("count_include_pad"), attrs.pop("divisor_override")
    x = ctx.arrays[0]
    windows = _Windows(x.shape, **attrs)
    result = np.zeros_like(x, grad.dtype, shape=(*x.shape[:2], *windows.reach))
    share = (grad / _divisors(windows, *rule)).astype(grad.dtype, copy=False)
    for target in windows.taps(result):
        target += share
    return (windows.inside(result),)


def _avg_samples(rng: np.random.Generator) -> list[Sample]:
    def case(h: int, w: int, **attrs: Any) -> Sample:
        base = {
            "kernel": (2, 2),
            "stride": (2, 2),
            "padding": (0, 0),
            "ceil_mode": False,
            "count_include_pad": True,
            "divisor_override": None,
        }
        return (rng.standard_normal((2, 2, h, w)),), base | attrs

    return [
        case(4, 6),
        case(5, 5, kernel=(3, 3), padding=(1, 1), count_include_pad=False),
        case(7, 5, kernel=(2, 3), stride=(2, 2), padding=(1, 1), ceil_mode=True),
        case(4, 4, divisor_override=3),
    ]


def _avg_q(x: QTensor, **attrs: Any) -> QTensor:
    order = ("kernel", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    return _C.avg_pool2d(x, *(attrs[name] for name in order))


AVG_POOL2D = OpSpec(
    "avg_pool2d",
    forward=_avg,
    backward=_avg_back,
    quantized=_avg_q,
    output_qparams="same",
    samples=_avg_samples,
)


@AVG_POOL2D.public
def avg_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Return the mean of each window.

    Parameters
    ----------
    input : Tensor or QTensor, shape (N, C, H, W)
    kernel_size, stride, padding : int or pair of int
        `stride=None` is the kernel size; padding is at most half of it.
    ceil_mode : bool
        Whether a window may reach beyond the right and lower edge.
    count_include_pad : bool
        Whether the zeros of the padding count in the mean.
    divisor_override : int, optional
        Divide every sum by this instead.
    """
    if divisor_override is not None and (not is_int(divisor_override) or divisor_override < 1):
        raise ValueError(f"avg_pool2d: divisor_override: expected an integer of at least 1, got {divisor_override!r}")
    attrs = _pool_arguments("avg_pool2d", input, kernel_size, stride, padding, ceil_mode=ceil_mode)
    rule = {"count_include_pad": bool(count_include_pad), "divisor_override": divisor_override}
    return apply(AVG_POOL2D, input, **attrs, **rule)


# --- adaptive_avg_pool2d --------------------------------------------------------------------------


def _bounds(size: int, out: int) -> list[tuple[int, int]]:
    """Return [start, end) of each adaptive window: floor(i·size/out), ceil((i + 1)·size/out)."""
    return [(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]


def _adaptive(x: Any, output_size: tuple[int | None, int | None]) -> Any:
    oh, ow = (want or size for want, size in zip(output_size, x.shape[2:], strict=True))
    if (oh, ow) == (1, 1):
        return np.mean(x, axis=(2, 3), keepdims=True)
    out = np.empty((*x.shape[:2], oh, ow), x.dtype)
    for i, (top, bottom) in enumerate(_bounds(x.shape[2], oh)):
        for j, (left, right) in enumerate(_bounds(x.shape[3], ow)):
            out[:, :, i, j] = x[:, :, top:bottom, left:right].mean(axis=(2, 3))
    return out


def _adaptive_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    shape = ctx.arrays[0].shape
    result = np.zeros_like(ctx.arrays[0], grad.dtype)
    for i, (top, bottom) in enumerate(_bounds(shape[2], grad.shape[2])):
        for j, (left, right) in enumerate(_bounds(shape[3], grad.shape[3])):
            share = grad[:, :, i : i + 1, j : j + 1] / ((bottom - top) * (right - left))
            result[:, :, top:bottom, left:right] += share
    return (result,)


def _adaptive_samples(rng: np.random.Generator) -> list[Sample]:
    x = rng.standard_normal((2, 2, 5, 4))
    return [((x,), {"output_size": size}) for size in ((1, 1), (2, 3), (None, 2))]


def _adaptive_q(x: QTensor, output_size: tuple[int | None, int | None]) -> QTensor:
    return _C.adaptive_avg_pool2d(x, output_size)


ADAPTIVE_AVG_POOL2D = OpSpec(
    "adaptive_avg_pool2d",
    forward=_adaptive,
    backward=_adaptive_back,
    quantized=_adaptive_q,
    output_qparams="same",
    samples=_adaptive_samples,
)


@ADAPTIVE_AVG_POOL2D.public
def adaptive_avg_pool2d(input: Any, output_size: Any) -> Any:
    """Return means over windows chosen so that the result has `output_size`.

    Parameters
    ----------
    input : Tensor or QTensor, shape (N, C, H, W)
    output_size : int, or pair of int or None
        Height and width; None keeps the input's.
    """
    rank("adaptive_avg_pool2d", input, 4, "(N, C, H, W)")
    wanted = adaptive_size(output_size)
    if min(input.shape[2:]) < 1:
        raise ValueError(f"adaptive_avg_pool2d: input: expected pixels, got shape {tuple(input.shape)}")
    return apply(ADAPTIVE_AVG_POOL2D, input, output_size=wanted)


def adaptive_size(value: Any) -> tuple[int | None, int | None]:
    """Return an adaptive output size as a pair."""
    pair_ = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair_) != 2 or not all(v is None or (is_int(v) and v >= 1) for v in pair_):
        raise ValueError(
            f"adaptive_avg_pool2d: output_size: expected one or two integers of at least 1 or None, got {value!r}"
        )
    return pair_[0], pair_[1]
