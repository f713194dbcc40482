"""Smooth activations and their relatives. Quantized through 256-entry tables, with the result's qparams given.

The range of such a function has little to do with the input's, so somebody must choose the result's parameters: a layer
has observed them, and by hand they are the keyword `qparams`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _C
from .activation import SIGMOID
from .arguments import number, tensor
from .float32 import on_float32, unary
from .spec import Context, OpSpec, Sample, apply
from .unary import ERF

Forward = Callable[..., Any]

_erf = ERF.forward


def _samples(**attrs: Any) -> Callable[[np.random.Generator], list[Sample]]:
    """Sample values at least 0.1 away from 0 and ±3, where some of these have corners."""

    def samples(rng: np.random.Generator) -> list[Sample]:
        x = rng.uniform(0.1, 2.9, (3, 7)) + rng.choice([0.0, 3.0], (3, 7))
        return [((x * rng.choice([-1.0, 1.0], x.shape),), attrs)]

    return samples


def _curve(name: str, forward: Forward, slope: Forward, **attrs: Any) -> OpSpec:
    """Make the op of a function of one number and its derivative."""

    def backward(ctx: Context, grad: np.ndarray) -> tuple[Any]:
        return ((grad * slope(ctx.arrays[0], **ctx.attrs)).astype(grad.dtype, copy=False),)

    return OpSpec(name, forward=forward, backward=backward, samples=_samples(**attrs), table=True)


# --- exponential units ----------------------------------------------------------------------------


@on_float32(lambda x, alpha=1.0, scale=1.0, input_scale=1.0: _C.float_unary("elu", x, alpha, scale, input_scale))
def _elu(x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    low = np.expm1(np.minimum(x, 0) * input_scale)
    return np.where(x > 0, x * scale, low * (alpha * scale))


def _elu_slope(x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    return np.where(x > 0, scale, np.exp(np.minimum(x, 0) * input_scale) * (alpha * scale * input_scale))


ELU = _curve("elu", _elu, _elu_slope, alpha=1.5, scale=1.2, input_scale=0.8)


@ELU.public
def elu(
    input: Any,
    alpha: float = 1.0,
    inplace: bool = False,
    *,
    scale: float = 1.0,
    input_scale: float = 1.0,
    **given: Any,
) -> Any:
    """Return scale·x for x > 0, else scale·alpha·(exp(input_scale·x) - 1).

    Parameters
    ----------
    input : Tensor or QTensor
    alpha, scale, input_scale : float
    inplace : bool
        Accepted for compatibility; changes nothing.
    **given
        For a QTensor: `qparams` of the result.
    """
    attrs = {"alpha": alpha, "scale": scale, "input_scale": input_scale}
    return apply(ELU, input, **{name: float(number("elu", name, value)) for name, value in attrs.items()}, **given)


def celu(input: Any, alpha: float = 1.0, inplace: bool = False, **given: Any) -> Any:
    """Return x for x > 0, else alpha·(exp(x / alpha) - 1).

    Raises
    ------
    ValueError
        If alpha is 0.
    """
    alpha = number("celu", "alpha", alpha)
    if alpha == 0:
        raise ValueError("celu: alpha: expected a number other than 0, got 0")
    return elu(tensor("celu", input), alpha, input_scale=1 / alpha, **given)


SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def selu(input: Any, inplace: bool = False, **given: Any) -> Any:
    """Return the ELU with the alpha and scale that keep mean 0 and variance 1."""
    return elu(tensor("selu", input), SELU_ALPHA, scale=SELU_SCALE, **given)


# --- gates: x times something between 0 and 1 -----------------------------------------------------


def _sigmoid(x: Any) -> Any:
    return SIGMOID.forward(x)


@unary("silu")
def _silu(x: Any) -> Any:
    return x * _sigmoid(x)


def _silu_slope(x: Any) -> Any:
    s = _sigmoid(x)
    return s * (1 + x * (1 - s))


SILU = _curve("silu", _silu, _silu_slope)


@SILU.public
def silu(input: Any, inplace: bool = False, **given: Any) -> Any:
    """Return x / (1 + exp(-x))."""
    return apply(SILU, input, **given)


@on_float32(lambda x, approximate="none": _C.float_unary("gelu_tanh" if approximate == "tanh" else "gelu", x))
def _gelu(x: Any, approximate: str = "none") -> Any:
    if approximate == "tanh":
        return x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return x * (0.5 * (1 + _erf(x / math.sqrt(2))))


def _gelu_slope(x: Any, approximate: str = "none") -> Any:
    if approximate == "tanh":
        rate = math.sqrt(2 / math.pi)
        t = np.tanh(rate * (x + 0.044715 * x * x * x))
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * rate * (1 + 3 * 0.044715 * x * x)
    return 0.5 * (1 + _erf(x / math.sqrt(2))) + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


GELU = _curve("gelu", _gelu, _gelu_slope)


@GELU.public
def gelu(input: Any, approximate: str = "none", **given: Any) -> Any:
    """Return x·Φ(x), Φ being the normal distribution's cumulative function.

    Parameters
    ----------
    input : Tensor or QTensor
    approximate : {"none", "tanh"}
        "tanh": the formula 0.5·x·(1 + tanh(sqrt(2/π)·(x + 0.044715·x³))).
    **given
        For a QTensor: `qparams` of the result.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate: expected 'none' or 'tanh', got {approximate!r}")
    return apply(GELU, input, approximate=approximate, **given)


@on_float32(lambda x, beta=1.0, threshold=20.0: _C.float_unary("softplus", x, beta, threshold))
def _softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    return np.where(x * beta > threshold, x, np.logaddexp(0, x * beta).astype(x.dtype) / beta)


def _softplus_slope(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    return np.where(x * beta > threshold, 1, _sigmoid(x * beta))


SOFTPLUS = _curve("softplus", _softplus, _softplus_slope, beta=2.0, threshold=8.0)


@SOFTPLUS.public
def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0, **given: Any) -> Any:
    """Return log(1 + exp(beta·x)) / beta; x itself where beta·x > threshold."""
    rate, limit = number("softplus", "beta", beta), number("softplus", "threshold", threshold)
    return apply(SOFTPLUS, input, beta=float(rate), threshold=float(limit), **given)


def logsigmoid(input: Any) -> Any:
    """Return log(1 / (1 + exp(-x))), of float tensors."""
    return -softplus(-tensor("logsigmoid", input))


@unary("mish")
def _mish(x: Any) -> Any:
    return x * np.tanh(_softplus(x))


def _mish_slope(x: Any) -> Any:
    t = np.tanh(_softplus(x))
    return t + x * (1 - t * t) * _sigmoid(x)


MISH = _curve("mish", _mish, _mish_slope)


@MISH.public
def mish(input: Any, inplace: bool = False, **given: Any) -> Any:
    """Return x·tanh(log(1 + exp(x)))."""
    return apply(MISH, input, **given)


@unary("hardswish")
def _hardswish(x: Any) -> Any:
    return x * np.minimum(np.maximum(x + 3, 0), 6) / 6


def _hardswish_slope(x: Any) -> Any:
    return np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + 0.5))


HARDSWISH = _curve("hardswish", _hardswish, _hardswish_slope)


@HARDSWISH.public
def hardswish(input: Any, inplace: bool = False, **given: Any) -> Any:
    """Return x·min(max(x + 3, 0), 6) / 6."""
    return apply(HARDSWISH, input, **given)


# --- with a learned slope -------------------------------------------------------------------------


def _slopes(weight: Any, ndim: int) -> Any:
    return weight.reshape((-1,) + (1,) * max(ndim - 2, 0))


@on_float32(lambda x, weight: _C.float_pair("prelu", x, _slopes(weight, x.ndim)))
def _prelu(x: Any, weight: Any) -> Any:
    return np.where(x > 0, x, x * _slopes(weight, x.ndim))


def _prelu_back(ctx: Context, grad: np.ndarray) -> tuple[Any, Any]:
    x, weight = ctx.arrays
    to_slopes = np.where(x > 0, 0, x * grad).astype(grad.dtype, copy=False)
    over = tuple(range(x.ndim)) if weight.size == 1 else (0, *range(2, x.ndim))
    to_x = np.where(x > 0, grad, grad * _slopes(weight, x.ndim))
    return to_x, to_slopes.sum(axis=over).reshape(weight.shape)


def _prelu_samples(rng: np.random.Generator) -> list[Sample]:
    (x,), _ = _samples()(rng)[0]
    return [((x, np.array([0.25])), {}), ((x[:, :6].reshape(3, 3, 2), rng.uniform(0.1, 0.5, 3)), {})]


PRELU = OpSpec("prelu", forward=_prelu, backward=_prelu_back, samples=_prelu_samples)


@PRELU.public
def prelu(input: Any, weight: Any) -> Any:
    """Return x where x > 0, else weight·x; one weight, or one for each channel (axis 1).

    Raises
    ------
    ValueError
        If there are neither one nor C weights.
    """
    channels = input.shape[1] if len(input.shape) > 1 else 1
    if tuple(weight.shape) not in ((1,), (channels,)):
        raise ValueError(f"prelu: weight: expected shape (1,) or ({channels},), got {tuple(weight.shape)}")
    return apply(PRELU, input, weight)
