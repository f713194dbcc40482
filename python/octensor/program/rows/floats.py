"""Float layers, as eager float layers compute them: one order of operations, the same bits on every CPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..._C import QParams
from ...graph.meta import TensorMeta
from ...graph.rows import Unsupported
from ..ir import WHOLE, BatchSize, Value
from ..lower import ROWS, Site, constant_of, row

# op -> kernel, and its parameters from the op's attributes
UNARY: dict[str, Any] = {
    "relu": lambda: ("relu",),
    "clamp": lambda min=None, max=None: ("clamp", -np.inf if min is None else min, np.inf if max is None else max),
    "hardtanh": lambda min_val=-1.0, max_val=1.0: ("clamp", min_val, max_val),
    "relu6": lambda: ("clamp", 0, 6),
    "leaky_relu": lambda negative_slope=0.01: ("leaky_relu", negative_slope),
    "elu": lambda alpha=1.0, scale=1.0, input_scale=1.0: ("elu", alpha, scale, input_scale),
    "celu": lambda alpha=1.0, scale=1.0, input_scale=1.0: ("elu", alpha, scale, input_scale),
    "selu": lambda alpha=1.0, scale=1.0, input_scale=1.0: ("elu", alpha, scale, input_scale),
    "gelu": lambda approximate="none": ("gelu_tanh" if approximate == "tanh" else "gelu",),
    "softplus": lambda beta=1.0, threshold=20.0: ("softplus", beta, threshold),
    **{
        name: (lambda name=name: (name,))
        for name in ("sigmoid", "tanh", "hardsigmoid", "hardswish", "silu", "mish", "exp", "log", "sqrt", "erf")
    },
}


def unary(site: Site, name: str, x: Value, **attrs: Any) -> Value:
    """Add a function of one number."""
    if name == "threshold":
        return site.add("unary", [x], site.meta, name=name, a=float(attrs["threshold"]), b=float(attrs["value"]))
    if name not in UNARY:
        raise Unsupported(f"there is no float step of it: quantize around it, or use one of {', '.join(sorted(UNARY))}")
    kernel, *parameters = UNARY[name](**attrs)
    given = dict(zip("abc", map(float, parameters), strict=False))
    return site.add("float_unary", [x], site.meta, name=kernel, **given)


def binary(site: Site, name: str, a: Any, b: Any, relu: bool = False) -> Value:
    """Add arithmetic on two tensors, or a tensor and a number."""
    values = []
    for part in (a, b):
        if isinstance(part, Value):
            values.append(part)
        elif isinstance(part, (int, float)):
            values.append(site.constant(np.asarray(part, np.float32)))
        else:
            raise Unsupported(f"its operand is a {type(part).__name__}")
    if any(v.meta.dtype != "float32" for v in values):
        raise Unsupported(f"it works on {values[0].meta.dtype} and {values[1].meta.dtype} here, not on float32 alone")
    return site.add(f"float_{name}", values, site.meta, relu=relu)


for _name in ("sub", "div"):
    row(_name)(lambda site, a, b, _name=_name, **attrs: binary(site, _name, a, b))


@row("neg")
def neg(site: Site, x: Value) -> Value:
    """Minus x."""
    return binary(site, "mul", x, -1.0)


for _name in UNARY:
    if _name not in ROWS:
        row(_name)(lambda site, x, _name=_name, **attrs: unary(site, _name, x, **attrs))


def linear(site: Site, x: Value, weight: Value, bias: Value | None) -> Value:
    """Add a linear layer."""
    w, b = np.asarray(constant_of(weight, "weight")), constant_of(bias, "bias")
    return site.add("float_linear", [x], site.meta, weight=w, bias=None if b is None else np.asarray(b))


def conv(site: Site, x: Value, weight: Value, bias: Value | None, **attrs: Any) -> Value:
    """Add a convolution, ordinary or transposed."""
    b = constant_of(bias, "bias")
    given = {key: list(v) if isinstance(v, tuple) else v for key, v in attrs.items()}
    w = np.asarray(constant_of(weight, "weight"))
    return site.add("float_conv", [x], site.meta, weight=w, bias=None if b is None else np.asarray(b), **given)


@row("matmul")
def matmul(site: Site, a: Value, b: Value) -> Value:
    """Products of matrices."""
    if a.ndim < 2 or b.ndim < 2 or a.qparams is not None or b.qparams is not None:
        raise Unsupported("programs have products of float matrices [..., M, K] and [..., K, N] alone")
    return site.add("float_matmul", [a, b], site.meta)


def _softmax(log: bool) -> Any:
    def lowered(site: Site, x: Value, *, dim: int) -> Value:
        if x.qparams is not None:
            raise Unsupported("programs have it on floats alone: call .dequantize() before it")
        last = x.ndim - 1
        if dim == last:
            return site.add("float_softmax", [x], site.meta, log=log)
        order = [i for i in range(x.ndim) if i != dim] + [dim]
        turned = site.meta._replace(shape=tuple(x.meta.shape[i] for i in order))
        y = site.add("float_softmax", [site.add("permute", [x], turned, dims=order)], turned, log=log)
        return site.add("permute", [y], site.meta, dims=[order.index(i) for i in range(x.ndim)])

    return lowered


row("softmax")(_softmax(False))
row("log_softmax")(_softmax(True))


def reduce(site: Site, x: Value, dim: tuple[int, ...], keepdim: bool, mean: bool) -> Value:
    """Add sums or means over axes."""
    if x.meta.dtype != "float32":
        raise Unsupported(f"it works on {x.meta.dtype} here: programs reduce float32")
    kept = [d for d in range(x.ndim) if d not in dim]
    order = kept + sorted(dim)
    if order != list(range(x.ndim)):
        x = site.add("permute", [x], x.meta._replace(shape=tuple(x.meta.shape[i] for i in order)), dims=order)
    meta = TensorMeta(tuple(x.meta.shape[: len(kept)]), "float32")
    y = site.add("float_sum", [x], meta, axes=len(dim), mean=mean)
    if not keepdim:
        return y
    return site.add("cut", [y], site.meta, index=tuple(None if d in dim else WHOLE for d in range(x.ndim)))


@row("sum")
def total(site: Site, x: Value, *, dim: tuple[int, ...], keepdim: bool) -> Value:
    """Add sums over axes."""
    if x.qparams is not None:
        raise Unsupported("programs have sums of floats alone: call .dequantize() before it")
    return reduce(site, x, dim, keepdim, mean=False)


def _norm(
    site: Site,
    x: Value,
    weight: Value | None = None,
    bias: Value | None = None,
    *,
    rows: Any,
    eps: float,
    channels: bool,
    qparams: QParams | None = None,
) -> Value:
    batch = x.meta.shape[0] if x.ndim else 1
    count = rows.fixed + rows.per_batch * batch if isinstance(rows, BatchSize) else rows
    size = math.prod(x.meta.shape)
    groups, run = (count // batch, math.prod(x.meta.shape[2:])) if channels else (1, 1)
    affine = [None if v is None else np.asarray(constant_of(v, "weight")).reshape(-1) for v in (weight, bias)]
    sizes = {"row": size // count, "groups": groups, "run": run}
    step = "float_norm" if qparams is None else "code_norm"
    meta = site.meta if qparams is None else TensorMeta(x.meta.shape, "float32")
    y = site.add(step, [x], meta, eps=eps, **sizes, weight=affine[0], bias=affine[1])
    if qparams is None:
        return y
    return site.add("quantize", [y], site.meta, qparams=qparams, channels_last=channels and x.ndim == 4)


for _name in ("layer_norm", "group_norm", "instance_norm"):
    row(_name, batched=True)(_norm)
