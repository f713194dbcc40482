"""Convolutions over every path of memory: phases of transposed ones, stretches of patches, inputs with gaps."""

from __future__ import annotations

import ctypes
import mmap

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import oracle
import support
from octensor import _C
from support import assert_everywhere, params, sample_codes, to_qparams, to_qtensor, weight


def quantized(rng, shape, name, style="uniform") -> oracle.Q:
    t = oracle.DTYPES[name]
    zero = int(rng.integers(t.qmin, t.qmax, endpoint=True))
    return oracle.Q(sample_codes(rng, shape, name, style), np.float32(0.03), zero, name)


# --- transposed -------------------------------------------------------------------------------------------


@st.composite
def transposed_cases(draw: st.DrawFn):
    spatial = draw(st.sampled_from([1, 2, 2, 3]))

    def axes(lo: int, hi: int) -> tuple[int, ...]:
        return tuple(draw(st.lists(st.integers(lo, hi), min_size=spatial, max_size=spatial)))

    most = 5 if spatial < 3 else 3
    kernel, stride, dilation = axes(1, most), axes(1, most), axes(1, 4 if spatial < 3 else 2)
    padding = tuple(draw(st.integers(0, d * (k - 1))) for d, k in zip(dilation, kernel, strict=True))
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    size = tuple(
        max(n, -(-(2 * p - d * (k - 1)) // s) + 1)
        for n, p, d, k, s in zip(axes(1, 5), padding, dilation, kernel, stride, strict=True)
    )
    groups, cg, og = draw(st.sampled_from([(1, 5, 17), (1, 40, 3), (3, 4, 4), (6, 1, 1), (2, 3, 33)]))
    rng = np.random.default_rng(draw(support.seeds))
    x = quantized(rng, (draw(st.integers(1, 2)), cg * groups, *size), draw(support.byte_dtypes))
    w = weight(rng, (cg * groups, og, *kernel), draw(support.byte_dtypes), "uniform", "tensor")
    if draw(st.booleans()):
        scale = rng.uniform(0.001, 0.1, og).astype(np.float32)
        w = w._replace(scale=scale, zero_point=rng.integers(0, 100, og).astype(np.int32), axis=1)
    walk = {"stride": stride, "padding": padding, "dilation": dilation, "output_padding": extra}
    bias = rng.normal(0, 1, og * groups).astype(np.float32)
    return x, w, bias, groups, draw(st.booleans()), walk


@given(transposed_cases())
def test_transposed_phases(case):
    """Kernels narrower than the stride leave phases without taps; dilations share factors with strides or do not."""
    x, w, bias, groups, relu, walk = case
    out = params(0.5, 100, "quint8")
    packed = _C.PackedConv.transposed(to_qtensor(w), bias, groups=groups, **walk)
    want = oracle.conv_transpose(x, w, bias, out, groups=groups, relu=relu, **walk)
    assert_everywhere(lambda: _C.conv(to_qtensor(x), packed, to_qparams(out), relu=relu), want)


# --- memory -----------------------------------------------------------------------------------------------

GEOMETRIES = [  # channels, outputs, groups, kernel, stride, padding, dilation
    (16, 9, 1, 1, 1, 0, 1),
    (16, 9, 1, 1, 2, 0, 1),
    (7, 40, 1, 1, 1, 0, 1),
    (3, 32, 1, 3, 2, 1, 1),
    (3, 64, 1, 7, 2, 3, 1),
    (5, 6, 1, 3, 1, 1, 1),
    (20, 33, 1, 3, 3, 2, 2),
    (33, 5, 1, 2, 1, 1, 3),
    (64, 16, 1, 5, 1, 4, 1),
    (8, 8, 2, 3, 1, 1, 1),
    (60, 60, 20, 3, 1, 1, 1),
    (64, 96, 2, 3, 1, 1, 1),
    (34, 17, 17, 3, 2, 1, 2),
]
SHAPE = (2, 9, 13)  # images, height, width


def inputs(rng: np.random.Generator, channels: int, how: str) -> np.ndarray:
    """Codes whose channels are adjacent in memory, of positions that are not."""
    n, h, w = SHAPE
    if how == "dense":
        x = rng.integers(0, 256, (n, h, w, channels), np.uint8)
    elif how == "gaps":
        x = rng.integers(0, 256, (n + 1, h + 3, w + 2, channels + 5), np.uint8)[1:, 2 : 2 + h, 1 : 1 + w, 3:-2]
    elif how == "backwards":
        x = rng.integers(0, 256, (n, h, w, channels), np.uint8)[::-1, ::-1, ::-1]
    else:  # every second position
        x = rng.integers(0, 256, (n, 2 * h, 2 * w, channels), np.uint8)[:, ::2, 1::2]
    return np.moveaxis(x, -1, 1)


def operands(rng: np.random.Generator, geometry, how="channel"):
    c, o, g, k, s, p, d = geometry
    w = weight(rng, (o, c // g, k, k), "qint8", "uniform", how)
    walk = {"stride": (s, s), "padding": (p, p), "dilation": (d, d)}
    return w, _C.PackedConv(to_qtensor(w), None, groups=g, **walk), walk


@pytest.mark.parametrize("how", ["dense", "gaps", "backwards", "steps"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_layouts_of_positions(geometry, how):
    rng = np.random.default_rng(0)
    w, packed, walk = operands(rng, geometry, "symmetric" if geometry[1] % 2 else "channel")
    out = params(0.05 * geometry[0], 120, "quint8")
    for name, offset in (("quint8", 0), ("qint8", 128)):
        codes = inputs(rng, geometry[0], how).view(oracle.DTYPES[name].storage)
        x = oracle.Q(codes, np.float32(0.03), 131 - offset, name)
        want = oracle.conv(x, w, None, out, groups=geometry[2], **walk)
        q = _C.QTensor.from_numpy(codes, to_qparams(x))
        assert_everywhere(lambda q=q: _C.conv(q, packed, to_qparams(out)), want)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("side", ["before", "after"])
def test_nothing_outside_the_input_is_read(geometry, side):
    """The input fills a mapping up to (or from) a page that may not be touched."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (1, 5, 7, geometry[0]), np.uint8)
    page = mmap.PAGESIZE
    room = -(-codes.size // page) * page
    memory = mmap.mmap(-1, room + 2 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for guard in (address, address + page + room):
        assert libc.mprotect(ctypes.c_void_p(guard), page, 0) == 0
    start = page if side == "before" else page + room - codes.size
    view = np.frombuffer(memory, np.uint8, codes.size, start).reshape(codes.shape)
    view[...] = codes
    x = oracle.Q(np.moveaxis(codes, -1, 1), np.float32(0.03), 128, "quint8")
    w, packed, walk = operands(rng, geometry)
    out = params(0.05 * geometry[0], 120, "quint8")
    want = oracle.conv(x, w, None, out, groups=geometry[2], **walk)
    q = _C.QTensor.from_numpy(np.moveaxis(view, -1, 1), to_qparams(x))
    assert_everywhere(lambda: _C.conv(q, packed, to_qparams(out)), want)
