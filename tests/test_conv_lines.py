"""Convolutions of few channels that multiply codes where the input's lines lie: extremes, segments, every rest."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
from octensor import _C
from support import assert_everywhere, params, sample_codes, to_qparams, to_qtensor, weight


def check(x, w, out, **walk):
    packed = _C.PackedConv(to_qtensor(w), None, groups=1, **walk)
    want = oracle.conv(x, w, None, out, groups=1, relu=False, **walk)
    assert_everywhere(lambda: _C.conv(to_qtensor(x, "channels_last"), packed, to_qparams(out), relu=False), want)


@pytest.mark.parametrize("x_dtype", ["quint8", "qint8"])
@pytest.mark.parametrize("lowest", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("style", ["lowest", "highest", "ends"])
def test_extremes(x_dtype, lowest, style):
    """Weights of -128 and 127 without zero points: products of the largest magnitudes, in every position of a group."""
    rng = np.random.default_rng(1)
    w = np.where(rng.random((48, 3, 7, 7)) < lowest, -128, 127).astype(np.int8)
    w = oracle.Q(w, np.float32(0.004), 0, "qint8")
    t = oracle.DTYPES[x_dtype]
    for zero in (t.qmin, t.qmax):
        x = oracle.Q(sample_codes(rng, (1, 3, 9, 23), x_dtype, style), np.float32(0.004), zero, x_dtype)
        check(x, w, params(0.5, 100, "quint8"), stride=(2, 2), padding=(3, 3), dilation=(1, 1))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", [2, 3, 5, 6, 7])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_rests(channels, kernel, stride):
    """Runs that leave 0 to 3 values, gathered or not; outputs beyond whole tiles and whole panels."""
    rng = np.random.default_rng(100 * channels + 10 * kernel + stride)
    x = oracle.Q(sample_codes(rng, (2, channels, 8, 37), "quint8", "uniform"), np.float32(0.03), 77, "quint8")
    w = weight(rng, (35, channels, 3, kernel), "qint8", "uniform", "symmetric")
    check(x, w, params(0.3, 9, "qint8"), stride=(1, stride), padding=(1, kernel // 2), dilation=(2, 1))


@pytest.mark.parametrize("width", [700, 1801])
def test_segments(width):
    """Lines longer than what the L1 cache holds of them."""
    rng = np.random.default_rng(width)
    x = oracle.Q(sample_codes(rng, (1, 3, 7, width), "quint8", "uniform"), np.float32(0.03), 3, "quint8")
    w = weight(rng, (33, 3, 7, 5), "qint8", "uniform", "symmetric")
    check(x, w, params(1.0, 128, "quint8"), stride=(2, 1), padding=(3, 2), dilation=(1, 1))
