"""Rearrangements of channels and pixels, made of reshape and permute: for float and quantized tensors alike."""

from __future__ import annotations

from typing import Any

from .arguments import is_int
from .shape import permute, reshape


def channel_shuffle(input: Any, groups: int) -> Any:
    """Interleave the channels of `groups` blocks: from (g, C/g) to (C/g, g).

    Parameters
    ----------
    input : Tensor or QTensor, shape (N, C, ...)
    groups : int
        Divides C.
    """
    shape = tuple(input.shape)
    if len(shape) < 3:
        raise ValueError(f"channel_shuffle: input: expected shape (N, C, ...), got {shape}")
    if not is_int(groups) or groups < 1 or shape[1] % groups:
        raise ValueError(f"channel_shuffle: groups: expected a divisor of {shape[1]} channels, got {groups!r}")
    blocks = reshape(input, (shape[0], groups, shape[1] // groups, *shape[2:]))
    return reshape(permute(blocks, (0, 2, 1, *range(3, len(shape) + 1))), shape)


def _factor(op: str, name: str, value: Any) -> int:
    if not is_int(value) or value < 1:
        raise ValueError(f"{op}: {name}: expected an integer of at least 1, got {value!r}")
    return int(value)


def pixel_shuffle(input: Any, upscale_factor: int) -> Any:
    """Make r² channels one image of r times the height and width: (..., C·r², H, W) to (..., C, H·r, W·r)."""
    r, shape = _factor("pixel_shuffle", "upscale_factor", upscale_factor), tuple(input.shape)
    if len(shape) < 3 or shape[-3] % (r * r):
        raise ValueError(f"pixel_shuffle: input: expected shape (..., C·{r * r}, H, W), got {shape}")
    *lead, c, h, w = shape
    n = len(lead)
    parts = reshape(input, (*lead, c // (r * r), r, r, h, w))
    moved = permute(parts, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return reshape(moved, (*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """Undo `pixel_shuffle`: (..., C, H·r, W·r) to (..., C·r², H, W)."""
    r, shape = _factor("pixel_unshuffle", "downscale_factor", downscale_factor), tuple(input.shape)
    if len(shape) < 3 or shape[-1] % r or shape[-2] % r:
        raise ValueError(f"pixel_unshuffle: input: expected shape (..., C, H·{r}, W·{r}), got {shape}")
    *lead, c, h, w = shape
    n = len(lead)
    parts = reshape(input, (*lead, c, h // r, r, w // r, r))
    moved = permute(parts, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return reshape(moved, (*lead, c * r * r, h // r, w // r))
