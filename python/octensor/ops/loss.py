"""Losses: mean squared error, and cross entropy of integer labels.

`cross_entropy` gives each sample  -log softmax(input)[label]; `mse_loss` gives (input - target)². `reduction` says what
becomes of these: "mean", "sum" or "none".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import as_array
from .softmax import LOG_SOFTMAX
from .spec import Context, OpSpec, Sample, apply

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(op: str, reduction: str) -> None:
    """Raise ValueError unless `reduction` is one of the three."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"{op}: reduction: expected one of {REDUCTIONS}, got {reduction!r}")


def _reduce(values: np.ndarray, reduction: str) -> Any:
    if reduction == "none":
        return values
    return values.mean() if reduction == "mean" else values.sum()


def _share(grad: np.ndarray, count: int, reduction: str) -> Any:
    """Return the gradient of each of `count` values whose reduction has gradient `grad`."""
    return grad / np.asarray(count, grad.dtype) if reduction == "mean" else grad


def _mse(input: Any, target: Any, reduction: str) -> Any:
    difference = input - target
    return _reduce(difference * difference, reduction)


def _mse_back(ctx: Context, grad: np.ndarray) -> tuple[Any, Any]:
    difference = ctx.arrays[0] - ctx.arrays[1]
    to_input = 2 * difference * _share(grad, difference.size, ctx.attrs["reduction"])
    return to_input, -to_input


def _mse_samples(rng: np.random.Generator) -> list[Sample]:
    a, b = rng.standard_normal((3, 2)), rng.standard_normal((3, 2))
    return [((a, b), {"reduction": reduction}) for reduction in REDUCTIONS]


MSE_LOSS = OpSpec("mse_loss", forward=_mse, backward=_mse_back, samples=_mse_samples)


@MSE_LOSS.public
def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """Return the squared difference of two tensors of one shape, reduced.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    check_reduction("mse_loss", reduction)
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(f"mse_loss: target: expected shape {tuple(input.shape)}, got {tuple(target.shape)}")
    return apply(MSE_LOSS, input, target, reduction=reduction)


def _cross_entropy(input: Any, *, target: np.ndarray, reduction: str) -> Any:
    logs = LOG_SOFTMAX.forward(input, dim=1)
    return _reduce(-np.take_along_axis(logs, target[:, None], axis=1)[:, 0], reduction)


def _cross_entropy_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    target, reduction = ctx.attrs["target"], ctx.attrs["reduction"]
    result = np.exp(LOG_SOFTMAX.forward(ctx.arrays[0], dim=1))
    at = target[:, None]
    np.put_along_axis(result, at, np.take_along_axis(result, at, axis=1) - 1, axis=1)
    share = _share(grad, target.size, reduction)
    return (result * (share[:, None] if reduction == "none" else share),)


def _cross_entropy_samples(rng: np.random.Generator) -> list[Sample]:
    x, target = rng.standard_normal((4, 3)), np.array([0, 2, 1, 2])
    images = rng.standard_normal((2, 3, 2, 2)), rng.integers(0, 3, (2, 2, 2))
    cases: list[Sample] = [((x,), {"target": target, "reduction": r}) for r in REDUCTIONS]
    return [*cases, ((images[0],), {"target": images[1], "reduction": "none"})]


CROSS_ENTROPY = OpSpec(
    "cross_entropy", forward=_cross_entropy, backward=_cross_entropy_back, samples=_cross_entropy_samples
)


@CROSS_ENTROPY.public
def cross_entropy(input: Any, target: Any, reduction: str = "mean") -> Any:
    """Return the cross entropy of scores and integer labels.

    Parameters
    ----------
    input : Tensor, shape (N, C) or (N, C, ...)
        Scores, not normalised.
    target : integer tensor, shape (N,) or (N, ...)
        Labels in [0, C).
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    ValueError
        If a shape does not fit or a label is out of range.
    TypeError
        If the labels are not integers.

    Examples
    --------
    >>> import octensor as ot
    >>> round(ot.nn.functional.cross_entropy(ot.zeros(2, 4), ot.tensor([1, 3])).item(), 4)
    1.3863
    """
    check_reduction("cross_entropy", reduction)
    labels, shape = as_array(target), tuple(input.shape)
    if len(shape) < 2:
        raise ValueError(f"cross_entropy: input: expected shape (N, C, ...), got {shape}")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: target: expected integer labels, got dtype {labels.dtype}")
    wanted = (shape[0], *shape[2:])
    if labels.shape != wanted:
        raise ValueError(f"cross_entropy: target: expected shape {wanted}, got {labels.shape}")
    if labels.size and not (labels.min() >= 0 and labels.max() < shape[1]):
        raise ValueError(
            f"cross_entropy: target: expected labels in [0, {shape[1]}), got {labels.min()} to {labels.max()}"
        )
    return apply(CROSS_ENTROPY, input, target=labels.astype(np.int64, copy=False), reduction=reduction)
