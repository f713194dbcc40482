"""quantize, dequantize, requantize, lookup, add, mul and cat equal the oracle, bit for bit, on every backend."""

from __future__ import annotations

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
    array_shapes,
    assert_everywhere,
    byte_dtypes,
    dtype,
    dtypes,
    layouts,
    params,
    qparams,
    relayout,
    sample_codes,
    scales,
    seeds,
    sizes,
    small,
    styles,
    to_qparams,
    to_qtensor,
    weight,
)

# --- quantize, dequantize, requantize ---------------------------------------------------------------


def floats(rng: np.random.Generator, shape: tuple[int, ...], scale: float, kind: str) -> np.ndarray:
    """Values within a few hundred steps; or exact ties; or everything float32 has."""
    if kind == "ties":
        return np.asarray((rng.integers(-400, 400, shape) + 0.5) * np.float32(scale), np.float32)
    if kind == "any":
        return rng.integers(0, 2**32, shape, np.uint64).astype(np.uint32).view(np.float32)
    x = (rng.uniform(-300, 300, shape) * scale).astype(np.float32)
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 3e38, -3e38, 1e-45], np.float32)
    return np.asarray(np.where(rng.random(shape) < 0.1, rng.choice(special, shape), x))


@pytest.mark.rows(8, 54)
@given(array_shapes, qparams(), seeds, st.sampled_from(["usual", "ties", "any"]), layouts, st.booleans())
def test_quantize(shape, params_, seed, kind, layout, channels_last):
    scale, zero_point, name = params_
    x = floats(np.random.default_rng(seed), shape, scale, kind)
    want = oracle.quantize(x, scale, zero_point, name)
    p = to_qparams(params(*params_))
    x, last = relayout(x, layout), channels_last and len(shape) == 4
    assert_everywhere(lambda: _C.quantize(x, p, channels_last=last), want)


@pytest.mark.rows(4, 10)
@given(
    st.tuples(small, sizes, small, small),
    byte_dtypes,
    seeds,
    layouts,
    st.data(),
)
def test_quantize_per_channel(shape, name, seed, layout, data):
    axis = data.draw(st.integers(0, 3))
    rng = np.random.default_rng(seed)
    w = weight(rng, (shape[axis],), name, "uniform", "channel")
    x = floats(rng, shape, 0.05, "usual")
    want = oracle.quantize(x, w.scale, w.zero_point, name, axis)
    p = _C.QParams(w.scale, w.zero_point, dtype(name), axis=axis)
    x = relayout(x, layout)
    assert_everywhere(lambda: _C.quantize(x, p), want)
    q = oracle.Q(want, w.scale, w.zero_point, name, axis)
    assert_everywhere(lambda: _C.dequantize(to_qtensor(q, layout)), oracle.dequantize(q))


@pytest.mark.rows(11)
@given(array_shapes, dtypes.flatmap(qparams), seeds, styles, layouts)
def test_dequantize(shape, params_, seed, style, layout):
    codes = sample_codes(np.random.default_rng(seed), shape, params_[2], style)
    q = oracle.Q(codes, *params_)
    assert_everywhere(lambda: _C.dequantize(to_qtensor(q, layout)), oracle.dequantize(q))


@given(array_shapes, dtypes.flatmap(qparams), qparams(), seeds, styles, layouts)
def test_requantize(shape, source, target, seed, style, layout):
    codes = sample_codes(np.random.default_rng(seed), shape, source[2], style)
    q = oracle.Q(codes, *source)
    x, p = to_qtensor(q, layout), to_qparams(params(*target))
    assert_everywhere(lambda: _C.requantize(x, p), oracle.requantize(q, *target))


@pytest.mark.parametrize("name", ["qint8", "quint8"])
@pytest.mark.parametrize("scale", [support.FLOAT32_TINY, 1e-30, 1e-9, 1e9, 1e30, support.FLOAT32_MAX])
def test_extreme_scales_quantize_and_dequantize(name, scale):
    rng = np.random.default_rng(0)
    t = oracle.DTYPES[name]
    codes = np.arange(t.qmin, t.qmax + 1).astype(t.storage)
    for zero_point in (t.qmin, t.qmin + 1, 0, t.qmax):
        q = oracle.Q(codes, np.float32(scale), zero_point, name)
        assert_everywhere(lambda q=q: _C.dequantize(to_qtensor(q)), oracle.dequantize(q))
        x = floats(rng, (97,), scale, "any")
        want = oracle.quantize(x, scale, zero_point, name)
        p = to_qparams(q)
        assert_everywhere(lambda p=p, x=x: _C.quantize(x, p), want)


@given(seeds, st.integers(-(2**31), 2**31 - 1), scales)
def test_quantize_to_32_bits(seed, zero_point, scale):
    """qint32: no value of float32 may leave the range or wrap."""
    x = floats(np.random.default_rng(seed), (37,), scale, "any")
    want = oracle.quantize(x, scale, zero_point, "qint32")
    p = _C.QParams(scale, zero_point, _C.qint32)
    assert_everywhere(lambda: _C.quantize(x, p), want)


@given(array_shapes, qparams(), qparams(), seeds, layouts)
def test_lookup(shape, source, target, seed, layout):
    rng = np.random.default_rng(seed)
    q = oracle.Q(sample_codes(rng, shape, source[2], "uniform"), *source)
    table = sample_codes(rng, (256,), target[2], "uniform")
    x, p = to_qtensor(q, layout), to_qparams(params(*target))
    assert_everywhere(lambda: _C.lookup(x, table, p), oracle.lookup(q.codes, table, target[2]))


LARGE = [1000] if EMULATED else [32_767, 32_768, 32_769, 100_003]  # around and beyond what one task takes


@pytest.mark.parametrize("n", LARGE)
def test_large_arrays(n):
    """Work that is cut into tasks is cut without a gap or an overlap."""
    rng = np.random.default_rng(n)
    x = floats(rng, (n,), 0.1, "usual")
    a = oracle.Q(sample_codes(rng, (n,), "quint8", "uniform"), np.float32(0.1), 77, "quint8")
    b = oracle.Q(sample_codes(rng, (n,), "qint8", "uniform"), np.float32(0.03), -5, "qint8")
    wide = oracle.Q(sample_codes(rng, (n,), "qint32", "uniform"), np.float32(1e-8), 12345, "qint32")
    out = params(0.4, 100, "quint8")
    table = sample_codes(rng, (256,), "quint8", "uniform")
    qa, qb, qw, p = to_qtensor(a), to_qtensor(b), to_qtensor(wide), to_qparams(out)
    for run, want in [
        (lambda: _C.quantize(x, p), oracle.quantize(x, 0.4, 100, "quint8")),
        (lambda: _C.dequantize(qa), oracle.dequantize(a)),
        (lambda: _C.dequantize(qw), oracle.dequantize(wide)),
        (lambda: _C.requantize(qb, p), oracle.requantize(b, 0.4, 100, "quint8")),
        (lambda: _C.requantize(qw, p), oracle.requantize(wide, 0.4, 100, "quint8")),
        (lambda: _C.lookup(qa, table, p), oracle.lookup(a.codes, table, "quint8")),
        (lambda: _C.add(qa, qb, p), oracle.add(a, b, out)),
        (lambda: _C.mul(qa, qb, p), oracle.mul(a, b, out)),
        (lambda: _C.cat([qa, qb], 0, p), oracle.cat([a, b], 0, out)),
    ]:
        assert_everywhere(run, want)


@pytest.mark.parametrize(
    "shape", [(3, 7, 50)] if EMULATED else [(3, 7, 5003), (2, 3, 40_001), (200, 300, 3), (70_001, 2, 1)]
)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_large_per_channel_arrays(shape, axis):
    rng = np.random.default_rng(axis)
    w = weight(rng, (shape[axis],), "qint8", "uniform", "channel")
    x = floats(rng, shape, 0.05, "usual")
    q = oracle.Q(oracle.quantize(x, w.scale, w.zero_point, "qint8", axis), w.scale, w.zero_point, "qint8", axis)
    p = to_qparams(q)
    assert_everywhere(lambda: _C.quantize(x, p), q.codes)
    assert_everywhere(lambda: _C.dequantize(to_qtensor(q)), oracle.dequantize(q))


# --- elementwise --------------------------------------------------------------------------------------

BROADCASTS = [
    ((), ()),
    ((7,), ()),
    ((0,), (1,)),
    ((33,), (33,)),
    ((4, 1), (1, 5)),
    ((2, 3, 4, 5), (2, 3, 4, 5)),
    ((2, 3, 4, 5), (3, 1, 1)),
    ((2, 3, 4, 5), (1, 3, 1, 1)),
    ((1, 1, 4, 5), (2, 3, 1, 1)),
    ((2, 17, 3, 3), (2, 17, 3, 3)),
    ((5, 1, 3), (4, 1)),
    ((2, 0, 3), (3,)),
]


@pytest.mark.rows(75, 76, 77, 78)
@pytest.mark.parametrize("op", ["add", "mul"])
@given(
    st.sampled_from(BROADCASTS),
    st.booleans(),
    qparams(),
    qparams(),
    qparams(),
    st.booleans(),
    seeds,
    styles,
    layouts,
    layouts,
)
def test_binary(op, pair, swap, pa, pb, po, relu, seed, style, la, lb):
    rng = np.random.default_rng(seed)
    sa, sb = reversed(pair) if swap else pair
    a = oracle.Q(sample_codes(rng, sa, pa[2], style), *pa)
    b = oracle.Q(sample_codes(rng, sb, pb[2], style), *pb)
    out = params(*po)
    qa, qb, p = to_qtensor(a, la), to_qtensor(b, lb), to_qparams(out)
    want = np.asarray(getattr(oracle, op)(a, b, out, relu))
    assert_everywhere(lambda: getattr(_C, op)(qa, qb, p, relu=relu), want)


@pytest.mark.rows(75, 77)
@pytest.mark.parametrize("op", ["add", "mul"])
def test_binary_of_every_pair_of_codes(op):
    """All 65,536 pairs at scales that make many exact ties, and at scales that make none."""
    codes = np.arange(256).astype(np.uint8)
    for sa, sb, so in [(0.5, 0.25, 1.0), (0.013, 0.0477, 0.0303)]:
        for name in ("quint8", "qint8"):
            storage = oracle.DTYPES[name].storage
            a = oracle.Q(codes.view(storage)[:, None], np.float32(sa), 5, name)
            b = oracle.Q(codes.view(storage)[None, :], np.float32(sb), 101, name)
            out = params(so * (60 if op == "mul" else 1), 64, name)
            qa, qb, p = to_qtensor(a), to_qtensor(b), to_qparams(out)
            want = getattr(oracle, op)(a, b, out)
            assert_everywhere(lambda qa=qa, qb=qb, p=p: getattr(_C, op)(qa, qb, p), want)


@pytest.mark.parametrize("op", ["add", "mul"])
@pytest.mark.parametrize("scale", EXTREMES)
def test_binary_with_extreme_scales(op, scale):
    """Equal to the oracle, or refused where the multiplier leaves float32."""
    rng = np.random.default_rng(6)
    a = oracle.Q(sample_codes(rng, (41,), "quint8", "uniform"), np.float32(scale), 3, "quint8")
    for other in EXTREMES:
        b = oracle.Q(sample_codes(rng, (41,), "qint8", "uniform"), np.float32(other), -7, "qint8")
        for out_scale in EXTREMES:
            out = params(out_scale, 9, "quint8")
            qa, qb, p = to_qtensor(a), to_qtensor(b), to_qparams(out)
            if op == "mul" and not np.isfinite(oracle.multiplier(a.scale, b.scale, over=out.scale)):
                with pytest.raises(ValueError, match="mul"):
                    _C.mul(qa, qb, p)
                continue
            want = getattr(oracle, op)(a, b, out)
            assert_everywhere(lambda qa=qa, qb=qb, p=p: getattr(_C, op)(qa, qb, p), want)


@given(
    st.integers(1, 4),
    st.integers(0, 3),
    qparams(),
    seeds,
    st.lists(qparams(), min_size=1, max_size=4),
    st.data(),
)
def test_cat(ndim, axis, target, seed, sources, data):
    rng = np.random.default_rng(seed)
    axis = axis % ndim
    base = [data.draw(small) for _ in range(ndim)]
    same_dtype = data.draw(st.booleans())
    parts = []
    for source in sources:
        if same_dtype:
            source = target if data.draw(st.booleans()) else (source[0], target[1], target[2])
        shape = [data.draw(st.integers(0, 9)) if i == axis else n for i, n in enumerate(base)]
        parts.append(oracle.Q(sample_codes(rng, tuple(shape), source[2], "uniform"), *source))
    qs = [to_qtensor(part, data.draw(layouts)) for part in parts]
    out = params(*target)
    p, signed_axis = to_qparams(out), axis - ndim * data.draw(st.booleans())
    assert_everywhere(lambda: _C.cat(qs, signed_axis, p), oracle.cat(parts, axis, out))
