"""Dropout: in training each value becomes 0 with probability p, the others are divided by 1 - p.

The mask is drawn by the caller and is an attribute of the op, so that the op itself is a function of its arguments.
Quantized tensors pass unchanged: dropout is for training, which is in float.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._C import QTensor
from ..random import generator
from .arguments import number
from .spec import Context, OpSpec, Sample, apply


def _forward(x: Any, *, mask: np.ndarray) -> np.ndarray:
    return np.asarray(x * mask)


def _backward(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (grad * ctx.attrs["mask"],)


def _samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.standard_normal((3, 4)),), {"mask": rng.integers(0, 2, (3, 4)) * 2.0})]


DROPOUT = OpSpec("dropout", forward=_forward, backward=_backward, samples=_samples)


@DROPOUT.public
def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zero values at random in training; return the input in eval, and quantized inputs always.

    Parameters
    ----------
    input : Tensor or QTensor
    p : float
        Probability of a value to become 0, in [0, 1].
    training : bool
    inplace : bool
        Accepted for compatibility; changes nothing.
    """
    if not 0 <= number("dropout", "p", p) <= 1:
        raise ValueError(f"dropout: p: expected a probability in [0, 1], got {p!r}")
    if not training or p == 0 or isinstance(input, QTensor):
        return input
    kept = generator().random(tuple(input.shape), np.float32) >= p
    mask = kept * np.float32(0 if p == 1 else 1 / (1 - p))
    return apply(DROPOUT, input, mask=mask)
