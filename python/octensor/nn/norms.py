"""Layer, group and instance norm layers: every row is brought to mean 0 and variance 1 by its own statistics.

    y = (x - mean) / sqrt(var + eps) · weight + bias

A row is the last axes of a sample (`LayerNorm`), a group of its channels (`GroupNorm`) or one channel
(`InstanceNorm1d`, `2d`, `3d`). Static layers compute the statistics exactly, on codes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .._C import QTensor
from ..ops.arguments import LAYOUTS, is_int
from ..ops.row_norm import group_norm, instance_norm, layer_norm
from ..tensor import Tensor
from .linear import positive
from .observed import ObservedLayer
from .parameter import Parameter
from .weighted import describe


class _Norm(ObservedLayer):
    """What these norms share: eps and the affine parameters."""

    def __init__(self, eps: float, shape: tuple[int, ...], affine: bool) -> None:
        super().__init__()
        if not eps > 0:
            raise ValueError(f"{type(self).__name__}: eps: expected a positive number, got {eps!r}")
        self.eps = eps
        self.register_parameter("weight", Parameter(np.ones(shape, np.float32)) if affine else None)
        self.register_parameter("bias", Parameter(np.zeros(shape, np.float32)) if affine else None)

    def reset_parameters(self) -> None:
        """Set weight 1 and bias 0."""
        if self.weight is not None:
            self.weight.data.fill_(1)
            self.bias.data.zero_()


class LayerNorm(_Norm):
    """Normalises over the last axes of each sample.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        Sizes of those axes.
    eps : float
        Added to the variance.
    elementwise_affine : bool
        Whether weight and bias are there.

    Attributes
    ----------
    weight, bias : Parameter or None, shape `normalized_shape`

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.LayerNorm(8)(ot.randn(2, 5, 8)).shape
    (2, 5, 8)
    """

    def __init__(self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True) -> None:
        shape = (normalized_shape,) if is_int(normalized_shape) else tuple(normalized_shape)
        if not shape or not all(is_int(n) and n > 0 for n in shape):
            raise ValueError(f"LayerNorm: normalized_shape: expected positive integers, got {normalized_shape!r}")
        super().__init__(eps, shape, elementwise_affine)
        self.normalized_shape = shape
        self.elementwise_affine = elementwise_affine

    def forward(self, input: Any) -> Any:
        """Return the normalised input."""
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps, **self._given(input))

    def extra_repr(self) -> str:
        """Shape and settings."""
        text = f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        return text + self._slot_repr()


class GroupNorm(_Norm):
    """Normalises groups of channels of each sample.

    Parameters
    ----------
    num_groups, num_channels : int
        `num_groups` divides `num_channels`.
    eps : float
    affine : bool
        Whether weight and bias are there, one for each channel.

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.GroupNorm(2, 4)(ot.randn(2, 4, 5, 5)).shape
    (2, 4, 5, 5)
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        positive("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_groups: expected a divisor of num_channels={num_channels}, got {num_groups}"
            )
        super().__init__(eps, (num_channels,), affine)
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.affine = affine

    def forward(self, input: Any) -> Any:
        """Return the normalised input."""
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps, **self._given(input))

    def extra_repr(self) -> str:
        """Sizes and settings."""
        text = f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"
        return text + self._slot_repr()


class InstanceNormLayer(_Norm):
    """What instance norms of all ranks share; subclasses name how many spatial axes they take.

    Parameters
    ----------
    num_features : int
        Channels.
    eps : float
    momentum : float
        Share of the new batch in the running statistics.
    affine : bool
        Whether weight and bias are there.
    track_running_stats : bool
        Whether running statistics are kept, and used in eval. A static layer always uses those of each sample.
    """

    axes: ClassVar[int]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
    ) -> None:
        positive(type(self).__name__, num_features=num_features)
        super().__init__(eps, (num_features,), affine)
        self.num_features = num_features
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        tracked = track_running_stats
        self.register_buffer("running_mean", Tensor(np.zeros(num_features, np.float32)) if tracked else None)
        self.register_buffer("running_var", Tensor(np.ones(num_features, np.float32)) if tracked else None)

    def forward(self, input: Any) -> Any:
        """Return the normalised input."""
        shape = tuple(getattr(input, "shape", ()))
        if len(shape) != self.axes + 2 or shape[1] != self.num_features:
            layout = LAYOUTS[self.axes]
            raise ValueError(f"expected shape {layout} with C = {self.num_features}, got {describe(input)}")
        given = self._given(input)
        own = self.training or not self.track_running_stats or isinstance(input, QTensor)
        mean, var = (None, None) if isinstance(input, QTensor) else (self.running_mean, self.running_var)
        return instance_norm(input, mean, var, self.weight, self.bias, own, self.momentum, self.eps, **given)

    def extra_repr(self) -> str:
        """Sizes and settings."""
        text = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"
        return f"{text}, track_running_stats={self.track_running_stats}{self._slot_repr()}"


class InstanceNorm1d(InstanceNormLayer):
    """Instance norm of signals (N, C, L); the parameters are those of `InstanceNorm2d`."""

    axes = 1


class InstanceNorm2d(InstanceNormLayer):
    """Normalises each channel of each image (N, C, H, W).

    Parameters
    ----------
    num_features : int
        C.
    eps, momentum : float
    affine : bool
        Whether weight and bias are there.
    track_running_stats : bool
        Whether running statistics are kept, and used in eval.

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.InstanceNorm2d(3)(ot.randn(2, 3, 4, 4)).shape
    (2, 3, 4, 4)
    """

    axes = 2


class InstanceNorm3d(InstanceNormLayer):
    """Instance norm of volumes (N, C, D, H, W); the parameters are those of `InstanceNorm2d`."""

    axes = 3
