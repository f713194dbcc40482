"""Operations: one `OpSpec` each, gathered in `OPS`; their public functions; and the methods of tensors.

Importing this package attaches to `Tensor` (and to `QTensor`, where there is a quantized form) the functions of all ops
that name a method, and the methods made of several ops. `matmul_integer` is the exact product of plain integer arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._C import QTensor, matmul_integer
from ..tensor import Tensor
from . import (
    activation,
    conv,
    curves,
    dropout,
    elementwise,
    embedding,
    half,
    loss,
    matmul,
    moving,
    norm,
    padding,
    pool,
    reduce,
    resample,
    row_norm,
    shape,
    shuffle,
    softmax,
    unary,
)
from .spec import OPS, OpSpec, apply

__all__ = [
    "OPS",
    "OpSpec",
    "apply",
    "matmul_integer",
    "quantized",
    # the files of ops
    "activation",
    "conv",
    "curves",
    "dropout",
    "elementwise",
    "embedding",
    "half",
    "loss",
    "matmul",
    "moving",
    "norm",
    "padding",
    "pool",
    "reduce",
    "resample",
    "row_norm",
    "shape",
    "shuffle",
    "softmax",
    "unary",
]

# Functions made of other ops, attached to both kinds of tensor.
_COMPOSED: dict[str, Callable[..., Any]] = {
    name: getattr(module, name)
    for module, names in (
        (shape, "view view_as flatten squeeze unsqueeze transpose t split chunk select narrow unbind"),
        (moving, "sort topk repeat_interleave"),
        (reduce, "max min argmax argmin"),
    )
    for name in names.split()
}


def _exchanged(function: Any) -> Callable[..., Any]:
    """Return the function with its two arguments exchanged (for `2 - x`)."""

    def call(self: Any, other: Any) -> Any:
        return function(other, self)

    return call


def _attach() -> None:
    for spec in OPS.values():
        if spec.method and spec.function:
            setattr(Tensor, spec.method, spec.function)
            # What QTensor does itself (views) stays. An op without a quantized form says so when called.
            if not hasattr(QTensor, spec.method):
                setattr(QTensor, spec.method, spec.function)
        for operator in spec.operators:
            setattr(Tensor, operator, spec.function)
        for operator in spec.reflected:
            setattr(Tensor, operator, _exchanged(spec.function))
    for name, function in _COMPOSED.items():
        setattr(Tensor, name, function)
        if not hasattr(QTensor, name):
            setattr(QTensor, name, function)
    Tensor.__getitem__ = shape.getitem  # type: ignore[method-assign]
    # These extend what QTensor does itself: indices that gather, and -1 for a size that stays.
    QTensor.__getitem__ = shape.getitem  # type: ignore[method-assign]
    QTensor.expand = shape.expand  # type: ignore[method-assign, assignment]


_attach()

from . import quantized  # noqa: E402 - needs the registry
