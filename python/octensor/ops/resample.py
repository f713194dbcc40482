"""Interpolation: images, sequences or volumes of another size.

Output place i along an axis reads the input at a source position computed in float32, with `ratio` = input / output
size (or 1 / scale_factor where that was given):

* nearest:  floor(i · ratio)
* linear:   with `align_corners`  i · (n - 1) / (m - 1),  else  max((i + 0.5) · ratio - 0.5, 0);
  the two neighbours are weighted by distance, one axis after the other from the last to the first.

Quantized tensors keep their qparams: nearest copies codes; linear interpolates q - z in float32, each step rounded, and
rounds the result half to even.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import _C
from .._C import QTensor
from .arguments import LAYOUTS, is_int
from .codes import centred, move_codes, rounded_mean
from .float32 import is_float32
from .spec import Context, OpSpec, Sample, apply

_LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3}


class Axis(NamedTuple):
    """How one spatial axis is resampled: to `size` places, the input advancing by `ratio` from one to the next."""

    size: int
    ratio: float


def _near(n: int, axis: Axis) -> np.ndarray:
    """Return for every output place the input place that is copied."""
    source = np.floor(np.arange(axis.size, dtype=np.float32) * np.float32(axis.ratio)).astype(np.int64)
    result: np.ndarray = np.minimum(source, n - 1)
    return result


def _neighbours(n: int, axis: Axis, align_corners: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return for every output place its two neighbours and the float32 weight of each."""
    places = np.arange(axis.size, dtype=np.float32)
    if align_corners:
        step = np.float32(0 if axis.size == 1 else (n - 1) / (axis.size - 1))
        source = places * step
    else:
        half = np.float32(0.5)
        source = np.maximum((places + half) * np.float32(axis.ratio) - half, np.float32(0))
    first = np.minimum(source.astype(np.int64), n - 1)
    far = source - first.astype(np.float32)
    return first, np.minimum(first + 1, n - 1), np.float32(1) - far, far


def _along(weights: np.ndarray, like: np.ndarray, axis: int) -> Any:
    return weights.astype(like.dtype).reshape([-1 if a == axis else 1 for a in range(like.ndim)])


def _interpolate(x: Any, *, axes: tuple[Axis, ...], linear: bool, align_corners: bool) -> Any:
    if linear and is_float32(x):
        return _C.float_resample(x, [(axis.size, axis.ratio) for axis in axes], align_corners)
    for a in range(x.ndim - 1, 1, -1):
        if not linear:
            x = np.take(x, _near(x.shape[a], axes[a - 2]), axis=a)
            continue
        first, second, near, far = _neighbours(x.shape[a], axes[a - 2], align_corners)
        x = np.take(x, first, axis=a) * _along(near, x, a) + np.take(x, second, axis=a) * _along(far, x, a)
    return x


def _scatter(grad: np.ndarray, places: np.ndarray, n: int, axis: int) -> np.ndarray:
    """Add slices of grad along an axis to the places they were read from."""
    moved = np.moveaxis(grad, axis, 0)
    result = np.zeros((n, *moved.shape[1:]), grad.dtype)
    np.add.at(result, places, moved)
    return np.moveaxis(result, 0, axis)


def _back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    shape, attrs = ctx.arrays[0].shape, ctx.attrs
    for a in range(2, grad.ndim):
        n, axis = shape[a], attrs["axes"][a - 2]
        if not attrs["linear"]:
            grad = _scatter(grad, _near(n, axis), n, a)
            continue
        first, second, near, far = _neighbours(n, axis, attrs["align_corners"])
        from_first = _scatter(grad * _along(near, grad, a), first, n, a)
        grad = from_first + _scatter(grad * _along(far, grad, a), second, n, a)
    return (grad,)


def _quantized(x: QTensor, *, linear: bool, **attrs: Any) -> QTensor:
    if not linear:
        return move_codes("interpolate", x, lambda codes: _interpolate(codes, linear=False, **attrs))
    values = centred("interpolate", x).astype(np.float32)
    return rounded_mean(x, _interpolate(values, linear=True, **attrs), 1)


def _samples(rng: np.random.Generator) -> list[Sample]:
    def case(shape: Any, sizes: Any, linear: bool, align: bool = False) -> Sample:
        axes = tuple(Axis(m, n / m) for n, m in zip(shape[2:], sizes, strict=True))
        return (rng.standard_normal(shape),), {"axes": axes, "linear": linear, "align_corners": align}

    return [
        case((2, 2, 4), (7,), False),
        case((1, 2, 3, 4), (5, 2), False),
        case((1, 2, 3, 4), (5, 6), True),
        case((1, 2, 3, 4), (6, 2), True, True),
        case((1, 1, 2, 3, 2), (3, 4, 4), True),
    ]


INTERPOLATE = OpSpec(
    "interpolate",
    forward=_interpolate,
    backward=_back,
    quantized=_quantized,
    output_qparams="same",
    samples=_samples,
)


def _scaled(n: int, factor: float, recompute: bool | None) -> Axis:
    size = int(np.floor(n * float(factor)))
    return Axis(size, n / max(size, 1) if recompute else float(np.float32(1 / factor)))


@INTERPOLATE.public
def interpolate(
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
) -> Any:
    """Resample the spatial axes to another size.

    Parameters
    ----------
    input : Tensor or QTensor, shape (N, C, L), (N, C, H, W) or (N, C, D, H, W)
    size : int or tuple of int
        Of the result; or
    scale_factor : float or tuple of float
        what to multiply the input's size by (rounded down).
    mode : {"nearest", "linear", "bilinear", "trilinear"}
        The linear modes are for one, two and three spatial axes.
    align_corners : bool, optional
        For the linear modes: whether the outer pixels' centres stay where they are, instead of their edges.
    recompute_scale_factor : bool, optional
        Whether positions are computed from the sizes even though `scale_factor` was given.

    Raises
    ------
    ValueError
        If not exactly one of size and scale_factor is given, or the mode does not fit.

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.functional.interpolate(ot.tensor([[[1.0, 2.0]]]), scale_factor=2).tolist()
    [[[1.0, 1.0, 2.0, 2.0]]]
    """
    op, shape = "interpolate", tuple(input.shape)
    count = len(shape) - 2
    if count not in LAYOUTS or 0 in shape[2:]:
        raise ValueError(f"{op}: input: expected shape (N, C, L), (N, C, H, W) or (N, C, D, H, W), got {shape}")
    if mode != "nearest" and _LINEAR.get(mode) != count:
        fitting = next(name for name, axes in _LINEAR.items() if axes == count)
        raise ValueError(f"{op}: mode: expected 'nearest' or {fitting!r} for shape {shape}, got {mode!r}")
    if mode == "nearest" and align_corners is not None:
        raise ValueError(f"{op}: align_corners: expected None for mode 'nearest', got {align_corners!r}")
    if (size is None) == (scale_factor is None):
        raise ValueError(f"{op}: expected either size or scale_factor, got {size!r} and {scale_factor!r}")
    given = size if scale_factor is None else scale_factor
    values = tuple(given) if isinstance(given, (tuple, list)) else (given,) * count
    if len(values) != count:
        raise ValueError(f"{op}: expected one value or {count} for shape {shape}, got {given!r}")
    if scale_factor is None:
        if not all(is_int(v) and v >= 1 for v in values):
            raise ValueError(f"{op}: size: expected integers of at least 1, got {size!r}")
        axes = tuple(Axis(int(m), n / m) for n, m in zip(shape[2:], values, strict=True))
    else:
        if not all(v > 0 for v in values):
            raise ValueError(f"{op}: scale_factor: expected positive numbers, got {scale_factor!r}")
        axes = tuple(_scaled(n, f, recompute_scale_factor) for n, f in zip(shape[2:], values, strict=True))
        if not all(axis.size >= 1 for axis in axes):
            raise ValueError(f"{op}: scale_factor: {scale_factor!r} leaves nothing of shape {shape}")
    return apply(INTERPOLATE, input, axes=axes, linear=mode != "nearest", align_corners=bool(align_corners))
