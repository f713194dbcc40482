"""What files may ask for, beyond which they are refused before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

MOST_AXES = 32
MOST_EMPTY = 1 << 40  # the product of the axes that are not 0 of a tensor without values

#: The number whose pickle files of torch.save begin with that are no archive.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def empty_array(where: str, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Return an array without values; NumPy itself refuses some shapes of it, and not by name."""
    if math.prod(n for n in shape if n) > MOST_EMPTY:
        raise ValueError(f"{where}: expected an empty tensor of a plausible size, got {list(shape)!r:.120}")
    return np.zeros(tuple(shape), dtype)
