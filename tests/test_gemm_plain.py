"""Products whose weights let activations stay as they are: twins, singles and splits in all their mixtures.

What decides is how large neighbouring weights are (csrc/kernels/gemm_plain.h), so weights are drawn for each kind:
small ones (twins), ones whose pairs sum to just 128 and just more (singles, splits), and few large among small ones.
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


SHAPES = [(1, 64, 16), (2, 1, 1), (5, 37, 17), (7, 1025, 33), (23, 130, 48), (97, 516, 40)]
KINDS = {"small": _small, "limit": _to_the_limit, "beyond": _beyond, "few large": _few_large}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "shape", [(1, 64, 16), (2, 1, 1), (5, 37, 17), (7, 1025, 33), (23, 130, 48), (97, 516, 40)], ids=str
)
def test_products_are_exact(shape: tuple[int, int, int], kind: str) -> None:
    m, k, n = shape
    rng = np.random.default_rng(m * k * n)
    w = KINDS[kind](rng, k, n).astype(np.int8)
    for a in (
        rng.integers(0, 256, (m, k)).astype(np.uint8),
        np.full((m, k), 255, np.uint8),
        np.full((m, k), 128, np.uint8),
        rng.integers(-128, 128, (m, k)).astype(np.int8),
    ):
        want = a.astype(np.int64) @ w.astype(np.int64)
        for isa, threads in backends():
            with backend(isa, threads):
                support.assert_same(np.asarray(ot.ops.matmul_integer(a, w)), want.astype(np.int32))
