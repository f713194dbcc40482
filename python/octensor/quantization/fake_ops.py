"""Fake quantization as functions: round to the values that codes can have, and let gradients through.

    q = clamp(rint(x / s) + z, quant_min, quant_max)            y = (q - z) * s

in float32, each operation rounded once: what `octensor.quantize_per_tensor` and `dequantize` do, for any range of
codes (NaN gives ``z``). With a float zero point (embeddings) ``q = clamp(rint(x / s + z), ...)``.

*Straight-through gradient*: dx = dy where ``quant_min <= rint(x / s) + z <= quant_max``, both ends included, else 0.

*Learnable forms*: scale and zero point are trained as well. Forward they use ``clamp(rint(zp))``, backward
``z = trunc(clamp(zp + 0.5))``; with g the gradient factor, per element

=========== =================== ======================= ===========
place       dx                  dscale / g              dzp / g
=========== =================== ======================= ===========
below       0                   dy (quant_min - z)      -dy s
inside      dy                  dy (y - x) / s          0
above       0                   dy (quant_max - z)      -dy s
=========== =================== ======================= ===========

summed over all elements that share a scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from octensor.arrays import as_array
from octensor.autograd import Node, is_grad_enabled
from octensor.ops.arguments import axis as checked_axis
from octensor.ops.arguments import is_int
from octensor.tensor import Tensor

Pull = Callable[[np.ndarray], Sequence["np.ndarray | None"]]


def _recorded(name: str, result: np.ndarray, inputs: Sequence[Any], pull: Pull) -> Tensor:
    """Return `result` with a gradient of its own making: `pull` maps its gradient to those of `inputs`."""
    output = Tensor._wrap(result)
    kept = tuple(t if isinstance(t, Tensor) and t.requires_grad else None for t in inputs)
    if is_grad_enabled() and any(t is not None for t in kept):
        output._requires_grad = True
        output._node = Node(name, kept, pull)
    return output


def rounded(x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    """Return the codes of x before clamping, as float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        q = x / scale
        q = np.rint(q + zero_point) if zero_point.dtype.kind == "f" else np.rint(q) + zero_point.astype(np.float32)
    return np.where(np.isnan(q), zero_point.astype(np.float32), q)


def _real(q: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, low: int, high: int) -> np.ndarray:
    return np.asarray((np.clip(q, np.float32(low), np.float32(high)) - zero_point.astype(np.float32)) * scale)


def _fake_quantize(
    name: str, x: Any, scale: np.ndarray, zero_point: np.ndarray, low: int, high: int
) -> tuple[Tensor, np.ndarray]:
    values = _values(name, x)
    q = rounded(values, scale, zero_point)
    mask = (q >= low) & (q <= high)
    return _recorded(name, _real(q, scale, zero_point, low, high), (x,), lambda grad: (grad * mask,)), mask


def _values(name: str, x: Any) -> np.ndarray:
    try:
        return as_array(x, np.float32)
    except TypeError as error:
        raise TypeError(f"{name}: input: {error}") from None


def _check_bounds(name: str, low: Any, high: Any) -> None:
    if not (is_int(low) and is_int(high) and low < high):
        raise ValueError(
            f"{name}: quant_min, quant_max: expected integers with quant_min < quant_max, got {low}, {high}"
        )


def _check_scale(name: str, scale: np.ndarray) -> np.ndarray:
    scale = scale.astype(np.float32)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError(f"{name}: scale: expected positive finite numbers, got {scale}")
    return scale


def _check_zero_point(name: str, zero_point: np.ndarray, low: int, high: int) -> np.ndarray:
    if zero_point.dtype.kind == "f":
        return zero_point.astype(np.float32)
    if zero_point.dtype.kind not in "iu":
        raise TypeError(f"{name}: zero_point: expected integers, got {zero_point.dtype}")
    if not ((zero_point >= low) & (zero_point <= high)).all():
        raise ValueError(f"{name}: zero_point: expected values in [{low}, {high}], got {zero_point}")
    return zero_point


def fake_quantize_per_tensor_affine_cachemask(
    input: Any, scale: Any, zero_point: Any, quant_min: int, quant_max: int
) -> tuple[Tensor, Tensor]:
    """Return the fake-quantized tensor, and the mask of the elements that let gradients through."""
    name = "fake_quantize_per_tensor_affine"
    _check_bounds(name, quant_min, quant_max)
    s = _check_scale(name, np.asarray(scale).reshape(()))
    z = np.asarray(zero_point).reshape(())
    if z.dtype.kind == "f":
        raise TypeError(f"{name}: zero_point: expected an integer, got {zero_point!r}")
    z = _check_zero_point(name, z, quant_min, quant_max)
    result, mask = _fake_quantize(name, input, s, z, quant_min, quant_max)
    return result, Tensor._wrap(mask)


def fake_quantize_per_tensor_affine(input: Any, scale: Any, zero_point: Any, quant_min: int, quant_max: int) -> Tensor:
    """Round a tensor to the values of codes ``quant_min..quant_max``; gradients pass straight through.

    Parameters
    ----------
    input : Tensor
    scale : float
        Positive.
    zero_point : int
        In ``quant_min..quant_max``.

    >>> import octensor as ot
    >>> fake_quantize_per_tensor_affine(ot.tensor([0.26, 0.74, 9.0]), 0.5, 0, 0, 3)
    tensor([0.5, 0.5, 1.5])
    """
    return fake_quantize_per_tensor_affine_cachemask(input, scale, zero_point, quant_min, quant_max)[0]


def _along(name: str, x: Any, axis: int, *vectors: Any) -> list[np.ndarray]:
    """Return per-channel vectors shaped to broadcast along `axis` of x."""
    shape = tuple(x.shape)
    axis = checked_axis(name, axis, len(shape), "axis")
    reshaped = []
    for vector in vectors:
        vector = np.asarray(vector)
        if vector.shape != (shape[axis],):
            raise ValueError(
                f"{name}: scale, zero_point: expected shape ({shape[axis]},), one for each channel of axis {axis}, "
                f"got {vector.shape}"
            )
        reshaped.append(vector.reshape([-1 if i == axis else 1 for i in range(len(shape))]))
    return reshaped


def fake_quantize_per_channel_affine_cachemask(
    input: Any, scale: Any, zero_point: Any, axis: int, quant_min: int, quant_max: int
) -> tuple[Tensor, Tensor]:
    """Return the fake-quantized tensor, and the mask of the elements that let gradients through."""
    name = "fake_quantize_per_channel_affine"
    _check_bounds(name, quant_min, quant_max)
    s, z = _along(name, input, axis, scale, zero_point)
    s, z = _check_scale(name, s), _check_zero_point(name, z, quant_min, quant_max)
    result, mask = _fake_quantize(name, input, s, z, quant_min, quant_max)
    return result, Tensor._wrap(mask)


def fake_quantize_per_channel_affine(
    input: Any, scale: Any, zero_point: Any, axis: int, quant_min: int, quant_max: int
) -> Tensor:
    """Round a tensor as `fake_quantize_per_tensor_affine` does, scale and zero point for each index of `axis`."""
    return fake_quantize_per_channel_affine_cachemask(input, scale, zero_point, axis, quant_min, quant_max)[0]


def _learnable(
    name: str, x: Any, scale: Any, zero_point: Any, s: np.ndarray, zp: np.ndarray, low: int, high: int, factor: float
) -> Tensor:
    """Fake-quantize with trained scale and zero point; `s` and `zp` are those, shaped to broadcast."""
    values = _values(name, x)
    s = _check_scale(name, s)
    z = np.clip(np.rint(zp), low, high).astype(np.int64)
    back = np.trunc(np.clip(zp + np.float32(0.5), low, high)).astype(np.float32)
    q = rounded(values, s, z)
    result = _real(q, s, z, low, high)

    def pull(grad: np.ndarray) -> Sequence[np.ndarray]:
        below, above = q < low, q > high
        outside = below | above
        share = np.where(below, low - back, np.where(above, high - back, (result - values) / s))
        to_scale = grad * share * np.float32(factor)
        to_zero_point = np.where(outside, -grad * s * np.float32(factor), np.float32(0))
        return np.where(outside, np.float32(0), grad), _per_scale(to_scale, s), _per_scale(to_zero_point, s)

    return _recorded(name, result, (x, scale, zero_point), pull)


def _per_scale(grad: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Sum gradients over the elements that share a scale; the result is a vector."""
    if s.size == 1:
        return np.asarray(grad.sum(dtype=np.float64), np.float32).reshape(1)
    axes = tuple(i for i, n in enumerate(s.shape) if n == 1)
    return np.asarray(grad.sum(axis=axes, dtype=np.float64), np.float32)


def _fake_quantize_learnable_per_tensor_affine(
    input: Any, scale: Any, zero_point: Any, quant_min: int, quant_max: int, grad_factor: float = 1.0
) -> Tensor:
    """Fake-quantize with a trained scale and zero point, tensors of shape (1,)."""
    name = "_fake_quantize_learnable_per_tensor_affine"
    _check_bounds(name, quant_min, quant_max)
    s, zp = (as_array(v, np.float32).reshape(()) for v in (scale, zero_point))
    return _learnable(name, input, scale, zero_point, s, zp, quant_min, quant_max, grad_factor)


def _fake_quantize_learnable_per_channel_affine(
    input: Any, scale: Any, zero_point: Any, axis: int, quant_min: int, quant_max: int, grad_factor: float = 1.0
) -> Tensor:
    """Fake-quantize with a trained scale and zero point for each index of `axis`."""
    name = "_fake_quantize_learnable_per_channel_affine"
    _check_bounds(name, quant_min, quant_max)
    s, zp = _along(name, input, axis, as_array(scale, np.float32), as_array(zero_point, np.float32))
    return _learnable(name, input, scale, zero_point, s, zp, quant_min, quant_max, grad_factor)
