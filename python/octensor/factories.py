"""Functions that make tensors: from data, of one value, of a range, or at random; and quantized ones from codes.

A tensor that is to be written ("empty") holds zeros until then: reading it early gives the same everywhere.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from . import _C
from ._C import QParams, QTensor
from .arrays import array_of, as_array
from .ops.arguments import axis as checked_axis
from .ops.arguments import sizes
from .ops.rowwise import choose_range
from .random import generator
from .tensor import Tensor


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor with a copy of `data`.

    Parameters
    ----------
    data : array_like
        Numbers; floating ones become float32.
    dtype : optional
        float32, an integer dtype or bool.
    requires_grad : bool

    Examples
    --------
    >>> import octensor as ot
    >>> ot.tensor([1, 2]).dtype
    dtype('int64')
    """
    return Tensor(np.array(array_of("tensor", "data", data, dtype)), requires_grad=requires_grad)


def as_tensor(data: Any, dtype: Any = None) -> Tensor:
    """Return `data` as a tensor, sharing memory where the dtype allows it; a tensor comes back as it is."""
    if isinstance(data, Tensor) and (dtype is None or np.dtype(dtype) == data.dtype):
        return data
    return Tensor(array_of("as_tensor", "data", data, dtype))


def from_numpy(array: np.ndarray) -> Tensor:
    """Return a tensor that shares memory with a float32, integer or boolean array (others are converted)."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: array: expected an ndarray, got {type(array).__name__}")
    return Tensor(array)


def _sized(op: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    """Return sizes in normal form, or raise for the function `op`."""
    try:
        shape = sizes(size)
    except TypeError as error:
        raise TypeError(f"{op}: {error}") from None
    if any(n < 0 for n in shape):
        raise ValueError(f"{op}: size: expected integers of at least 0, got {shape}")
    return shape


def _like(op: str, input: Any) -> np.ndarray:
    """Return the values of something with a shape, or raise for the function `op`."""
    if not isinstance(input, (Tensor, np.ndarray)):
        remedy = ": use empty_like, or call .dequantize() first" if isinstance(input, QTensor) else ""
        raise TypeError(f"{op}: input: expected a float Tensor or array, got {type(input).__name__}{remedy}")
    return as_array(input)


def _filled(op: str, size: tuple[Any, ...], value: Any, dtype: Any, requires_grad: bool) -> Tensor:
    return Tensor(as_array(np.full(_sized(op, size), value), np.float32 if dtype is None else dtype), requires_grad)


def zeros(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of zeros (float32 unless a dtype is given)."""
    return _filled("zeros", size, 0, dtype, requires_grad)


def ones(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of ones (float32 unless a dtype is given)."""
    return _filled("ones", size, 1, dtype, requires_grad)


def empty(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor to be written; its values are zeros for now."""
    return _filled("empty", size, 0, dtype, requires_grad)


def full(size: Any, fill_value: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of one value; without a dtype, float32 for a float value."""
    size = size if isinstance(size, (tuple, list)) else (size,)
    kind = array_of("full", "fill_value", fill_value).dtype if dtype is None else dtype
    return _filled("full", tuple(size), fill_value, kind, requires_grad)


def zeros_like(input: Any, dtype: Any = None) -> Tensor:
    """Return zeros in the shape and dtype of `input`."""
    values = _like("zeros_like", input)
    return zeros(*values.shape, dtype=values.dtype if dtype is None else dtype)


def ones_like(input: Any, dtype: Any = None) -> Tensor:
    """Return ones in the shape and dtype of `input`."""
    values = _like("ones_like", input)
    return ones(*values.shape, dtype=values.dtype if dtype is None else dtype)


def randn_like(input: Any) -> Tensor:
    """Return normally distributed values in the shape of `input`."""
    return randn(*_like("randn_like", input).shape)


def rand_like(input: Any) -> Tensor:
    """Return uniformly distributed values in the shape of `input`."""
    return rand(*_like("rand_like", input).shape)


def arange(start: Any, end: Any = None, step: Any = 1, dtype: Any = None) -> Tensor:
    """Return start, start + step, ... below `end`; with one argument, 0 up to it. Integers give int64."""
    if step == 0:
        raise ValueError("arange: step: expected a number other than 0, got 0")
    values = np.arange(start, step=step) if end is None else np.arange(start, end, step)
    return Tensor(as_array(values, dtype))


def linspace(start: float, end: float, steps: int) -> Tensor:
    """Return `steps` float32 values from `start` to `end`, both included."""
    _sized("linspace: steps", (steps,))
    return Tensor(np.linspace(start, end, steps, dtype=np.float32))


def eye(n: int) -> Tensor:
    """Return the n x n identity matrix."""
    _sized("eye", (n,))
    return Tensor(np.eye(n, dtype=np.float32))


def randn(*size: Any, requires_grad: bool = False) -> Tensor:
    """Return float32 values from the standard normal distribution.

    Examples
    --------
    >>> import octensor as ot
    >>> ot.randn(2, 3).shape
    (2, 3)
    """
    return Tensor(generator().standard_normal(_sized("randn", size), np.float32), requires_grad)


def rand(*size: Any, requires_grad: bool = False) -> Tensor:
    """Return float32 values from the uniform distribution over [0, 1)."""
    return Tensor(generator().random(_sized("rand", size), np.float32), requires_grad)


def randint(low: int, high: Any = None, size: Any = None) -> Tensor:
    """Return int64 values from [low, high); called as `randint(high, size)`, from [0, high)."""
    if size is None:
        low, high, size = 0, low, high
    if not low < high:
        raise ValueError(f"randint: high: expected a number above low ({low}), got {high}")
    return Tensor(generator().integers(low, high, _sized("randint", (size,))))


def randperm(n: int) -> Tensor:
    """Return 0 to n - 1 in random order, int64."""
    _sized("randperm", (n,))
    return Tensor(generator().permutation(n))


def normal(mean: float, std: float, size: Any) -> Tensor:
    """Return float32 values from a normal distribution."""
    if std < 0:
        raise ValueError(f"normal: std: expected a number of at least 0, got {std}")
    return Tensor(generator().normal(mean, std, _sized("normal", (size,))).astype(np.float32))


def empty_like(input: Any) -> Any:
    """Return a tensor to be written, in the shape of `input`: with its dtype, or if quantized with its qparams."""
    if isinstance(input, QTensor):
        return empty_quantized(input.shape, input)
    values = _like("empty_like", input)
    return zeros(*values.shape, dtype=values.dtype)


# --- quantized ------------------------------------------------------------------------------------

_BY_STORAGE = {"int8": _C.qint8, "uint8": _C.quint8, "int32": _C.qint32}


def _stored(op: str, integers: Any) -> tuple[np.ndarray, Any]:
    """Return codes and the quantized dtype that stores them."""
    codes = as_array(integers)
    if codes.dtype.name not in _BY_STORAGE:
        raise TypeError(f"{op}: input: expected int8, uint8 or int32, got {codes.dtype}")
    return codes, _BY_STORAGE[codes.dtype.name]


def _make_per_tensor_quantized_tensor(input: Any, scale: float, zero_point: int) -> QTensor:
    """Return existing int8, uint8 or int32 codes with a scale and zero point, sharing memory."""
    codes, dtype = _stored("_make_per_tensor_quantized_tensor", input)
    return QTensor.from_numpy(codes, QParams(float(scale), int(zero_point), dtype))


def _make_per_channel_quantized_tensor(input: Any, scale: Any, zero_point: Any, axis: int) -> QTensor:
    """Return existing codes with a scale and zero point for each index along an axis, sharing memory."""
    codes, dtype = _stored("_make_per_channel_quantized_tensor", input)
    return QTensor.from_numpy(
        codes, _per_channel("_make_per_channel_quantized_tensor", codes, scale, zero_point, axis, dtype)
    )


def _per_channel(op: str, codes: np.ndarray, scales: Any, zero_points: Any, axis: int, dtype: Any) -> QParams:
    axis = checked_axis(op, axis, codes.ndim, "axis")
    values, points = as_array(scales), as_array(zero_points)
    wanted = (codes.shape[axis],)
    if values.shape != wanted or points.shape != wanted:
        raise ValueError(
            f"{op}: scales, zero_points: expected shape {wanted} for axis {axis} of {codes.shape}, got {values.shape} "
            f"and {points.shape}"
        )
    return QParams(values, points, dtype, axis=axis, float_zero_point=points.dtype.kind == "f")


def _empty_affine_quantized(
    *size: Any, scale: float = 1.0, zero_point: int = 0, dtype: Any = None, memory_format: Any = None
) -> QTensor:
    """Return a quantized tensor to be written, with one scale and zero point; its codes are the zero point."""
    if dtype is None:
        raise TypeError("_empty_affine_quantized: dtype: expected a quantized dtype (octensor.quint8 …), got None")
    qparams = QParams(float(scale), int(zero_point), dtype)
    return QTensor.from_numpy(np.full(sizes(size), qparams.zero_point, dtype.numpy), qparams)


def _empty_per_channel_affine_quantized(
    *size: Any, scales: Any, zero_points: Any, axis: int, dtype: Any, memory_format: Any = None
) -> QTensor:
    """Return a quantized tensor to be written, with a scale and zero point for each index along an axis."""
    codes = np.zeros(sizes(size), dtype.numpy)
    return QTensor.from_numpy(
        codes, _per_channel("_empty_per_channel_affine_quantized", codes, scales, zero_points, axis, dtype)
    )


def empty_quantized(size: Any, qtensor: QTensor) -> QTensor:
    """Return a quantized tensor to be written, with the qparams of another one."""
    if not isinstance(qtensor, QTensor):
        raise TypeError(f"empty_quantized: qtensor: expected a QTensor, got {type(qtensor).__name__}")
    shape, qparams = sizes((size,)), qtensor.qparams
    code: Any = qparams.dtype.qmin if qparams.is_per_channel else qparams.zero_point
    return QTensor.from_numpy(np.full(shape, code, qparams.dtype.numpy), qparams)


def _choose_qparams_per_tensor(input: Any, reduce_range: bool = False) -> tuple[float, int]:
    """Return scale and zero point for quint8 from the range of float values, as dynamic quantization chooses them."""
    values = as_array(input, np.float32)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    qparams = _C.choose_qparams(low, high, _C.quint8, reduce_range)
    return qparams.scale, qparams.zero_point


def choose_qparams_optimized(
    input: Any, numel: int, n_bins: int = 200, ratio: float = 0.16, bit_width: int = 4
) -> tuple[Tensor, Tensor]:
    """Search a range for `bit_width`-bit codes that loses less than the full one: (max, min).

    Parameters
    ----------
    input : Tensor
        Float values.
    numel : int
        How many of them to look at.
    n_bins : int
        The range shrinks in steps of 1/n_bins.
    ratio : float
        How much of the range may be given up.
    bit_width : int
    """
    if not 1 <= bit_width <= 8:
        raise ValueError(f"choose_qparams_optimized: bit_width: expected an integer from 1 to 8, got {bit_width!r}")
    values = as_array(input, np.float32).reshape(-1)[: int(numel)]
    if not values.size or not np.all(np.isfinite(values)):
        raise ValueError("choose_qparams_optimized: input: expected at least one value, all finite")
    high, low = choose_range(values, bit_width, n_bins, ratio)
    return Tensor(np.asarray(high)), Tensor(np.asarray(low))


def _saturate_weight_to_fp16(weight: Any) -> Any:
    """Limit float values to ±65504, the range of float16, in place; warn where that changed any."""
    limit = np.float32(65504)
    values = as_array(weight)
    if np.any(np.abs(values) > limit):
        warnings.warn(
            "_saturate_weight_to_fp16: weight: values out of the range of float16: limited to ±65504",
            UserWarning,
            stacklevel=2,
        )
        np.clip(values, -limit, limit, out=values)
    return weight
