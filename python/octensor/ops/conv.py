"""2-D convolution (cross-correlation, as in PyTorch) in float: forward and gradients.

The work is done with channels last. Per group, the windows of the padded input are laid out as the rows of a matrix
("im2col", kh·kw·C/g columns), and one matrix product with the weights gives all output pixels:

    y[n, oh, ow, :] = Σ_{i,j}  x[n, oh·s + i·d - p, ow·s + j·d - p, :] · w[:, :, i, j]ᵀ

so the result is a channels-last array seen as NCHW. Images are taken a few at a time, so that the matrix stays within
`_COLUMNS_BYTES`. Where every input channel is a group of its own (depthwise) a matrix product has nothing to sum over:
there each of the kh·kw taps is one multiply-add over the whole image.

The gradient of the weights is the product of the output's gradient and the columns; that of the input is the product
with the weights, each column added back to where it was read.

Quantized `conv2d` packs its weight on every call; the `Conv2d` layer keeps the packed weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _C
from .._C import QParams, QTensor
from ..arrays import as_array
from .arguments import is_int, pair, rank
from .spec import Context, OpSpec, Sample, apply

Pair = tuple[int, int]

_COLUMNS_BYTES = 1 << 25


class _Geometry:
    """Sizes of one convolution, and the windows of its padded input."""

    def __init__(self, x_shape: Any, w_shape: Any, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> None:
        self.n, self.c, self.h, self.w = x_shape
        self.o, self.cg, self.kh, self.kw = w_shape
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.oh = (self.h + 2 * padding[0] - dilation[0] * (self.kh - 1) - 1) // stride[0] + 1
        self.ow = (self.w + 2 * padding[1] - dilation[1] * (self.kw - 1) - 1) // stride[1] + 1
        self.depthwise = self.cg == 1 and groups > 1

    def padded(self, x: np.ndarray) -> Any:
        """Return x (n, C, H, W) channels last and with its border of zeros."""
        (ph, pw), last = self.padding, x.transpose(0, 2, 3, 1)
        if not ph and not pw:
            return last
        out = np.zeros((x.shape[0], self.h + 2 * ph, self.w + 2 * pw, self.c), x.dtype)
        out[:, ph : ph + self.h, pw : pw + self.w] = last
        return out

    def unpadded(self, padded: np.ndarray) -> Any:
        """Undo `padded`, as a view."""
        ph, pw = self.padding
        return padded[:, ph : ph + self.h, pw : pw + self.w].transpose(0, 3, 1, 2)

    def taps(self, padded: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield (i, j, view): what kernel element (i, j) meets at every output pixel, (n, OH, OW, C)."""
        (sh, sw), (dh, dw) = self.stride, self.dilation
        for i in range(self.kh):
            rows = slice(i * dh, i * dh + (self.oh - 1) * sh + 1, sh)
            for j in range(self.kw):
                yield i, j, padded[:, rows, j * dw : j * dw + (self.ow - 1) * sw + 1 : sw]

    def columns(self, padded: np.ndarray) -> np.ndarray:
        """Return the windows as (groups, n·OH·OW, kh·kw·C/g); a view for 1x1 kernels without stride."""
        n, g = padded.shape[0], self.groups
        (sn, sy, sx, sc), (sh, sw), (dh, dw) = padded.strides, self.stride, self.dilation
        shape = (g, n, self.oh, self.ow, self.kh, self.kw, self.cg)
        strides = (sc * self.cg, sn, sy * sh, sx * sw, sy * dh, sx * dw, sc)
        windows = np.lib.stride_tricks.as_strided(padded, shape, strides, writeable=False)
        return windows.reshape(g, n * self.oh * self.ow, self.kh * self.kw * self.cg)

    def weights(self, weight: np.ndarray) -> Any:
        """Return the weights as (groups, kh·kw·C/g, O/g), in the order of the columns."""
        by_group = weight.reshape(self.groups, -1, self.cg, self.kh, self.kw)
        return by_group.transpose(0, 3, 4, 2, 1).reshape(self.groups, self.kh * self.kw * self.cg, -1)

    def chunks(self, itemsize: int) -> Iterator[slice]:
        """Yield slices of the batch whose columns fit the limit."""
        per_image = max(1, self.oh * self.ow * self.kh * self.kw * self.c * itemsize)
        step = max(1, _COLUMNS_BYTES // per_image)
        for start in range(0, self.n, step):
            yield slice(start, min(start + step, self.n))

    def output_rows(self, last: np.ndarray) -> Any:
        """Return (n, OH, OW, O) as (groups, n·OH·OW, O/g)."""
        return last.reshape(-1, self.groups, self.o // self.groups).transpose(1, 0, 2)


def _forward(x: Any, weight: Any, bias: Any = None, *, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Any:
    geometry = _Geometry(x.shape, weight.shape, stride, padding, dilation, groups)
    out = np.empty((geometry.n, geometry.oh, geometry.ow, geometry.o), x.dtype)
    matrix = None if geometry.depthwise else geometry.weights(weight)
    for part in geometry.chunks(x.itemsize):
        padded = geometry.padded(x[part])
        if matrix is None:
            _depthwise(geometry, padded, weight, out[part])
        elif groups == 1:
            np.matmul(geometry.columns(padded)[0], matrix[0], out=out[part].reshape(-1, geometry.o))
        else:
            geometry.output_rows(out[part])[...] = geometry.columns(padded) @ matrix
    if bias is not None:
        out += bias
    return out.transpose(0, 3, 1, 2)


def _depthwise(geometry: _Geometry, padded: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
    """Sum taps: output channel c·m + r is input channel c with kernel c·m + r."""
    per_channel = weight.reshape(geometry.c, -1, geometry.kh, geometry.kw)
    total = out.reshape(*out.shape[:3], geometry.c, -1)
    total[...] = 0
    product = np.empty_like(total)
    for i, j, view in geometry.taps(padded):
        np.multiply(view[..., None], per_channel[:, :, i, j], out=product)
        total += product


def _backward(ctx: Context, grad: np.ndarray) -> tuple[Any, ...]:
    x, weight = ctx.arrays[:2]
    geometry = _Geometry(x.shape, weight.shape, **ctx.attrs)
    last = np.ascontiguousarray(grad.transpose(0, 2, 3, 1))
    to_bias = last.reshape(-1, geometry.o).sum(0) if ctx.needs[2] else None
    back = _depthwise_back if geometry.depthwise else _dense_back
    to_x, to_weight = back(geometry, x, weight, last, ctx.needs[0], ctx.needs[1])
    return to_x, to_weight, to_bias


def _input_gradient(geometry: _Geometry, x: np.ndarray) -> np.ndarray:
    (ph, pw), n = geometry.padding, x.shape[0]
    return np.zeros((n, geometry.h + 2 * ph, geometry.w + 2 * pw, geometry.c), x.dtype)


def _dense_back(
    geometry: _Geometry, x: np.ndarray, weight: np.ndarray, grad: np.ndarray, for_x: bool, for_weight: bool
) -> tuple[Any, Any]:
    matrix_t = geometry.weights(weight).transpose(0, 2, 1)
    to_x = np.empty_like(x) if for_x else None
    to_matrix = np.zeros((geometry.groups, matrix_t.shape[2], matrix_t.shape[1]), x.dtype)
    for part in geometry.chunks(x.itemsize):
        rows = geometry.output_rows(grad[part])
        if for_weight:
            to_matrix += geometry.columns(geometry.padded(x[part])).transpose(0, 2, 1) @ rows
        if to_x is not None:
            padded = _input_gradient(geometry, x[part])
            columns = rows @ matrix_t
            shape = (geometry.groups, *grad[part].shape[:3], geometry.kh, geometry.kw, geometry.cg)
            columns = columns.reshape(shape).transpose(1, 2, 3, 4, 5, 0, 6)
            for i, j, view in geometry.taps(padded):
                view += columns[:, :, :, i, j].reshape(view.shape)
            to_x[part] = geometry.unpadded(padded)
    if not for_weight:
        return to_x, None
    to_weight = to_matrix.reshape(geometry.groups, geometry.kh, geometry.kw, geometry.cg, -1)
    return to_x, to_weight.transpose(0, 4, 3, 1, 2).reshape(weight.shape)


def _depthwise_back(
    geometry: _Geometry, x: np.ndarray, weight: np.ndarray, grad: np.ndarray, for_x: bool, for_weight: bool
) -> tuple[Any, Any]:
    per_channel = weight.reshape(geometry.c, -1, geometry.kh, geometry.kw)
    to_x = np.empty_like(x) if for_x else None
    to_weight = np.zeros(per_channel.shape, x.dtype)
    for part in geometry.chunks(x.itemsize):
        by_channel = grad[part].reshape(*grad[part].shape[:3], geometry.c, -1)
        if for_weight:
            for i, j, view in geometry.taps(geometry.padded(x[part])):
                to_weight[:, :, i, j] += np.einsum("nhwc,nhwcm->cm", view, by_channel)
        if to_x is not None:
            padded = _input_gradient(geometry, x[part])
            for i, j, view in geometry.taps(padded):
                view += (by_channel * per_channel[:, :, i, j]).sum(-1)
            to_x[part] = geometry.unpadded(padded)
    return to_x, to_weight.reshape(weight.shape) if for_weight else None


def _samples(rng: np.random.Generator) -> list[Sample]:
    def case(x: Any, w: Any, bias: bool, **changes: Any) -> Sample:
        attrs = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1} | changes
        arrays = (rng.standard_normal(x), rng.standard_normal(w), rng.standard_normal(w[0]) if bias else None)
        return arrays, attrs

    return [
        case((2, 3, 5, 4), (4, 3, 3, 3), True, padding=(1, 1)),
        case((1, 2, 7, 6), (3, 2, 2, 3), False, stride=(2, 1), padding=(0, 2), dilation=(2, 1)),
        case((2, 4, 4, 4), (6, 2, 3, 1), True, groups=2, stride=(1, 2)),
        case((2, 3, 5, 5), (3, 1, 3, 3), True, groups=3, padding=(1, 1)),
        case((1, 2, 5, 5), (4, 1, 3, 3), False, groups=2, stride=(2, 2)),
        case((2, 3, 3, 3), (4, 3, 1, 1), True),
    ]


def _quantized(
    x: QTensor, weight: QTensor, bias: Any = None, *, qparams: QParams, relu: bool = False, **attrs: Any
) -> QTensor:
    packed = _C.PackedConv2d(weight, None if bias is None else as_array(bias, np.float32), **attrs)
    return _C.conv2d(x, packed, qparams, relu=relu)


CONV2D = OpSpec(
    "conv2d",
    forward=_forward,
    backward=_backward,
    quantized=_quantized,
    quantized_inputs=2,
    samples=_samples,
)


def check(x_shape: Any, w_shape: Any, b_shape: Any, groups: Any) -> None:
    """Raise ValueError unless input, weight and bias shapes and groups fit together."""
    if len(w_shape) != 4:
        raise ValueError(f"conv2d: weight: expected shape (O, C/groups, kh, kw), got {tuple(w_shape)}")
    if not is_int(groups) or groups < 1 or w_shape[0] % groups:
        raise ValueError(f"conv2d: groups: expected a divisor of {w_shape[0]} output channels, got {groups!r}")
    if x_shape[1] != w_shape[1] * groups:
        raise ValueError(
            f"conv2d: input: expected {w_shape[1] * groups} channels, got {x_shape[1]} (shape {tuple(x_shape)})"
        )
    if b_shape is not None and tuple(b_shape) != (w_shape[0],):
        raise ValueError(f"conv2d: bias: expected shape ({w_shape[0]},), got {tuple(b_shape)}")


@CONV2D.public
def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Any:
    """Cross-correlate images with kernels.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W)
    weight : Tensor, shape (O, C / groups, kh, kw)
    bias : Tensor, shape (O,), optional
    stride, padding, dilation : int or pair of int
        For height and width. Padding is with zeros.
    groups : int
        Number of blocks of channels that do not see each other.

    Returns
    -------
    Tensor, shape (N, O, OH, OW)
        OH = floor((H + 2·padding - dilation·(kh - 1) - 1) / stride) + 1.

    Raises
    ------
    ValueError
        If a shape does not fit, or the kernel is larger than the padded input.
    """
    return apply(CONV2D, input, weight, bias, **arguments(input, weight, bias, stride, padding, dilation, groups))


def arguments(
    input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any
) -> dict[str, Any]:
    """Check a call's shapes and return its attributes in normal form."""
    rank("conv2d", input, 4, "(N, C, H, W)")
    check(input.shape, weight.shape, None if bias is None else bias.shape, groups)
    attrs: dict[str, Any] = {
        "stride": pair("conv2d", "stride", stride, 1),
        "padding": pair("conv2d", "padding", padding, 0),
        "dilation": pair("conv2d", "dilation", dilation, 1),
        "groups": int(groups),
    }
    geometry = _Geometry(input.shape, weight.shape, **attrs)
    if geometry.oh < 1 or geometry.ow < 1:
        raise ValueError(
            f"conv2d: input: a {geometry.kh}x{geometry.kw} kernel with dilation {attrs['dilation']} does not fit "
            f"{geometry.h}x{geometry.w} pixels padded by {attrs['padding']}"
        )
    return attrs
