"""Arithmetic on two tensors, with NumPy's broadcasting.

Quantized: `add` and `mul` with given output qparams. `add` dequantizes both operands, adds in float32 and quantizes;
`mul` is the exact integer product (qa - za)(qb - zb), rescaled once by sa·sb/s.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _C
from .._C import QParams, QTensor
from ..arrays import as_array
from .arguments import number
from .float32 import is_float32
from .spec import Context, OpSpec, Sample, apply


def _broadcast_samples(rng: np.random.Generator) -> list[Sample]:
    """Equal shapes, and a row against a column; the second operand is away from 0."""
    away = rng.uniform(0.5, 2.0, (2, 3)) * rng.choice([-1.0, 1.0], (2, 3))
    return [
        ((rng.standard_normal((2, 3)), away), {}),
        ((rng.standard_normal((4, 1, 3)), away[:, :1]), {}),
    ]


def _relu_samples(rng: np.random.Generator) -> list[Sample]:
    """Operands whose sum and product keep away from the corner of the ReLU."""
    sign = rng.choice([-1.0, 1.0], (2, 3))
    return [((rng.uniform(0.5, 2.0, (2, 3)) * sign, rng.uniform(0.5, 2.0, (2, 3)) * sign), {})]


def _add_back(ctx: Context, grad: np.ndarray) -> tuple[Any, ...]:
    return grad, grad


def _add_q(a: QTensor, b: QTensor, *, qparams: QParams) -> QTensor:
    return _C.add(a, b, qparams, relu=False)


ADD = OpSpec(
    "add",
    forward=np.add,
    backward=_add_back,
    quantized=_add_q,
    samples=_broadcast_samples,
    method="add",
    operators=("__add__", "__radd__"),
)


@ADD.public
def add(input: Any, other: Any, *, alpha: float = 1) -> Any:
    """Return `input + alpha · other`."""
    return apply(ADD, input, other if alpha == 1 else mul(other, alpha))


def _add_relu(a: Any, b: Any) -> Any:
    return np.maximum(np.add(a, b), 0)


def _through_relu(ctx: Context, grad: np.ndarray) -> np.ndarray:
    return grad * (ctx.out > 0)


def _add_relu_back(ctx: Context, grad: np.ndarray) -> tuple[Any, ...]:
    grad = _through_relu(ctx, grad)
    return grad, grad


def _add_relu_q(a: QTensor, b: QTensor, *, qparams: QParams) -> QTensor:
    return _C.add(a, b, qparams, relu=True)


ADD_RELU = OpSpec("add_relu", forward=_add_relu, backward=_add_relu_back, quantized=_add_relu_q, samples=_relu_samples)


@ADD_RELU.public
def add_relu(input: Any, other: Any) -> Any:
    """Return `relu(input + other)`."""
    return apply(ADD_RELU, input, other)


def _sub_back(ctx: Context, grad: np.ndarray) -> tuple[Any, ...]:
    return grad, -grad if ctx.needs[1] else None


SUB = OpSpec(
    "sub",
    forward=np.subtract,
    backward=_sub_back,
    samples=_broadcast_samples,
    method="sub",
    operators=("__sub__",),
    reflected=("__rsub__",),
)


@SUB.public
def sub(input: Any, other: Any, *, alpha: float = 1) -> Any:
    """Return `input - alpha · other`."""
    return apply(SUB, input, other if alpha == 1 else mul(other, alpha))


def _mul_back(ctx: Context, grad: np.ndarray) -> tuple[Any, ...]:
    a, b = ctx.arrays
    return grad * b if ctx.needs[0] else None, grad * a if ctx.needs[1] else None


def _mul_q(a: QTensor, b: QTensor, *, qparams: QParams) -> QTensor:
    return _C.mul(a, b, qparams, relu=False)


MUL = OpSpec(
    "mul",
    forward=np.multiply,
    backward=_mul_back,
    quantized=_mul_q,
    samples=_broadcast_samples,
    method="mul",
    operators=("__mul__", "__rmul__"),
)


@MUL.public
def mul(input: Any, other: Any) -> Any:
    """Return `input · other`, element by element."""
    return apply(MUL, input, other)


def _mul_relu(a: Any, b: Any) -> Any:
    return np.maximum(np.multiply(a, b), 0)


def _mul_relu_back(ctx: Context, grad: np.ndarray) -> tuple[Any, ...]:
    return _mul_back(ctx, _through_relu(ctx, grad))


def _mul_relu_q(a: QTensor, b: QTensor, *, qparams: QParams) -> QTensor:
    return _C.mul(a, b, qparams, relu=True)


MUL_RELU = OpSpec("mul_relu", forward=_mul_relu, backward=_mul_relu_back, quantized=_mul_relu_q, samples=_relu_samples)


@MUL_RELU.public
def mul_relu(input: Any, other: Any) -> Any:
    """Return `relu(input · other)`."""
    return apply(MUL_RELU, input, other)


def _div_back(ctx: Context, grad: np.ndarray) -> tuple[Any, ...]:
    by_b = grad / ctx.arrays[1]
    return by_b, -by_b * ctx.out if ctx.needs[1] else None


DIV = OpSpec(
    "div",
    forward=np.true_divide,
    backward=_div_back,
    samples=_broadcast_samples,
    method="div",
    operators=("__truediv__",),
    reflected=("__rtruediv__",),
)


@DIV.public
def div(input: Any, other: Any) -> Any:
    """Return `input / other`."""
    return apply(DIV, input, other)


def _pow_back(ctx: Context, grad: np.ndarray) -> tuple[Any, ...]:
    a, b = ctx.arrays
    to_a = grad * b * np.power(a, b - 1) if ctx.needs[0] else None
    return to_a, grad * ctx.out * np.log(a) if ctx.needs[1] else None


def _pow_samples(rng: np.random.Generator) -> list[Sample]:
    base = rng.uniform(0.5, 2.0, (2, 3))
    return [((base, rng.uniform(-2.0, 2.0, (2, 3))), {}), ((base, 2), {}), ((-base, 3.0), {})]


def _power(a: Any, b: Any) -> Any:
    """Take float32 to the power of a number by the kernel, anything else by NumPy."""
    if isinstance(b, (int, float)) and is_float32(a):
        return _C.float_power(a, float(b))
    return np.power(a, b)


POW = OpSpec(
    "pow",
    forward=_power,
    backward=_pow_back,
    samples=_pow_samples,
    method="pow",
    operators=("__pow__",),
    reflected=("__rpow__",),
)


@POW.public
def pow(input: Any, exponent: Any) -> Any:
    """Return `input` raised to `exponent`."""
    return apply(POW, input, exponent)


def _masked_fill(x: Any, mask: np.ndarray, value: float) -> Any:
    return np.where(mask, np.asarray(value, x.dtype), x)


def _masked_fill_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (grad * ~ctx.attrs["mask"],)


def _masked_fill_samples(rng: np.random.Generator) -> list[Sample]:
    mask = rng.integers(0, 2, (2, 3)).astype(bool)
    return [((rng.standard_normal((2, 3)),), {"mask": mask, "value": -5.0})]


MASKED_FILL = OpSpec(
    "masked_fill",
    forward=_masked_fill,
    backward=_masked_fill_back,
    samples=_masked_fill_samples,
    method="masked_fill",
)


@MASKED_FILL.public
def masked_fill(input: Any, mask: Any, value: float) -> Any:
    """Return `value` where the boolean `mask`, broadcast to the input's shape, is true, else the input.

    Filling with -inf before a softmax takes places out of it.
    """
    taken = as_array(mask)
    if taken.dtype != np.bool_:
        raise TypeError(f"masked_fill: mask: expected booleans, got dtype {taken.dtype}")
    filled = value if isinstance(value, bool) else float(number("masked_fill", "value", value))
    return apply(MASKED_FILL, input, mask=taken, value=filled)
