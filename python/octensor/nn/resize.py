"""Layers that change sizes without arithmetic of their own: upsampling, shuffles and padding.

They take float and quantized tensors; the result of a quantized one has the input's qparams.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ..ops.arguments import is_int
from ..ops.padding import pad
from ..ops.resample import interpolate
from ..ops.shuffle import channel_shuffle, pixel_shuffle, pixel_unshuffle
from .linear import positive
from .module import Module


class Upsample(Module):
    """Makes the spatial axes larger (or smaller).

    Parameters
    ----------
    size : int or tuple of int, optional
        Of the result; or
    scale_factor : float or tuple of float, optional
        by which factor to resize.
    mode : str
        "nearest", "linear", "bilinear" ...; see `nn.functional.interpolate`.
    align_corners : bool, optional
        For the linear modes: whether the outermost pixels of both sides lie on each other.

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.Upsample(scale_factor=2)(ot.zeros(1, 3, 4, 4)).shape
    (1, 3, 8, 8)
    """

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
    ) -> None:
        super().__init__()
        if (size is None) == (scale_factor is None):
            raise ValueError(
                f"{type(self).__name__}: expected either size or scale_factor, got size={size!r}, "
                f"scale_factor={scale_factor!r}"
            )
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode
        self.align_corners = align_corners

    def forward(self, input: Any) -> Any:
        """Return the resized tensor."""
        return interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        """Size and mode."""
        text = f"scale_factor={self.scale_factor}" if self.size is None else f"size={self.size}"
        return f"{text}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """`Upsample` of images in mode "nearest".

    Parameters
    ----------
    size, scale_factor
        See `Upsample`.
    """

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor)


class UpsamplingBilinear2d(Upsample):
    """`Upsample` of images in mode "bilinear", corners aligned.

    Parameters
    ----------
    size, scale_factor
        See `Upsample`.
    """

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "bilinear", True)


class PixelShuffle(Module):
    """(..., C · r², H, W) to (..., C, H · r, W · r).

    Parameters
    ----------
    upscale_factor : int
        r.
    """

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        positive("PixelShuffle", upscale_factor=upscale_factor)
        self.upscale_factor = upscale_factor

    def forward(self, input: Any) -> Any:
        """Return the shuffled tensor."""
        return pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        """Factor."""
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """(..., C, H · r, W · r) to (..., C · r², H, W).

    Parameters
    ----------
    downscale_factor : int
        r.
    """

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        positive("PixelUnshuffle", downscale_factor=downscale_factor)
        self.downscale_factor = downscale_factor

    def forward(self, input: Any) -> Any:
        """Return the shuffled tensor."""
        return pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        """Factor."""
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """Deals the channels out: those of the first group come to places 0, groups, 2 · groups ….

    Parameters
    ----------
    groups : int
        Divides the number of channels.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        positive("ChannelShuffle", groups=groups)
        self.groups = groups

    def forward(self, input: Any) -> Any:
        """Return the shuffled tensor."""
        return channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        """Say how many groups there are."""
        return f"groups={self.groups}"


class PadLayer(Module):
    """Adds values around the spatial axes.

    Parameters
    ----------
    padding : int or tuple of int
        One width for all sides, or (before, after) of the last axis, of the one before it, and so on.
    """

    axes: ClassVar[int]
    mode: ClassVar[str]
    value: float | None = None

    def __init__(self, padding: int | tuple[int, ...]) -> None:
        super().__init__()
        widths = (padding,) * (2 * self.axes) if is_int(padding) else tuple(padding)  # type: ignore[arg-type]
        if len(widths) != 2 * self.axes or not all(is_int(w) for w in widths):
            raise ValueError(
                f"{type(self).__name__}: padding: expected an integer or {2 * self.axes} of them, got {padding!r}"
            )
        self.padding = widths

    def forward(self, input: Any) -> Any:
        """Return the padded tensor."""
        if len(input.shape) != self.axes + 2:
            raise ValueError(f"expected {self.axes + 2} axes, (N, C, ...), got shape {tuple(input.shape)}")
        return pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        """Widths and value."""
        return f"padding={self.padding}" + ("" if self.value is None else f", value={self.value}")


class _ConstantPad(PadLayer):
    mode = "constant"

    def __init__(self, padding: int | tuple[int, ...], value: float) -> None:
        super().__init__(padding)
        self.value = value


class ConstantPad1d(_ConstantPad):
    """Pads signals (N, C, L) with a constant."""

    axes = 1


class ConstantPad2d(_ConstantPad):
    """Pads images (N, C, H, W) with a constant: `padding` is (left, right, top, bottom)."""

    axes = 2


class ConstantPad3d(_ConstantPad):
    """Pads volumes (N, C, D, H, W) with a constant."""

    axes = 3


class ZeroPad2d(ConstantPad2d):
    """Pads images (N, C, H, W) with zeros."""

    def __init__(self, padding: int | tuple[int, ...]) -> None:
        super().__init__(padding, 0.0)


class ReflectionPad1d(PadLayer):
    """Pads signals (N, C, L) by mirroring at the outermost value."""

    axes, mode = 1, "reflect"


class ReflectionPad2d(PadLayer):
    """Pads images (N, C, H, W) by mirroring at the outermost value."""

    axes, mode = 2, "reflect"


class ReflectionPad3d(PadLayer):
    """Pads volumes (N, C, D, H, W) by mirroring at the outermost value."""

    axes, mode = 3, "reflect"


class ReplicationPad1d(PadLayer):
    """Pads signals (N, C, L) with the outermost value."""

    axes, mode = 1, "replicate"


class ReplicationPad2d(PadLayer):
    """Pads images (N, C, H, W) with the outermost value."""

    axes, mode = 2, "replicate"


class ReplicationPad3d(PadLayer):
    """Pads volumes (N, C, D, H, W) with the outermost value."""

    axes, mode = 3, "replicate"
