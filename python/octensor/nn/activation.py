"""Activations as layers. They hold no state and take float and quantized tensors alike.

`inplace` is accepted for compatibility and changes nothing: no layer writes into its input.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ..ops import activation as ops
from ..ops import softmax as softmax_ops
from .module import Module, OutputRule


class ReLU(Module):
    """max(x, 0)."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        """Return max(x, 0)."""
        return ops.relu(input)


class ReLU6(Module):
    """min(max(x, 0), 6)."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        """Return min(max(x, 0), 6)."""
        return ops.relu6(input)


class Hardtanh(Module):
    """Limits values to [min_val, max_val].

    Parameters
    ----------
    min_val, max_val : float
        min_val < max_val.
    inplace : bool
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        if not min_val < max_val:
            raise ValueError(f"Hardtanh: expected min_val < max_val, got {min_val} and {max_val}")
        self.min_val = min_val
        self.max_val = max_val
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        """Return the limited values."""
        return ops.hardtanh(input, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        """Bounds."""
        return f"min_val={self.min_val}, max_val={self.max_val}"


class LeakyReLU(Module):
    """x where x > 0, else negative_slope · x.

    Parameters
    ----------
    negative_slope : float
    inplace : bool
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        """Return x where x > 0, else negative_slope · x."""
        return ops.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        """Slope."""
        return f"negative_slope={self.negative_slope}"


class Sigmoid(Module):
    """1 / (1 + exp(-x)); quantized: scale 1/256."""

    output_rule: ClassVar[OutputRule] = "fixed"

    def forward(self, input: Any) -> Any:
        """Return the sigmoid."""
        return ops.sigmoid(input)


class Tanh(Module):
    """tanh(x); quantized: scale 2/256."""

    output_rule: ClassVar[OutputRule] = "fixed"

    def forward(self, input: Any) -> Any:
        """Return tanh."""
        return ops.tanh(input)


class Softmax(Module):
    """exp(x) / Σ exp(x) along `dim`; float only."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Any:
        """Return the softmax."""
        return softmax_ops.softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Axis."""
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """x - log Σ exp(x) along `dim`; float only."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Any:
        """Return the logarithm of the softmax."""
        return softmax_ops.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Axis."""
        return f"dim={self.dim}"
