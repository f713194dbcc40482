"""3x3 convolutions by Winograd's algorithm: the oracle's bytes always, at the edge of the proof and beyond it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
import support
from octensor import _C
from support import (
    EMULATED,
    assert_everywhere,
    byte_dtypes,
    layouts,
    params,
    seeds,
    sizes,
    styles,
    to_qparams,
    to_qtensor,
)
from test_kernels import check_conv, conv_case, weight_kinds

FORCED = ("winograd2", "winograd4")


@contextlib.contextmanager
def algorithm(name: str) -> Iterator[None]:
    """Run a block with one algorithm preferred wherever it applies."""
    _C.set_conv_algorithm(name)
    try:
        yield
    finally:
        _C.set_conv_algorithm("auto")


def packed_3x3(w: oracle.Q, bias: np.ndarray | None = None, padding: tuple[int, int] = (0, 0)) -> _C.PackedConv:
    return _C.PackedConv(to_qtensor(w), bias, (1, 1), padding, (1, 1), 1)


@given(
    st.tuples(st.integers(1, 13), st.integers(1, 13)),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    sizes,
    sizes,
    st.integers(1, 3),
    st.tuples(byte_dtypes, byte_dtypes, byte_dtypes),
    weight_kinds,
    st.booleans(),
    st.booleans(),
    seeds,
    styles,
    layouts,
)
def test_any_shape(image, padding, cin, cout, batch, names, kind, bias, relu, seed, style, layout):
    height, width = (max(n, 3 - 2 * p) for n, p in zip(image, padding, strict=True))
    case = conv_case(
        np.random.default_rng(seed),
        (batch, cin, height, width),
        (cout, cin, 3, 3),
        names=names,
        kind=kind,
        bias=bias,
        style=style,
        padding=padding,
        relu=relu,
    )
    for name in FORCED:
        with algorithm(name):
            check_conv(case, layout, padding=padding, relu=relu)


# More tiles than a block, more panels and channels than a vector, parts (520 channels of full-range weights).
LARGE = [
    ((1, 64, 56, 56), 64, (1, 1)),
    ((2, 35, 31, 45), 70, (2, 0)),
    ((1, 520, 7, 7), 65, (1, 1)),
    ((5, 130, 7, 6), 33, (0, 1)),
    ((1, 5, 90, 3), 3, (1, 1)),
]


@pytest.mark.parametrize(("x_shape", "cout", "padding"), LARGE[2:3] if EMULATED else LARGE)
def test_large(x_shape, cout, padding):
    case = conv_case(np.random.default_rng(1), x_shape, (cout, x_shape[1], 3, 3), kind="symmetric", padding=padding)
    for name in FORCED:
        with algorithm(name):
            check_conv(case, "channels_last", padding=padding)


def test_cropped_by_a_transposed_convolution():
    """Stride 1 is an ordinary convolution with padding 2 - p, which may be negative."""
    rng = np.random.default_rng(2)
    for padding in range(5):
        x = oracle.Q(support.sample_codes(rng, (1, 7, 9, 11), "quint8", "uniform"), np.float32(0.1), 3, "quint8")
        w = support.weight(rng, (7, 5, 3, 3), "qint8", "uniform", "symmetric")
        packed = _C.PackedConv.transposed(to_qtensor(w), None, [1, 1], [padding] * 2, [0, 0], [1, 1], 1)
        qx, p = to_qtensor(x), to_qparams(params(1.0, 100, "quint8"))
        with algorithm("direct"), support.backend("scalar", 1):
            want = np.array(_C.conv(qx, packed, p).int_repr())
        for name in FORCED:
            with algorithm(name):
                assert packed.algorithm((1, 7, 9, 11)) == name
                assert_everywhere(lambda packed=packed, qx=qx, p=p: _C.conv(qx, packed, p), want)


# --- the proof ------------------------------------------------------------------------------------------

# 255 * sum |w - zw| + 2 <= 2^bits
LIMITS = {"winograd2": (2**30 - 2) // 255, "winograd4": (2**26 - 2) // 255}


def weight_of_sum(total: int, reach: int, sign: int) -> oracle.Q:
    """One output channel whose sum of |w - zw| is ``total``: all weights ``reach`` away from zero but the last one."""
    channels = -(-total // (9 * reach))
    w = np.zeros((channels, 3, 3), np.int64)
    w.reshape(-1)[: total // reach] = reach
    w.reshape(-1)[total // reach : total // reach + 1] = total % reach
    if reach == 255:
        zero = 0 if sign > 0 else 255
        return oracle.Q((zero + sign * w)[None].astype(np.uint8), np.float32(1.0), zero, "quint8")
    return oracle.Q((sign * w)[None].astype(np.int8), np.float32(1.0), 0, "qint8")


@pytest.mark.parametrize("name", FORCED)
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("x_name", "zero_point"), [("quint8", 0), ("quint8", 255), ("quint8", 77), ("qint8", -128)])
def test_edge_of_the_proof(name, sign, x_name, zero_point):
    """Sums at both ends of the largest range that is exact in one piece, and of one that is larger by a step."""
    reach = 255 if name == "winograd2" or sign > 0 else 128
    t = oracle.DTYPES[x_name]
    for extra, chosen in ((0, name), (1, f"{name}/2")):
        w = weight_of_sum(LIMITS[name] + extra, reach, sign)
        span = 255 * (LIMITS[name] + extra)
        packed, channels = packed_3x3(w), w.codes.shape[1]
        with algorithm(name):
            assert packed.algorithm((1, channels, 6, 6)) == chosen
            for code in (t.qmin, t.qmax):
                x = oracle.Q(np.full((1, channels, 6, 6), code, t.storage), np.float32(1.0), zero_point, x_name)
                sum_ = sign * (code - zero_point) * (LIMITS[name] + extra)
                out = params(span / 200, 0 if sum_ >= 0 else 255, "quint8")
                want = oracle.conv(x, w, None, out)
                assert len(np.unique(want)) == 1
                qx, p = to_qtensor(x), to_qparams(out)
                assert_everywhere(lambda qx=qx, packed=packed, p=p: _C.conv(qx, packed, p), want)


def test_a_bias_beyond_the_proof():
    """The bias is added to the exact sum: it may be larger than any range that the transform keeps."""
    w = weight_of_sum(LIMITS["winograd4"], 128, -1)
    x = oracle.Q(np.full((1, w.codes.shape[1], 6, 6), 255, np.uint8), np.float32(1.0), 0, "quint8")
    for bias in (-2.0e9, 2.0e9):
        b, out = np.array([bias], np.float32), params(2.1e9 / 255, 0 if bias > 0 else 255, "quint8")
        packed, qx, p = packed_3x3(w, b), to_qtensor(x), to_qparams(out)
        with algorithm("winograd4"):
            assert packed.algorithm((1, w.codes.shape[1], 6, 6)) == "winograd4"
            assert_everywhere(lambda qx=qx, packed=packed, p=p: _C.conv(qx, packed, p), oracle.conv(x, w, b, out))


@pytest.mark.parametrize("name", ["auto", *FORCED])
def test_the_largest_codes_at_2048_channels(name):
    """All-255 times all-(-128): beyond F(4x4) in any number of parts, within F(2x2)."""
    x = oracle.Q(np.full((1, 2048, 4, 4), 255, np.uint8), np.float32(1.0), 0, "quint8")
    w = oracle.Q(np.full((3, 2048, 3, 3), -128, np.int8), np.float32(1.0), 0, "qint8")
    out = params(255 * 128 * 9 * 2048 / 200, 255, "quint8")
    packed, qx, p = packed_3x3(w, padding=(1, 1)), to_qtensor(x), to_qparams(out)
    want = oracle.conv(x, w, None, out, padding=(1, 1))
    assert len(np.unique(want)) == 3  # corners, edges, inside
    with algorithm(name):
        assert not packed.algorithm((1, 2048, 4, 4)).startswith("winograd4")
        assert_everywhere(lambda: _C.conv(qx, packed, p), want)


@pytest.mark.parametrize("weights", [(-128, 0), (255, 255), (0, 255)])
def test_transforms_fit_16_bits(weights):
    """Checkerboards of the codes furthest from their zero points, where the transforms grow largest."""
    code, zero = weights
    signs = np.indices((12, 12)).sum(0) % 2
    for zx in (0, 255):
        x = oracle.Q(np.repeat((255 * signs)[None, None], 40, 1).astype(np.uint8), np.float32(1.0), zx, "quint8")
        w_signs = np.indices((3, 3)).sum(0) % 2
        name = "qint8" if code < 0 else "quint8"
        codes = np.where(w_signs, code, 127 if code < 0 else 255 - code)
        codes = np.broadcast_to(codes, (17, 40, 3, 3)).astype(oracle.DTYPES[name].storage)
        w = oracle.Q(codes, np.float32(1.0), zero, name)
        out = params(255 * 255 * 9 * 40 / 250, 128, "quint8")
        want = oracle.conv(x, w, None, out, padding=(1, 1))
        packed, qx, p = packed_3x3(w, padding=(1, 1)), to_qtensor(x), to_qparams(out)
        for forced in FORCED:
            with algorithm(forced):
                assert_everywhere(lambda packed=packed, qx=qx, p=p: _C.conv(qx, packed, p), want)


# --- the choice ---------------------------------------------------------------------------------------------


def test_what_winograd_does_not_apply_to_goes_direct():
    w = _C.QTensor.from_numpy(np.ones((16, 16, 3, 3), np.int8), _C.QParams(1.0, 0, _C.qint8))
    for stride, dilation, groups in (((2, 1), (1, 1), 1), ((1, 1), (1, 2), 1), ((1, 1), (1, 1), 2)):
        packed = _C.PackedConv(w, None, stride, (1, 1), dilation, groups)
        for name in FORCED:
            with algorithm(name):
                assert packed.algorithm((1, 16 * groups, 28, 28)) == "direct"


def test_wide_layers_take_winograd_and_names_are_checked():
    packed = packed_3x3(oracle.Q(np.ones((128, 128, 3, 3), np.int8), np.float32(1.0), 0, "qint8"), padding=(1, 1))
    for isa in support.ISAS:
        with support.backend(isa, 1):
            # Four or eight products of bytes per lane and instruction against one of 16 bits leave nothing to gain.
            wanted = "direct" if isa in ("neondot", "neoni8mm") else "winograd4"
            assert packed.algorithm((1, 128, 28, 28)) == wanted
            assert packed.algorithm((1, 128, 2, 2)) in ("winograd2", "direct")
    with algorithm("direct"):
        assert packed.algorithm((1, 128, 28, 28)) == "direct"
    with pytest.raises(ValueError, match="set_conv_algorithm: name"):
        _C.set_conv_algorithm("fastest")
    with pytest.raises(ValueError, match="input"):
        packed.algorithm((1, 128, 28))


def test_algorithm_checks_the_shape():
    """It answers for the inputs that the convolution takes, and for no others."""
    weight = _C.QTensor.from_numpy(np.zeros((4, 8, 3, 3), np.int8), _C.QParams(0.01, 0, _C.qint8))
    packed = _C.PackedConv(weight, None, (1, 1), (1, 1), (1, 1), 1)
    assert packed.algorithm((1, 8, 20, 20)) in ("direct", "winograd2", "winograd4")
    for shape, message in [
        ((1, 8), "spatial axes, got"),
        ((1, 9, 20, 20), "expected 8 channels"),
        ((-1, 8, 20, 20), "expected sizes of at least 0"),
        ((2**62, 8, 20, 20), r"below 2\^31"),
    ]:
        with pytest.raises(ValueError, match=message):
            packed.algorithm(shape)
