"""Element by element: arithmetic, functions, activations; quantize and dequantize."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...graph.meta import TensorMeta
from ...graph.rows import Unsupported
from ..draft import TYPES, Site, Value
from ..exporter import row


@row("quantize")
def quantize(site: Site, x: Value, *, qparams: Any, channels_last: bool = False) -> Value:
    """Floats to codes."""
    return site.result(site.real(x))


@row("dequantize")
def dequantize(site: Site, x: Value) -> Value:
    """Codes to floats."""
    return Value(site.real(x), site.meta)


@row("int_repr")
def int_repr(site: Site, x: Value) -> Value:
    """Codes as plain integers."""
    return Value(x.name, site.meta)


@row("cast")
def cast(site: Site, x: Value, *, dtype: str) -> Value:
    """Values as another type."""
    return Value(site.add("Cast", x.name, to=TYPES[dtype]), site.meta)


@row("to_float16")
def to_float16(site: Site, x: Value) -> Value:
    """Values as float16."""
    return Value(site.add("Cast", x.name, to=TYPES["float16"]), site.meta)


# --- two operands ----------------------------------------------------------------------------------------------------


def _binary(operator: str, relu: bool = False) -> Callable[..., Value]:
    def write(site: Site, a: Any, b: Any, *, qparams: Any = None) -> Value:
        like = next((v.meta.dtype for v in (a, b) if isinstance(v, Value) and v.qparams is None), "float32")
        # ONNX Runtime leaves a Sum in float, with octensor's roundings; its kernel for Add rounds elsewhere
        kind = "Sum" if operator == "Add" and site.meta.qparams and site.draft.exact else operator
        y = site.add(kind, site.real(a, like), site.real(b, like))
        return site.result(site.add("Relu", y) if relu else y)

    return write


for _name, _operator in (("add", "Add"), ("mul", "Mul")):
    row(_name)(_binary(_operator))
    row(f"{_name}_relu")(_binary(_operator, True))
for _name, _operator in (("sub", "Sub"), ("div", "Div"), ("pow", "Pow"), ("maximum", "Max"), ("minimum", "Min")):
    row(_name)(_binary(_operator))


def _scalar(operator: str) -> Callable[..., Value]:
    def write(site: Site, x: Value, c: float, relu: bool = False) -> Value:
        y = site.add(operator, site.real(x), site.floats(c))
        return site.result(site.add("Relu", y) if relu else y)

    return write


row("add_scalar")(_scalar("Add"))
row("mul_scalar")(_scalar("Mul"))


def _condition(site: Site, condition: Any) -> str:
    name = site.real(condition, "bool")
    dtype = condition.meta.dtype if isinstance(condition, Value) else str(np.asarray(condition).dtype)
    return name if dtype == "bool" else site.add("Cast", name, to=TYPES["bool"])


@row("where")
def where(site: Site, condition: Any, x: Any, y: Any) -> Value:
    """One of two values, by a condition."""
    values = [site.real(v, site.meta.dtype) for v in (x, y)]
    return site.result(site.add("Where", _condition(site, condition), *values))


@row("masked_fill")
def masked_fill(site: Site, x: Value, *, mask: Any, value: float) -> Value:
    """Put a number where a mask says so."""
    return site.result(site.add("Where", _condition(site, mask), site.floats(value), site.real(x)))


# --- functions of one number -----------------------------------------------------------------------------------------
Curve = Callable[..., str]  # (site, name of x, **attributes) -> name of the result


def _node(operator: str) -> Curve:
    return lambda site, x: site.add(operator, x)


def _clip(site: Site, x: str, low: float | None, high: float | None) -> str:
    bounds = ["" if v is None else site.floats(v) for v in (low, high)]
    return site.add("Clip", x, *(bounds if high is not None else bounds[:1]))


def _elu(site: Site, x: str, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> str:
    if input_scale == 1.0:
        return site.add("Selu", x, alpha=alpha, gamma=scale) if scale != 1.0 else site.add("Elu", x, alpha=alpha)
    if scale == 1.0 and math.isclose(input_scale * alpha, 1.0, rel_tol=1e-6):
        return site.add("Celu", x, alpha=alpha)
    raise Unsupported("ONNX has Elu, Selu and Celu alone")


def _gelu(site: Site, x: str, approximate: str = "none") -> str:
    if site.opset >= 20:
        return site.add("Gelu", x, approximate=approximate)
    if approximate == "none":
        part = site.add("Erf", site.add("Div", x, site.floats(math.sqrt(2.0))))
    else:
        cube = site.add("Mul", site.add("Mul", x, x), x)
        inner = site.add("Add", x, site.add("Mul", cube, site.floats(0.044715)))
        part = site.add("Tanh", site.add("Mul", inner, site.floats(math.sqrt(2 / math.pi))))
    both = site.add("Add", part, site.floats(1.0))
    return site.add("Mul", site.add("Mul", x, site.floats(0.5)), both)


def _softplus(site: Site, x: str, beta: float = 1.0, threshold: float = 20.0) -> str:
    if beta == 1.0:
        return site.add("Softplus", x)
    return site.add("Div", site.add("Softplus", site.add("Mul", x, site.floats(beta))), site.floats(beta))


def _mish(site: Site, x: str) -> str:
    if site.opset >= 18:
        return site.add("Mish", x)
    return site.add("Mul", x, site.add("Tanh", site.add("Softplus", x)))


def _threshold(site: Site, x: str, threshold: float, value: float) -> str:
    return site.add("Where", site.add("Greater", x, site.floats(threshold)), x, site.floats(value))


CURVES: dict[str, Curve] = {
    **{
        name: _node(name.capitalize())
        for name in (
            "abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "exp", "floor", "log", "neg", "reciprocal",
            "relu", "round", "sigmoid", "sign", "sin", "sinh", "sqrt", "tan", "tanh",
        )
    },
    "hardswish": _node("HardSwish"),
    "hardsigmoid": lambda site, x: site.add("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    "leaky_relu": lambda site, x, negative_slope=0.01: site.add("LeakyRelu", x, alpha=negative_slope),
    "silu": lambda site, x: site.add("Mul", x, site.add("Sigmoid", x)),
    "relu6": lambda site, x: _clip(site, x, 0.0, 6.0),
    "hardtanh": lambda site, x, min_val=-1.0, max_val=1.0: _clip(site, x, min_val, max_val),
    "clamp": lambda site, x, min=None, max=None: _clip(site, x, min, max),
    "elu": _elu,
    "gelu": _gelu,
    "softplus": _softplus,
    "mish": _mish,
    "threshold": _threshold,
}  # fmt: skip


def _unary(curve: Curve) -> Callable[..., Value]:
    def write(site: Site, x: Value, *, qparams: Any = None, **attrs: Any) -> Value:
        return site.result(curve(site, site.real(x), **attrs))

    return write


for _name, _curve in CURVES.items():
    row(_name)(_unary(_curve))


@row("prelu")
def prelu(site: Site, x: Value, weight: Value) -> Value:
    """Multiply by a slope below 0, one or one per channel."""
    slope = site.real(weight)
    if weight.meta.shape != (1,) and x.ndim > 2:
        slope = site.add("Reshape", slope, site.ints((-1,) + (1,) * (x.ndim - 2)))
    return site.result(site.add("PRelu", site.real(x), slope))


@row("clone", "contiguous")
def clone(site: Site, x: Value, **attrs: Any) -> Value:
    """Nothing writes into a value: a copy is the value itself."""
    return x


@row("softmax")
def softmax(site: Site, x: Value, *, dim: int) -> Value:
    """Softmax along an axis."""
    return site.result(site.add("Softmax", site.real(x), axis=dim))


@row("log_softmax")
def log_softmax(site: Site, x: Value, *, dim: int) -> Value:
    """Logarithm of the softmax along an axis."""
    return site.result(site.add("LogSoftmax", site.real(x), axis=dim))


@row("attend_integer")
def attend_integer(site: Site, q: Value, k: Value, v: Value, mask: Any, *, qparams: Any) -> tuple[Value, Value]:
    """Attention of heads (B, L, d) on codes; in ONNX with a float softmax."""
    keys = site.add("Transpose", site.real(k), perm=(0, 2, 1))
    scores = site.add("MatMul", site.real(q), keys)
    scores = site.add("Mul", scores, site.floats(1 / math.sqrt(q.meta.shape[-1])))
    if mask is not None:
        scores = site.add("Add", scores, site.real(mask))
    weights = site.add("Softmax", scores, axis=2)
    output, sums = site.meta
    return site.result(site.add("MatMul", weights, site.real(v)), output), site.result(weights, TensorMeta(*sums))
