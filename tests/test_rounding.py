"""Where kernels estimate a quotient, the codes are those of the division: next to every midpoint, at every scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from octensor import _C
from support import FLOAT32_MAX, FLOAT32_TINY, assert_everywhere, params, qparams, seeds, to_qparams, to_qtensor

# Around the limits of kernels/rounding.h, 2**-111 and 2**126; the others are ordinary.
SCALES = [
    FLOAT32_TINY,
    *(2.0**k for k in (-112, -111, -110, -7, 0, 3, 125, 126, 127)),
    1e-30,
    0.0123,
    0.1,
    1 / 3,
    255.0,
]


def neighbours(x: np.ndarray, steps: int) -> np.ndarray:
    """Every float32 within so many representable numbers of those in x."""
    rows = [x]
    for direction in (np.inf, -np.inf):
        near = x
        for _ in range(steps):
            near = np.nextafter(near, np.float32(direction))
            rows.append(near)
    return np.concatenate(rows)


def midpoints(scale: float) -> np.ndarray:
    """(n + 1/2) * scale, in float32, for all n that codes can tell apart, and a few more."""
    with np.errstate(over="ignore"):
        return ((np.arange(-300, 300) + 0.5) * np.float64(np.float32(scale))).astype(np.float32)


def assert_quantizes(x: np.ndarray, scale: float, zero_point: int, name: str) -> None:
    p, want = to_qparams(params(scale, zero_point, name)), oracle.quantize(x, scale, zero_point, name)
    assert_everywhere(lambda: _C.quantize(x, p), want)


@pytest.mark.rows(8)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("name", "zero_point"), [("quint8", 0), ("quint8", 117), ("quint8", 255), ("qint8", -128), ("qint8", 0)]
)
def test_quantize_next_to_midpoints(scale, name, zero_point):
    with np.errstate(over="ignore", under="ignore"):
        assert_quantizes(neighbours(midpoints(scale), 4), scale, zero_point, name)


@given(qparams(), seeds)
def test_quantize_next_to_midpoints_of_any_scale(params_, seed):
    rng = np.random.default_rng(seed)
    scale = float(np.float32(rng.uniform(1.0, 2.0) * 2.0 ** rng.integers(-126, 127)))
    with np.errstate(over="ignore", under="ignore"):
        assert_quantizes(neighbours(midpoints(scale), 2), scale, *params_[1:])


@pytest.mark.parametrize("n", [1, 31, 32, 33, 64, 65, 100])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, FLOAT32_MAX, -FLOAT32_MAX, 1e9, -1e9, 3.28e6, -0.0, 1e-45])
def test_one_wild_value_among_ordinary_ones(n, value):
    """Overflowing int32, or NaN, at any place of a vector changes no other place."""
    x = np.linspace(-20, 20, n, dtype=np.float32)
    for at in {0, n // 3, n - 1}:
        wild = x.copy()
        wild[at] = value
        for name in ("quint8", "qint8"):
            assert_quantizes(wild, 0.1, 3, name)


CODES = np.arange(256).astype(np.uint8)


def assert_adds(sa: float, sb: float, so: float, za: int, zb: int, zo: int, relu: bool = False) -> None:
    """All 65,536 pairs of codes."""
    a = oracle.Q(np.repeat(CODES, 256), np.float32(sa), za, "quint8")
    b = oracle.Q(np.tile(CODES.view(np.int8), 256), np.float32(sb), zb, "qint8")
    out = params(so, zo, "quint8")
    with np.errstate(all="ignore"):
        want = oracle.add(a, b, out, relu)
    qa, qb, p = to_qtensor(a), to_qtensor(b), to_qparams(out)
    assert_everywhere(lambda: _C.add(qa, qb, p, relu=relu), want)


@pytest.mark.rows(75, 76)
@pytest.mark.parametrize("scale", [FLOAT32_TINY, 2.0**-120, 1e-12, 1.0, 2.0**117, 2.0**118, 2.0**127, FLOAT32_MAX])
@pytest.mark.parametrize("ratio", [1.0, 0.5, 2 / 3, 100.0, 201.0, 203.0, 1e4])
def test_add_of_every_pair_at_the_ends_of_the_estimate(scale, ratio):
    """Where a sum is too coarse for the estimate, where a term overflows, and where it is denormal."""
    out = scale / ratio
    if FLOAT32_TINY <= out <= FLOAT32_MAX:
        assert_adds(scale, scale, out, 255, -128, 9)
        assert_adds(scale, max(scale * 0.75, FLOAT32_TINY), out, 100, 3, 200, relu=True)


@given(*[st.floats(-3, 3)] * 3, st.integers(0, 255), st.integers(-128, 127), st.integers(0, 255), st.booleans())
def test_add_of_every_pair(a, b, c, za, zb, zo, relu):
    assert_adds(2.0**a, 2.0**b, 2.0**c, za, zb, zo, relu)


@pytest.mark.parametrize("scale", [0.25, 0.1, 0.0371])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75, 1.0, 1.5, 8.0])
@pytest.mark.parametrize("other", [1.0, 0.5, 3.0])
def test_add_of_every_pair_where_ties_are_frequent(scale, ratio, other):
    """Asked often enough for the kernel to find out whether it may round the estimate itself."""
    for zeros in ((0, 0, 0), (128, -3, 127), (255, 127, 4)):
        assert_adds(scale, scale * other, scale / ratio, *zeros)
