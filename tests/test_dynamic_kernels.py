"""Dynamic linear layers, gates of recurrent cells, float zero points: the same bits on every instruction set."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import oracle
import support
from octensor import _C
from support import assert_everywhere, backend, backends, to_qtensor, weight


@given(support.sizes, support.sizes, support.sizes, support.seeds, st.booleans(), st.sampled_from([1e-3, 1.0, 1e4]))
def test_linear_dynamic(m, n, k, seed, reduce_range, spread):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((m, k)) * spread + rng.uniform(-2, 2) * spread).astype(np.float32)
    w = weight(rng, (n, k), "qint8", "uniform", "channel" if seed % 2 else "symmetric")
    bias = rng.standard_normal(n).astype(np.float32) if seed % 3 else None
    packed = _C.PackedLinear(to_qtensor(w), bias)
    want = oracle.linear_dynamic(x, w, bias, reduce_range)
    assert_everywhere(lambda: _C.linear_dynamic(x, packed, reduce_range), want)
    wide = np.zeros((m, 2 * k), np.float32)
    wide[:, ::2] = x
    assert_everywhere(lambda: _C.linear_dynamic(wide[:, ::2], packed, reduce_range, relu=True), np.maximum(want, 0))


@given(st.floats(-(2.0**90), 2.0**90, width=32), st.floats(0, 2.0**90, width=32), st.booleans())
def test_choose_qparams(lo, width, reduce_range):
    hi = float(np.float32(lo + width))
    got, want = _C.choose_qparams(lo, hi, _C.quint8, reduce_range), oracle.dynamic_qparams(lo, hi, reduce_range)
    assert (got.scale, got.zero_point) == (want.scale, want.zero_point)


@pytest.mark.rows(17)
@pytest.mark.parametrize(
    ("lo", "hi", "scale", "zero_point"),
    [(0, 0, 0.1, 0), (1, 1, 1 / 255, 0), (-7, 7, 14 / 255, 128), (-1, 0, 1 / 255, 255)],
)
def test_choose_qparams_by_hand(lo, hi, scale, zero_point):
    q = _C.choose_qparams(lo, hi, _C.quint8)
    assert (q.scale, q.zero_point) == (np.float32(scale), zero_point)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused(bad):
    packed = _C.PackedLinear(_C.QTensor.from_numpy(np.ones((2, 40), np.int8), _C.QParams(1.0, 0, _C.qint8)), None)
    for at in (0, 7, 8, 39):
        x = np.zeros((3, 40), np.float32)
        x[1, at] = bad
        for isa, threads in backends():
            with backend(isa, threads), pytest.raises(ValueError, match="linear_dynamic: input: expected finite"):
                _C.linear_dynamic(x, packed)


def one_result(run) -> np.ndarray:
    """What `run` returns, the same on every instruction set."""
    results = []
    for isa, threads in backends():
        with backend(isa, threads):
            results.append(run())
    for result in results[1:]:
        assert result.tobytes() == results[0].tobytes()
    return results[0]


def test_curves_are_accurate_and_the_same_everywhere():
    x = np.concatenate([np.linspace(-120, 120, 4001), np.linspace(-1, 1, 3001), [0, -0.0, 1e-30, -1e30, 1e30]])
    x = x.astype(np.float32)
    wide = x.astype(np.float64)
    e = one_result(lambda: _C.exp(x))
    assert np.abs(e / np.exp(np.clip(wide, -87, 88)) - 1).max() < 2e-7
    with np.errstate(over="ignore"):
        assert np.abs(one_result(lambda: _C.sigmoid(x)) - 1 / (1 + np.exp(-wide))).max() < 2e-7
    assert np.abs(one_result(lambda: _C.tanh(x)) - np.tanh(wide)).max() < 2e-7


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


@pytest.mark.parametrize("hidden", [1, 7, 8, 9, 33])
def test_cells(hidden):
    rng = np.random.default_rng(hidden)
    gates, c = (
        rng.standard_normal((3, 4 * hidden)).astype(np.float32),
        rng.standard_normal((3, hidden)).astype(np.float32),
    )
    got = one_result(lambda: np.stack(_C.lstm_cell(gates, c)))
    i, f, g, o = np.split(gates, 4, axis=1)
    state = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    assert np.abs(got[1] - state).max() < 1e-6
    assert np.abs(got[0] - sigmoid(o) * np.tanh(state)).max() < 1e-6

    gi, gh, h = (rng.standard_normal((3, w * hidden)).astype(np.float32) for w in (3, 3, 1))
    (ri, zi, ni), (rh, zh, nh) = np.split(gi, 3, axis=1), np.split(gh, 3, axis=1)
    new = np.tanh(ni + sigmoid(ri + rh) * nh)
    update = sigmoid(zi + zh)
    assert np.abs(one_result(lambda: _C.gru_cell(gi, gh, h)) - ((1 - update) * new + update * h)).max() < 1e-6


@given(support.seeds, st.sampled_from([_C.quint8, _C.qint8, _C.quint4x2]))
def test_float_zero_points(seed, dtype):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((4, 9)).astype(np.float32)
    scale, zero = rng.uniform(0.01, 0.2, 4).astype(np.float32), rng.uniform(-20, 300, 4).astype(np.float32)
    q = _C.quantize(x, _C.QParams(scale, zero, dtype, axis=0, float_zero_point=True))
    codes = np.clip(np.rint(x / scale[:, None] + zero[:, None]), dtype.qmin, dtype.qmax)
    assert (np.asarray(q) == codes).all()
    assert (_C.dequantize(q) == (codes.astype(np.float32) - zero[:, None]) * scale[:, None]).all()
    assert q.qscheme() is _C.qscheme.per_channel_affine_float_qparams


@pytest.mark.rows(2)
def test_quint4x2_packs_low_nibble_first():
    q = _C.QTensor.from_numpy(np.arange(5, dtype=np.uint8), _C.QParams(1.0, 0, _C.quint4x2))
    assert q.int_repr().tolist() == [16, 50, 4]
    assert q.shape == (5,)
    with pytest.raises(ValueError, match="quint4x2"):
        _C.QTensor.from_numpy(np.full(3, 16, np.uint8), _C.QParams(1.0, 0, _C.quint4x2))
