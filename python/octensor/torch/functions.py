"""Functions and methods of torch as octensor's, found by their names."""

from __future__ import annotations

import builtins
import inspect
import math
import operator
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from ..nn import functional
from ..ops import curves, elementwise, matmul, shape
from ..tensor import Tensor
from .layers import Unknown


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Any:
    """Return softmax(q kᵀ · scale + mask) v over the last two axes."""
    scores = matmul.matmul(
        query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale), shape.transpose(key, -2, -1)
    )
    if is_causal:
        hidden = ~np.tri(query.shape[-2], key.shape[-2], dtype=bool)
        scores = elementwise.masked_fill(scores, hidden, float("-inf"))
    if attn_mask is not None:
        mask = np.asarray(attn_mask)
        scores = elementwise.masked_fill(scores, ~mask, float("-inf")) if mask.dtype == bool else scores + attn_mask
    return matmul.matmul(functional.softmax(scores, -1), value)


def size(input: Any, dim: int | None = None) -> Any:
    """Return the shape, or one size."""
    return tuple(input.shape) if dim is None else input.shape[dim]


def _public(name: str) -> Any:
    """Return what users know as octensor.NAME; None if there is none."""
    return getattr(import_module("octensor"), name, None)


_NAMES: dict[str, Callable[..., Any]] = {
    "scaled_dot_product_attention": scaled_dot_product_attention,
    "concat": shape.cat,
    "concatenate": shape.cat,
    "true_divide": elementwise.div,
    "multiply": elementwise.mul,
    "subtract": elementwise.sub,
    "divide": elementwise.div,
    "swapaxes": shape.transpose,
    "hardswish": curves.hardswish,
    "size": size,
}
_IN_PLACE = {"iadd": operator.add, "isub": operator.sub, "imul": operator.mul, "itruediv": operator.truediv}
_BUILTINS = frozenset((getattr, len, int, float, max, min, operator.getitem))
_DROPPED = frozenset(("inplace", "_stacklevel", "training", "dtype", "out", "antialias", "memory_format"))


def _kept(found: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return keywords without those that mean nothing to octensor."""
    try:
        known = inspect.signature(found).parameters.keys() - {"inplace"}
    except (TypeError, ValueError):
        known = set()
    return {k: v for k, v in arguments.items() if k in known or k not in _DROPPED}


def convert(target: Any, arguments: dict[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return octensor's function for one of torch, and the keywords that it takes.

    Raises
    ------
    Unknown
        If there is none.
    """
    name = getattr(target, "__name__", str(target))
    where = getattr(target, "__module__", None) or ""
    kept = {k: v for k, v in arguments.items() if k not in _DROPPED}
    if target in _BUILTINS:
        return target, kept
    if where in ("_operator", "operator", "math"):
        return _IN_PLACE.get(name, target), kept
    if where == "builtins" and hasattr(builtins, name) and getattr(builtins, name) is target:
        raise Unknown(f"there is no function {name}")
    plain = name.rstrip("_")
    for found in (_NAMES.get(plain), getattr(functional, plain, None), _public(plain)):
        if callable(found) and not isinstance(found, type):
            if "dim" in kept and plain in ("flatten",):
                raise Unknown(f"{name} with dim")
            return found, _kept(found, arguments)
    raise Unknown(f"there is no function {name}")


def method(name: str, arguments: dict[str, Any]) -> tuple[Callable[..., Any] | str, dict[str, Any]]:
    """Return octensor's method (its name) or function for a method of torch's tensors, and the keywords that it takes.

    Raises
    ------
    Unknown
        If there is none.
    """
    plain = name.rstrip("_")
    kept = {k: v for k, v in arguments.items() if k not in _DROPPED}
    if plain in _NAMES:
        return _NAMES[plain], kept
    if hasattr(Tensor, plain):
        return plain, kept
    found = getattr(functional, plain, None) or _public(plain)
    if callable(found):
        return found, _kept(found, arguments)
    raise Unknown(f"there is no method {name}")
