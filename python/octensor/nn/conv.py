"""Convolutions and transposed convolutions over one, two or three spatial axes, in every stage.

There is one implementation; the classes say how many axes they have. `padding_mode` other than "zeros" pads the input
first (reflect, replicate, circular) and convolves without padding; QTensors are padded with their own codes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .. import _C
from .._C import PackedConv, QParams, QTensor
from ..ops import conv as ops
from ..ops.arguments import per_axis
from ..ops.packing import pack_conv, pack_conv_transpose
from ..ops.padding import pad
from ..ops.recording import RECORDING
from .linear import positive
from .weighted import WeightedLayer

Sizes = int | tuple[int, ...]

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class ConvLayer(WeightedLayer):
    """What all convolutions share: arguments, geometry, repr.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or tuple of int
    stride, padding, dilation : int or tuple of int
        One for all spatial axes, or one each.
    groups : int
        Divides both channel counts; channels of different groups do not see each other.
    bias : bool
    padding_mode : {"zeros", "reflect", "replicate", "circular"}

    Raises
    ------
    ValueError
        If an argument is out of range.
    """

    axes: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        name = type(self).__name__
        positive(name, in_channels=in_channels, out_channels=out_channels, groups=groups)
        for which, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(f"{name}: groups: expected a divisor of {which}={channels}, got {groups}")
        if padding_mode not in _PADDING_MODES:
            known = ", ".join(map(repr, _PADDING_MODES))
            raise ValueError(f"{name}: padding_mode: expected one of {known}, got {padding_mode!r}")
        kernel = per_axis(name, "kernel_size", kernel_size, 1, self.axes)
        geometry = {
            "stride": per_axis(name, "stride", stride, 1, self.axes),
            "padding": per_axis(name, "padding", padding, 0, self.axes),
            "dilation": per_axis(name, "dilation", dilation, 1, self.axes),
        }
        super().__init__(self._weight_shape(in_channels, out_channels, groups, kernel), bias, out_channels)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel
        self.stride = geometry["stride"]
        self.padding = geometry["padding"]
        self.dilation = geometry["dilation"]
        self.groups = groups
        self.padding_mode = padding_mode

    def _weight_shape(self, inputs: int, outputs: int, groups: int, kernel: tuple[int, ...]) -> tuple[int, ...]:
        return (outputs, inputs // groups, *kernel)

    def _padded(self, x: Any) -> Any:
        """Return the input padded by a mode other than zeros, which the op itself does."""
        if self.padding_mode == "zeros":
            return x
        return pad(x, [p for p in reversed(self.padding) for _ in range(2)], self.padding_mode)

    @property
    def _op_padding(self) -> tuple[int, ...]:
        return self.padding if self.padding_mode == "zeros" else (0,) * self.axes

    def _compute(self, x: Any, weight: Any, bias: Any) -> Any:
        padding = self._op_padding
        return ops.conv(self.axes, self._padded(x), weight, bias, self.stride, padding, self.dilation, self.groups)

    def _pack(self, weight: QTensor, bias: np.ndarray | None) -> PackedConv:
        return pack_conv(weight, bias, self.stride, self._op_padding, self.dilation, self.groups)

    def _run(self, x: QTensor, packed: PackedConv, qparams: QParams, relu: bool) -> QTensor:
        x = self._padded(x)
        result = _C.conv(x, packed, qparams, relu=relu)
        if RECORDING.recorder is not None:
            spec, attrs = ops.op_of(packed)
            attrs.update(qparams=qparams, relu=relu)
            RECORDING.recorder.note(spec, (x, self.weight, self.bias), attrs, result)
        return result

    def extra_repr(self) -> str:
        """Geometry and, if not float, the stage."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        defaults: dict[str, Any] = {
            "padding": (0,) * self.axes,
            "output_padding": (0,) * self.axes,
            "dilation": (1,) * self.axes,
            "groups": 1,
            "padding_mode": "zeros",
        }
        for name, default in defaults.items():
            value = getattr(self, name, default)
            if value != default:
                text += f", {name}={value!r}"
        if self.bias is None:
            text += ", bias=False"
        return text + self._slot_repr()


class Conv1d(ConvLayer):
    """Convolution (cross-correlation) of signals (N, C, L); the parameters are those of `Conv2d`.

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.Conv1d(3, 8, 5, padding=2, padding_mode="reflect")(ot.zeros(1, 3, 16)).shape
    (1, 8, 16)
    """

    axes = 1


class Conv2d(ConvLayer):
    """Convolution (cross-correlation) of images (N, C, H, W).

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or tuple of int
    stride, padding, dilation : int or tuple of int
        For height and width.
    groups : int
        Divides both channel counts; channels of different groups do not see each other.
    bias : bool
    padding_mode : {"zeros", "reflect", "replicate", "circular"}

    Attributes
    ----------
    weight : Parameter or QTensor, shape (out_channels, in_channels / groups, kh, kw)
    bias : Parameter or None, shape (out_channels,)

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.Conv2d(3, 8, 3, padding=1)(ot.zeros(1, 3, 16, 16)).shape
    (1, 8, 16, 16)
    """

    axes = 2


class Conv3d(ConvLayer):
    """Convolution (cross-correlation) of volumes (N, C, D, H, W); the parameters are those of `Conv2d`.

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.Conv3d(1, 2, 3)(ot.zeros(1, 1, 5, 6, 7)).shape
    (1, 2, 3, 4, 5)
    """

    axes = 3


class ConvTransposeLayer(ConvLayer):
    """What the transposed convolutions share: the adjoint of a convolution, from its output's shape to its input's.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or tuple of int
    stride, padding, dilation : int or tuple of int
        Those of the convolution that this is the adjoint of.
    output_padding : int or tuple of int
        Added to the size of the result at its end; less than stride or dilation.
    groups : int
    bias : bool
    padding_mode : {"zeros"}

    Attributes
    ----------
    weight : Parameter or QTensor, shape (in_channels, out_channels / groups, kernel...)
    bias : Parameter or None, shape (out_channels,)
    """

    channel_axis: ClassVar[int] = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
    ) -> None:
        name = type(self).__name__
        if padding_mode != "zeros":
            raise ValueError(f"{name}: padding_mode: expected 'zeros', got {padding_mode!r}")
        extra = per_axis(name, "output_padding", output_padding, 0, self.axes)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.output_padding = extra
        for e, s, d in zip(extra, self.stride, self.dilation, strict=True):
            if e >= max(s, d):
                raise ValueError(f"{name}: output_padding: expected less than stride or dilation ({s}, {d}), got {e}")

    def _weight_shape(self, inputs: int, outputs: int, groups: int, kernel: tuple[int, ...]) -> tuple[int, ...]:
        return (inputs, outputs // groups, *kernel)

    def _compute(self, x: Any, weight: Any, bias: Any) -> Any:
        geometry = self.stride, self.padding, self.output_padding, self.groups, self.dilation
        return ops.conv_transpose(self.axes, x, weight, bias, *geometry)

    def _pack(self, weight: QTensor, bias: np.ndarray | None) -> PackedConv:
        geometry = self.stride, self.padding, self.output_padding, self.dilation
        return pack_conv_transpose(weight, bias, *geometry, self.groups)


class ConvTranspose1d(ConvTransposeLayer):
    """Transposed convolution of signals (N, C, L); the parameters are those of `ConvTranspose2d`."""

    axes = 1


class ConvTranspose2d(ConvTransposeLayer):
    """Transposed convolution of images (N, C, H, W), as in networks that make larger images of smaller ones.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or tuple of int
    stride, padding, output_padding : int or tuple of int
        Size of the result: (H - 1)·stride - 2·padding + dilation·(kernel - 1) + output_padding + 1.
    groups : int
    bias : bool
    dilation : int or tuple of int
    padding_mode : {"zeros"}

    Attributes
    ----------
    weight : Parameter or QTensor, shape (in_channels, out_channels / groups, kh, kw)
    bias : Parameter or None, shape (out_channels,)

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.ConvTranspose2d(8, 3, 2, stride=2)(ot.zeros(1, 8, 4, 4)).shape
    (1, 3, 8, 8)
    """

    axes = 2


class ConvTranspose3d(ConvTransposeLayer):
    """Transposed convolution of volumes (N, C, D, H, W); the parameters are those of `ConvTranspose2d`."""

    axes = 3
