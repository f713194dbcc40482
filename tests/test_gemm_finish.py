"""Products whose sums the register tile turns into codes itself: few columns of weights, tails, bounds of the proof."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
from octensor import _C
from support import assert_everywhere, params, sample_codes, to_qparams, to_qtensor, weight

# Rows, inner size and columns around tiles, groups of 4 and of 8 times 4, and panels; 1028: a second block of K.
SHAPES = [
    *[(m, 16, 24) for m in (1, 2, 3, 4, 5, 11, 13, 101)],
    *[(7, k, 16) for k in (1, 4, 6, 12, 20, 32, 36, 60, 64, 67, 1024, 1028)],
    *[(6, 24, n) for n in (1, 7, 8, 9, 15, 17, 31, 32, 33, 40, 48, 63, 65)],
]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("style", ["uniform", "ends"])
def test_codes_of_a_tile(style, relu):
    rng = np.random.default_rng(7)
    for i, (m, k, n) in enumerate(SHAPES):
        name = ("quint8", "qint8")[i % 2]
        x = oracle.Q(sample_codes(rng, (m, k), name, style), np.float32(0.03), 3 - 60 * (i % 3), name)
        if name == "quint8":
            x = x._replace(zero_point=100 * (i % 3))
        w = weight(rng, (n, k), "qint8", style, "symmetric")
        w = w._replace(scale=rng.uniform(0.001, 0.1, n).astype(np.float32), zero_point=np.zeros(n, np.int32), axis=0)
        bias = rng.normal(0, 5, n).astype(np.float32)
        packed = _C.PackedLinear(to_qtensor(w), bias)
        # The ordinary scale; reals around 2^30 and far beyond int32, where the proof fails and codes are all ends.
        for scale in (0.4 * k**0.5, 2e-8, 1e-12):
            out = params(scale, (0, 77, -128)[i % 3], ("quint8", "quint8", "qint8")[i % 3])
            want = oracle.linear(x, w, bias, out, relu=relu)
            assert_everywhere(lambda x=x, p=packed, o=out: _C.linear(to_qtensor(x), p, to_qparams(o), relu=relu), want)


@pytest.mark.parametrize(("activation", "code"), [(255, -128), (0, -128), (255, 127), (0, 127)])
def test_largest_sums(activation, code):
    """The largest sums of either sign, with the bias among what sums begin with."""
    x = oracle.Q(np.full((5, 1024), activation, np.uint8), np.float32(0.03), 128, "quint8")
    w = oracle.Q(np.full((17, 1024), code, np.int8), np.full(17, 0.01, np.float32), np.zeros(17, np.int32), "qint8", 0)
    bias = np.linspace(-9e3, 9e3, 17, dtype=np.float32)
    packed = _C.PackedLinear(to_qtensor(w), bias)
    for scale in (100.0, 1e-5, 1e-9):
        out = params(scale, 128, "quint8")
        want = oracle.linear(x, w, bias, out)
        assert_everywhere(lambda o=out: _C.linear(to_qtensor(x), packed, to_qparams(o)), want)
