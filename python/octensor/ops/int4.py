"""`Int4Weight`: a weight in signed 4-bit codes, with a scale for every group of values along a row.

A row of K codes -8 ... 7 is cut into groups of 32, 64 or 128 (the last may be shorter), each with its own scale and
perhaps its own zero point:  real = f32(code - zero_point) · scale.  Codes lie two to a byte, in two's complement, the
even one in the lower half: the order of ONNX's INT4.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _C
from ..arrays import as_array
from ..tensor import Tensor

GROUP_SIZES = (32, 64, 128)
_TINY = np.finfo(np.float32).tiny


class Int4Weight:
    """A matrix (N, K) of signed 4-bit codes with group-wise parameters; it does not change.

    Parameters
    ----------
    codes : ndarray of integers in [-8, 7], shape (N, K)
    scales : ndarray of float32, shape (N, groups)
    group_size : {32, 64, 128}
        How many values along a row share a scale.
    zero_points : ndarray of integers in [-8, 7], shape (N, groups), optional

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type, out of range, or of a shape that does not fit.

    Examples
    --------
    >>> import octensor as ot
    >>> weight = Int4Weight.quantize(ot.ones(2, 40), group_size=32)
    >>> weight.shape, weight.scales.shape
    ((2, 40), (2, 2))
    """

    __slots__ = ("group_size", "packed", "scales", "shape", "zero_points")

    def __init__(self, codes: Any, scales: Any, group_size: int = 128, zero_points: Any = None) -> None:
        codes = _codes("codes", codes)
        if codes.ndim != 2:
            raise ValueError(f"Int4Weight: codes: expected shape (N, K), got {codes.shape}")
        n, k = codes.shape
        groups = _groups(k, group_size)
        scales = np.ascontiguousarray(as_array(scales, np.float32))
        zeros = None if zero_points is None else _codes("zero_points", zero_points)
        for name, values in (("scales", scales), ("zero_points", zeros)):
            if values is not None and values.shape != (n, groups):
                raise ValueError(f"Int4Weight: {name}: expected shape {(n, groups)}, got {values.shape}")
        if not (np.isfinite(scales) & (scales >= _TINY)).all():
            raise ValueError("Int4Weight: scales: expected finite, positive and normal float32 numbers")
        even = np.zeros((n, k + k % 2), np.uint8)
        even[:, :k] = codes.view(np.uint8) & 15
        self.packed: np.ndarray = even[:, ::2] | even[:, 1::2] << 4
        self.scales: np.ndarray = scales
        self.zero_points: np.ndarray | None = zeros
        self.shape: tuple[int, int] = (n, k)
        self.group_size: int = int(group_size)

    @classmethod
    def quantize(cls, weight: Any, group_size: int = 128, symmetric: bool = True) -> Int4Weight:
        """Quantize a float matrix, each group over its own range.

        Symmetric: scale = max|w| / 7.5, so that codes -8 and 7 are equally far beyond their last step; else scale =
        (max - min) / 15 over a range that holds 0, and zero_point = rint(-8 - min / scale). Codes are
        clamp(rint(w / scale) + zero_point), in float32.

        Parameters
        ----------
        weight : Tensor or ndarray, shape (N, K)
            Finite floats.
        group_size : {32, 64, 128}
        symmetric : bool
            Whether to do without zero points.
        """
        w = as_array(weight, np.float32)
        if w.ndim != 2:
            raise ValueError(f"Int4Weight.quantize: weight: expected shape (N, K), got {w.shape}")
        if not np.isfinite(w).all():
            raise ValueError("Int4Weight.quantize: weight: expected finite values, got NaN or an infinity")
        n, k = w.shape
        groups = _groups(k, group_size)
        padded = np.zeros((n, groups * group_size), np.float32)
        padded[:, :k] = w
        cut = padded.reshape(n, groups, group_size)
        low, high = np.minimum(cut.min(-1, initial=0), 0), np.maximum(cut.max(-1, initial=0), 0)
        reach = np.maximum(-low, high).astype(np.float64) / 7.5 if symmetric else (high.astype(np.float64) - low) / 15
        scales = np.where(reach >= _TINY, reach, 1).astype(np.float32)
        zeros = None if symmetric else np.clip(np.rint(-8 - low / scales), -8, 7).astype(np.int8)
        steps = np.rint(cut / scales[..., None]) + (0 if zeros is None else zeros[..., None])
        codes = np.clip(steps, -8, 7).astype(np.int8).reshape(n, -1)[:, :k]
        return cls(codes, scales, group_size, zeros)

    @property
    def codes(self) -> np.ndarray:
        """The codes -8 ... 7 as an array of int8, shape (N, K)."""
        n, k = self.shape
        codes = np.empty((n, k + k % 2), np.int8)
        codes[:, ::2] = (self.packed << 4).view(np.int8) >> 4
        codes[:, 1::2] = self.packed.view(np.int8) >> 4
        return codes[:, :k]

    def dequantize(self) -> Tensor:
        """Return the real values, float32."""
        k = self.shape[1]

        def along(values: np.ndarray) -> np.ndarray:
            return np.repeat(values, self.group_size, axis=1)[:, :k]

        codes = self.codes.astype(np.float32)
        if self.zero_points is not None:
            codes -= along(self.zero_points)
        return Tensor._wrap(codes * along(self.scales))

    def pack(self, bias: Any = None) -> _C.PackedInt4Linear:
        """Return weight and bias (N,) in the form the kernels read."""
        bias = None if bias is None else as_array(bias, np.float32)
        return _C.PackedInt4Linear(
            self.packed, self.shape[1], self.group_size, self.scales, zero_points=self.zero_points, bias=bias
        )

    def __repr__(self) -> str:
        zeros = "" if self.zero_points is None else ", with zero points"
        return f"Int4Weight(shape={self.shape}, group_size={self.group_size}{zeros})"


def _groups(k: int, group_size: Any) -> int:
    if group_size not in GROUP_SIZES:
        raise ValueError(f"Int4Weight: group_size: expected 32, 64 or 128, got {group_size!r}")
    return -(-k // int(group_size))


def _codes(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise TypeError(f"Int4Weight: {name}: expected integers, got {array.dtype}")
    if array.size and (array.min() < -8 or array.max() > 7):
        raise ValueError(f"Int4Weight: {name}: expected values in [-8, 7], got {array.min()} ... {array.max()}")
    return np.ascontiguousarray(array, np.int8)
