"""Pooling layers over one, two or three spatial axes, for float and quantized tensors: one class for each kind.

The result of a quantized tensor has the input's qparams.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ..ops import pool as ops
from ..ops.arguments import is_int, per_axis
from .module import Module

Sizes = int | tuple[int, ...]


class MaxPool(Module):
    """The largest value of each window.

    Parameters
    ----------
    kernel_size, stride, padding, dilation : int or tuple of int
        One for all spatial axes, or one each. `stride=None` is the kernel size; padding is at most half of it, and
        never wins.
    return_indices : bool
        Not offered: True raises ValueError.
    ceil_mode : bool
        Whether windows may reach beyond the end of an axis.
    """

    axes: ClassVar[int]

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
        name = type(self).__name__
        if return_indices:
            raise ValueError(f"{name}: return_indices: expected False (indices are not offered), got True")
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, 1, self.axes)
        self.stride = self.kernel_size if stride is None else per_axis(name, "stride", stride, 1, self.axes)
        self.padding = per_axis(name, "padding", padding, 0, self.axes)
        self.dilation = per_axis(name, "dilation", dilation, 1, self.axes)
        self.ceil_mode = ceil_mode

    def forward(self, input: Any) -> Any:
        """Return the largest value of each window."""
        geometry = self.kernel_size, self.stride, self.padding, self.dilation
        return ops.max_pool(self.axes, input, *geometry, self.ceil_mode)

    def extra_repr(self) -> str:
        """Geometry."""
        text = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return f"{text}, dilation={self.dilation}, ceil_mode={self.ceil_mode}"


class MaxPool1d(MaxPool):
    """Max pooling of signals (N, C, L); the parameters are those of `MaxPool2d`."""

    axes = 1


class MaxPool2d(MaxPool):
    """The largest value of each window of images (N, C, H, W).

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

    axes = 2


class MaxPool3d(MaxPool):
    """Max pooling of volumes (N, C, D, H, W); the parameters are those of `MaxPool2d`."""

    axes = 3


class AvgPool(Module):
    """The mean of each window.

    Parameters
    ----------
    kernel_size, stride, padding : int or tuple of int
        One for all spatial axes, or one each. `stride=None` is the kernel size; padding is at most half of it.
    ceil_mode : bool
        Whether windows may reach beyond the end of an axis.
    count_include_pad : bool
        Whether the zeros of the padding count in the mean.
    divisor_override : int, optional
        Divide every sum by this instead.
    """

    axes: ClassVar[int]

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
        name = type(self).__name__
        if divisor_override is not None and (not is_int(divisor_override) or divisor_override < 1):
            raise ValueError(
                f"{name}: divisor_override: expected an integer of at least 1 or None, got {divisor_override!r}"
            )
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, 1, self.axes)
        self.stride = self.kernel_size if stride is None else per_axis(name, "stride", stride, 1, self.axes)
        self.padding = per_axis(name, "padding", padding, 0, self.axes)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Any) -> Any:
        """Return the mean of each window."""
        settings = self.ceil_mode, self.count_include_pad, self.divisor_override
        return ops.avg_pool(self.axes, input, self.kernel_size, self.stride, self.padding, *settings)

    def extra_repr(self) -> str:
        """Geometry."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(AvgPool):
    """Mean pooling of signals (N, C, L); the parameters are those of `AvgPool2d`."""

    axes = 1


class AvgPool2d(AvgPool):
    """The mean of each window of images (N, C, H, W).

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

    axes = 2


class AvgPool3d(AvgPool):
    """Mean pooling of volumes (N, C, D, H, W); the parameters are those of `AvgPool2d`."""

    axes = 3


class AdaptiveAvgPool(Module):
    """Means over windows chosen so that the result has `output_size`.

    Parameters
    ----------
    output_size : int or None, or a tuple of them
        Size of each spatial axis; None keeps the input's.
    """

    axes: ClassVar[int]

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = ops.adaptive_size(type(self).__name__, self.axes, output_size)

    def forward(self, input: Any) -> Any:
        """Return the means."""
        return ops.adaptive_avg_pool(self.axes, input, self.output_size)

    def extra_repr(self) -> str:
        """Size of the result."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(AdaptiveAvgPool):
    """Adaptive mean pooling of signals (N, C, L); the parameter is that of `AdaptiveAvgPool2d`."""

    axes = 1


class AdaptiveAvgPool2d(AdaptiveAvgPool):
    """Means of images (N, C, H, W) over windows chosen so that the result has `output_size`.

    Parameters
    ----------
    output_size : int, or pair of int or None
        Height and width; None keeps the input's.
    """

    axes = 2


class AdaptiveAvgPool3d(AdaptiveAvgPool):
    """Adaptive mean pooling of volumes (N, C, D, H, W); the parameter is that of `AdaptiveAvgPool2d`."""

    axes = 3
