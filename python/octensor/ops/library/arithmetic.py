"""Sums, products and concatenations of QTensors.

`*_relu` forms limit the result at real 0. `*_out` forms write into `out` with `out`'s own parameters and return it.
A number as one of the operands needs no parameters: they follow from the tensor's (`octensor.ops.scalar`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import _C
from ..._C import QTensor
from .. import scalar
from ..arguments import axis, number
from .checks import given, quantized, run

__all__ = [
    "add",
    "add_out",
    "add_relu",
    "add_relu_out",
    "add_scalar",
    "add_scalar_out",
    "add_scalar_relu",
    "add_scalar_relu_out",
    "cat",
    "cat_out",
    "cat_relu",
    "cat_relu_out",
    "mul",
    "mul_out",
    "mul_relu",
    "mul_relu_out",
    "mul_scalar",
    "mul_scalar_out",
    "mul_scalar_relu",
    "mul_scalar_relu_out",
]


def _binary(op: str, a: Any, b: Any, scale: Any, zero_point: Any) -> QTensor:
    name, _, relu = op.partition("_")
    if not isinstance(a, QTensor) or not isinstance(b, QTensor):
        x, c, place = (a, b, "qb") if isinstance(a, QTensor) else (b, a, "qa")
        if scale is None and zero_point is None:
            by_number: Callable[..., QTensor] = getattr(scalar, f"{name}_scalar")
            return by_number(quantized(op, x), float(number(f"quantized.{op}", place, c)), relu=bool(relu))
        quantized(op, a, "qa")
        quantized(op, b, "qb")
    if a.dtype != b.dtype:
        raise TypeError(f"quantized.{op}: qb: expected {a.dtype} as qa, got {b.dtype}: requantize one of them")
    if scale is None or zero_point is None:
        raise TypeError(f"quantized.{op}: scale, zero_point: expected those of the result, got {scale}, {zero_point}")
    return run(op, a, b, qparams=given(op, a, scale, zero_point))


def add(qa: Any, qb: Any, scale: float | None = None, zero_point: int | None = None) -> QTensor:
    """Return `qa + qb`, quantized with `scale` and `zero_point`.

    One operand may be a number; then scale and zero point are left out.

    Examples
    --------
    >>> import octensor as ot
    >>> q = ot.quantize_per_tensor(ot.tensor([1.0, 2.0]), 0.5, 0, ot.quint8)
    >>> ot.ops.quantized.add(q, q, 1.0, 10).int_repr().tolist()
    [12, 14]
    """
    return _binary("add", qa, qb, scale, zero_point)


def add_relu(qa: Any, qb: Any, scale: float | None = None, zero_point: int | None = None) -> QTensor:
    """Return `relu(qa + qb)`, quantized with `scale` and `zero_point`; one operand may be a number."""
    return _binary("add_relu", qa, qb, scale, zero_point)


def mul(qa: Any, qb: Any, scale: float | None = None, zero_point: int | None = None) -> QTensor:
    """Return `qa · qb`, quantized with `scale` and `zero_point`; one operand may be a number."""
    return _binary("mul", qa, qb, scale, zero_point)


def mul_relu(qa: Any, qb: Any, scale: float | None = None, zero_point: int | None = None) -> QTensor:
    """Return `relu(qa · qb)`, quantized with `scale` and `zero_point`; one operand may be a number."""
    return _binary("mul_relu", qa, qb, scale, zero_point)


def add_scalar(qa: QTensor, b: Any) -> QTensor:
    """Return `qa + b` for a number b; the result's parameters follow from those of qa."""
    return scalar.add_scalar(quantized("add_scalar", qa), float(number("quantized.add_scalar", "b", b)))


def add_scalar_relu(qa: QTensor, b: Any) -> QTensor:
    """Return `relu(qa + b)` for a number b."""
    return scalar.add_scalar(
        quantized("add_scalar_relu", qa), float(number("quantized.add_scalar_relu", "b", b)), relu=True
    )


def mul_scalar(qa: QTensor, b: Any) -> QTensor:
    """Return `qa · b` for a number b; the result's parameters follow from those of qa."""
    return scalar.mul_scalar(quantized("mul_scalar", qa), float(number("quantized.mul_scalar", "b", b)))


def mul_scalar_relu(qa: QTensor, b: Any) -> QTensor:
    """Return `relu(qa · b)` for a number b."""
    return scalar.mul_scalar(
        quantized("mul_scalar_relu", qa), float(number("quantized.mul_scalar_relu", "b", b)), relu=True
    )


def _joined(op: str, tensors: Any, dim: int, scale: float | None, zero_point: int | None) -> QTensor:
    parts = list(tensors) if isinstance(tensors, (list, tuple)) else []
    if not parts or not all(isinstance(part, QTensor) for part in parts):
        raise TypeError(f"quantized.{op}: tensors: expected a list of QTensors, got {type(tensors).__name__}")
    first = parts[0]
    if any(part.dtype != first.dtype for part in parts):
        raise TypeError(f"quantized.{op}: tensors: expected one dtype, got {[str(part.dtype) for part in parts]}")
    scale = first.q_scale() if scale is None else scale
    zero_point = first.q_zero_point() if zero_point is None else zero_point
    qparams = given(op, first, scale, zero_point)
    return run("cat", *parts, dim=axis(f"quantized.{op}", dim, first.ndim), qparams=qparams)


def cat(tensors: Any, dim: int = 0, scale: float | None = None, zero_point: int | None = None) -> QTensor:
    """Join QTensors along `dim`; a scale or zero point that is None is the first tensor's."""
    return _joined("cat", tensors, dim, scale, zero_point)


def cat_relu(tensors: Any, dim: int = 0, scale: float | None = None, zero_point: int | None = None) -> QTensor:
    """Return `relu(cat(tensors, dim))`."""
    return run("relu", _joined("cat_relu", tensors, dim, scale, zero_point))


# --- into a tensor that exists ----------------------------------------------------------------------


def _into(op: str, out: Any, result: QTensor) -> QTensor:
    """Write a result into `out`: its codes if it has out's parameters, else requantized to them."""
    quantized(op, out, "out")
    if tuple(out.shape) != tuple(result.shape):
        raise ValueError(f"quantized.{op}: out: expected shape {tuple(result.shape)}, got {tuple(out.shape)}")
    out._writable()[...] = _C.requantize(result, out.qparams).int_repr()
    return out  # type: ignore[no-any-return]


def _own(op: str, out: Any) -> tuple[float, int]:
    """Return scale and zero point of `out`."""
    return quantized(op, out, "out").q_scale(), out.q_zero_point()


def add_out(qa: QTensor, qb: QTensor, out: QTensor) -> QTensor:
    """Write `qa + qb` into `out`, quantized with its parameters."""
    return _into("add_out", out, add(qa, qb, *_own("add_out", out)))


def add_relu_out(qa: QTensor, qb: QTensor, out: QTensor) -> QTensor:
    """Write `relu(qa + qb)` into `out`, quantized with its parameters."""
    return _into("add_relu_out", out, add_relu(qa, qb, *_own("add_relu_out", out)))


def mul_out(qa: QTensor, qb: QTensor, out: QTensor) -> QTensor:
    """Write `qa · qb` into `out`, quantized with its parameters."""
    return _into("mul_out", out, mul(qa, qb, *_own("mul_out", out)))


def mul_relu_out(qa: QTensor, qb: QTensor, out: QTensor) -> QTensor:
    """Write `relu(qa · qb)` into `out`, quantized with its parameters."""
    return _into("mul_relu_out", out, mul_relu(qa, qb, *_own("mul_relu_out", out)))


def cat_out(tensors: Any, dim: int, out: QTensor) -> QTensor:
    """Write the tensors joined along `dim` into `out`, quantized with its parameters."""
    return _into("cat_out", out, cat(tensors, dim, *_own("cat_out", out)))


def cat_relu_out(tensors: Any, dim: int, out: QTensor) -> QTensor:
    """Write `relu(cat(tensors, dim))` into `out`, quantized with its parameters."""
    return _into("cat_relu_out", out, cat_relu(tensors, dim, *_own("cat_relu_out", out)))


def _replaced(op: str, out: Any, result: QTensor) -> QTensor:
    """Make `out` the result: a sum with a number brings parameters of its own."""
    quantized(op, out, "out")
    if tuple(out.shape) != tuple(result.shape):
        raise ValueError(f"quantized.{op}: out: expected shape {tuple(result.shape)}, got {tuple(out.shape)}")
    out._assign(result)
    return out  # type: ignore[no-any-return]


def add_scalar_out(qa: QTensor, b: Any, out: QTensor) -> QTensor:
    """Make `out` hold `qa + b`; it takes over the result's parameters."""
    return _replaced("add_scalar_out", out, add_scalar(qa, b))


def add_scalar_relu_out(qa: QTensor, b: Any, out: QTensor) -> QTensor:
    """Make `out` hold `relu(qa + b)`; it takes over the result's parameters."""
    return _replaced("add_scalar_relu_out", out, add_scalar_relu(qa, b))


def mul_scalar_out(qa: QTensor, b: Any, out: QTensor) -> QTensor:
    """Make `out` hold `qa · b`; it takes over the result's parameters."""
    return _replaced("mul_scalar_out", out, mul_scalar(qa, b))


def mul_scalar_relu_out(qa: QTensor, b: Any, out: QTensor) -> QTensor:
    """Make `out` hold `relu(qa · b)`; it takes over the result's parameters."""
    return _replaced("mul_scalar_relu_out", out, mul_scalar_relu(qa, b))
