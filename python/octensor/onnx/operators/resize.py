"""Resize: interpolation of any axes, by any of ONNX's coordinates, nearest, linear or cubic.

Interpolation is separable: along each axis the result is a matrix times the input. What octensor's `interpolate` does
goes there; the rest is that matrix, made from ONNX's definition, and a matrix product per axis.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ops import matmul, resample, shape
from ...tensor import Tensor
from ..registry import operator
from .values import array, axes_of, check_size, ints, is_float

_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}


def _coordinates(mode: str, old: int, new: int, scale: float, roi: tuple[float, float]) -> np.ndarray:
    """Return for each place of the result the place in the input (ONNX Resize, coordinate_transformation_mode)."""
    x = np.arange(new, dtype=np.float64)
    if mode == "half_pixel":
        return (x + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        adjust = new / (old * scale)
        return old / 2 * (1 - adjust) + (x + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return (x + 0.5) / scale - 0.5 if new > 1 else x * 0
    if mode == "align_corners":
        return np.asarray(x * (old - 1) / (old * scale - 1) if old * scale != 1 else x * 0)
    if mode == "asymmetric":
        return x / scale
    if mode == "tf_crop_and_resize":
        start, end = roi
        if new > 1:
            return start * (old - 1) + x * (end - start) * (old - 1) / (new - 1)
        return np.full(1, 0.5 * (start + end) * (old - 1))
    raise ValueError(f"Resize: coordinate_transformation_mode: {mode!r} is not known")


def _rounded(at: np.ndarray, mode: str) -> np.ndarray:
    floor = np.floor(at)
    half = at - floor == 0.5
    if mode == "floor":
        return np.asarray(floor)
    if mode == "ceil":
        return np.asarray(np.ceil(at))
    if mode == "round_prefer_floor":
        return np.where(half, floor, np.floor(at + 0.5))
    if mode == "round_prefer_ceil":
        return np.where(half, floor + 1, np.floor(at + 0.5))
    raise ValueError(f"Resize: nearest_mode: {mode!r} is not known")


def _cubic(t: np.ndarray, a: float) -> np.ndarray:
    """Return the kernel of cubic convolution (Keys 1981)."""
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _matrix(at: np.ndarray, old: int, scale: float, options: dict[str, Any]) -> np.ndarray:
    """Return the weights, one row per place of the result."""
    mode = options["mode"]
    if mode == "nearest":
        picked = np.clip(_rounded(at, options["nearest_mode"]), 0, old - 1).astype(np.int64)
        return np.asarray(picked[:, None] == np.arange(old), np.float64)
    shrink = min(scale, 1.0) if options["antialias"] else 1.0
    reach = math.ceil((1 if mode == "linear" else 2) / shrink)
    first = np.floor(at).astype(np.int64) - reach + 1
    taps = first[:, None] + np.arange(2 * reach)
    distance = (taps - at[:, None]) * shrink
    if mode == "linear":
        weights = np.maximum(0.0, 1 - np.abs(distance))
    elif mode == "cubic":
        weights = _cubic(distance, options["cubic_coeff_a"])
    else:
        raise ValueError(f"Resize: mode: expected nearest, linear or cubic, got {mode!r}")
    if options["exclude_outside"]:
        weights = np.where((taps >= 0) & (taps < old), weights, 0.0)
    total = weights.sum(1, keepdims=True)
    if options["antialias"] or options["exclude_outside"]:
        weights = weights / np.where(total == 0, 1, total)
    matrix = np.zeros((len(at), old))
    np.add.at(matrix, (np.arange(len(at))[:, None], np.clip(taps, 0, old - 1)), weights)
    return matrix


def _sizes(
    old: tuple[int, ...], axes: tuple[int, ...], scales: Any, sizes: Any, policy: str
) -> tuple[list[int], list[float]]:
    """Return the new sizes of the axes, and the scales from which positions are computed."""
    if sizes is not None and array(sizes).size:
        wanted = list(ints(sizes))
        if policy == "stretch":
            return wanted, [n / old[i] if old[i] else 1.0 for n, i in zip(wanted, axes, strict=True)]
        choose = min if policy == "not_larger" else max
        scale = choose(n / old[i] for n, i in zip(wanted, axes, strict=True))
        return [math.floor(scale * old[i] + 0.5) for i in axes], [scale] * len(axes)
    factors = [float(s) for s in array(scales)]
    return [math.floor(old[i] * s) for i, s in zip(axes, factors, strict=True)], factors


@operator("Resize")
def resize(
    data: Any,
    roi: Any = None,
    scales: Any = None,
    sizes: Any = None,
    *,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    axes: Any = None,
    keep_aspect_ratio_policy: str = "stretch",
    extrapolation_value: float = 0.0,
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    antialias: int = 0,
    opset: int = 13,
) -> Any:
    """Return the tensor resampled along axes."""
    if opset < 11:  # version 10: inputs data and scales
        roi, scales, coordinate_transformation_mode, nearest_mode = None, roi, "asymmetric", "floor"
    old = tuple(data.shape)
    along = tuple(range(len(old))) if axes is None else axes_of(axes, len(old))
    new, factors = _sizes(old, along, scales, sizes, keep_aspect_ratio_policy)
    whole = list(old)
    for i, n in zip(along, new, strict=True):
        whole[i] = n
    check_size("Resize", whole)
    if tuple(whole) == old and all(f == 1 for f in factors):
        return data
    if not antialias and not exclude_outside:
        done = _by_interpolate(data, old, tuple(whole), factors, mode, coordinate_transformation_mode, nearest_mode)
        if done is not None:
            return done
    options = {
        "mode": mode,
        "nearest_mode": nearest_mode,
        "antialias": antialias,
        "exclude_outside": exclude_outside,
        "cubic_coeff_a": cubic_coeff_a,
    }
    ends = None if roi is None or not array(roi).size else array(roi).reshape(2, -1)
    for j, (i, n, f) in enumerate(zip(along, new, factors, strict=True)):
        part = (0.0, 1.0) if ends is None else (float(ends[0, j]), float(ends[1, j]))
        if n == old[i] and f == 1 and part == (0.0, 1.0):
            continue
        at = _coordinates(coordinate_transformation_mode, old[i], n, f, part)
        data = _apply(data, _matrix(at, old[i], f, options), i)
        if coordinate_transformation_mode == "tf_crop_and_resize":
            outside = (at < 0) | (at > old[i] - 1)
            if outside.any():
                keep = (~outside).reshape(-1, *(1,) * (len(old) - 1 - i)).astype(np.float32)
                data = Tensor(np.where(keep > 0, array(data), np.float32(extrapolation_value)))
    return data


def _by_interpolate(
    data: Any,
    old: tuple[int, ...],
    new: tuple[int, ...],
    factors: list[float],
    mode: str,
    coordinates: str,
    nearest: str,
) -> Any:
    """Return the result where octensor's interpolate means the same; None elsewhere."""
    if len(old) not in _LINEAR or new[:2] != old[:2]:
        return None
    times = [n / o for n, o in zip(new[2:], old[2:], strict=True)]
    exact = factors[-len(times) :] == times
    repeats = coordinates == "asymmetric" or (coordinates == "half_pixel" and nearest == "round_prefer_floor")
    if (
        mode == "nearest"
        and exact
        and all(t == int(t) for t in times)
        and repeats
        and nearest in ("floor", "round_prefer_floor")
    ):
        if coordinates == "asymmetric" and nearest != "floor":
            return None
        return resample.interpolate(data, size=new[2:], mode="nearest")
    if mode == "linear" and exact and coordinates in ("half_pixel", "align_corners"):
        return resample.interpolate(
            data, size=new[2:], mode=_LINEAR[len(old)], align_corners=coordinates == "align_corners"
        )
    return None


def _apply(data: Any, matrix: np.ndarray, axis: int) -> Any:
    """Return the matrix applied along an axis."""
    if not is_float(data):
        moved = np.moveaxis(array(data), axis, -1)
        return np.moveaxis(moved.astype(np.float64) @ matrix.T, -1, axis).astype(array(data).dtype)
    last = len(data.shape) - 1
    turned = shape.transpose(data, axis, last) if axis != last else data
    done = matmul.matmul(turned, np.ascontiguousarray(matrix.T.astype(np.float32)))
    return shape.transpose(done, axis, last) if axis != last else done


@operator("Upsample")
def upsample(data: Any, scales: Any, *, mode: str = "nearest") -> Any:
    """Return the tensor resampled (ONNX before version 10)."""
    return resize(data, None, scales, mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor")
