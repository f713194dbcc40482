"""Float ops: the same bits as the oracle on every instruction set, thread count and batch split."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import float_oracle as oracle
from octensor import _C
from support import LAYOUTS, assert_everywhere, relayout

F = np.float32


def values(rng: np.random.Generator, *shape: int, special: bool = False) -> np.ndarray:
    """Normal numbers of very different sizes; `special`: some zeros, infinities and NaN among them."""
    x = (rng.standard_normal(shape) * 2.0 ** rng.integers(-20, 20, shape)).astype(F)
    if special and x.size:
        flat = x.reshape(-1)
        flat[rng.integers(0, x.size, 3)] = [np.inf, -np.inf, -np.nan]
        flat[rng.integers(0, x.size, max(1, x.size // 5))] = rng.choice(np.array([0.0, -0.0, 1e-40, 3e38], F))
    return x


def test_the_emulated_fma_is_exact():
    rng = np.random.default_rng(0)
    a, b = values(rng, 4000), values(rng, 4000)
    c = np.where(rng.random(4000) < 0.5, -(a * b) * F(1 + 2**-22), values(rng, 4000)).astype(F)
    # Sums next to the middle of two numbers, where rounding twice goes wrong.
    a[:1000] = F(1 + 2**-12)
    b[:1000] = (1 + rng.integers(1, 4000, 1000) * 2.0**-23).astype(F)
    c[:1000] = F(2.0**-60) * rng.choice(np.array([-1, 1], F), 1000)
    got = oracle.fma(a, b, c)
    for x, y, z, r in zip(a.tolist(), b.tolist(), c.tolist(), got.tolist(), strict=True):
        exact = Fraction(x) * Fraction(y) + Fraction(z)
        near = [float(np.nextafter(F(r), F(-np.inf))), r, float(np.nextafter(F(r), F(np.inf)))]
        assert min(abs(exact - Fraction(n)) for n in near) == abs(exact - Fraction(r))


SHAPES = [
    (1, 1, 1),
    (1, 0, 3),
    (0, 3, 2),
    (2, 3, 0),
    (1, 300, 131),
    (1, 7, 8),
    (5, 33, 17),
    (13, 17, 33),
    (29, 600, 47),
    (97, 5, 16),
    (200, 260, 31),
]


@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
@pytest.mark.parametrize("special", [False, True])
def test_linear(m: int, k: int, n: int, special: bool):
    rng = np.random.default_rng(m + 7 * n)
    x, w, bias = values(rng, m, k, special=special), values(rng, n, k), values(rng, n)
    want = oracle.product(x, w.T, bias)
    assert_everywhere(lambda: _C.float_linear(x, w, bias), want)
    packed = _C.PackedFloat(w, bias)
    assert_everywhere(lambda: _C.float_linear(x, packed), want)
    assert_everywhere(lambda: _C.float_linear(x, packed, relu=True), oracle.product(x, w.T, bias, relu=True))
    assert_everywhere(lambda: _C.float_linear(x, w), oracle.product(x, w.T))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_linear_takes_any_layout(layout: str):
    rng = np.random.default_rng(1)
    x, w = values(rng, 3, 4, 19), values(rng, 18, 19)
    want = oracle.product(x.reshape(12, 19), w.T).reshape(3, 4, 18)
    assert_everywhere(lambda: _C.float_linear(relayout(x, layout), relayout(w, layout)), want)


def test_a_row_does_not_depend_on_the_others():
    rng = np.random.default_rng(2)
    x, w, bias = values(rng, 130, 70), values(rng, 50, 70), values(rng, 50)
    whole = _C.float_linear(x, w, bias)
    for cut in (1, 7, 64):
        parts = [_C.float_linear(x[i : i + cut], w, bias) for i in range(0, 130, cut)]
        assert np.array_equal(np.concatenate(parts).view(np.uint32), whole.view(np.uint32))


CONVS = [  # input, weight, stride, padding, dilation, groups
    ((2, 3, 9, 7), (5, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((1, 8, 12, 11), (33, 8, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((1, 8, 12, 11), (6, 8, 1, 1), (2, 2), (0, 0), (1, 1), 1),
    ((2, 6, 13, 10), (4, 2, 3, 2), (2, 1), (2, 3), (2, 3), 2),
    ((1, 3, 17), (7, 3, 5), (3,), (2,), (1,), 1),
    ((1, 2, 5, 6, 7), (3, 2, 2, 3, 3), (1, 2, 1), (1, 1, 1), (1, 1, 2), 1),
    ((2, 37, 9, 12), (37, 1, 3, 3), (1, 1), (1, 1), (1, 1), 37),
    ((1, 19, 6, 5), (19, 1, 5, 5), (2, 1), (2, 4), (1, 2), 19),
    ((1, 3, 4, 4), (3, 1, 3, 3), (1, 1), (1, 1), (1, 1), 3),
    ((1, 4, 5, 5), (8, 1, 3, 3), (1, 1), (1, 1), (1, 1), 4),
    ((1, 20, 4, 3), (20, 1, 9, 9), (1, 1), (4, 4), (1, 1), 20),  # wider than the input
    ((0, 3, 4, 4), (3, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
]


@pytest.mark.parametrize(("shape", "filters", "stride", "padding", "dilation", "groups"), CONVS)
def test_conv(shape, filters, stride, padding, dilation, groups):
    rng = np.random.default_rng(sum(shape))
    filters = (filters[0], shape[1] // groups, *filters[2:])
    x, w, bias = values(rng, *shape, special=True), values(rng, *filters), values(rng, filters[0])
    args = stride, padding, dilation, groups
    assert_everywhere(lambda: _C.float_conv(x, w, bias, *args), oracle.conv(x, w, bias, *args))
    last = relayout(x, "channels_last")
    want = oracle.conv(x, w, None, *args, relu=True)
    assert_everywhere(lambda: _C.float_conv(last, w, None, *args, relu=True), want)


TRANSPOSED = [  # input, weight, stride, padding, output_padding, dilation, groups
    ((2, 3, 4, 5), (3, 5, 3, 3), (2, 2), (1, 1), (1, 0), (1, 1), 1),
    ((1, 4, 3, 4), (4, 2, 3, 2), (1, 3), (0, 1), (0, 2), (2, 1), 2),
    ((1, 5, 6), (5, 1, 4), (3,), (1,), (0,), (2,), 5),
    ((1, 17, 3, 3), (17, 1, 3, 3), (2, 2), (1, 1), (1, 1), (1, 1), 17),
    ((1, 2, 3, 2, 2), (2, 3, 2, 2, 1), (2, 1, 3), (0, 1, 0), (0, 0, 1), (1, 1, 1), 1),
]


@pytest.mark.parametrize(("shape", "filters", "stride", "padding", "extra", "dilation", "groups"), TRANSPOSED)
def test_transposed_conv(shape, filters, stride, padding, extra, dilation, groups):
    rng = np.random.default_rng(sum(shape))
    x, w, bias = values(rng, *shape, special=True), values(rng, *filters), values(rng, filters[1] * groups)
    want = oracle.conv_transpose(x, w, bias, stride, padding, extra, dilation, groups)
    assert_everywhere(lambda: _C.float_conv(x, w, bias, stride, padding, dilation, groups, extra), want)
