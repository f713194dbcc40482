"""Element by element: arithmetic, functions, activations, casts."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from ...ops import activation, curves, elementwise, mathematics, shape, unary
from ...ops import matmul as products
from ...ops.whole import ELEMENTWISE, PAIRWISE
from ...tensor import Tensor
from ..registry import operator
from .values import array, as_dtype, is_float, run

DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip


def _binary(name: str, for_floats: Callable[[Any, Any], Any]) -> None:
    def function(a: Any, b: Any) -> Any:
        return for_floats(a, b) if is_float(a, b) else run(PAIRWISE, array(a), array(b), function=name.lower())

    function.__name__ = function.__qualname__ = name.lower()
    operator(name)(function)


_binary("Add", elementwise.add)
_binary("Sub", elementwise.sub)
_binary("Mul", elementwise.mul)
_binary("Div", elementwise.div)


@operator("Pow")
def pow(a: Any, b: Any) -> Any:
    """Return a to the power b, of a's type."""
    if is_float(a):
        power = array(b)
        return elementwise.pow(a, float(power)) if power.ndim == 0 else elementwise.pow(a, power.astype(np.float32))
    base = array(a)
    return as_dtype(run(PAIRWISE, base, array(b), function="pow"), base.dtype)


@operator("Mod")
def mod(a: Any, b: Any, *, fmod: int = 0) -> Any:
    """Return the remainder with the sign of b, or with fmod that of a."""
    return run(PAIRWISE, array(a), array(b), function="fmod" if fmod else "mod")


def _variadic(name: str, for_floats: Callable[[Any, Any], Any], for_others: str) -> None:
    def function(*parts: Any) -> Any:
        if is_float(*parts):
            return reduce(for_floats, parts)
        return reduce(lambda a, b: run(PAIRWISE, a, b, function=for_others), [array(p) for p in parts])

    function.__name__ = function.__qualname__ = name.lower()
    operator(name)(function)


_variadic("Sum", elementwise.add, "add")
_variadic("Max", mathematics.maximum, "maximum")
_variadic("Min", mathematics.minimum, "minimum")


@operator("Mean")
def mean(*parts: Any) -> Any:
    """Return the mean of several tensors, element by element."""
    return elementwise.div(reduce(elementwise.add, parts), float(len(parts)))


def _unary(name: str, function: Callable[[Any], Any], for_others: Callable[[Any], Any] | None = None) -> None:
    if for_others is None:
        operator(name)(function)
        return

    def either(x: Any) -> Any:
        return function(x) if is_float(x) else for_others(array(x))

    either.__name__ = either.__qualname__ = name.lower()
    operator(name)(either)


_unary("Relu", activation.relu, lambda x: run(PAIRWISE, x, np.zeros((), x.dtype), function="maximum"))
_unary("Sigmoid", activation.sigmoid)
_unary("Tanh", activation.tanh)
_unary("Neg", unary.neg, lambda x: run(ELEMENTWISE, x, function="neg"))
_unary("Abs", unary.abs, lambda x: run(ELEMENTWISE, x, function="abs"))
_unary("Exp", unary.exp)
_unary("Log", unary.log)
_unary("Sqrt", unary.sqrt)
_unary("Erf", unary.erf)
_unary("Sin", mathematics.sin)
_unary("Cos", mathematics.cos)
_unary("Tan", mathematics.tan)
_unary("Asin", mathematics.asin)
_unary("Acos", mathematics.acos)
_unary("Atan", mathematics.atan)
_unary("Sinh", mathematics.sinh)
_unary("Cosh", mathematics.cosh)
_unary("Floor", mathematics.floor)
_unary("Ceil", mathematics.ceil)
_unary("Round", mathematics.round)
_unary("Sign", mathematics.sign, lambda x: run(ELEMENTWISE, x, function="sign"))
_unary("Reciprocal", mathematics.reciprocal)
_unary("HardSwish", curves.hardswish)
_unary("Mish", curves.mish)
_unary("Softplus", curves.softplus)
_unary("Softsign", lambda x: elementwise.div(x, elementwise.add(unary.abs(x), 1.0)))


@operator("Identity")
def identity(x: Any) -> Any:
    """Return the input."""
    return x


@operator("LeakyRelu")
def leaky_relu(x: Any, *, alpha: float = 0.01) -> Any:
    """Return x, or alpha · x below 0."""
    return activation.leaky_relu(x, alpha)


@operator("Elu")
def elu(x: Any, *, alpha: float = 1.0) -> Any:
    """Return x, or alpha · (e^x - 1) below 0."""
    return curves.elu(x, alpha)


@operator("Selu")
def selu(x: Any, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Any:
    """Return gamma · (x, or alpha · (e^x - 1) below 0)."""
    return elementwise.mul(curves.elu(x, alpha), gamma)


@operator("Celu")
def celu(x: Any, *, alpha: float = 1.0) -> Any:
    """Return max(x, 0) + min(alpha · (e^(x / alpha) - 1), 0)."""
    return curves.celu(x, alpha)


@operator("HardSigmoid")
def hard_sigmoid(x: Any, *, alpha: float = 0.2, beta: float = 0.5) -> Any:
    """Return alpha · x + beta, clamped to 0 and 1."""
    if alpha == float(np.float32(1 / 6)) and beta == 0.5:
        return activation.hardsigmoid(x)
    return activation.clamp(elementwise.add(elementwise.mul(x, alpha), beta), 0.0, 1.0)


@operator("ThresholdedRelu")
def thresholded_relu(x: Any, *, alpha: float = 1.0) -> Any:
    """Return x above alpha, else 0."""
    return activation.threshold(x, alpha, 0.0)


@operator("Gelu")
def gelu(x: Any, *, approximate: str = "none") -> Any:
    """Return x · Φ(x), exactly or by the form with tanh."""
    return curves.gelu(x, approximate)


@operator("PRelu")
def prelu(x: Any, slope: Any) -> Any:
    """Return x, or slope · x below 0; the slope is broadcast."""
    slopes = array(slope)
    channels = x.shape[1] if x.ndim > 1 else 1
    if slopes.size == 1 or (slopes.shape[:1] == (channels,) and slopes.size == channels and slopes.ndim == x.ndim - 1):
        return curves.prelu(x, slopes.reshape(-1))
    below = activation.clamp(x, max=0.0)
    return elementwise.add(activation.relu(x), elementwise.mul(below, slope))


@operator("Clip")
def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    """Return x, not below min and not above max; max wins."""
    low, high = (None if v is None else array(v).item() for v in (min, max))
    if not is_float(x):
        values = array(x)
        info = np.iinfo(values.dtype) if values.dtype.kind in "iu" else np.finfo(values.dtype)
        for function, bound in (
            ("maximum", info.min if low is None else low),
            ("minimum", info.max if high is None else high),
        ):
            values = run(PAIRWISE, values, np.asarray(bound, values.dtype), function=function)
        return values
    if low is None and high is None:
        return x
    if low == 0.0 and high == 6.0:
        return activation.relu6(x)
    if low is not None and high is not None and low > high:
        low = high
    return activation.clamp(x, low, high)


@operator("Cast", ignored=("saturate", "round_mode"))
def cast(x: Any, *, to: int) -> Any:
    """Return the values as another type."""
    if to not in DTYPES:
        raise ValueError(f"Cast: to: expected one of {sorted(DTYPES)}, got {to}")
    dtype = np.dtype(DTYPES[to])
    values = array(x)
    if values.dtype == dtype:
        return x
    with np.errstate(invalid="ignore", over="ignore"):
        cast_values = as_dtype(values, dtype)
    return Tensor._wrap(cast_values) if dtype == np.float32 else cast_values


@operator("CastLike", ignored=("saturate", "round_mode"))
def cast_like(x: Any, target: Any) -> Any:
    """Return the values as the type of another tensor."""
    codes = {name: code for code, name in DTYPES.items()}
    return cast(x, to=codes[array(target).dtype.name])


@operator("MatMul")
def matmul(a: Any, b: Any) -> Any:
    """Return the matrix product, as numpy.matmul."""
    return products.matmul(a, b) if is_float(a, b) else np.matmul(array(a), array(b))


@operator("Gemm")
def gemm(
    a: Any, b: Any, c: Any = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0
) -> Any:
    """Return alpha · A' B' + beta · C."""
    left = shape.transpose(a, 0, 1) if transA else a
    right = shape.transpose(b, 0, 1) if transB else b
    product = products.matmul(left, right)
    if alpha != 1.0:
        product = elementwise.mul(product, alpha)
    if c is None or beta == 0.0:
        return product
    return elementwise.add(product, c if beta == 1.0 else elementwise.mul(c, beta))
