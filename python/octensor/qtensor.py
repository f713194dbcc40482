"""What Python adds to `QTensor`: quantizing and dequantizing by PyTorch's names, comparisons, and helpful refusals.

`QTensor` itself is made in C++ (`octensor._C`). Here its methods that return a float `Tensor` are attached, and the
operators `+ - * / @`, which raise: the result of arithmetic has a range of its own, and somebody has to choose it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import _C
from ._C import QParams, QTensor
from .arrays import as_array
from .ops.arguments import axis as checked_axis
from .tensor import Tensor


def quantize_per_tensor(input: Any, scale: Any, zero_point: Any, dtype: Any) -> Any:
    """Quantize with one scale and zero point: clamp(round_half_even(x / scale) + zero_point).

    Parameters
    ----------
    input : float tensor or array of any shape, or a list of them
        For a list, `scale` and `zero_point` hold one entry per tensor, and a list is returned.
    scale : float
        Finite and positive.
    zero_point : int
        In the range of `dtype`.
    dtype : dtype
        `octensor.qint8`, `quint8` or `qint32`.

    Returns
    -------
    QTensor, shape of `input`

    Raises
    ------
    TypeError
        If the input is not of floats.
    ValueError
        If scale or zero point are out of range.

    Examples
    --------
    >>> import octensor as ot
    >>> q = ot.quantize_per_tensor(ot.tensor([-1.0, 0.0, 1.0]), 0.5, 10, ot.quint8)
    >>> q.int_repr().tolist()
    [8, 10, 12]
    """
    if isinstance(input, (list, tuple)):
        pairs = zip(input, as_array(scale).tolist(), as_array(zero_point).tolist(), strict=True)
        return [quantize_per_tensor(x, s, z, dtype) for x, s, z in pairs]
    values = _floats("quantize_per_tensor", input)
    return _C.quantize(values, QParams(float(scale), int(zero_point), dtype))


def quantize_per_channel(input: Any, scales: Any, zero_points: Any, axis: int, dtype: Any) -> QTensor:
    """Quantize with a scale and zero point for each index along `axis`.

    Parameters
    ----------
    input : float tensor or array
    scales, zero_points : tensors or arrays, shape (input.shape[axis],)
    axis : int
    dtype : dtype

    Returns
    -------
    QTensor, shape of `input`

    Examples
    --------
    >>> import octensor as ot
    >>> w = ot.tensor([[1.0, 2.0], [10.0, 20.0]])
    >>> ot.quantize_per_channel(w, [0.1, 1.0], [0, 0], 0, ot.qint8).int_repr().tolist()
    [[10, 20], [10, 20]]
    """
    values = _floats("quantize_per_channel", input)
    axis = checked_axis("quantize_per_channel", axis, values.ndim, "axis")
    channels = values.shape[axis]
    given = {"scales": as_array(scales), "zero_points": as_array(zero_points)}
    for name, array in given.items():
        if array.shape != (channels,):
            got = array.size if array.ndim == 1 else f"an array of shape {array.shape}"
            raise ValueError(
                f"quantize_per_channel: {name}: expected {channels} values for axis {axis} of the input's shape "
                f"{values.shape}, got {got}"
            )
    return _C.quantize(values, QParams(given["scales"], given["zero_points"], dtype, axis=axis))


def _floats(op: str, input: Any) -> np.ndarray:
    values = as_array(input)
    if values.dtype != np.float32:
        raise TypeError(f"{op}: input: expected float values, got dtype {values.dtype}: call .float() first")
    return values


def dequantize(input: Any) -> Any:
    """Return (q - zero_point) · scale as a float tensor; for a list or tuple, of each.

    A float tensor comes back as it is.
    """
    if isinstance(input, QTensor):
        return Tensor._wrap(_C.dequantize(input))
    if isinstance(input, (list, tuple)):
        return type(input)([dequantize(item) for item in input])
    return input if isinstance(input, Tensor) else Tensor(input)


def _refuse(symbol: str, op: str | None) -> Callable[[Any, Any], Any]:
    remedy = (
        f"use octensor.ops.quantized.{op}(a, b, scale, zero_point), or in a model FloatFunctional().{op}(a, b), "
        "which finds them while calibrating"
        if op
        else "call .dequantize() first"
    )

    def operator(self: QTensor, other: Any) -> Any:
        raise TypeError(
            f"{symbol}: not defined for QTensor and {type(other).__name__}: the result needs a scale and zero point "
            f"of its own: {remedy}"
        )

    return operator


def _comparison(name: str) -> Callable[[Any, Any], Tensor]:
    def compare(self: QTensor, other: Any) -> Tensor:
        result: Tensor = getattr(dequantize(self), name)(dequantize(other) if isinstance(other, QTensor) else other)
        return result

    compare.__name__ = name
    compare.__doc__ = "Compare the numbers the codes stand for, element by element; return a boolean tensor."
    return compare


def _repr(self: QTensor) -> str:
    """Show the numbers the codes stand for, then shape and parameters."""
    values = np.array2string(_C.dequantize(self), separator=", ", precision=4, threshold=100, prefix="QTensor(")
    return f"QTensor({values}, shape={self.shape}, {repr(self.qparams)[len('QParams(') :]}"


def _attach() -> None:
    methods: dict[str, Any] = {
        "__repr__": _repr,
        "dequantize": dequantize,
        "item": lambda self: dequantize(self).item(),
        "detach": lambda self: self,
        "cpu": lambda self: self,
    }
    # Names of the operators: the refused ones with the op that does the same.
    for symbol, names, op in (
        ("+", ("__add__", "__radd__", "__iadd__"), "add"),
        ("*", ("__mul__", "__rmul__", "__imul__"), "mul"),
        ("-", ("__sub__", "__rsub__"), None),
        ("/", ("__truediv__", "__rtruediv__"), None),
        ("@", ("__matmul__", "__rmatmul__"), None),
    ):
        methods.update(dict.fromkeys(names, _refuse(symbol, op)))
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        methods[name] = methods[f"__{name}__"] = _comparison(name)
    for name, method in methods.items():
        setattr(QTensor, name, method)
    QTensor.requires_grad = False
    # An array on the left leaves the operator to QTensor, which refuses with a remedy.
    QTensor.__array_priority__ = 1000.0


_attach()

__all__: Sequence[str] = ["dequantize", "quantize_per_channel", "quantize_per_tensor"]
