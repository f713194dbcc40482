"""`Flatten`: make several axes one."""

from __future__ import annotations

from typing import Any

from ..ops.shape import flatten
from .module import Module


class Flatten(Module):
    """Makes the axes from `start_dim` to `end_dim` (inclusive) one.

    Parameters
    ----------
    start_dim, end_dim : int

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.Flatten()(ot.zeros(2, 3, 4, 5)).shape
    (2, 60)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Any) -> Any:
        """Return the flattened tensor."""
        return flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """Axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
