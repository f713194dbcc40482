"""Pooling layers over (N, C, H, W), for float and quantized tensors."""

from __future__ import annotations

from typing import Any

from ..ops import pool as ops
from ..ops.arguments import pair
from .module import Module

Sizes = int | tuple[int, int]


class MaxPool2d(Module):
    """The largest value of each window.

    Parameters
    ----------
    kernel_size, stride, padding, dilation : int or pair of int
        `stride=None` is the kernel size; padding is at most half of it, and never wins.
    return_indices : bool
        Not offered: True raises ValueError.
    ceil_mode : bool
        Whether windows may reach beyond the right and lower edge.

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.MaxPool2d(2)(ot.zeros(1, 3, 8, 8)).shape
    (1, 3, 4, 4)
    """

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        if return_indices:
            raise ValueError("MaxPool2d: return_indices: expected False (indices are not offered), got True")
        self.kernel_size = pair("MaxPool2d", "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair("MaxPool2d", "stride", stride, 1)
        self.padding = pair("MaxPool2d", "padding", padding, 0)
        self.dilation = pair("MaxPool2d", "dilation", dilation, 1)
        self.ceil_mode = ceil_mode

    def forward(self, input: Any) -> Any:
        """Return the largest value of each window."""
        return ops.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        """Geometry."""
        text = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return f"{text}, dilation={self.dilation}, ceil_mode={self.ceil_mode}"


class AvgPool2d(Module):
    """The mean of each window.

    Parameters
    ----------
    kernel_size, stride, padding : int or pair of int
        `stride=None` is the kernel size; padding is at most half of it.
    ceil_mode : bool
        Whether windows may reach beyond the right and lower edge.
    count_include_pad : bool
        Whether the zeros of the padding count in the mean.
    divisor_override : int, optional
        Divide every sum by this instead.
    """

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = pair("AvgPool2d", "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair("AvgPool2d", "stride", stride, 1)
        self.padding = pair("AvgPool2d", "padding", padding, 0)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Any) -> Any:
        """Return the mean of each window."""
        settings = self.ceil_mode, self.count_include_pad, self.divisor_override
        return ops.avg_pool2d(input, self.kernel_size, self.stride, self.padding, *settings)

    def extra_repr(self) -> str:
        """Geometry."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """Means over windows chosen so that the result has `output_size`.

    Parameters
    ----------
    output_size : int, or pair of int or None
        Height and width; None keeps the input's.
    """

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = ops.adaptive_size(output_size)

    def forward(self, input: Any) -> Any:
        """Return the means."""
        return ops.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        """Size of the result."""
        return f"output_size={self.output_size}"
