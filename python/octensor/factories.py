"""Functions that make tensors: from data, of one value, of a range, or at random."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import as_array
from .ops.arguments import sizes
from .random import generator
from .tensor import Tensor


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor with a copy of `data`.

    Parameters
    ----------
    data : array_like
        Numbers; floating ones become float32.
    dtype : optional
        float32, an integer dtype or bool.
    requires_grad : bool

    Examples
    --------
    >>> import octensor as ot
    >>> ot.tensor([1, 2]).dtype
    dtype('int64')
    """
    return Tensor(np.array(as_array(data, dtype)), requires_grad=requires_grad)


def as_tensor(data: Any, dtype: Any = None) -> Tensor:
    """Return `data` as a tensor, sharing memory where the dtype allows it; a tensor comes back as it is."""
    if isinstance(data, Tensor) and (dtype is None or np.dtype(dtype) == data.dtype):
        return data
    return Tensor(as_array(data, dtype))


def from_numpy(array: np.ndarray) -> Tensor:
    """Return a tensor that shares memory with a float32, integer or boolean array (others are converted)."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: array: expected an ndarray, got {type(array).__name__}")
    return Tensor(array)


def _filled(size: tuple[Any, ...], value: Any, dtype: Any, requires_grad: bool) -> Tensor:
    return Tensor(as_array(np.full(sizes(size), value), np.float32 if dtype is None else dtype), requires_grad)


def zeros(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of zeros (float32 unless a dtype is given)."""
    return _filled(size, 0, dtype, requires_grad)


def ones(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of ones (float32 unless a dtype is given)."""
    return _filled(size, 1, dtype, requires_grad)


def empty(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor to be written; its values are zeros for now."""
    return _filled(size, 0, dtype, requires_grad)


def full(size: Any, fill_value: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of one value; without a dtype, float32 for a float value."""
    size = size if isinstance(size, (tuple, list)) else (size,)
    kind = as_array(fill_value).dtype if dtype is None else dtype
    return _filled(tuple(size), fill_value, kind, requires_grad)


def zeros_like(input: Any, dtype: Any = None) -> Tensor:
    """Return zeros in the shape and dtype of `input`."""
    return zeros(*input.shape, dtype=as_array(input).dtype if dtype is None else dtype)


def ones_like(input: Any, dtype: Any = None) -> Tensor:
    """Return ones in the shape and dtype of `input`."""
    return ones(*input.shape, dtype=as_array(input).dtype if dtype is None else dtype)


def randn_like(input: Any) -> Tensor:
    """Return normally distributed values in the shape of `input`."""
    return randn(*input.shape)


def rand_like(input: Any) -> Tensor:
    """Return uniformly distributed values in the shape of `input`."""
    return rand(*input.shape)


def arange(start: Any, end: Any = None, step: Any = 1, dtype: Any = None) -> Tensor:
    """Return start, start + step, ... below `end`; with one argument, 0 up to it. Integers give int64."""
    values = np.arange(start, step=step) if end is None else np.arange(start, end, step)
    return Tensor(as_array(values, dtype))


def linspace(start: float, end: float, steps: int) -> Tensor:
    """Return `steps` float32 values from `start` to `end`, both included."""
    return Tensor(np.linspace(start, end, steps, dtype=np.float32))


def eye(n: int) -> Tensor:
    """Return the n x n identity matrix."""
    return Tensor(np.eye(n, dtype=np.float32))


def randn(*size: Any, requires_grad: bool = False) -> Tensor:
    """Return float32 values from the standard normal distribution.

    Examples
    --------
    >>> import octensor as ot
    >>> ot.randn(2, 3).shape
    (2, 3)
    """
    return Tensor(generator().standard_normal(sizes(size), np.float32), requires_grad)


def rand(*size: Any, requires_grad: bool = False) -> Tensor:
    """Return float32 values from the uniform distribution over [0, 1)."""
    return Tensor(generator().random(sizes(size), np.float32), requires_grad)


def randint(low: int, high: Any = None, size: Any = None) -> Tensor:
    """Return int64 values from [low, high); called as `randint(high, size)`, from [0, high)."""
    if size is None:
        low, high, size = 0, low, high
    return Tensor(generator().integers(low, high, size))


def randperm(n: int) -> Tensor:
    """Return 0 to n - 1 in random order, int64."""
    return Tensor(generator().permutation(n))


def normal(mean: float, std: float, size: Any) -> Tensor:
    """Return float32 values from a normal distribution."""
    return Tensor(generator().normal(mean, std, size).astype(np.float32))
