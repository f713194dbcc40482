"""`Conv2d`: 2-D convolution, in every stage."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _C
from .._C import PackedConv2d, QParams, QTensor
from ..ops.arguments import pair
from ..ops.conv import conv2d
from .linear import positive
from .weighted import WeightedLayer


class Conv2d(WeightedLayer):
    """Convolution (cross-correlation) of images.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or pair of int
    stride, padding, dilation : int or pair of int
        For height and width.
    groups : int
        Divides both channel counts; channels of different groups do not see each other.
    bias : bool
    padding_mode : str
        "zeros", the only one offered.

    Attributes
    ----------
    weight : Parameter or QTensor, shape (out_channels, in_channels / groups, kh, kw)
    bias : Parameter or None, shape (out_channels,)

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.Conv2d(3, 8, 3, padding=1)(ot.zeros(1, 3, 16, 16)).shape
    (1, 8, 16, 16)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        positive("Conv2d", in_channels=in_channels, out_channels=out_channels, groups=groups)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(f"Conv2d: groups: expected a divisor of {name}={channels}, got {groups}")
        if padding_mode != "zeros":
            raise ValueError(f"Conv2d: padding_mode: expected 'zeros' (the only one offered), got {padding_mode!r}")
        kernel = pair("Conv2d", "kernel_size", kernel_size, 1)
        super().__init__((out_channels, in_channels // groups, *kernel), bias)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel
        self.stride = pair("Conv2d", "stride", stride, 1)
        self.padding = pair("Conv2d", "padding", padding, 0)
        self.dilation = pair("Conv2d", "dilation", dilation, 1)
        self.groups = groups
        self.padding_mode = padding_mode

    def _compute(self, x: Any, weight: Any, bias: Any) -> Any:
        return conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def _pack(self, weight: QTensor, bias: np.ndarray | None) -> PackedConv2d:
        return PackedConv2d(weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def _run(self, x: QTensor, packed: PackedConv2d, qparams: QParams, relu: bool) -> QTensor:
        return _C.conv2d(x, packed, qparams, relu=relu)

    def extra_repr(self) -> str:
        """Geometry and, if not float, the stage."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0, 0):
            text += f", padding={self.padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text + self._slot_repr()
