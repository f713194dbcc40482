"""Convolution (cross-correlation, as in PyTorch) and transposed convolution, over one to three spatial axes.

The arithmetic is that of `correlation.Geometry`: a convolution is `correlate`, with `to_input` and `to_weight` as its
gradients; a transposed convolution with weights w is the adjoint of the convolution with w, so the same three functions
serve it in other roles. Here are the ops, the checks of their arguments and their public functions.

The quantized ops pack their weight on every call; the layers keep the packed weight.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _C
from .._C import PackedConv, QParams, QTensor
from .arguments import LAYOUTS, is_int, per_axis, rank
from .correlation import Geometry, Sizes
from .float32 import on_float32
from .packing import blank, pack_conv, pack_conv_transpose, shapes_only
from .spec import Context, OpSpec, Sample, apply


def _with_bias(out: np.ndarray, bias: Any) -> np.ndarray:
    if bias is not None:
        out += bias.reshape(-1, *(1,) * (out.ndim - 2))
    return out


def _bias_gradient(grad: np.ndarray) -> Any:
    return grad.sum(axis=(0, *range(2, grad.ndim)))


# --- convolution ----------------------------------------------------------------------------------


def _float32(
    x: Any, weight: Any, bias: Any = None, *, stride: Any, padding: Any, dilation: Any, groups: int, **extra: Any
) -> Any:
    return _C.float_conv(x, weight, bias, stride, padding, dilation, groups, **extra)


@on_float32(_float32)
def _forward(x: Any, weight: Any, bias: Any = None, **attrs: Any) -> Any:
    return _with_bias(Geometry(x.shape, weight.shape, **attrs).correlate(x, weight), bias)


def _backward(ctx: Context, grad: np.ndarray) -> tuple[Any, ...]:
    x, weight = ctx.arrays[:2]
    geometry = Geometry(x.shape, weight.shape, **ctx.attrs)
    return (
        geometry.to_input(grad, weight) if ctx.needs[0] else None,
        geometry.to_weight(x, grad) if ctx.needs[1] else None,
        _bias_gradient(grad) if ctx.needs[2] else None,
    )


def _quantized(
    x: QTensor, weight: QTensor, bias: Any = None, *, qparams: QParams, relu: bool = False, **attrs: Any
) -> QTensor:
    packed = pack_conv(weight, bias, **attrs)
    if shapes_only():
        return blank((x.shape[0], weight.shape[0], *Geometry(x.shape, weight.shape, **attrs).out), qparams)
    return _C.conv(x, packed, qparams, relu=relu)


# --- transposed convolution -----------------------------------------------------------------------


def transposed_size(
    size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, output_padding: Sizes, dilation: Sizes
) -> Sizes:
    """Return (size - 1)·stride - 2·padding + dilation·(kernel - 1) + output_padding + 1 for every axis."""
    axes = zip(size, kernel, stride, padding, output_padding, dilation, strict=True)
    return tuple((n - 1) * s - 2 * p + d * (k - 1) + extra + 1 for n, k, s, p, extra, d in axes)


def _adjoint(x: Any, weight: Any, output_padding: Sizes, groups: int, **attrs: Any) -> Geometry:
    """Return the geometry of the convolution whose adjoint this is: from the result to x."""
    size = transposed_size(x.shape[2:], weight.shape[2:], output_padding=output_padding, **attrs)
    shape = (x.shape[0], weight.shape[1] * groups, *size)
    return Geometry(shape, weight.shape, groups=groups, out=x.shape[2:], **attrs)


@on_float32(_float32)
def _transposed(x: Any, weight: Any, bias: Any = None, **attrs: Any) -> Any:
    return _with_bias(_adjoint(x, weight, **attrs).to_input(x, weight), bias)


def _transposed_back(ctx: Context, grad: np.ndarray) -> tuple[Any, ...]:
    x, weight = ctx.arrays[:2]
    geometry = _adjoint(x, weight, **ctx.attrs)
    return (
        geometry.correlate(grad, weight) if ctx.needs[0] else None,
        geometry.to_weight(grad, x) if ctx.needs[1] else None,
        _bias_gradient(grad) if ctx.needs[2] else None,
    )


def _transposed_q(
    x: QTensor, weight: QTensor, bias: Any = None, *, qparams: QParams, relu: bool = False, **attrs: Any
) -> QTensor:
    return _C.conv(x, pack_conv_transpose(weight, bias, **attrs), qparams, relu=relu)


# --- the ops --------------------------------------------------------------------------------------


def _case(rng: np.random.Generator, x: Any, w: Any, outputs: int, **changes: Any) -> Sample:
    axes = len(x) - 2
    attrs = {"stride": (1,) * axes, "padding": (0,) * axes, "dilation": (1,) * axes, "groups": 1} | changes
    bias = rng.standard_normal(outputs) if outputs else None
    return (rng.standard_normal(x), rng.standard_normal(w), bias), attrs


def _samples_of(axes: int) -> Any:
    def samples(rng: np.random.Generator) -> list[Sample]:
        if axes == 2:
            return [
                _case(rng, (2, 3, 5, 4), (4, 3, 3, 3), 4, padding=(1, 1)),
                _case(rng, (1, 2, 7, 6), (3, 2, 2, 3), 0, stride=(2, 1), padding=(0, 2), dilation=(2, 1)),
                _case(rng, (2, 4, 4, 4), (6, 2, 3, 1), 6, groups=2, stride=(1, 2)),
                _case(rng, (2, 3, 5, 5), (3, 1, 3, 3), 3, groups=3, padding=(1, 1)),
                _case(rng, (1, 2, 5, 5), (4, 1, 3, 3), 0, groups=2, stride=(2, 2)),
                _case(rng, (2, 3, 3, 3), (4, 3, 1, 1), 4),
            ]
        size, kernel = ((9,), (3,)) if axes == 1 else ((3, 4, 3), (2, 3, 1))
        last = (0,) * (axes - 1)
        return [
            _case(rng, (2, 3, *size), (4, 3, *kernel), 4, padding=(1, *last)),
            _case(
                rng, (1, 4, *size), (2, 2, *kernel), 0, groups=2, stride=(2,) * axes, dilation=(2,) + (1,) * len(last)
            ),
            _case(rng, (1, 2, *size), (4, 1, *kernel), 4, groups=2),
        ]

    return samples


def _transposed_samples_of(axes: int) -> Any:
    def samples(rng: np.random.Generator) -> list[Sample]:
        size, kernel = ((3, 2, 2)[:axes], (3, 2, 1)[:axes])
        ones, zeros = (1,) * axes, (0,) * axes
        upsampled = {"stride": (2,) * axes, "padding": (1, *zeros[1:]), "output_padding": (1, *zeros[1:])}
        return [
            _case(rng, (2, 3, *size), (3, 2, *kernel), 2, output_padding=zeros),
            _case(rng, (1, 4, *size), (4, 3, *kernel), 6, groups=2, **upsampled),
            _case(rng, (1, 4, *size), (4, 1, *kernel), 0, groups=2, output_padding=zeros, dilation=(2, *ones[1:])),
        ]

    return samples


# By number of spatial axes.
CONV: dict[int, OpSpec] = {}
CONV_TRANSPOSE: dict[int, OpSpec] = {}
for _axes in (1, 2, 3):
    CONV[_axes] = OpSpec(
        f"conv{_axes}d",
        forward=_forward,
        backward=_backward,
        quantized=_quantized,
        quantized_inputs=2,
        samples=_samples_of(_axes),
    )
    CONV_TRANSPOSE[_axes] = OpSpec(
        f"conv_transpose{_axes}d",
        forward=_transposed,
        backward=_transposed_back,
        quantized=_transposed_q,
        quantized_inputs=2,
        samples=_transposed_samples_of(_axes),
    )


def op_of(packed: PackedConv) -> tuple[OpSpec, dict[str, Any]]:
    """Return the op that packed weights are for, and its geometry as attributes."""
    names = ("stride", "padding", "dilation", *(("output_padding",) if packed.is_transposed else ()))
    attrs: dict[str, Any] = {name: tuple(getattr(packed, name)) for name in names}
    specs = CONV_TRANSPOSE if packed.is_transposed else CONV
    return specs[len(packed.stride)], attrs | {"groups": packed.groups}


# --- checks ---------------------------------------------------------------------------------------


def _attributes(op: str, axes: int, stride: Any, padding: Any, dilation: Any, groups: Any) -> dict[str, Any]:
    if not is_int(groups) or groups < 1:
        raise ValueError(f"{op}: groups: expected an integer of at least 1, got {groups!r}")
    return {
        "stride": per_axis(op, "stride", stride, 1, axes),
        "padding": per_axis(op, "padding", padding, 0, axes),
        "dilation": per_axis(op, "dilation", dilation, 1, axes),
        "groups": int(groups),
    }


def _check(op: str, axes: int, input: Any, weight: Any, bias: Any, channels: int, outputs: int) -> None:
    """Raise ValueError unless the input has `channels` and the bias `outputs` values."""
    if input.shape[1] != channels:
        raise ValueError(
            f"{op}: input: expected {channels} channels, got {input.shape[1]} (shape {tuple(input.shape)})"
        )
    if bias is not None and tuple(bias.shape) != (outputs,):
        raise ValueError(f"{op}: bias: expected shape ({outputs},), got {tuple(bias.shape)}")


def _ranks(op: str, axes: int, input: Any, weight: Any, layout: str) -> None:
    rank(op, input, axes + 2, LAYOUTS[axes])
    if len(weight.shape) != axes + 2:
        raise ValueError(f"{op}: weight: expected shape {layout}, got {tuple(weight.shape)}")


_KERNEL = {1: "k", 2: "kh, kw", 3: "kd, kh, kw"}


def _times(sizes: Sizes) -> str:
    return "x".join(map(str, sizes))


def conv(
    axes: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    **given: Any,
) -> Any:
    """Cross-correlate over `axes` spatial axes: `conv1d`, `conv2d` and `conv3d` are this.

    Parameters
    ----------
    axes : int
        1, 2 or 3.
    input : Tensor, shape (N, C, size...)
    weight : Tensor, shape (O, C / groups, kernel...)
    bias : Tensor, shape (O,), or None
    stride, padding, dilation : int or tuple of `axes` int
    groups : int
    **given
        For QTensors: `qparams` of the result, and `relu=True` to clamp it at real 0.

    Returns
    -------
    Tensor, shape (N, O, out...)

    Raises
    ------
    ValueError
        If a shape does not fit, or the kernel is larger than the padded input.
    """
    op = f"conv{axes}d"
    _ranks(op, axes, input, weight, f"(O, C/groups, {_KERNEL[axes]})")
    attrs = _attributes(op, axes, stride, padding, dilation, groups)
    outputs = weight.shape[0]
    if outputs % groups:
        raise ValueError(f"{op}: groups: expected a divisor of {outputs} output channels, got {groups!r}")
    _check(op, axes, input, weight, bias, weight.shape[1] * groups, outputs)
    geometry = Geometry(input.shape, weight.shape, **attrs)
    if min(geometry.out) < 1:
        raise ValueError(
            f"{op}: input: a {_times(geometry.kernel)} kernel with dilation {attrs['dilation']} does not fit "
            f"{_times(geometry.size)} pixels padded by {attrs['padding']}"
        )
    return apply(CONV[axes], input, weight, bias, **attrs, **given)


def conv_transpose(
    axes: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: Any,
    dilation: Any,
) -> Any:
    """Apply the adjoint of a convolution: `conv_transpose1d`, `conv_transpose2d` and `conv_transpose3d` are this.

    Parameters
    ----------
    axes : int
        1, 2 or 3.
    input : Tensor, shape (N, C, size...)
    weight : Tensor, shape (C, O / groups, kernel...)
    bias : Tensor, shape (O,), or None
    stride, padding, dilation : int or tuple of `axes` int
        Those of the convolution that maps the result's shape to the input's.
    output_padding : int or tuple of `axes` int
        Added to the size of the result at its end; less than stride or dilation.
    groups : int

    Returns
    -------
    Tensor, shape (N, O, out...)
        out = (size - 1)·stride - 2·padding + dilation·(kernel - 1) + output_padding + 1.

    Raises
    ------
    ValueError
        If a shape does not fit.
    """
    op = f"conv_transpose{axes}d"
    _ranks(op, axes, input, weight, f"(C, O/groups, {_KERNEL[axes]})")
    attrs = _attributes(op, axes, stride, padding, dilation, groups)
    channels, outputs = weight.shape[0], weight.shape[1] * groups
    if channels % groups:
        raise ValueError(f"{op}: groups: expected a divisor of {channels} input channels, got {groups!r}")
    _check(op, axes, input, weight, bias, channels, outputs)
    extra = per_axis(op, "output_padding", output_padding, 0, axes)
    for e, s, d in zip(extra, attrs["stride"], attrs["dilation"], strict=True):
        if e >= max(s, d):
            raise ValueError(f"{op}: output_padding: expected less than stride or dilation ({s}, {d}), got {e}")
    size = transposed_size(
        tuple(input.shape[2:]), tuple(weight.shape[2:]), attrs["stride"], attrs["padding"], extra, attrs["dilation"]
    )
    if min(size) < 1:
        raise ValueError(
            f"{op}: padding: {attrs['padding']} leaves nothing of a result from {_times(tuple(input.shape[2:]))} pixels"
        )
    return apply(CONV_TRANSPOSE[axes], input, weight, bias, **attrs, output_padding=extra)


# --- public functions -----------------------------------------------------------------------------


@CONV[1].public
def conv1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Cross-correlate sequences (N, C, L) with kernels (O, C / groups, k); see `conv`."""
    return conv(1, input, weight, bias, stride, padding, dilation, groups)


@CONV[2].public
def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Cross-correlate images (N, C, H, W) with kernels (O, C / groups, kh, kw); see `conv`."""
    return conv(2, input, weight, bias, stride, padding, dilation, groups)


@CONV[3].public
def conv3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Cross-correlate volumes (N, C, D, H, W) with kernels (O, C / groups, kd, kh, kw); see `conv`."""
    return conv(3, input, weight, bias, stride, padding, dilation, groups)


@CONV_TRANSPOSE[1].public
def conv_transpose1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """Apply a transposed convolution to sequences (N, C, L); see `conv_transpose`."""
    return conv_transpose(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@CONV_TRANSPOSE[2].public
def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """Apply a transposed convolution to images (N, C, H, W); see `conv_transpose`."""
    return conv_transpose(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@CONV_TRANSPOSE[3].public
def conv_transpose3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """Apply a transposed convolution to volumes (N, C, D, H, W); see `conv_transpose`."""
    return conv_transpose(3, input, weight, bias, stride, padding, output_padding, groups, dilation)
