"""What Python adds to `QTensor`: quantizing and dequantizing by PyTorch's names, comparisons, writes, and refusals.

`QTensor` itself is made in C++ (`octensor._C`). Here are attached its methods that return a float `Tensor`, those that
write into its codes, and the operators `+ - * / @`, which raise: the result of arithmetic has a range of its own, and
somebody has to choose it.

Writing changes the codes where they lie, so every view of them sees it; layers keep packed copies of their weights and
do not. Codes over read-only memory are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import _C
from ._C import QParams, QTensor
from .arrays import as_array, plain_index
from .ops.activation import clamp, hardtanh, leaky_relu, relu
from .ops.arguments import axis as checked_axis
from .ops.arguments import is_int, sizes
from .ops.codes import per_tensor, write
from .ops.exact import DEQUANTIZE, QUANTIZE
from .ops.recording import RECORDING
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
        scales, points = as_array(scale).reshape(-1), as_array(zero_point).reshape(-1)
        if len(scales) != len(input) or len(points) != len(input):
            raise ValueError(
                f"quantize_per_tensor: scale, zero_point: expected one for each of {len(input)} tensors, got "
                f"{len(scales)} and {len(points)}"
            )
        pairs = zip(input, scales.tolist(), points.tolist(), strict=True)
        return [quantize_per_tensor(x, s, z, dtype) for x, s, z in pairs]
    values = _floats("quantize_per_tensor", input)
    _quantized_dtype("quantize_per_tensor", dtype)
    qparams = QParams(_number(scale), _number(zero_point), dtype)
    result = _C.quantize(values, qparams)
    if RECORDING.recorder is not None:
        RECORDING.recorder.note(QUANTIZE, (input,), {"qparams": qparams}, result)
    return result


def quantize_per_channel(input: Any, scales: Any, zero_points: Any, axis: int, dtype: Any) -> QTensor:
    """Quantize with a scale and zero point for each index along `axis`.

    Parameters
    ----------
    input : float tensor or array
    scales, zero_points : tensors or arrays, shape (input.shape[axis],)
        Zero points of floats make the scheme per_channel_affine_float_qparams: they are added before rounding.
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
    _quantized_dtype("quantize_per_channel", dtype)
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
    points = given["zero_points"]
    floats = points.dtype.kind == "f"
    qparams = QParams(given["scales"], points, dtype, axis=axis, float_zero_point=floats)
    result = _C.quantize(values, qparams)
    if RECORDING.recorder is not None:
        RECORDING.recorder.note(QUANTIZE, (input,), {"qparams": qparams}, result)
    return result


def _quantized_dtype(op: str, dtype: Any) -> None:
    if not isinstance(dtype, _C.dtype):
        got = getattr(dtype, "__name__", repr(dtype))
        raise TypeError(f"{op}: dtype: expected qint8, quint8, qint32 or quint4x2, got {got}")


def _numbers(op: str, input: Any) -> np.ndarray:
    try:
        return as_array(input)
    except TypeError as error:
        raise TypeError(f"{op}: input: {error}") from None


def _number(value: Any) -> Any:
    """Take the number out of a tensor of one element; QParams checks the rest."""
    return value.item() if isinstance(value, (Tensor, np.ndarray)) and np.size(value) == 1 else value


def _rebuild(data: Any, shape: tuple[int, ...], channels_last: bool, qparams: QParams) -> QTensor:
    """Make a tensor of what pickling handed over (named here, since a pickle names Python functions best)."""
    return _C._rebuild_qtensor(data, shape, channels_last, qparams)


def _refuse_new(cls: type, *args: Any, **kwargs: Any) -> Any:
    raise TypeError(
        "QTensor: expected to be made by quantize_per_tensor, quantize_per_channel or QTensor.from_numpy, got a "
        "constructor call"
    )


def _refuse_ufunc(self: QTensor, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    raise TypeError(
        f"numpy.{ufunc.__name__}: not defined for QTensor: NumPy would compute with the codes. Use .dequantize() for "
        "the values, .int_repr() for the codes, or, in a model, FloatFunctional"
    )


# What NumPy may ask of a QTensor: nothing that depends on what its codes mean.
_HARMLESS = (np.shape, np.ndim, np.size, np.shares_memory, np.may_share_memory)


def _array_function(self: QTensor, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    if function in _HARMLESS:
        return function(*(np.asarray(a) if isinstance(a, QTensor) else a for a in args), **kwargs)
    return _refuse_ufunc(self, function, "")


def _floats(op: str, input: Any) -> np.ndarray:
    values = _numbers(op, input)
    if values.dtype != np.float32:
        raise TypeError(f"{op}: input: expected float values, got dtype {values.dtype}: call .float() first")
    return values


def dequantize(input: Any) -> Any:
    """Return (q - zero_point) · scale as a float tensor; for a list or tuple, of each.

    A float tensor comes back as it is.
    """
    if isinstance(input, QTensor):
        result = Tensor._wrap(_C.dequantize(input))
        return result if RECORDING.recorder is None else RECORDING.recorder.note(DEQUANTIZE, (input,), {}, result)
    if isinstance(input, (list, tuple)):
        items = [dequantize(item) for item in input]
        return type(input)(*items) if hasattr(input, "_fields") else type(input)(items)
    return input if isinstance(input, Tensor) else Tensor(_numbers("dequantize", input))


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


_equal_codes = QTensor.equal


def _equal(self: QTensor, other: Any) -> bool:
    """Whether `other` is quantized with the same parameters and has the same shape and codes."""
    return isinstance(other, QTensor) and _equal_codes(self, other)


# --- writing ----------------------------------------------------------------------------------------


def _codes_of(op: str, value: Any, like: QTensor) -> np.ndarray:
    """Return the codes that a float value, or another quantized tensor, has with like's per-tensor qparams."""
    if isinstance(value, QTensor):
        return np.asarray(_C.requantize(value, per_tensor(op, like)))
    floats = as_array(value)
    if floats.dtype.kind not in "fiu":
        raise TypeError(f"{op}: value: expected numbers, got dtype {floats.dtype}")
    return np.asarray(_C.quantize(floats.astype(np.float32, copy=False), like.qparams))


def _setitem(self: QTensor, index: Any, value: Any) -> None:
    """Quantize values into the tensor's own parameters and write them."""
    where = plain_index(index)
    if not self.qparams.is_per_channel:
        self._writable()[where] = _codes_of("item assignment", value, self)
        return
    floats = np.array(_C.dequantize(self))
    floats[where] = np.asarray(_C.dequantize(value) if isinstance(value, QTensor) else as_array(value))
    self._writable()[where] = np.asarray(_C.quantize(floats, self.qparams))[where]


def _copy_(self: QTensor, src: Any, non_blocking: bool = False) -> QTensor:
    """Take the values of `src`, broadcast to this shape.

    A float source is quantized with this tensor's parameters. Of a quantized source codes and parameters are taken
    over; dtype and scheme must be the same.
    """
    if not isinstance(src, QTensor):
        floats = np.broadcast_to(as_array(src).astype(np.float32, copy=False), self.shape)
        self._writable()[...] = np.asarray(_C.quantize(floats, self.qparams))
        return self
    if src.dtype != self.dtype or src.qscheme() != self.qscheme():
        raise TypeError(
            f"copy_: src: expected {self.dtype} with {self.qscheme()}, got {src.dtype} with {src.qscheme()}: "
            "requantize it, or copy src.dequantize()"
        )
    if tuple(src.shape) != tuple(self.shape):
        raise ValueError(f"copy_: src: expected shape {tuple(self.shape)}, got {tuple(src.shape)}")
    codes = self._writable()
    codes[...] = np.asarray(src)
    self._assign(QTensor.from_numpy(codes, src.qparams))
    return self


def _fill_(self: QTensor, value: Any) -> QTensor:
    """Write one number, quantized with the tensor's own parameters, everywhere."""
    _setitem(self, ..., np.float32(float(value)))
    return self


def _resize_(self: QTensor, *size: Any, memory_format: Any = None) -> QTensor:
    """Give the tensor another shape; codes stay in logical order, new ones stand for 0."""
    shape = sizes(size)
    if any(n < 0 for n in shape):
        raise ValueError(f"resize_: size: expected sizes of at least 0, got {shape}")
    qparams = per_tensor("resize_", self)
    old, count = np.asarray(self).reshape(-1), int(np.prod(shape, dtype=np.int64))
    codes = np.full(count, qparams.zero_point, qparams.dtype.numpy)
    kept = min(count, old.size)
    codes[:kept] = old[:kept]
    self._assign(QTensor.from_numpy(codes.reshape(shape), qparams))
    return self


def _set_(self: QTensor, source: QTensor, storage_offset: int = 0, size: Any = None, stride: Any = None) -> QTensor:
    """Become a view of what `source` views, or of the part that offset, size and stride (in elements) describe."""
    if not isinstance(source, QTensor) or source.dtype != self.dtype:
        got = source.dtype if isinstance(source, QTensor) else type(source).__name__
        raise TypeError(f"set_: source: expected a QTensor of {self.dtype}, got {got}")
    if size is not None:
        source = _as_strided(source, size, stride, storage_offset)
    self._assign(source)
    return self


def _as_strided(self: QTensor, size: Any, stride: Any = None, storage_offset: int = 0) -> QTensor:
    """Return a view of a dense tensor's codes with sizes and strides (in elements) of one's own.

    Raises
    ------
    ValueError
        If the tensor is not dense, or the view would leave it.
    """
    qparams = per_tensor("as_strided", self)
    shape = tuple(int(n) for n in size)
    steps = tuple(int(n) for n in stride) if stride is not None else _dense_strides(shape)
    if len(shape) != len(steps) or any(n < 0 for n in (*shape, *steps)) or not is_int(storage_offset):
        raise ValueError(f"as_strided: size, stride: expected as many sizes as strides, got {shape} and {steps}")
    if not self.is_contiguous():
        raise ValueError("as_strided: input: expected a contiguous tensor: call .contiguous() first")
    last = storage_offset + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
    if 0 not in shape and not 0 <= storage_offset <= last < self.numel():
        raise ValueError(f"as_strided: the view reaches element {last}, but the tensor has {self.numel()}")
    flat = np.asarray(self).reshape(-1)
    first = flat[storage_offset:] if 0 not in shape else flat[:0]
    width = flat.itemsize
    codes = np.lib.stride_tricks.as_strided(first, shape, tuple(s * width for s in steps), writeable=False)
    return QTensor.from_numpy(codes, qparams)


def _dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    steps, step = [], 1
    for n in reversed(shape):
        steps.append(step)
        step *= max(n, 1)
    return tuple(reversed(steps))


def _in_place(function: Callable[..., Any], name: str) -> Callable[..., QTensor]:
    """Make the form of an op with unchanged qparams that writes into its input."""

    def call(self: QTensor, *args: Any, **kwargs: Any) -> QTensor:
        return write(self, function(self, *args, **kwargs))

    call.__name__ = name
    call.__doc__ = f"Do what `{name[:-1]}` does, in place."
    return call


# --- refusals and display ---------------------------------------------------------------------------


# fmt: off
_NO_METHODS = (
    "to", "float", "int", "long", "bool", "numpy", "tolist", "sub", "div", "pow", "neg", "abs", "sqrt", "exp", "log",
    "sum", "matmul", "softmax", "any", "all", "argmax", "argmin", "round", "where", "cumsum", "norm", "minimum",
    "add_", "sub_", "mul_", "div_", "zero_", "backward",
    "__neg__", "__abs__", "__pow__", "__rpow__", "__isub__", "__itruediv__", "__float__", "__int__",
)
# fmt: on


def _no_method(name: str) -> Callable[..., Any]:
    def method(self: QTensor, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{name}: not defined for QTensor: call .dequantize() first (the codes are .int_repr())")

    method.__name__ = name
    method.__doc__ = "Raise TypeError: dequantize first."
    return method


def _requires_grad_(self: QTensor, requires_grad: bool = True) -> QTensor:
    """Raise TypeError if a gradient is asked for: quantized tensors have none."""
    if requires_grad:
        raise TypeError(
            "requires_grad_: quantized tensors have no gradient: train the float model (quantization-aware training "
            "with prepare_qat), or call .dequantize() first"
        )
    return self


def _refuse_grad(self: QTensor, value: bool) -> None:
    _requires_grad_(self, value)


def _repr(self: QTensor) -> str:
    """Show the numbers the codes stand for, then shape and parameters."""
    values = np.array2string(_C.dequantize(self), separator=", ", precision=4, threshold=100, prefix="QTensor(")
    return f"QTensor({values}, shape={self.shape}, {repr(self.qparams)[len('QParams(') :]}"


def _attach() -> None:
    methods: dict[str, Any] = {
        "__repr__": _repr,
        "__new__": staticmethod(_refuse_new),
        "__array_ufunc__": _refuse_ufunc,
        "__array_function__": _array_function,
        "dequantize": dequantize,
        "item": lambda self: dequantize(self).item(),
        "detach": lambda self: self,
        "cpu": lambda self: self,
        # PyTorch's quantized layers have weight(); here weight is the tensor, and calling it gives it.
        "__call__": lambda self: self,
        "equal": _equal,
        "__setitem__": _setitem,
        "copy_": _copy_,
        "fill_": _fill_,
        "resize_": _resize_,
        "set_": _set_,
        "as_strided": _as_strided,
        "requires_grad_": _requires_grad_,
        "requires_grad": property(lambda self: False, _refuse_grad),
    }
    for function in (relu, clamp, hardtanh, leaky_relu):
        name = f"{function.__name__}_"
        methods[name] = _in_place(function, name)
    for name in _NO_METHODS:
        methods[name] = _no_method(name)
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
    # An array on the left leaves the operator to QTensor, which refuses with a remedy.
    QTensor.__array_priority__ = 1000.0


_attach()

__all__: Sequence[str] = ["dequantize", "quantize_per_channel", "quantize_per_tensor"]
