"""Pools equal the oracle, bit for bit, on every backend."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
import oracle_ops
from octensor import _C
from support import (
    EMULATED,
    assert_everywhere,
    layouts,
    qparams,
    sample_codes,
    seeds,
    sizes,
    small,
    styles,
    to_qtensor,
)

# --- pools --------------------------------------------------------------------------------------------


@st.composite
def pooling(draw: st.DrawFn) -> dict[str, tuple[int, int]]:
    """As `geometry`, with padding at most half the kernel, which is what pools allow."""
    dims = []
    for _ in range(2):
        kernel, stride, dilation = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
        padding = draw(st.integers(0, kernel // 2))
        least = max(1, dilation * (kernel - 1) + 1 - 2 * padding)
        dims.append((draw(st.integers(least, least + 7)), kernel, stride, padding, dilation))
    image, kernel, stride, padding, dilation = zip(*dims, strict=True)
    return {"image": image, "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}


pool_batches = st.tuples(st.sampled_from([0, 1, 2]), sizes)


@pytest.mark.rows(94)
@given(pool_batches, pooling(), qparams(), st.booleans(), seeds, styles, layouts)
def test_max_pool2d(batch, g, source, ceil, seed, style, layout):
    codes = sample_codes(np.random.default_rng(seed), (*batch, *g["image"]), source[2], style)
    args = (g["kernel"], g["stride"], g["padding"], g["dilation"], ceil)
    x = to_qtensor(oracle.Q(codes, *source), layout)
    assert_everywhere(lambda: _C.max_pool(x, *args), oracle.max_pool2d(codes, *args))


@pytest.mark.parametrize("name", ["qint8", "quint8"])
def test_max_pool2d_of_a_window_wholly_in_the_padding(name):
    """Dilation may step over a small image: nothing is larger than the smallest code."""
    codes = sample_codes(np.random.default_rng(0), (1, 19, 2, 2), name, "uniform")
    x = to_qtensor(oracle.Q(codes, 0.5, 3, name))
    args = ((2, 2), (1, 1), (1, 1), (3, 3), False)
    assert_everywhere(lambda: _C.max_pool(x, *args), np.full((1, 19, 1, 1), oracle.DTYPES[name].qmin, codes.dtype))


@pytest.mark.rows(68)
@given(
    pool_batches,
    pooling(),
    qparams(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, None, 1, 2, 7]),
    seeds,
    styles,
    layouts,
)
def test_avg_pool2d(batch, g, source, ceil, include_pad, divisor, seed, style, layout):
    h, w = (g["image"][i] + g["dilation"][i] * (g["kernel"][i] - 1) for i in range(2))  # room without dilation
    q = oracle.Q(sample_codes(np.random.default_rng(seed), (*batch, h, w), source[2], style), *source)
    args = (g["kernel"], g["stride"], g["padding"], ceil, include_pad, divisor)
    x = to_qtensor(q, layout)
    assert_everywhere(lambda: _C.avg_pool(x, *args), oracle.avg_pool2d(q, *args))


@pytest.mark.rows(69)
@given(
    pool_batches,
    st.tuples(small, small),
    st.tuples(*[st.one_of(st.none(), st.integers(1, 7))] * 2),
    qparams(),
    seeds,
    styles,
    layouts,
)
def test_adaptive_avg_pool2d(batch, image, size, source, seed, style, layout):
    q = oracle.Q(sample_codes(np.random.default_rng(seed), (*batch, *image), source[2], style), *source)
    x = to_qtensor(q, layout)
    assert_everywhere(lambda: _C.adaptive_avg_pool(x, size), oracle.adaptive_avg_pool2d(q, size))


def test_global_average_of_a_large_image():
    """A sum beyond 2**24 is rounded to float32 once before the division."""
    rng = np.random.default_rng(7)
    side = 61 if EMULATED else 311
    q = oracle.Q(rng.integers(100, 255, (1, 3, side, side)).astype(np.uint8), np.float32(0.1), 0, "quint8")
    x = to_qtensor(q)
    assert_everywhere(lambda: _C.adaptive_avg_pool(x, (1, 1)), oracle.adaptive_avg_pool2d(q, (1, 1)))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_large_pools(layout):
    rng = np.random.default_rng(8)
    shape = (2, 19, 9, 8) if EMULATED else (3, 67, 57, 40)
    q = oracle.Q(rng.integers(0, 256, shape).astype(np.uint8), np.float32(0.1), 9, "quint8")
    x = to_qtensor(q, layout)
    maximum = ((3, 3), (2, 2), (1, 1), (1, 1), True)
    mean = ((3, 2), (2, 2), (1, 1), False, False, None)
    assert_everywhere(lambda: _C.max_pool(x, *maximum), oracle.max_pool2d(q.codes, *maximum))
    assert_everywhere(lambda: _C.avg_pool(x, *mean), oracle.avg_pool2d(q, *mean))
    assert_everywhere(lambda: _C.adaptive_avg_pool(x, (4, 7)), oracle.adaptive_avg_pool2d(q, (4, 7)))


@pytest.mark.rows(94)
@pytest.mark.parametrize("channels", [1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 300])
@pytest.mark.parametrize("name", ["qint8", "quint8"])
def test_channels_around_every_block(channels, name):
    """3 x 3 and other windows, of channels around one, two and four vectors."""
    q = oracle.Q(sample_codes(np.random.default_rng(channels), (1, channels, 6, 7), name, "uniform"), 0.1, 5, name)
    x = to_qtensor(q, "channels_last")
    for kernel, padding in [((3, 3), (1, 1)), ((2, 2), (0, 0)), ((3, 2), (1, 0))]:
        args = (kernel, (2, 1), padding, (1, 1), False)
        assert_everywhere(lambda args=args: _C.max_pool(x, *args), oracle.max_pool2d(q.codes, *args))
        mean = (kernel, (2, 1), padding, False, False, None)
        assert_everywhere(lambda mean=mean: _C.avg_pool(x, *mean), oracle.avg_pool2d(q, *mean))


@pytest.mark.rows(94)
@pytest.mark.parametrize("axes", [1, 3])
@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 2), st.booleans(), qparams(), seeds, styles, layouts)
def test_pools_of_sequences_and_volumes(axes, channels, kernel, stride, ceil, source, seed, style, layout):
    shape = (2, channels, *(5, 4, 6)[:axes])
    q = oracle.Q(sample_codes(np.random.default_rng(seed), shape, source[2], style), *source)
    x, padding = to_qtensor(q, layout), (kernel // 2,) * axes
    size, step, ones = (kernel,) * axes, (stride,) * axes, (1,) * axes
    want = oracle_ops.max_pool(q, size, step, padding, ones, ceil)
    assert_everywhere(lambda: _C.max_pool(x, size, step, padding, ones, ceil), want)
    for include, divisor in [(True, None), (False, None), (False, 3)]:
        args = (size, step, padding, ceil, include, divisor)
        assert_everywhere(lambda args=args: _C.avg_pool(x, *args), oracle_ops.avg_pool(q, *args))
