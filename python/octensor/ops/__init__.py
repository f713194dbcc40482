"""Operations: one `OpSpec` each, gathered in `OPS`; their public functions; and the methods of tensors.

Importing this package attaches to `Tensor` (and to `QTensor`, where there is a quantized form) the functions of all ops
that name a method, and the methods made of several ops. `matmul_integer` is the exact product of plain integer arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._C import QTensor, matmul_integer
from ..tensor import Tensor
from . import activation, conv, dropout, elementwise, loss, matmul, norm, pool, reduce, shape, softmax, unary
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
    "dropout",
    "elementwise",
    "loss",
    "matmul",
    "norm",
    "pool",
    "reduce",
    "shape",
    "softmax",
    "unary",
]

# Functions made of other ops, attached to both kinds of tensor.
_COMPOSED: dict[str, Callable[..., Any]] = {
    name: getattr(shape, name)
    for name in ("view", "view_as", "flatten", "squeeze", "unsqueeze", "transpose", "t", "split", "chunk")
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
            # What QTensor does itself (views) stays.
            if spec.quantized is not None and not hasattr(QTensor, spec.method):
                setattr(QTensor, spec.method, spec.function)
        for operator in spec.operators:
            setattr(Tensor, operator, spec.function)
        for operator in spec.reflected:
            setattr(Tensor, operator, _exchanged(spec.function))
    for name, function in _COMPOSED.items():
        setattr(Tensor, name, function)
        if not hasattr(QTensor, name):
            setattr(QTensor, name, function)
    Tensor.max, Tensor.min = reduce.max, reduce.min  # type: ignore[attr-defined]
    Tensor.__getitem__ = shape.getitem  # type: ignore[method-assign]


_attach()

from . import quantized  # noqa: E402 - needs the registry
