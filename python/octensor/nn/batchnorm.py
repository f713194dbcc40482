"""Batch normalisation layers.

    y = (x - mean) / sqrt(var + eps) · weight + bias        per channel

with the batch's statistics in training (which also move the running ones) and the running statistics in eval. A fused
layer carries its ReLU as `activation`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..ops.norm import batch_norm
from ..tensor import Tensor
from .linear import positive
from .module import Module
from .observed import ObservedLayer
from .parameter import Parameter
from .weighted import describe


class BatchNormLayer(ObservedLayer):
    """What batch norms of all ranks share; subclasses name the shapes they take."""

    ranks: ClassVar[tuple[int, ...]]
    layout: ClassVar[str]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        positive(name, num_features=num_features)
        if not eps > 0:
            raise ValueError(f"{name}: eps: expected a positive number, got {eps!r}")
        self.activation: Module | None = None
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.register_parameter("weight", Parameter(np.ones(num_features)) if affine else None)
        self.register_parameter("bias", Parameter(np.zeros(num_features)) if affine else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", Tensor(np.zeros(num_features)) if tracked else None)
        self.register_buffer("running_var", Tensor(np.ones(num_features)) if tracked else None)
        self.register_buffer("num_batches_tracked", Tensor(np.array(0)) if tracked else None)

    def reset_running_stats(self) -> None:
        """Set the running mean to 0, the running variance to 1 and the count of batches to 0."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Set weight 1 and bias 0, and forget the statistics."""
        self.reset_running_stats()
        if self.affine:
            self.weight.data.fill_(1)
            self.bias.data.zero_()

    def forward(self, input: Any) -> Any:
        """Return the normalised input."""
        shape = tuple(getattr(input, "shape", ()))
        if len(shape) not in self.ranks or shape[1] != self.num_features:
            raise ValueError(f"expected shape {self.layout} with C = {self.num_features}, got {describe(input)}")
        given = self._given(input)
        if given:
            return self._forward_static(input, given)
        learns = self.training and self.track_running_stats
        momentum = self.momentum
        if learns:
            self.num_batches_tracked.add_(1)
            if momentum is None:  # the plain average over all batches
                momentum = 1 / self.num_batches_tracked.item()
        use_batch = self.training or not self.track_running_stats
        reads = learns or not use_batch
        mean, var = (self.running_mean, self.running_var) if reads else (None, None)
        output = batch_norm(input, mean, var, self.weight, self.bias, use_batch, momentum or 0.0, self.eps)
        return output if self.activation is None else self.activation(output)

    def _forward_static(self, x: Any, given: dict[str, Any]) -> Any:
        if not self.track_running_stats:
            raise ValueError("expected running statistics (track_running_stats=True) in a quantized model, got none")
        relu = self.activation is not None
        statistics = self.running_mean, self.running_var
        return batch_norm(x, *statistics, self.weight, self.bias, eps=self.eps, relu=relu, **given)

    def extra_repr(self) -> str:
        """Sizes and settings."""
        text = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"
        return f"{text}, track_running_stats={self.track_running_stats}{self._slot_repr()}"


class BatchNorm1d(BatchNormLayer):
    """Batch norm of rows (N, C) or signals (N, C, L).

    Parameters
    ----------
    num_features : int
        C.
    eps : float
        Added to the variance.
    momentum : float or None
        Share of the new batch in the running statistics; None averages over all batches.
    affine : bool
        Whether weight and bias are there.
    track_running_stats : bool
        Whether running statistics are kept; without them eval uses the batch's too.

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.BatchNorm1d(3)(ot.randn(4, 3)).shape
    (4, 3)
    """

    ranks = (2, 3)
    layout = "(N, C) or (N, C, L)"


class BatchNorm2d(BatchNormLayer):
    """Batch norm of images (N, C, H, W); the parameters are those of `BatchNorm1d`.

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.BatchNorm2d(3)(ot.randn(2, 3, 4, 4)).shape
    (2, 3, 4, 4)
    """

    ranks = (4,)
    layout = "(N, C, H, W)"


class BatchNorm3d(BatchNormLayer):
    """Batch norm of volumes (N, C, D, H, W); the parameters are those of `BatchNorm1d`.

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.BatchNorm3d(3)(ot.randn(2, 3, 4, 4, 4)).shape
    (2, 3, 4, 4, 4)
    """

    ranks = (5,)
    layout = "(N, C, D, H, W)"
