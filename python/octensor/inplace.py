"""`InPlace`: the methods of `Tensor` that write into its values.

Gradients are computed from values as they were, so writing into a tensor that requires a gradient is refused while
operations are recorded; inside `no_grad()` or through `.data` it is the writer's responsibility.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from . import autograd
from .arrays import Holder, as_array, plain_index
from .random import generator

S = TypeVar("S", bound="InPlace")


class InPlace(Holder):
    """The part of `Tensor` that writes; each method returns the tensor itself."""

    __slots__ = ()

    _requires_grad: bool

    def _writable(self, name: str) -> np.ndarray:
        """Return the values, or raise if they may not be written now."""
        if self._requires_grad and autograd.is_grad_enabled():
            raise RuntimeError(
                f"{name}: a tensor that requires a gradient cannot be written while operations are recorded: "
                "do it inside `with no_grad():`, or on .data"
            )
        return self._array

    def __setitem__(self, index: Any, value: Any) -> None:
        self._writable("item assignment")[plain_index(index)] = as_array(value)

    def copy_(self: S, other: Any) -> S:
        """Write the values of `other`, broadcast to this shape."""
        self._writable("copy_")[...] = as_array(other)
        return self

    def fill_(self: S, value: Any) -> S:
        """Write one number everywhere."""
        self._writable("fill_")[...] = value
        return self

    def zero_(self: S) -> S:
        """Write 0 everywhere."""
        return self.fill_(0)

    def add_(self: S, other: Any, alpha: Any = 1) -> S:
        """Add `alpha · other`."""
        self._writable("add_")[...] += as_array(other) * alpha
        return self

    def sub_(self: S, other: Any, alpha: Any = 1) -> S:
        """Subtract `alpha · other`."""
        self._writable("sub_")[...] -= as_array(other) * alpha
        return self

    def mul_(self: S, other: Any) -> S:
        """Multiply by `other`."""
        self._writable("mul_")[...] *= as_array(other)
        return self

    def div_(self: S, other: Any) -> S:
        """Divide by `other`."""
        self._writable("div_")[...] /= as_array(other)
        return self

    def clamp_(self: S, min: Any = None, max: Any = None) -> S:
        """Limit the values to [min, max]."""
        array = self._writable("clamp_")
        np.clip(array, min, max, out=array)
        return self

    def normal_(self: S, mean: Any = 0.0, std: Any = 1.0) -> S:
        """Draw from a normal distribution."""
        array = self._writable("normal_")
        array[...] = generator().standard_normal(array.shape, np.float32) * np.float32(std) + np.float32(mean)
        return self

    def uniform_(self: S, a: Any = 0.0, b: Any = 1.0) -> S:
        """Draw from the uniform distribution over [a, b)."""
        array = self._writable("uniform_")
        array[...] = generator().random(array.shape, np.float32) * np.float32(b - a) + np.float32(a)
        return self
