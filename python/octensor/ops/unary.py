"""Functions of one tensor, element by element, that have no quantized form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .float32 import unary
from .spec import Context, OpSpec, Sample, apply


def _any_samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.uniform(0.2, 2.0, (2, 3)) * rng.choice([-1.0, 1.0], (2, 3)),), {})]


def _positive_samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.uniform(0.5, 2.0, (2, 3)),), {})]


def _neg_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (-grad,)


NEG = OpSpec("neg", forward=np.negative, backward=_neg_back, samples=_any_samples, method="neg", operators=("__neg__",))


@NEG.public
def neg(input: Any) -> Any:
    """Return `-input`."""
    return apply(NEG, input)


def _abs_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (grad * np.sign(ctx.arrays[0]),)


ABS = OpSpec("abs", forward=np.abs, backward=_abs_back, samples=_any_samples, method="abs", operators=("__abs__",))


@ABS.public
def abs(input: Any) -> Any:
    """Return the absolute values; the gradient at 0 is 0."""
    return apply(ABS, input)


def _exp_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (grad * ctx.out,)


EXP = OpSpec("exp", forward=unary("exp")(np.exp), backward=_exp_back, samples=_any_samples, method="exp")


@EXP.public
def exp(input: Any) -> Any:
    """Return e to the power `input`."""
    return apply(EXP, input)


def _log_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (grad / ctx.arrays[0],)


LOG = OpSpec("log", forward=unary("log")(np.log), backward=_log_back, samples=_positive_samples, method="log")


@LOG.public
def log(input: Any) -> Any:
    """Return the natural logarithm."""
    return apply(LOG, input)


_erf = np.vectorize(math.erf, otypes=[np.float64])


@unary("erf")
def _erf_forward(x: Any) -> Any:
    return _erf(x).astype(x.dtype)


def _erf_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    x = ctx.arrays[0]
    return ((grad * np.exp(-x * x) * (2 / math.sqrt(math.pi))).astype(grad.dtype, copy=False),)


ERF = OpSpec("erf", forward=_erf_forward, backward=_erf_back, samples=_any_samples, method="erf")


@ERF.public
def erf(input: Any) -> Any:
    """Return the error function, 2/sqrt(π) times the integral of exp(-t²) from 0 to x."""
    return apply(ERF, input)


def _sqrt_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (grad / (2 * ctx.out),)


SQRT = OpSpec("sqrt", forward=np.sqrt, backward=_sqrt_back, samples=_positive_samples, method="sqrt")


@SQRT.public
def sqrt(input: Any) -> Any:
    """Return the square root."""
    return apply(SQRT, input)


def _clone_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    return (grad,)


CLONE = OpSpec("clone", forward=np.array, backward=_clone_back, samples=_any_samples, method="clone")


@CLONE.public
def clone(input: Any) -> Any:
    """Return a copy; gradients pass through it."""
    return apply(CLONE, input)


CONTIGUOUS = OpSpec(
    "contiguous", forward=np.ascontiguousarray, backward=_clone_back, samples=_any_samples, method="contiguous"
)


@CONTIGUOUS.public
def contiguous(input: Any) -> Any:
    """Return the tensor in memory in logical order; itself when it is so already."""
    return input if input.is_contiguous() else apply(CONTIGUOUS, input)
