"""`Dropout`: zeros at random while training."""

from __future__ import annotations

from typing import Any

from ..ops.dropout import dropout
from .module import Module


class Dropout(Module):
    """In training sets each value to 0 with probability p and divides the others by 1 - p; else does nothing.

    Parameters
    ----------
    p : float
        In [0, 1].
    inplace : bool
        Accepted for compatibility; changes nothing.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p: expected a probability in [0, 1], got {p!r}")
        self.p = p
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        """Return the input with values dropped."""
        return dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        """Probability."""
        return f"p={self.p}"
