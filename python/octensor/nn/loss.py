"""Losses as layers."""

from __future__ import annotations

from typing import Any

from ..ops import loss as ops
from .module import Module


class CrossEntropyLoss(Module):
    """Cross entropy of scores (N, C, ...) and integer labels (N, ...).

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import octensor as ot
    >>> loss = ot.nn.CrossEntropyLoss()(ot.zeros(2, 4), ot.tensor([1, 3]))
    >>> round(loss.item(), 4)
    1.3863
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        ops.check_reduction("CrossEntropyLoss", reduction)
        self.reduction = reduction

    def forward(self, input: Any, target: Any) -> Any:
        """Return the loss."""
        return ops.cross_entropy(input, target, self.reduction)


class MSELoss(Module):
    """Squared difference of two tensors of one shape.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        ops.check_reduction("MSELoss", reduction)
        self.reduction = reduction

    def forward(self, input: Any, target: Any) -> Any:
        """Return the loss."""
        return ops.mse_loss(input, target, self.reduction)
