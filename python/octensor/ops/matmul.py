"""Matrix products: `matmul` and `linear`.

Quantized `linear` packs its weight on every call; the `Linear` layer keeps the packed weight.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _C
from .._C import QParams, QTensor
from .float32 import on_float32
from .packing import blank, pack_linear, shapes_only
from .spec import Context, OpSpec, Sample, apply


def _matmul32(a: Any, b: Any) -> Any:
    left = a[None] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    if min(left.ndim, right.ndim) < 2 or left.shape[-1] != right.shape[-2]:
        return np.matmul(a, b)  # which says what is wrong
    if right.ndim > 2 and left.shape[:-2] != right.shape[:-2]:
        lead = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        left = np.broadcast_to(left, (*lead, *left.shape[-2:]))
        right = np.broadcast_to(right, (*lead, *right.shape[-2:]))
    out = _C.float_matmul(left, right)
    out = out[..., 0] if b.ndim == 1 else out
    if a.ndim > 1:
        return out
    return out[..., 0] if b.ndim == 1 else out[..., 0, :]


def _matmul_back(ctx: Context, grad: np.ndarray) -> tuple[Any, ...]:
    a, b = ctx.arrays
    if a.ndim == 1 and b.ndim == 1:
        return grad * b, grad * a
    if a.ndim == 1:  # (k) @ (..., k, n)
        return (grad[..., None, :] * b).sum(-1), a[:, None] * grad[..., None, :]
    if b.ndim == 1:  # (..., m, k) @ (k)
        return grad[..., None] * b, (grad[..., None] * a).sum(tuple(range(a.ndim - 1)))
    to_a = grad @ b.swapaxes(-1, -2) if ctx.needs[0] else None
    return to_a, a.swapaxes(-1, -2) @ grad if ctx.needs[1] else None


def _matmul_samples(rng: np.random.Generator) -> list[Sample]:
    shapes = [((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((3,), (3,)), ((3,), (2, 3, 4)), ((2, 2, 3), (3,))]
    return [((rng.standard_normal(a), rng.standard_normal(b)), {}) for a, b in shapes]


MATMUL = OpSpec(
    "matmul",
    forward=on_float32(_matmul32)(np.matmul),
    backward=_matmul_back,
    samples=_matmul_samples,
    method="matmul",
    operators=("__matmul__",),
    reflected=("__rmatmul__",),
)


@MATMUL.public
def matmul(input: Any, other: Any) -> Any:
    """Return the matrix product, batched over leading axes as in NumPy."""
    return apply(MATMUL, input, other)


def bmm(input: Any, mat2: Any) -> Any:
    """Return the matrix products of two batches, (B, N, K) and (B, K, M).

    Raises
    ------
    ValueError
        If the shapes are not of this form.
    """
    a, b = tuple(input.shape), tuple(mat2.shape)
    if len(a) != 3 or len(b) != 3 or (a[0], a[2]) != (b[0], b[1]):
        raise ValueError(f"bmm: expected shapes (B, N, K) and (B, K, M), got {a} and {b}")
    return matmul(input, mat2)


@on_float32(lambda x, weight, bias=None: _C.float_linear(x, weight, bias))
def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    flat = x.reshape(-1, x.shape[-1]) @ weight.T
    if bias is not None:
        flat += bias
    return flat.reshape(*x.shape[:-1], weight.shape[0])


def _linear_back(ctx: Context, grad: np.ndarray) -> tuple[Any, ...]:
    x, weight = ctx.arrays[:2]
    flat = grad.reshape(-1, grad.shape[-1])
    to_x = (flat @ weight).reshape(x.shape) if ctx.needs[0] else None
    to_weight = flat.T @ x.reshape(-1, x.shape[-1]) if ctx.needs[1] else None
    to_bias = flat.sum(0) if ctx.needs[2] else None
    return to_x, to_weight, to_bias


def _linear_samples(rng: np.random.Generator) -> list[Sample]:
    weight, bias = rng.standard_normal((4, 3)), rng.standard_normal(4)
    return [
        ((rng.standard_normal((5, 3)), weight, bias), {}),
        ((rng.standard_normal((2, 5, 3)), weight, None), {}),
        ((rng.standard_normal(3), weight, bias), {}),
    ]


def _linear_q(x: QTensor, weight: QTensor, bias: Any = None, *, qparams: QParams, relu: bool = False) -> QTensor:
    packed = pack_linear(weight, bias)
    if shapes_only():
        return blank((*x.shape[:-1], weight.shape[0]), qparams)
    return _C.linear(x, packed, qparams, relu=relu)


LINEAR = OpSpec(
    "linear",
    forward=_linear,
    backward=_linear_back,
    quantized=_linear_q,
    quantized_inputs=2,
    samples=_linear_samples,
)


@LINEAR.public
def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """Return `input @ weight.T + bias`.

    Parameters
    ----------
    input : Tensor, shape (..., in_features)
    weight : Tensor, shape (out_features, in_features)
    bias : Tensor, shape (out_features,), optional

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    if len(weight.shape) != 2:
        raise ValueError(f"linear: weight: expected shape (out, in), got {tuple(weight.shape)}")
    if not input.shape or input.shape[-1] != weight.shape[1]:
        raise ValueError(f"linear: input: expected shape (..., {weight.shape[1]}), got {tuple(input.shape)}")
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ValueError(f"linear: bias: expected shape ({weight.shape[0]},), got {tuple(bias.shape)}")
    return apply(LINEAR, input, weight, bias)
