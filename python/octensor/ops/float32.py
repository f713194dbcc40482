"""`on_float32`: the float32 form of an op, computed by kernels with one order of operations.

NumPy and the BLAS under it choose their order, and whether to fuse, by the CPU; the kernels give the same bits on every
instruction set, thread count and split of a batch (docs/numerics.md, *Float ops*). Other dtypes stay with NumPy:
float64 for gradient checks and for the tables of 8-bit ops, which thereby keep the values they have on record.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _C
from ..arrays import FLOAT

Forward = Callable[..., Any]


def is_float32(*arrays: Any) -> bool:
    """Whether all are float32 arrays; None counts as one."""
    return all(a is None or (isinstance(a, np.ndarray) and a.dtype == FLOAT) for a in arrays)


def on_float32(kernel: Forward) -> Callable[[Forward], Forward]:
    """Decorate a forward: `kernel` takes its place where all tensor arguments are float32 arrays."""

    def decorate(forward: Forward) -> Forward:
        @functools.wraps(forward)
        def either(*arrays: Any, **attrs: Any) -> Any:
            return (kernel if is_float32(*arrays) else forward)(*arrays, **attrs)

        return either

    return decorate


def unary(name: str, *parameters: float) -> Callable[[Forward], Forward]:
    """Decorate the forward of a function of one number: float32 goes through the kernel of that name."""
    return on_float32(lambda x: _C.float_unary(name, x, *parameters))


def rows_of(x: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    """Return x with these axes flattened into its last one."""
    kept = [d for d in range(x.ndim) if d not in dims]
    count = math.prod(x.shape[d] for d in dims)
    return np.reshape(x.transpose(*kept, *dims), (*(x.shape[d] for d in kept), count))
