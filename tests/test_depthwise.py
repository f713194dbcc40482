"""Depthwise convolution equals the oracle bit for bit at the edges of each of its ways of computing."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import oracle
import support
from octensor import _C
from support import EMULATED, assert_everywhere, layouts, sample_codes, to_qparams, to_qtensor, weight

KERNELS = [(3, 3), (3, 3), (5, 5), (1, 1), (1, 7), (7, 1), (2, 4), (4, 2), (6, 3)]


def check(rng, x_shape, kernel, names=("quint8", "qint8", "quint8"), how="channel", style="uniform", **options) -> None:
    """Compare one depthwise convolution with the oracle on every backend."""
    spread, relu, layout = options.pop("spread", 60.0), options.pop("relu", False), options.pop("layout", "contiguous")
    transposed = "output_padding" in options
    channels, t = x_shape[1], oracle.DTYPES[names[0]]
    zero = int(rng.choice([t.qmin, t.qmax, rng.integers(t.qmin, t.qmax)]))
    x = oracle.Q(sample_codes(rng, x_shape, names[0], style), np.float32(0.03), zero, names[0])
    w = weight(rng, (channels, 1, *kernel), names[1], style, "tensor" if transposed else how)
    bias = rng.normal(0, 1, channels).astype(np.float32) if rng.integers(2) else None
    scale = float(x.scale) * float(np.mean(w.scale)) * 100 * 100 * np.sqrt(np.prod(kernel))
    out = support.output_like(scale, spread, int(rng.integers(*oracle.DTYPES[names[2]][:2])), names[2])
    pack = _C.PackedConv.transposed if transposed else _C.PackedConv
    packed = pack(to_qtensor(w), bias, groups=channels, **options)
    reference = oracle.conv_transpose if transposed else oracle.conv
    want = reference(x, w, bias, out, groups=channels, relu=relu, **options)
    assert_everywhere(lambda: _C.conv(to_qtensor(x, layout), packed, to_qparams(out), relu=relu), want)


names = st.tuples(support.byte_dtypes, support.byte_dtypes, support.byte_dtypes)
# Sums of ordinary size, and such whose product with the multiplier leaves int32.
spreads = st.sampled_from([60.0, 60.0, 1e9])
pairs = {low: st.tuples(st.integers(low, high), st.integers(low, high)) for low, high in ((1, 3), (0, 4))}


@given(
    st.integers(2, 70),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from(KERNELS),
    pairs[1],
    pairs[0],
    pairs[1],
    names,
    st.sampled_from(["channel", "symmetric", "tensor"]),
    support.styles,
    spreads,
    st.booleans(),
    layouts,
    support.seeds,
)
def test_any_shape(channels, size, kernel, stride, padding, dilation, names, how, style, spread, relu, layout, seed):
    padding = tuple(
        max(p, (d * (k - 1) + 2 - n) // 2) for p, d, k, n in zip(padding, dilation, kernel, size, strict=True)
    )
    check(
        np.random.default_rng(seed),
        (2, channels, *size),
        kernel,
        names,
        how,
        style,
        spread=spread,
        relu=relu,
        layout=layout,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )


@given(st.integers(2, 40), st.tuples(st.integers(1, 6), st.integers(1, 6)), pairs[1], names, support.seeds)
def test_transposed(channels, size, stride, names, seed):
    rng = np.random.default_rng(seed)
    extra = tuple(int(rng.integers(0, s)) for s in stride)  # padding that differs from side to side
    check(
        rng,
        (1, channels, *size),
        (3, 3),
        names,
        stride=stride,
        padding=(1, 1) if min(size) > 1 else (0, 0),
        output_padding=extra,
        dilation=(1, 1),
    )


LONG = [
    # x, kernel, walk: lines longer than the window's part of the L1 cache and than a filling of the buffer, taps too
    # far apart to share cells, one and three axes, kernels of more steps than any cache holds
    ((1, 130, 5, 71), (3, 3), {"padding": (1, 1)}),
    ((1, 100, 6, 103), (3, 3), {"padding": (1, 1), "stride": (2, 2)}),
    ((1, 17, 4, 301), (3, 3), {"padding": (2, 2), "dilation": (2, 2)}),
    ((1, 33, 5, 205), (5, 5), {"padding": (2, 2), "stride": (1, 2)}),
    ((1, 20, 3, 150), (3, 3), {"padding": (1, 45), "dilation": (1, 45)}),
    ((2, 35, 500), (9,), {"padding": (4,), "stride": (1,)}),
    ((1, 18, 4, 5, 6), (3, 2, 3), {"padding": (1, 1, 1)}),
    ((1, 16, 31, 33), (31, 31), {"padding": (15, 15)}),
    ((3, 160, 7, 7), (3, 3), {"padding": (1, 1)}),
]


@pytest.mark.parametrize("style", ["uniform", "ends"])
@pytest.mark.parametrize(("x_shape", "kernel", "walk"), LONG[-1:] if EMULATED else LONG)
def test_long_lines(x_shape, kernel, walk, style):
    axes = len(kernel)
    walk = {"stride": (1,) * axes, "padding": (0,) * axes, "dilation": (1,) * axes} | walk
    check(np.random.default_rng(3), x_shape, kernel, style=style, how="symmetric", **walk)


def test_calls_that_alternate_share_nothing():
    """What one call leaves for the next fits it: other sizes, parameters, strides and instruction sets in turn."""
    rng = np.random.default_rng(5)
    w = weight(rng, (24, 1, 3, 3), "qint8", "uniform", "channel")
    walk = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    packed = _C.PackedConv(to_qtensor(w), None, groups=24, **walk)
    cases = []
    for size, zero, layout in [((4, 5), 3, "contiguous"), ((4, 5), 200, "sliced"), ((6, 2), 3, "channels_last")]:
        x = oracle.Q(sample_codes(rng, (1, 24, *size), "quint8", "uniform"), np.float32(0.1), zero, "quint8")
        for out_zero in (0, 77):
            out = support.params(0.9, out_zero, "quint8")
            cases.append((to_qtensor(x, layout), to_qparams(out), oracle.conv(x, w, None, out, groups=24, **walk)))
    for _ in range(3):
        for x, q, want in cases:
            assert_everywhere(lambda x=x, q=q: _C.conv(x, packed, q), want)
