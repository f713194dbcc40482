"""Grouped convolutions of every width per group, and stems, equal the oracle bit for bit."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import oracle
import support
from octensor import _C
from support import assert_everywhere, layouts, params, sample_codes, to_qparams, to_qtensor, weight

widths = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 32])


def check(x, w, bias, out, groups, relu=False, layout="contiguous", **walk):
    packed = _C.PackedConv(to_qtensor(w), bias, groups=groups, **walk)
    want = oracle.conv(x, w, bias, out, groups=groups, relu=relu, **walk)
    assert_everywhere(lambda: _C.conv(to_qtensor(x, layout), packed, to_qparams(out), relu=relu), want)


def operands(rng, x_shape, w_shape, x_dtype="quint8", w_dtype="qint8", style="uniform", how="symmetric"):
    t = oracle.DTYPES[x_dtype]
    zero = int(rng.integers(t.qmin, t.qmax, endpoint=True))
    x = oracle.Q(sample_codes(rng, x_shape, x_dtype, style), np.float32(0.03), zero, x_dtype)
    return x, weight(rng, w_shape, w_dtype, style, how)


@st.composite
def cases(draw: st.DrawFn):
    spatial = draw(st.sampled_from([1, 2, 2, 2, 3]))
    cg, og = draw(widths), draw(widths)
    groups = draw(st.one_of(st.just(1), st.integers(2, max(2, min(20, 160 // max(cg, og))))))

    def axes(lo: int, hi: int) -> tuple[int, ...]:
        return tuple(draw(st.lists(st.integers(lo, hi), min_size=spatial, max_size=spatial)))

    kernel, stride, padding, dilation = axes(1, 3), axes(1, 3), axes(0, 3), axes(1, 3)
    size = tuple(
        max(d * (k - 1) + 1 - 2 * p, 1) + extra
        for d, k, p, extra in zip(dilation, kernel, padding, axes(0, 40 if spatial == 1 else 6), strict=True)
    )
    rng = np.random.default_rng(draw(support.seeds))
    x, w = operands(
        rng,
        (draw(st.integers(1, 2)), cg * groups, *size),
        (og * groups, cg, *kernel),
        draw(support.byte_dtypes),
        draw(support.byte_dtypes),
        draw(support.styles),
        draw(st.sampled_from(["tensor", "symmetric", "symmetric", "channel"])),
    )
    bias = rng.normal(0, 1, og * groups).astype(np.float32) if draw(st.booleans()) else None
    out = params(draw(st.sampled_from([0.05, 0.7])), 100, "quint8")
    walk = {"stride": stride, "padding": padding, "dilation": dilation}
    return x, w, bias, out, groups, draw(st.booleans()), draw(layouts), walk


@given(cases())
def test_any_geometry(case):
    x, w, bias, out, groups, relu, layout, walk = case
    check(x, w, bias, out, groups, relu, layout, **walk)


@pytest.mark.parametrize("cg", [*range(1, 10), 16, 17, 32])
@pytest.mark.parametrize("og", [*range(1, 10), 16, 17, 32])
def test_every_width(cg, og):
    """More than one vector of lanes, a last vector in part, padding on every side."""
    rng = np.random.default_rng(100 * cg + og)
    groups = max(2, -(-37 // og))
    how = "channel" if cg % 2 else "symmetric"
    x, w = operands(rng, (1, cg * groups, 4, 11), (og * groups, cg, 3, 3), ["qint8", "quint8"][og % 2], how=how)
    out = params(0.03 * 0.011 * 100 * cg**0.5, 3, "qint8")
    check(x, w, None, out, groups, stride=(1, 1), padding=(1, 1), dilation=(1, 1))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (7, 2, 3), (5, 1, 2), (2, 3, 0)])
def test_stems(channels, kernel, stride, padding):
    """Few input channels: patches of short runs, all of whose sides reach over the input."""
    rng = np.random.default_rng(10 * channels + kernel)
    for out_channels in (7, 32, 33, 70):
        x, w = operands(
            rng,
            (2, channels, 13, 19),
            (out_channels, channels, kernel, kernel),
            how=["symmetric", "channel", "tensor"][channels % 3],
        )
        walk = {"stride": (stride, stride), "padding": (padding, padding), "dilation": (1, 1)}
        check(x, w, None, params(0.05, 128, "quint8"), 1, True, **walk)


@pytest.mark.parametrize("width", [31, 200, 517])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 2), (1, 9), (5, 1)])
def test_long_lines(width, stride, dilation):
    """Lines that are cut into segments."""
    rng = np.random.default_rng(width)
    x, w = operands(rng, (1, 36, 3, width), (24, 6, 2, 3), how="channel")
    walk = {"stride": (1, stride), "padding": (1, 2), "dilation": (2, dilation)}
    check(x, w, None, params(0.1, 128, "quint8"), 6, **walk)


@pytest.mark.parametrize("w_dtype", ["qint8", "quint8"])
@pytest.mark.parametrize("x_dtype", ["qint8", "quint8"])
@pytest.mark.parametrize(
    ("groups", "cg", "og"), [(9, 1, 2), (9, 2, 2), (9, 4, 4), (5, 8, 8), (3, 13, 5), (3, 32, 8), (1, 3, 32)]
)
def test_extremes(groups, cg, og, x_dtype, w_dtype):
    """Ends of both ranges with zero points at either end: the largest products that there are."""
    tx, tw = oracle.DTYPES[x_dtype], oracle.DTYPES[w_dtype]
    rng = np.random.default_rng(0)
    for zx in (tx.qmin, tx.qmax):
        for zw in (tw.qmin, tw.qmax, tw.qmin + 128):
            far = tw.qmin if zw == tw.qmax else tw.qmax
            codes = np.where(rng.random((og * groups, cg, 3, 3)) < 0.9, far, zw).astype(tw.storage)
            w = oracle.Q(codes, np.float32(0.004), zw, w_dtype)
            x = sample_codes(rng, (1, cg * groups, 5, 9), x_dtype, "ends")
            x = oracle.Q(x, np.float32(0.004), zx, x_dtype)
            walk = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
            check(x, w, None, params(0.01 * cg, 0, "qint8"), groups, **walk)
