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


UNARY = {
    "exp": (),
    "log": (),
    "sqrt": (),
    "erf": (),
    "sigmoid": (),
    "tanh": (),
    "relu": (),
    "clamp": (-1.5, 0.0),
    "leaky_relu": (0.1,),
    "hardsigmoid": (),
    "hardswish": (),
    "silu": (),
    "gelu": (),
    "gelu_tanh": (),
    "elu": (1.5, 1.25, 0.75),
    "softplus": (2.0, 8.0),
    "mish": (),
}


@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str):
    rng = np.random.default_rng(3)
    edges = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1e-40, -1e-40, 88.9, -87.5, -104, 3.4e38], F)
    bits = rng.integers(0, 2**32, 1500, np.uint32).view(F)
    x = np.concatenate([edges, bits, rng.uniform(-10, 10, 2000).astype(F), rng.uniform(-110, 90, 501).astype(F)])
    want = oracle.unary(name, x, *UNARY[name])
    assert_everywhere(lambda: _C.float_unary(name, x, *UNARY[name]), want)
    for n in (0, 1, 3, 17, 33):
        assert_everywhere(lambda n=n: _C.float_unary(name, x[:n], *UNARY[name]), want[:n])


def ulps(got: np.ndarray, exact: np.ndarray) -> float:
    """The largest error in units of the last place of the exact result (a denormal's are the smallest normal's)."""
    unit = np.spacing(np.maximum(np.abs(exact).astype(F), np.finfo(F).tiny)).astype(np.float64)
    return float(np.max(np.abs(got - exact) / unit))


ACCURACY = [  # function, range, exact, units in the last place
    ("exp", (-87.3, 88.7), np.exp, 1.1),
    ("log", (1e-30, 1e30), np.log, 2.0),
    ("log", (0.5, 2.0), np.log, 2.0),
    ("erf", (-5, 5), None, 1.1),
    ("sigmoid", (-87, 20), lambda x: 1 / (1 + np.exp(-x)), 3.0),
    ("tanh", (-12, 12), np.tanh, 2.0),
    ("tanh", (-1e-3, 1e-3), np.tanh, 2.0),
    ("silu", (-80, 20), lambda x: x / (1 + np.exp(-x)), 4.0),
]


@pytest.mark.parametrize(("name", "span", "exact", "bound"), ACCURACY)
def test_accuracy(name, span, exact, bound):
    x = np.linspace(*span, 400_001).astype(F)
    if span[0] > 0:
        x = np.geomspace(*span, 400_001).astype(F)
    if exact is None:
        exact = np.vectorize(__import__("math").erf)
    assert ulps(_C.float_unary(name, x), exact(x.astype(np.float64))) <= bound


def test_gelu_and_its_relatives_are_accurate():
    from math import erf

    x = np.linspace(-12, 12, 100_001).astype(F)
    wide = x.astype(np.float64)
    exact = {
        "gelu": wide * 0.5 * (1 + np.vectorize(erf)(wide / np.sqrt(2))),
        "gelu_tanh": 0.5 * wide * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3))),
        "mish": wide * np.tanh(np.logaddexp(0, wide)),
        "softplus": np.logaddexp(0, wide),
        "elu": np.where(wide > 0, wide, np.expm1(wide)),
    }
    parameters = {"softplus": (1, 20), "elu": (1, 1, 1)}
    for name, want in exact.items():
        got = _C.float_unary(name, x, *parameters.get(name, ()))
        assert np.all(np.abs(got - want) <= 3e-7 * np.maximum(np.abs(want), 0.1 + np.abs(wide) * 0.2)), name


ROWS = [(1, 1), (3, 2), (2, 31), (5, 33), (4, 100), (2, 768), (1, 2049), (2, 5003), (0, 4), (200, 10)]


@pytest.mark.parametrize("shape", ROWS)
def test_softmax(shape):
    rng = np.random.default_rng(4)
    x = (rng.standard_normal(shape) * 8).astype(F)
    if x.size > 20:
        x[0, ::3] = -np.inf
    for log in (False, True):
        assert_everywhere(lambda log=log: _C.float_softmax(x, log), oracle.softmax(x, log))
    x[..., -1:] = np.nan
    assert_everywhere(lambda: _C.float_softmax(x), oracle.softmax(x))
    x[...] = -np.inf
    assert_everywhere(lambda: _C.float_softmax(x), oracle.softmax(x))


@pytest.mark.parametrize("shape", ROWS)
def test_norms_and_sums(shape):
    rng = np.random.default_rng(5)
    x = (rng.standard_normal(shape) * 3 + 1).astype(F)
    weight, bias = (rng.standard_normal(shape[-1]).astype(F) for _ in range(2))
    for w, b in ((weight, bias), (weight, None), (None, bias), (None, None)):
        for centre in (True, False):
            assert_everywhere(
                lambda w=w, b=b, centre=centre: _C.float_norm(x, w, b, 1e-5, centre),
                oracle.norm(x, w, b, 1e-5, centre),
            )
    assert_everywhere(lambda: _C.float_sum(x), oracle.plain_nan(oracle.row_sum(x)))
    assert_everywhere(lambda: _C.float_sum(x, 7.0), oracle.plain_nan(oracle.row_sum(x) / F(7)))


def test_group_norm():
    rng = np.random.default_rng(6)
    x = rng.standard_normal((3 * 2, 4 * 35)).astype(F)  # 3 samples of 2 groups of 4 channels of 35
    weight, bias = (rng.standard_normal(8).astype(F) for _ in range(2))
    of_row = [np.tile(np.repeat(v.reshape(2, 4), 35, axis=1), (3, 1)) for v in (weight, bias)]
    want = oracle.norm(x, *of_row, 1e-5)
    assert_everywhere(lambda: _C.float_norm(x, weight, bias, 1e-5, groups=2, run=35), want)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", [(3, 5, 7, 9), (2, 64, 40, 33), (4, 1, 300, 16), (1, 6, 1, 1), (2, 3, 0, 4)])
def test_matmul(shape, transposed):
    rng = np.random.default_rng(7)
    batch, m, k, n = shape
    a, b = values(rng, batch, m, k, special=True), values(rng, batch, k, n)
    b = np.swapaxes(np.ascontiguousarray(np.swapaxes(b, 1, 2)), 1, 2) if transposed else b
    assert_everywhere(lambda: _C.float_matmul(a, b), oracle.product(a, b))
    assert_everywhere(lambda: _C.float_matmul(a, b[0]), oracle.product(a, b[0]))
    heads = relayout(a.reshape(1, batch, m, k), "fortran"), relayout(b.reshape(1, batch, k, n), "sliced")
    assert_everywhere(lambda: _C.float_matmul(*heads), oracle.product(a, b)[None])


def test_pools():
    rng = np.random.default_rng(8)
    x = values(rng, 2, 19, 9, 10, special=True)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    lowest = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=-np.inf)
    total, largest = np.zeros((2, 19, 5, 5), F), np.full((2, 19, 5, 5), F(-np.inf))
    with np.errstate(all="ignore"):
        for i, j in np.ndindex(3, 3):
            taps = (..., slice(i, i + 9, 2), slice(j, j + 9, 2))
            total = total + padded[taps]
            largest = np.where((lowest[taps] > largest) | np.isnan(lowest[taps]), lowest[taps], largest)
        want = oracle.plain_nan(total / F(9))
    last = "channels_last"
    got = _C.float_avg_pool(x, [3, 3], [2, 2], [1, 1], False, True, None)
    # Places beyond the sides are left out: where a sum is -0 or 0 that shows in its sign alone.
    assert np.array_equal(got, want, equal_nan=True)
    assert_everywhere(lambda: _C.float_avg_pool(relayout(x, last), [3, 3], [2, 2], [1, 1], False, True, None), got)
    max_args = [3, 3], [2, 2], [1, 1], [1, 1], False
    assert_everywhere(lambda: _C.float_max_pool(x, *max_args), oracle.plain_nan(largest))
    whole = np.zeros((2, 19), F)
    with np.errstate(all="ignore"):
        for i, j in np.ndindex(9, 10):
            whole = whole + x[..., i, j]
        want = oracle.plain_nan(whole / F(90))
    assert_everywhere(lambda: _C.float_adaptive_avg_pool(x, [1, 1]), want[..., None, None])
