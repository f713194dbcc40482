"""Matrix products and convolutions equal the oracle, bit for bit, on every backend.

The other functions of the extension: test_elementwise.py, test_pools.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
import support
from octensor import _C
from support import (
    EMULATED,
    EXTREMES,
    assert_everywhere,
    byte_dtypes,
    layouts,
    output_like,
    params,
    qparams,
    relayout,
    sample_codes,
    seeds,
    sizes,
    small,
    styles,
    to_qparams,
    to_qtensor,
    weight,
    zero_points,
)

weight_kinds = st.sampled_from(["symmetric", "tensor", "channel"])


# --- sums of products -------------------------------------------------------------------------------


@given(
    sizes,
    sizes,
    sizes,
    st.tuples(byte_dtypes, byte_dtypes),
    seeds,
    styles,
    st.tuples(layouts, layouts),
    st.data(),
)
def test_matmul_integer(m, k, n, names, seed, style, how, data):
    rng = np.random.default_rng(seed)
    a, b = sample_codes(rng, (m, k), names[0], style), sample_codes(rng, (k, n), names[1], style)
    za, zb = data.draw(zero_points(names[0])), data.draw(zero_points(names[1]))
    want = oracle.matmul_integer(a, b, za, zb)
    a, b = relayout(a, how[0]), relayout(b, how[1])
    assert_everywhere(lambda: _C.matmul_integer(a, b, za, zb), want)


@pytest.mark.rows(96, 97, 292, 295)
@given(
    st.one_of(
        st.tuples(sizes),
        st.tuples(small, sizes),
        st.tuples(),
        st.tuples(st.just(0)),
        st.tuples(small, small, small),
    ),
    sizes,
    sizes,
    qparams(),
    byte_dtypes,
    weight_kinds,
    st.booleans(),
    st.booleans(),
    seeds,
    styles,
    layouts,
    st.data(),
)
def test_linear(batch, k, n, source, w_name, w_kind, with_bias, relu, seed, style, layout, data):
    rng = np.random.default_rng(seed)
    x = oracle.Q(sample_codes(rng, (*batch, k), source[2], style), *source)
    w = weight(rng, (n, k), w_name, style, w_kind)
    step = float(x.scale) * float(np.max(w.scale))
    bias = rng.normal(0, 3000 * step, n).astype(np.float32) if with_bias else None
    name = data.draw(byte_dtypes)
    out = output_like(
        step * 5000 * math.sqrt(k),
        data.draw(st.sampled_from([3.0, 100.0, 1000.0])),
        data.draw(zero_points(name)),
        name,
    )
    want = oracle.linear(x, w, bias, out, relu)
    qx, qw, p = to_qtensor(x, layout), to_qtensor(w, data.draw(layouts)), to_qparams(out)
    packed = _C.PackedLinear(qw, bias)
    assert_everywhere(lambda: _C.linear(qx, packed, p, relu=relu), want)


def conv_case(
    rng,
    x_shape,
    w_shape,
    *,
    groups=1,
    bias=True,
    names=("quint8", "qint8", "quint8"),
    kind="channel",
    style="uniform",
    **conv,
):
    """Oracle operands of one convolution whose output uses its range well, and the expected codes."""
    t = oracle.DTYPES[names[0]]
    x = oracle.Q(
        sample_codes(rng, x_shape, names[0], style),
        np.float32(0.037),
        int(rng.integers(t.qmin, t.qmax, endpoint=True)),
        names[0],
    )
    w = weight(rng, w_shape, names[1], style, kind)
    step = float(x.scale) * float(np.max(w.scale))
    b = rng.normal(0, 3000 * step, w_shape[0]).astype(np.float32) if bias else None
    t = oracle.DTYPES[names[2]]
    spread = float(rng.choice([3.0, 100.0, 1000.0]))
    out = output_like(
        step * 5000 * math.sqrt(max(1, math.prod(w_shape[1:]))),
        spread,
        int(rng.integers(t.qmin, t.qmax, endpoint=True)),
        names[2],
    )
    return x, w, b, out, oracle.conv(x, w, b, out, groups=groups, **conv)


def check_conv(case, layout="contiguous", *, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, relu=False):
    x, w, bias, out, want = case
    qx, p = to_qtensor(x, layout), to_qparams(out)
    packed = _C.PackedConv(to_qtensor(w), bias, stride, padding, dilation, groups)
    assert_everywhere(lambda: _C.conv(qx, packed, p, relu=relu), want)


@st.composite
def geometry(draw: st.DrawFn) -> dict[str, tuple[int, int]]:
    """Sizes of image and kernel (h, w) with stride, padding and dilation that leave at least one window."""
    dims = []
    for _ in range(2):
        kernel, stride, dilation = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
        padding = draw(st.integers(0, 6))
        least = max(1, dilation * (kernel - 1) + 1 - 2 * padding)
        dims.append((draw(st.integers(least, least + 6)), kernel, stride, padding, dilation))
    image, kernel, stride, padding, dilation = zip(*dims, strict=True)
    return {"image": image, "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}


@pytest.mark.rows(101, 102, 292, 295)
@given(
    geometry(),
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([0, 1, 1, 2]),
    st.tuples(byte_dtypes, byte_dtypes, byte_dtypes),
    weight_kinds,
    st.booleans(),
    st.booleans(),
    seeds,
    styles,
    layouts,
)
def test_conv2d(g, groups, cin, cout, batch, names, kind, bias, relu, seed, style, layout):
    conv = {
        "stride": g["stride"],
        "padding": g["padding"],
        "dilation": g["dilation"],
        "groups": groups,
        "relu": relu,
    }
    case = conv_case(
        np.random.default_rng(seed),
        (batch, groups * cin, *g["image"]),
        (groups * cout, cin, *g["kernel"]),
        names=names,
        kind=kind,
        bias=bias,
        style=style,
        **conv,
    )
    check_conv(case, layout, **conv)


@given(
    geometry(),
    sizes,
    st.integers(1, 2),
    st.tuples(byte_dtypes, byte_dtypes, byte_dtypes),
    weight_kinds,
    seeds,
    styles,
    layouts,
)
def test_conv2d_depthwise(g, channels, multiple, names, kind, seed, style, layout):
    """One input channel per group, with channel counts around every vector length."""
    conv = {"stride": g["stride"], "padding": g["padding"], "dilation": g["dilation"], "groups": channels}
    case = conv_case(
        np.random.default_rng(seed),
        (1, channels, *g["image"]),
        (channels * multiple, 1, *g["kernel"]),
        names=names,
        kind=kind,
        style=style,
        **conv,
    )
    check_conv(case, layout, **conv)


@given(sizes, sizes, st.integers(1, 6), st.integers(1, 2), seeds, layouts)
def test_conv2d_pointwise(cin, cout, size, stride, seed, layout):
    conv = {"stride": (stride, stride)}
    case = conv_case(np.random.default_rng(seed), (2, cin, size, size + 1), (cout, cin, 1, 1), **conv)
    check_conv(case, layout, **conv)


LARGE = [
    # x, w, conv: more rows, columns and depth than any tile or block, and more work than one thread takes
    ((2, 64, 28, 28), (96, 64, 3, 3), {"padding": (1, 1)}),
    ((1, 3, 61, 67), (32, 3, 7, 7), {"padding": (3, 3), "stride": (2, 2)}),
    ((3, 48, 33, 29), (48, 1, 3, 3), {"padding": (1, 1), "groups": 48}),
    ((1, 72, 20, 20), (144, 36, 1, 1), {"groups": 2}),
    ((1, 520, 5, 5), (33, 520, 3, 3), {"dilation": (2, 2), "padding": (2, 2)}),
]


@pytest.mark.parametrize(("x_shape", "w_shape", "conv"), LARGE[-1:] if EMULATED else LARGE)
def test_conv2d_large(x_shape, w_shape, conv):
    check_conv(conv_case(np.random.default_rng(1), x_shape, w_shape, **conv), "channels_last", **conv)


@pytest.mark.parametrize(
    ("m", "k", "n"), [(65, 600, 40)] if EMULATED else [(200, 1100, 130), (1, 4096, 257), (513, 37, 5)]
)
def test_linear_large(m, k, n):
    rng = np.random.default_rng(2)
    x = oracle.Q(sample_codes(rng, (m, k), "quint8", "uniform"), np.float32(0.02), 131, "quint8")
    w = weight(rng, (n, k), "qint8", "uniform", "channel")
    out = output_like(0.002 * 5000 * math.sqrt(k), 60, 120, "quint8")
    want = oracle.linear(x, w, None, out)
    qx, packed, p = to_qtensor(x), _C.PackedLinear(to_qtensor(w), None), to_qparams(out)
    assert_everywhere(lambda: _C.linear(qx, packed, p), want)


# --- exactness where other runtimes saturate --------------------------------------------------------

ENDS = {"quint8": (0, 255), "qint8": (-128, 127)}


@pytest.mark.rows(294)
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 7, 63, 64, 65, 1023, 4095, 4096])
@pytest.mark.parametrize("names", [("quint8", "qint8"), ("quint8", "quint8"), ("qint8", "qint8"), ("qint8", "quint8")])
def test_largest_products_do_not_saturate(k, names):
    """All codes at the ends of their range, for both signs of the product: exact sums up to K = 4096."""
    for xv in ENDS[names[0]]:
        for wv in ENDS[names[1]]:
            a = np.full((5, k), xv, oracle.DTYPES[names[0]].storage)
            b = np.full((k, 19), wv, oracle.DTYPES[names[1]].storage)
            for za, zb in [
                (0, 0),
                (ENDS[names[0]][0], ENDS[names[1]][1]),
                (ENDS[names[0]][1], ENDS[names[1]][0]),
            ]:
                want = np.full((5, 19), k * (xv - za) * (wv - zb), np.int32)
                for isa in support.ISAS:
                    with support.backend(isa, 1):
                        support.assert_same(_C.matmul_integer(a, b, za, zb), want, isa)


@pytest.mark.parametrize("m", [2, 3, 4, 5, 7, 9])
@pytest.mark.parametrize("load", [63, 64, 65])
def test_sums_of_four_products_at_the_edge_of_int16(m, load):
    """Weights of that load, where 4 * 64 is the most whose products are added in int16, and others among them."""
    rng = np.random.default_rng(load)
    for k in (4, 8, 12, 36, 511, 516, 1027):
        w = rng.choice([load - 1, -load], (k, 17)).astype(np.int8)
        for others in (0, 1, 8):  # large weights make some groups go alone
            w[rng.permutation(k)[: others * k // 40], rng.integers(17)] = -128
            for a in ([0], [255], [0, 1, 127, 128, 129, 255]):
                x = rng.choice(a, (m, k)).astype(np.uint8)
                want = (x.astype(np.int32) - 128) @ w.astype(np.int32)
                assert_everywhere(lambda x=x, w=w: _C.matmul_integer(x, w, 128, 0), want)
    w[:] = np.where(rng.random(w.shape) < 0.5, load - 1, -load)
    for x in (np.where(w[:, 0] < 0, 0, 255), np.where(w[:, 0] < 0, 255, 0)):  # all products of a column of one sign
        x = np.tile(x, (m, 1)).astype(np.uint8)
        want = (x.astype(np.int32) - 128) @ w.astype(np.int32)
        assert_everywhere(lambda x=x: _C.matmul_integer(x, w, 128, 0), want)


@pytest.mark.parametrize("n", [1, 8, 9, 16, 17, 31, 33, 513, 1048])
def test_one_row_of_the_largest_codes(n):
    rng = np.random.default_rng(n)
    for k in (1, 3, 4, 31, 32, 33, 129):
        for a in ([0], [255], [127, 128], [0, 1, 127, 128, 129, 255]):
            x, w = rng.choice(a, (1, k)).astype(np.uint8), rng.choice([-128, -127, -1, 0, 127], (k, n)).astype(np.int8)
            za, zb = int(rng.integers(0, 256)), int(rng.integers(-128, 128))
            want = (x.astype(np.int32) - za) @ (w.astype(np.int32) - zb)
            assert_everywhere(lambda x=x, w=w, za=za, zb=zb: _C.matmul_integer(x, w, za, zb), want)


def test_a_last_block_of_one_row():
    """Long rows go in blocks of a few, of which the last one may have a single row."""
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 256, (9, 50_000), dtype=np.uint8), rng.integers(-128, 128, (50_000, 18), dtype=np.int8)
    want = ((a.astype(np.float64) - 7) @ b.astype(np.float64)).astype(np.int32)
    assert_everywhere(lambda: _C.matmul_integer(a, b, 7, 0), want)


@pytest.mark.parametrize("channels", [1, 2, 113, 114, 115, 256, 455])
def test_conv2d_of_the_largest_codes(channels):
    """All-255 activations times all-(-128) weights in 3 x 3: K up to 4095."""
    x = oracle.Q(np.full((1, channels, 6, 6), 255, np.uint8), np.float32(0.5), 0, "quint8")
    w = oracle.Q(np.full((9, channels, 3, 3), -128, np.int8), np.float32(0.25), 0, "qint8")
    out = params(0.125 * 255 * 128 * 9 * channels / 200, 255, "quint8")
    want = oracle.conv(x, w, None, out, padding=(1, 1))
    assert len(np.unique(want)) == 3  # corners, edges, inside
    check_conv((x, w, None, out, want), padding=(1, 1))


def test_linear_at_the_edge_of_int32():
    """The longest K of the largest products that int32 holds is exact; one more is refused."""
    k = (2**31 - 1) // (255 * 128)
    p = _C.QParams(2.0**25, 0, _C.qint8)
    for extra, fits in ((0, True), (1, False)):
        x = _C.QTensor.from_numpy(np.full((1, k + extra), 255, np.uint8), _C.QParams(1.0, 0, _C.quint8))
        w = _C.QTensor.from_numpy(np.full((3, k + extra), -128, np.int8), _C.QParams(1.0, 0, _C.qint8))
        if fits:
            want = np.full((1, 3), np.rint(np.float32(-k * 255 * 128) / np.float32(2**25)), np.int8)
            assert_everywhere(lambda x=x, w=w: _C.linear(x, _C.PackedLinear(w, None), p), want)
        else:
            with pytest.raises(ValueError, match="int32"):
                _C.linear(x, _C.PackedLinear(w, None), p)


@pytest.mark.parametrize("x_scale", EXTREMES)
@pytest.mark.parametrize("out_scale", EXTREMES)
def test_linear_with_extreme_scales(x_scale, out_scale):
    """Equal to the oracle whenever the multiplier is a finite float32 number, refused otherwise."""
    rng = np.random.default_rng(3)
    x = oracle.Q(sample_codes(rng, (3, 21), "quint8", "uniform"), np.float32(x_scale), 255, "quint8")
    for w_scale in EXTREMES:
        w = oracle.Q(sample_codes(rng, (9, 21), "qint8", "uniform"), np.float32(w_scale), 0, "qint8")
        out = params(out_scale, 0, "quint8")
        qx, packed, p = to_qtensor(x), _C.PackedLinear(to_qtensor(w), None), to_qparams(out)
        if np.isfinite(oracle.multiplier(x.scale, w.scale, over=out.scale)):
            want = oracle.linear(x, w, None, out)
            assert_everywhere(lambda qx=qx, packed=packed, p=p: _C.linear(qx, packed, p), want)
        else:
            with pytest.raises(ValueError, match="linear"):
                _C.linear(qx, packed, p)


def test_empty_sums_give_the_bias():
    """K = 0: nothing to add up but the bias."""
    x = _C.QTensor.from_numpy(np.empty((3, 0), np.uint8), _C.QParams(0.5, 7, _C.quint8))
    w = _C.QTensor.from_numpy(np.empty((5, 0), np.int8), _C.QParams(0.5, 0, _C.qint8))
    bias = np.array([-2, -1, 0, 1, 2], np.float32)
    p = _C.QParams(0.5, 100, _C.quint8)
    want = np.tile(np.array([96, 98, 100, 102, 104], np.uint8), (3, 1))
    assert_everywhere(lambda: _C.linear(x, _C.PackedLinear(w, bias), p), want)


def test_no_output_channels():
    """A weight without rows keeps its K: inputs that fit it give an empty result, others are refused."""
    codes = _C.QTensor.from_numpy(np.ones((3, 6), np.uint8), _C.QParams(0.5, 7, _C.quint8))
    none = _C.QTensor.from_numpy(np.empty((0, 6), np.int8), _C.QParams(0.5, 0, _C.qint8))
    packed = _C.PackedLinear(none, None)
    p = _C.QParams(0.5, 100, _C.quint8)
    assert_everywhere(lambda: _C.linear(codes, packed, p), np.empty((3, 0), np.uint8))
    real = np.ones((3, 6), np.float32)
    for per_row in (False, True):
        assert_everywhere(lambda r=per_row: _C.linear_dynamic(real, packed, per_row=r), np.empty((3, 0), np.float32))
    with pytest.raises(ValueError, match=r"expected shape \[..., 6\]"):
        _C.linear_dynamic(real[:, :0], packed)
    image = _C.QTensor.from_numpy(np.ones((2, 4, 5, 5), np.uint8), _C.QParams(0.5, 7, _C.quint8))
    for groups in (1, 2, 4):
        w = _C.QTensor.from_numpy(np.empty((0, 4 // groups, 3, 3), np.int8), _C.QParams(0.5, 0, _C.qint8))
        conv = _C.PackedConv(w, None, (1, 1), (1, 1), (1, 1), groups)
        assert_everywhere(lambda c=conv: _C.conv(image, c, p), np.empty((2, 0, 5, 5), np.uint8))


def test_packed_weights_follow_the_instruction_set():
    """Weights packed under one instruction set work under another: packing is a cache, not a state."""
    rng = np.random.default_rng(4)
    x, w, bias, out, want = conv_case(rng, (1, 5, 7, 6), (11, 5, 3, 3))
    qx, qw, p = to_qtensor(x), to_qtensor(w), to_qparams(out)
    for first in support.ISAS:
        with support.backend(first, 1):
            packed = _C.PackedConv(qw, bias, (1, 1), (0, 0), (1, 1), 1)
            _C.conv(qx, packed, p)
        for second in support.ISAS:
            with support.backend(second, 2):
                support.assert_same(_C.conv(qx, packed, p), want, f"{first} then {second}")


def test_one_packed_weight_serves_many_parameters():
    """Input and output parameters belong to the call: alternating them must not mix anything cached."""
    rng = np.random.default_rng(5)
    x, w, bias, _, _ = conv_case(rng, (1, 5, 4, 4), (11, 5, 3, 3))
    packed = _C.PackedConv(to_qtensor(w), bias, (1, 1), (0, 0), (1, 1), 1)
    for x_scale, x_zero, out_scale, out_zero in [
        (0.1, 3, 5.0, 0),
        (0.2, 3, 5.0, 0),
        (0.1, 9, 5.0, 0),
        (0.1, 3, 4.0, 77),
    ] * 2:
        x = x._replace(scale=np.float32(x_scale), zero_point=x_zero)
        out = params(out_scale, out_zero, "quint8")
        support.assert_same(_C.conv(to_qtensor(x), packed, to_qparams(out)), oracle.conv(x, w, bias, out))


# --- the batch does not matter --------------------------------------------------------------------------


def test_a_batch_gives_the_bytes_of_its_rows():
    """Splitting a batch in any way gives the same bytes."""
    rng = np.random.default_rng(8)
    x, w, bias, out, want = conv_case(rng, (5, 7, 9, 8), (13, 7, 3, 3), padding=(1, 1))
    packed = _C.PackedConv(to_qtensor(w), bias, (1, 1), (1, 1), (1, 1), 1)
    whole, p = to_qtensor(x, "channels_last"), to_qparams(out)
    for split in ([1, 1, 1, 1, 1], [2, 3], [4, 1], [5]):
        start, parts = 0, []
        for n in split:
            parts.append(_C.conv(whole[start : start + n], packed, p).int_repr())
            start += n
        support.assert_same(np.concatenate(parts), want, str(split))
