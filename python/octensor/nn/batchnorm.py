"""Batch normalisation layers.

    y = (x - mean) / sqrt(var + eps) · weight + bias        per channel

with the batch's statistics in training (which also move the running ones) and the running statistics in eval.

In the static stage x is a `QTensor`; the layer dequantizes it, computes  x · a + b  in float32, where
a = weight / sqrt(var + eps) and b = bias - mean · a are rounded once from float64, and quantizes the result.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .. import _C
from .._C import QParams, QTensor
from ..arrays import as_array
from ..ops.norm import batch_norm
from ..tensor import Tensor
from .linear import positive
from .module import Module, OutputRule
from .parameter import Parameter
from .weighted import describe


class _BatchNorm(Module):
    """What batch norms of all ranks share; subclasses name the shapes they take."""

    output_rule: ClassVar[OutputRule] = "given"
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
        qparams = self.activation_post_process
        if isinstance(qparams, QParams):
            return self._forward_static(input, qparams)
        if isinstance(input, QTensor):
            raise TypeError(
                f"expected a float Tensor, got {describe(input)}: "
                "put DeQuantStub before it, or give the layer a qconfig"
            )
        learns = self.training and self.track_running_stats
        momentum = self.momentum
        if learns:
            self.num_batches_tracked.add_(1)
            if momentum is None:  # the plain average over all batches
                momentum = 1 / self.num_batches_tracked.item()
        use_batch = self.training or not self.track_running_stats
        reads = learns or not use_batch
        mean, var = (self.running_mean, self.running_var) if reads else (None, None)
        return batch_norm(input, mean, var, self.weight, self.bias, use_batch, momentum or 0.0, self.eps)

    def _forward_static(self, x: Any, qparams: QParams) -> QTensor:
        if not isinstance(x, QTensor):
            raise TypeError(
                f"expected a quantized input (QTensor), got {describe(x)}: "
                "put a QuantStub before this layer (x = self.quant(x)) and convert it too"
            )
        if not self.track_running_stats:
            raise ValueError("expected running statistics (track_running_stats=True) in a quantized model, got none")
        scale = 1 / np.sqrt(np.asarray(self.running_var, np.float64) + self.eps)
        if self.weight is not None:
            scale = scale * as_array(self.weight)
        shift = -np.asarray(self.running_mean, np.float64) * scale
        if self.bias is not None:
            shift = shift + as_array(self.bias)
        along = (1, -1) + (1,) * (x.ndim - 2)
        y = _C.dequantize(x)
        y = y * scale.astype(np.float32).reshape(along) + shift.astype(np.float32).reshape(along)
        return _C.quantize(y, qparams, channels_last=x.ndim == 4)

    def extra_repr(self) -> str:
        """Sizes and settings."""
        text = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"
        return f"{text}, track_running_stats={self.track_running_stats}"


class BatchNorm1d(_BatchNorm):
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


class BatchNorm2d(_BatchNorm):
    """Batch norm of images (N, C, H, W); the parameters are those of `BatchNorm1d`.

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.BatchNorm2d(3)(ot.randn(2, 3, 4, 4)).shape
    (2, 3, 4, 4)
    """

    ranks = (4,)
    layout = "(N, C, H, W)"
