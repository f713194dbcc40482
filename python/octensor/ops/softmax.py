"""Softmax and its logarithm along one axis, in float.

Both subtract the largest value first, so that no exponential overflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _C
from .arguments import axis
from .float32 import on_float32
from .spec import Context, OpSpec, Sample, apply


def _samples(rng: np.random.Generator) -> list[Sample]:
    x = rng.standard_normal((3, 4, 2))
    return [((x,), {"dim": 1}), ((x,), {"dim": 2})]


def _rows(x: Any, dim: int, log: bool) -> np.ndarray:
    if dim == x.ndim - 1:
        return np.asarray(_C.float_softmax(x, log))
    return np.moveaxis(_C.float_softmax(np.moveaxis(x, dim, -1), log), -1, dim)


@on_float32(lambda x, dim: _rows(x, dim, log=False))
def _softmax(x: Any, dim: int) -> np.ndarray:
    e = np.exp(x - x.max(axis=dim, keepdims=True))
    e /= e.sum(axis=dim, keepdims=True)
    return np.asarray(e)


def _softmax_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    weighted = grad * ctx.out
    return (weighted - ctx.out * weighted.sum(axis=ctx.attrs["dim"], keepdims=True),)


SOFTMAX = OpSpec("softmax", forward=_softmax, backward=_softmax_back, samples=_samples, method="softmax")


@SOFTMAX.public
def softmax(input: Any, dim: int = -1) -> Any:
    """Return exp(x) / Σ exp(x) along `dim`."""
    return apply(SOFTMAX, input, dim=axis("softmax", dim, len(input.shape)))


@on_float32(lambda x, dim: _rows(x, dim, log=True))
def _log_softmax(x: Any, dim: int) -> np.ndarray:
    shifted = x - x.max(axis=dim, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True)))


def _log_softmax_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (grad - np.exp(ctx.out) * grad.sum(axis=ctx.attrs["dim"], keepdims=True),)


LOG_SOFTMAX = OpSpec(
    "log_softmax", forward=_log_softmax, backward=_log_softmax_back, samples=_samples, method="log_softmax"
)


@LOG_SOFTMAX.public
def log_softmax(input: Any, dim: int = -1) -> Any:
    """Return x - log Σ exp(x) along `dim`."""
    return apply(LOG_SOFTMAX, input, dim=axis("log_softmax", dim, len(input.shape)))
