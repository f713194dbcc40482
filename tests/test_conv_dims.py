"""Convolutions of one to three spatial axes, ordinary and transposed, equal the oracle bit for bit."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import oracle
import support
from octensor import _C
from support import assert_everywhere, layouts, sample_codes, to_qparams, to_qtensor, weight


@st.composite
def cases(draw: st.DrawFn):
    """Geometry, operands and parameters of one convolution."""
    spatial = draw(st.integers(1, 3))
    transposed, depthwise = draw(st.booleans()), draw(st.booleans())
    groups = draw(st.integers(2, 18)) if depthwise else draw(st.sampled_from([1, 1, 2, 3]))
    cg, og = (1, 1) if depthwise else (draw(st.integers(1, 5)), draw(st.sampled_from([1, 3, 8, 17])))

    def axes(lo: int, hi: int) -> tuple[int, ...]:
        return tuple(draw(st.lists(st.integers(lo, hi), min_size=spatial, max_size=spatial)))

    kernel, stride, padding, dilation = axes(1, 3), axes(1, 3), axes(0, 2), axes(1, 2)
    walk = {"stride": stride, "padding": padding, "dilation": dilation}
    if transposed:
        walk["output_padding"] = tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        )
    rng = np.random.default_rng(draw(support.seeds))
    x_shape = (draw(st.integers(1, 2)), cg * groups, *axes(2, 7))
    w_shape = ((cg * groups, og) if transposed else (og * groups, cg)) + kernel
    name, style = draw(support.byte_dtypes), draw(support.styles)
    t = oracle.DTYPES[name]
    x = oracle.Q(
        sample_codes(rng, x_shape, name, style),
        np.float32(0.03),
        int(rng.integers(t.qmin, t.qmax, endpoint=True)),
        name,
    )
    w = weight(rng, w_shape, draw(support.byte_dtypes), style, draw(st.sampled_from(["tensor", "symmetric"])))
    if draw(st.booleans()):  # one scale per output channel: of a group, when transposed
        w = w._replace(scale=rng.uniform(0.001, 0.1, og if transposed else og * groups).astype(np.float32))
        w = w._replace(zero_point=np.zeros(len(w.scale), np.int32), axis=1 if transposed else 0)
    bias = rng.normal(0, 1, og * groups).astype(np.float32) if draw(st.booleans()) else None
    out = oracle.Q(np.empty(0), np.float32(draw(st.sampled_from([0.05, 0.7]))), 100, "quint8")
    return transposed, x, w, bias, out, walk, groups, draw(st.booleans()), draw(layouts)


def fits(transposed: bool, x, w, stride, padding, dilation, output_padding=None) -> bool:
    """Whether every axis of the output has at least one element."""
    sizes, kernel = x.codes.shape[2:], w.codes.shape[2:]
    axes = zip(sizes, kernel, stride, padding, dilation, output_padding or stride, strict=True)
    if transposed:
        return all((i - 1) * s - 2 * p + d * (k - 1) + e >= 0 for i, k, s, p, d, e in axes)
    return all(i + 2 * p >= d * (k - 1) + 1 for i, k, _, p, d, _ in axes)


@given(cases())
def test_any_dimension(case):
    transposed, x, w, bias, out, walk, groups, relu, layout = case
    pack = _C.PackedConv.transposed if transposed else _C.PackedConv
    packed = pack(to_qtensor(w), bias, groups=groups, **walk)
    if not fits(transposed, x, w, **walk):
        with pytest.raises(ValueError, match="input: expected a padded"):
            _C.conv(to_qtensor(x), packed, to_qparams(out))
        return
    want = (oracle.conv_transpose if transposed else oracle.conv)(x, w, bias, out, groups=groups, relu=relu, **walk)
    assert_everywhere(lambda: _C.conv(to_qtensor(x, layout), packed, to_qparams(out), relu=relu), want)


def test_one_axis_more_changes_nothing():
    """conv1d is conv2d of height 1 is conv3d of depth 1, with the same codes."""
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 256, (2, 5, 11), np.uint8), rng.integers(-128, 128, (7, 5, 3)).astype(np.int8)
    px, pw, po = _C.QParams(0.1, 9, _C.quint8), _C.QParams(0.02, 3, _C.qint8), _C.QParams(1.0, 120, _C.quint8)
    results = []
    for lead in ((), (1,), (1, 1)):
        wide = w.reshape(*w.shape[:2], *lead, 3)
        geometry = [[*([1] * len(lead)), 2], [*([0] * len(lead)), 1], [1] * (len(lead) + 1)]
        packed = _C.PackedConv(_C.QTensor.from_numpy(wide, pw), None, *geometry, 1)
        q = _C.QTensor.from_numpy(x.reshape(*x.shape[:2], *lead, 11), px)
        results.append(_C.conv(q, packed, po).int_repr().reshape(2, 7, -1))
    assert (results[0] == results[1]).all()
    assert (results[0] == results[2]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output_padding": [2]}, "conv_transpose1d: output_padding: expected less than stride or dilation"),
        ({"stride": [0]}, "conv_transpose1d: stride: expected at least 1, got 0"),
        ({"padding": [0, 0]}, "conv_transpose1d: padding: expected 1 values"),
        ({"groups": 2}, "conv_transpose1d: groups: expected a divisor of the 3 input channels, got 2"),
        ({"bias": np.zeros(3, np.float32)}, "conv_transpose1d: bias: expected 4 values"),
    ],
)
def test_wrong_geometry(change, message):
    w = _C.QTensor.from_numpy(np.ones((3, 4, 2), np.int8), _C.QParams(0.1, 0, _C.qint8))
    valid = {"bias": None, "stride": [2], "padding": [0], "output_padding": [0], "dilation": [1], "groups": 1}
    with pytest.raises(ValueError, match=message):
        _C.PackedConv.transposed(w, **(valid | change))
