"""Products whose weights decide how codes are multiplied: each kind of group alone, and all in their mixtures.

What decides is how large neighbouring weights are (csrc/kernels/mixed_tile.h), so weights are drawn for each kind:
small ones (plain twins), ones whose pairs sum to just 128 and just more (plain and flipped singles), medium ones of
both signs (flipped twins), the largest (flipped singles), few large among small ones, and ordinary ones.
"""

from __future__ import annotations

import numpy as np
import pytest

import octensor as ot
import support
from support import backend, backends


def _small(rng: np.random.Generator, k: int, n: int) -> np.ndarray:
    return rng.integers(-32, 33, (k, n))


def _to_the_limit(rng: np.random.Generator, k: int, n: int) -> np.ndarray:
    """Pairs of 64, 64 or 128 and nothing, of one sign: alone they just fit."""
    w = np.where(rng.integers(0, 2, (k, n)) == 0, 64, -64)
    w[1::2] = w[: len(w[1::2]) * 2 : 2]
    return w


def _beyond(rng: np.random.Generator, k: int, n: int) -> np.ndarray:
    """The same, and one more in some pairs."""
    w = _to_the_limit(rng, k, n)
    return w + np.sign(w) * (rng.integers(0, 40, (k, n)) == 0)


def _few_large(rng: np.random.Generator, k: int, n: int) -> np.ndarray:
    w = rng.integers(-16, 17, (k, n))
    hit = rng.integers(0, 60, (k, n)) == 0
    w[hit] = rng.choice([-128, -127, 127], int(hit.sum()))
    return w


def _medium(rng: np.random.Generator, k: int, n: int) -> np.ndarray:
    """Pairs whose magnitudes sum to at most 128, with some positive sum beyond 128 in most groups of a panel."""
    w = rng.integers(50, 65, (k, n)) * np.where(rng.integers(0, 8, (k, n)) == 0, -1, 1)
    w[0::4, 0::8] = 127
    w[1::4, 0::8] = 2
    w[2::4, 0::8] = -127
    w[3::4, 0::8] = 0
    return w


def _largest(rng: np.random.Generator, k: int, n: int) -> np.ndarray:
    return rng.choice([-128, 127], (k, n))


def _lowest(rng: np.random.Generator, k: int, n: int) -> np.ndarray:
    return np.full((k, n), -128)


def _ordinary(rng: np.random.Generator, k: int, n: int) -> np.ndarray:
    return np.clip(np.round(rng.normal(0, 36, (k, n))), -128, 127)


# Rows: one (a kernel of its own), every height of a tile, several of unequal ones. K: less than a group, within one,
# beyond a block. Columns: within a panel, one to four panels of a row's kernel, beyond.
SHAPES = [
    *((1, 64, n) for n in (1, 8, 9, 17, 25, 40)),
    *((m, 37, 17) for m in range(2, 18)),
    (2, 1, 1),
    (7, 1025, 33),
    (23, 130, 48),
    (49, 512, 9),
    (97, 516, 40),
    (11, 2051, 24),
]
KINDS = {
    "small": _small,
    "limit": _to_the_limit,
    "beyond": _beyond,
    "few large": _few_large,
    "medium": _medium,
    "largest": _largest,
    "lowest": _lowest,
    "ordinary": _ordinary,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_are_exact(shape: tuple[int, int, int], kind: str) -> None:
    m, k, n = shape
    rng = np.random.default_rng(m * k * n)
    w = KINDS[kind](rng, k, n).astype(np.int8)
    for a in (
        rng.integers(0, 256, (m, k)).astype(np.uint8),
        np.full((m, k), 255, np.uint8),
        np.full((m, k), 128, np.uint8),
        np.zeros((m, k), np.uint8),
        rng.integers(-128, 128, (m, k)).astype(np.int8),
    ):
        want = a.astype(np.int64) @ w.astype(np.int64)
        for isa, threads in backends():
            with backend(isa, threads):
                support.assert_same(np.asarray(ot.ops.matmul_integer(a, w)), want.astype(np.int32))
