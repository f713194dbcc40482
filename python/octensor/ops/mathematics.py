"""Further functions element by element, by NumPy's formulas; without a gradient, and without a quantized form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _C
from .float32 import on_float32
from .spec import OpSpec, Sample, apply


def _samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.uniform(0.1, 0.9, (2, 3)),), {})]


def _unary(name: str, forward: Callable[..., Any], text: str) -> Callable[[Any], Any]:
    spec = OpSpec(name, forward=forward, samples=_samples)

    def function(input: Any) -> Any:
        return apply(spec, input)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = text
    return spec.public(function)


sin = _unary("sin", np.sin, "Return the sine of angles in radians.")
cos = _unary("cos", np.cos, "Return the cosine of angles in radians.")
tan = _unary("tan", np.tan, "Return the tangent of angles in radians.")
asin = _unary("asin", np.arcsin, "Return the angle in radians whose sine is `input`.")
acos = _unary("acos", np.arccos, "Return the angle in radians whose cosine is `input`.")
atan = _unary("atan", np.arctan, "Return the angle in radians whose tangent is `input`.")
sinh = _unary("sinh", np.sinh, "Return the hyperbolic sine.")
cosh = _unary("cosh", np.cosh, "Return the hyperbolic cosine.")
floor = _unary("floor", np.floor, "Return the largest whole number not above `input`.")
ceil = _unary("ceil", np.ceil, "Return the smallest whole number not below `input`.")
round = _unary("round", np.rint, "Round to the nearest whole number, ties to even.")
sign = _unary("sign", np.sign, "Return -1, 0 or 1.")
reciprocal = _unary("reciprocal", np.reciprocal, "Return 1 / `input`.")


def _where(condition: Any, x: Any, y: Any) -> Any:
    return np.where(condition, x, y)


def _where_samples(rng: np.random.Generator) -> list[Sample]:
    a, b = rng.normal(size=(2, 3)), rng.normal(size=(3,))
    return [((np.array([[True], [False]]), a, b), {})]


WHERE = OpSpec("where", forward=_where, samples=_where_samples)


@WHERE.public
def where(condition: Any, input: Any, other: Any) -> Any:
    """Return `input` where the condition holds and `other` elsewhere, all broadcast.

    >>> import octensor as ot
    >>> from octensor.ops.mathematics import where
    >>> where(ot.tensor([True, False]), ot.tensor([1.0, 2.0]), 0.0).tolist()
    [1.0, 0.0]
    """
    return apply(WHERE, condition, input, other)


def _extreme(name: str, function: Callable[..., Any], text: str) -> Callable[[Any, Any], Any]:
    def samples(rng: np.random.Generator) -> list[Sample]:
        return [((rng.normal(size=(2, 3)), rng.normal(size=(3,))), {})]

    forward = on_float32(lambda a, b: _C.float_pair(name, a, b))(function)
    spec = OpSpec(name, forward=forward, samples=samples)

    def pairwise(input: Any, other: Any) -> Any:
        return apply(spec, input, other)

    pairwise.__name__ = pairwise.__qualname__ = name
    pairwise.__doc__ = text
    return spec.public(pairwise)


maximum = _extreme("maximum", np.maximum, "Return the larger of two values, element by element; NaN if one is NaN.")
minimum = _extreme("minimum", np.minimum, "Return the smaller of two values, element by element; NaN if one is NaN.")


def _cumsum(x: Any, dim: int) -> Any:
    return np.cumsum(x, dim, dtype=x.dtype)


def _cumsum_samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.normal(size=(2, 3)),), {"dim": 1})]


CUMSUM = OpSpec("cumsum", forward=_cumsum, samples=_cumsum_samples)


@CUMSUM.public
def cumsum(input: Any, dim: int) -> Any:
    """Return the running sums along an axis."""
    return apply(CUMSUM, input, dim=dim)


def _prod(x: Any, dim: tuple[int, ...], keepdim: bool) -> Any:
    return np.prod(x, dim, keepdims=keepdim)


def _prod_samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.normal(size=(2, 3)),), {"dim": (1,), "keepdim": False})]


PROD = OpSpec("prod", forward=_prod, samples=_prod_samples)


def prod(input: Any, dim: tuple[int, ...], keepdim: bool = False) -> Any:
    """Return the product along axes."""
    return apply(PROD, input, dim=dim, keepdim=keepdim)


PROD.public(prod)


@on_float32(_C.float_response_norm)
def _local_response_norm(x: Any, size: int, alpha: float, beta: float, bias: float) -> Any:
    before = (size - 1) // 2
    squares = np.pad(x * x, [(0, 0), (before, size - 1 - before)] + [(0, 0)] * (x.ndim - 2))
    total = np.zeros_like(x)
    for i in range(size):
        total += squares[:, i : i + x.shape[1]]
    return x / (bias + alpha / size * total) ** beta


def _lrn_samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.normal(size=(1, 5, 2, 2)),), {"size": 3, "alpha": 1e-4, "beta": 0.75, "bias": 1.0})]


LOCAL_RESPONSE_NORM = OpSpec("local_response_norm", forward=_local_response_norm, samples=_lrn_samples)


@LOCAL_RESPONSE_NORM.public
def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Any:
    """Divide by (bias + alpha / size · sum of squares over `size` neighbouring channels) to the power beta.

    `input` has shape (N, C, ...); of an even number of neighbours one more lies behind (ONNX LRN).
    """
    return apply(LOCAL_RESPONSE_NORM, input, size=size, alpha=alpha, beta=beta, bias=bias)
