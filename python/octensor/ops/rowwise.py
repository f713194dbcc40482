"""Tables of rows packed in 8, 4 or 2 bits, each row with its own scale and bias behind its codes.

A row of D values becomes bytes: the codes, 8/bits to a byte with the first value in the lowest bits, then scale and
bias, as float32 for 8 bits and as float16 for 4 and 2. A value is  f32(q) · scale + bias.

* 8 bits: bias = min, scale = (max - min) / 255, q = rint((x - min) · (255 / (max - min + 1e-8)));
* 4 and 2 bits: bias = f16(min), scale = f16((max - bias) / (2^bits - 1)), or 1 where that is 0 or its inverse is
  not finite; q = clamp(rint((x - bias) · (1 / scale))).

All in float32, each step rounded. `choose_range` searches a narrower range with less error in all.
"""

from __future__ import annotations

import numpy as np

_F32 = np.float32


def _loss(x: np.ndarray, low: np.float32, high: np.float32, bits: int) -> np.float32:
    """Return the L2 norm of the error of quantizing x over [low, high], summed in order."""
    low = _F32(np.float16(low))
    levels = _F32(2**bits - 1)
    reach = _F32(high - low)
    scale = _F32(1) if reach == 0 else _F32(np.float16(reach / levels))
    with np.errstate(all="ignore"):
        codes = np.clip(np.rint((x - low) * (_F32(1) / scale)), _F32(0), levels)
    error = x - (codes * scale + low)
    total: np.float32 = np.add.accumulate(error * error)[-1]  # one after the other: np.sum has no fixed order
    norm: np.float32 = np.sqrt(total)
    return norm


def choose_range(x: np.ndarray, bits: int, n_bins: int = 200, ratio: float = 0.16) -> tuple[np.float32, np.float32]:
    """Search a range for x that loses less than its full one: greedily, from both ends.

    Parameters
    ----------
    x : ndarray of float32, 1-D
    bits : int
        Width of the codes.
    n_bins : int
        The step is 1/n_bins of the full range.
    ratio : float
        How much of the range may be given up.

    Returns
    -------
    (high, low)
    """
    low, high = x.min(), x.max()
    step = _F32((high - low) / _F32(n_bins))
    least = _F32(int(n_bins * (1.0 - float(_F32(ratio))))) * step
    best_low, best_high = low, high
    loss = best = _loss(x, low, high, bits)
    while step > 0 and _F32(low + least) < high:
        from_left = _loss(x, _F32(low + step), high, bits)
        from_right = _loss(x, low, _F32(high - step), bits)
        if loss < from_left and loss < from_right and loss < best:
            best, best_low, best_high = loss, low, high
        if from_left < from_right:
            low, loss = _F32(low + step), from_left
        else:
            high, loss = _F32(high - step), from_right
    return best_high, best_low


def per_byte(bits: int) -> int:
    """How many codes share a byte."""
    return 8 // bits


def _folded(codes: np.ndarray, bits: int) -> np.ndarray:
    """Put the codes of each row into bytes, the first in the lowest bits."""
    many = per_byte(bits)
    width = -(-codes.shape[1] // many)
    full = np.zeros((codes.shape[0], width * many), np.uint8)
    full[:, : codes.shape[1]] = codes
    result = np.zeros((codes.shape[0], width), np.uint8)
    for i in range(many):
        result |= full[:, i::many] << np.uint8(i * bits)
    return result


def _unfolded(packed: np.ndarray, bits: int) -> np.ndarray:
    many = per_byte(bits)
    codes = np.empty((packed.shape[0], packed.shape[1] * many), np.uint8)
    for i in range(many):
        codes[:, i::many] = (packed >> np.uint8(i * bits)) & np.uint8(2**bits - 1)
    return codes


def joined(codes: np.ndarray, scale: np.ndarray, bias: np.ndarray, bits: int) -> np.ndarray:
    """Return rows of bytes from codes (rows, D), scale and bias (rows,)."""
    kind = np.float32 if bits == 8 else np.float16
    tail = np.stack([scale, bias], axis=1).astype(kind).view(np.uint8)
    return np.concatenate([_folded(codes, bits), tail], axis=1)


def separated(packed: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return codes (rows, D), scale and bias (rows,) as float32 from rows of bytes."""
    kind, tail = (np.float32, 8) if bits == 8 else (np.float16, 4)
    ends = np.ascontiguousarray(packed[:, -tail:]).view(kind).astype(np.float32)
    return _unfolded(packed[:, :-tail], bits), ends[:, 0], ends[:, 1]


def pack(weight: np.ndarray, bits: int, optimized: bool = False, n_bins: int = 200, ratio: float = 0.16) -> np.ndarray:
    """Return float rows (rows, D) as rows of bytes.

    Parameters
    ----------
    weight : ndarray of float32, shape (rows, D)
    bits : {8, 4, 2}
    optimized : bool
        Whether to search the range of each row (`choose_range`); for 4 and 2 bits.
    n_bins, ratio
        Of that search.
    """
    low, high = weight.min(axis=1), weight.max(axis=1)
    if bits == 8:
        reach = high - low
        scale = reach / _F32(255)
        codes = np.rint((weight - low[:, None]) * (_F32(255) / (reach + _F32(1e-8)))[:, None])
        return joined(np.clip(codes, 0, 255).astype(np.uint8), scale, low, bits)
    if optimized:
        ranges = [choose_range(row, bits, n_bins, ratio) for row in weight]
        high, low = np.array([r[0] for r in ranges], _F32), np.array([r[1] for r in ranges], _F32)
    levels = _F32(2**bits - 1)
    low = low.astype(np.float16).astype(_F32)
    reach = high - low
    scale = np.where(reach == 0, _F32(1), reach / levels).astype(np.float16).astype(_F32)
    with np.errstate(divide="ignore", over="ignore"):
        scale = np.where((scale == 0) | ~np.isfinite(_F32(1) / scale), _F32(1), scale)
        codes = np.clip(np.rint((weight - low[:, None]) * (_F32(1) / scale)[:, None]), 0, levels)
    return joined(codes.astype(np.uint8), scale, low, bits)


def unpack(packed: np.ndarray, bits: int) -> np.ndarray:
    """Return rows of bytes as float32 rows (rows, D); D is rounded up to whole bytes."""
    codes, scale, bias = separated(packed, bits)
    result: np.ndarray = codes.astype(np.float32) * scale[:, None] + bias[:, None]
    return result
