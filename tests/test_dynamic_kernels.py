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
    x *= rng.uniform(0, 10, (m, 1)).astype(np.float32)
    want = oracle.linear_dynamic(x, w, bias, reduce_range, per_row=True)
    assert_everywhere(lambda: _C.linear_dynamic(x, packed, reduce_range, per_row=True), want)


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("how", ["tensor", "symmetric", "channel"])
@pytest.mark.parametrize("name", ["qint8", "quint8"])
def test_linear_dynamic_by_rows(per_row, how, name):
    rng = np.random.default_rng(5)
    for m in range(21):
        n, k = (int(v) for v in rng.choice([1, 7, 16, 31, 33, 67, 129], 2))
        w = weight(rng, (n, k), name, "uniform", how)
        bias = rng.standard_normal(n).astype(np.float32)
        x = (rng.standard_normal((m, k)) * 10.0 ** rng.integers(-3, 4, (m, 1))).astype(np.float32)
        packed = _C.PackedLinear(to_qtensor(w), bias)
        want = oracle.linear_dynamic(x, w, bias, per_row=per_row)
        assert_everywhere(lambda x=x, p=packed: _C.linear_dynamic(x, p, per_row=per_row), want)
        want = np.maximum(want, 0)
        assert_everywhere(lambda x=x, p=packed: _C.linear_dynamic(x, p, per_row=per_row, relu=True), want)


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (0, 0), (3, 0, 5), (5,), (2, 3, 5)])
def test_linear_dynamic_shapes(per_row, shape):
    rng = np.random.default_rng(1)
    w = weight(rng, (3, shape[-1]), "qint8", "uniform", "channel")
    x, bias = rng.standard_normal(shape).astype(np.float32), rng.standard_normal(3).astype(np.float32)
    packed = _C.PackedLinear(to_qtensor(w), bias)
    want = oracle.linear_dynamic(x, w, bias, per_row=per_row)
    assert_everywhere(lambda: _C.linear_dynamic(x, packed, per_row=per_row), want)


@pytest.mark.parametrize("per_row", [False, True])
def test_linear_dynamic_over_several_blocks_of_rows(per_row):
    """More rows than are quantized at a time (4 MiB of codes), and a range that several threads look for."""
    rng = np.random.default_rng(2)
    w = weight(rng, (2, 2003), "qint8", "uniform", "channel")
    x = rng.standard_normal((2300, 2003)).astype(np.float32) * rng.uniform(0, 3, (2300, 1)).astype(np.float32)
    x[2299, 2002] = -7.5
    packed = _C.PackedLinear(to_qtensor(w), None)
    want = oracle.linear_dynamic(x, w, None, per_row=per_row)
    assert_everywhere(lambda: _C.linear_dynamic(x, packed, per_row=per_row), want)


def test_extremes_of_codes_and_weights():
    for k in (64, 300):
        w = oracle.Q(np.full((33, k), -128, np.int8), np.float32(0.5), 0, "qint8")
        x = np.full((9, k), 3.0, np.float32)  # code 255 everywhere, but for one row at code 0
        x[4] = -1e-3
        packed = _C.PackedLinear(to_qtensor(w), None)
        for per_row in (False, True):
            want = oracle.linear_dynamic(x, w, None, per_row=per_row)
            assert_everywhere(lambda p=packed, x=x, r=per_row: _C.linear_dynamic(x, p, per_row=r), want)


@pytest.mark.parametrize("per_row", [False, True])
def test_a_multiplier_beyond_float32_is_refused(per_row):
    w = _C.QTensor.from_numpy(np.ones((2, 3), np.int8), _C.QParams([1.0, 3e38], [0, 0], _C.qint8, axis=0))
    packed, x = _C.PackedLinear(w, None), np.full((4, 3), 1e20, np.float32)
    with pytest.raises(ValueError, match="for channel 1"):
        _C.linear_dynamic(x, packed, per_row=per_row)


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
    for at in (0, 7, 8, 21, 31, 39):
        x = np.zeros((3, 40), np.float32)
        x[1, at] = bad
        for isa, threads in backends():
            for per_row in (False, True):
                with backend(isa, threads), pytest.raises(ValueError, match="linear_dynamic: input: expected finite"):
                    _C.linear_dynamic(x, packed, per_row=per_row)


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


@pytest.mark.parametrize("hidden", [1, 7, 8, 9, 33, 64, 71, 130])
def test_cells(hidden):
    rng = np.random.default_rng(hidden)
    gi, gh = (rng.standard_normal((3, 4 * hidden)).astype(np.float32) for _ in range(2))
    h, c = (rng.standard_normal((3, hidden)).astype(np.float32) for _ in range(2))
    got = one_result(lambda: np.stack(_C.recurrent_step("lstm", gi, gh, (h, c))))
    i, f, g, o = np.split(gi + gh, 4, axis=1)
    state = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    assert np.abs(got[1] - state).max() < 1e-6
    assert np.abs(got[0] - sigmoid(o) * np.tanh(state)).max() < 1e-6

    gi, gh = gi[:, : 3 * hidden], gh[:, : 3 * hidden]
    (ri, zi, ni), (rh, zh, nh) = np.split(gi, 3, axis=1), np.split(gh, 3, axis=1)
    new = np.tanh(ni + sigmoid(ri + rh) * nh)
    update = sigmoid(zi + zh)
    got = one_result(lambda: _C.recurrent_step("gru", gi, gh, (h,))[0])
    assert np.abs(got - ((1 - update) * new + update * h)).max() < 1e-6

    gi, gh = gi[:, :hidden], gh[:, :hidden]
    assert np.abs(one_result(lambda: _C.recurrent_step("rnn_tanh", gi, gh, (h,))[0]) - np.tanh(gi + gh)).max() < 1e-6
    assert (one_result(lambda: _C.recurrent_step("rnn_relu", gi, gh, (h,))[0]) == np.maximum(gi + gh, 0)).all()


CELLS = {"lstm": (4, 2), "gru": (3, 1), "rnn_tanh": (1, 1), "rnn_relu": (1, 1)}
SIZES = [[], [1], [3], [1] * 4, [3] * 5, [4, 4, 2, 1], [2, 0], [70] * 9]


def steps(cell, x, sizes, state, w_ih, w_hh, backward, reduce_range):
    """A layer from its definition: the input's part of all gates at once, the hidden state's at each step."""
    gi, out = _C.linear_dynamic(x, w_ih, reduce_range), np.zeros((len(x), state[0].shape[1]), np.float32)
    state, ends = [s.copy() for s in state], np.cumsum(sizes)
    for t in reversed(range(len(sizes))) if backward else range(len(sizes)):
        n, at = sizes[t], slice(ends[t] - sizes[t], ends[t])
        gh = _C.linear_dynamic(state[0][:n], w_hh, reduce_range)
        for s, new in zip(state, _C.recurrent_step(cell, gi[at], gh, tuple(s[:n] for s in state)), strict=True):
            s[:n] = new
        out[at] = state[0][:n]
    return out, state


@pytest.mark.parametrize("cell", list(CELLS))
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_sequences_are_their_steps(cell, sizes):
    rng, (gates, states) = np.random.default_rng(len(sizes)), CELLS[cell]
    wide = len(sizes) == 9  # more than one block of steps, cells spread over threads
    for inputs, hidden in [(5, 7), (16, 33)] if not wide else [(9, 131 if support.EMULATED else 515)]:
        packed = []
        for k in (inputs, hidden):
            w = weight(rng, (gates * hidden, k), "qint8", "uniform", "symmetric" if k == inputs else "channel")
            packed.append(_C.PackedLinear(to_qtensor(w), rng.standard_normal(gates * hidden).astype(np.float32)))
        x = rng.standard_normal((sum(sizes), inputs)).astype(np.float32)
        rows = sizes[0] if sizes else 2
        state = tuple(rng.standard_normal((rows, hidden)).astype(np.float32) for _ in range(states))
        for backward, reduce_range in [(False, False), (True, False), (True, True)]:
            want, ends = steps(cell, x, sizes, state, *packed, backward, reduce_range)
            both = np.full((len(x), 2 * hidden), 7, np.float32)

            def run(both=both, x=x, state=state, packed=packed, how=(backward, reduce_range)):
                return _C.recurrent(cell, x, sizes, state, *packed, *how, both[:, both.shape[1] // 2 :])

            for isa, threads in backends():
                with backend(isa, threads):
                    both[:] = 7
                    got = run()
                support.assert_same(np.ascontiguousarray(both[:, hidden:]), want)
                assert (both[:, :hidden] == 7).all()
                for a, b in zip(got, ends, strict=True):
                    support.assert_same(a, b)


def test_sequences_refuse_what_does_not_fit():
    w = _C.PackedLinear(_C.QTensor.from_numpy(np.ones((8, 2), np.int8), _C.QParams(1.0, 0, _C.qint8)), None)
    x, h = np.zeros((3, 2), np.float32), np.zeros((2, 2), np.float32)

    def run(cell="lstm", x=x, sizes=(2, 1), state=(h, h), w_ih=w, w_hh=w, out=None):
        return _C.recurrent(cell, x, list(sizes), state, w_ih, w_hh, out=out)

    run()
    for wrong, message in [
        ({"cell": "LSTM"}, "cell: expected 'lstm'"),
        ({"cell": "gru", "state": (h,)}, r"weights: expected gates \* hidden = 6 rows"),
        ({"sizes": (1, 2)}, "sizes: expected"),
        ({"sizes": (2, 2)}, r"input: expected shape \(4, 2\)"),
        ({"sizes": (2**62, 1)}, "sizes: expected"),
        ({"sizes": (3, 0, -1)}, "sizes: expected"),
        ({"state": (h,)}, "state: expected 2 tensors"),
        ({"state": (h[:1], h[:1])}, "state: expected shape"),
        ({"state": (h, h[:1])}, "state: expected shape"),
        ({"state": ()}, "state: expected shape"),
        ({"x": x[0]}, "input: expected shape"),
        ({"x": np.full_like(x, np.nan)}, "recurrent: input: expected finite"),
        ({"state": (h + np.inf, h)}, "recurrent: hidden state: expected finite"),
        ({"out": np.zeros((2, 2), np.float32)}, "out: expected a writable array"),
        ({"out": np.zeros((3, 4), np.float32)[:, ::2]}, "out: expected a writable array"),
    ]:
        with pytest.raises(ValueError, match=message):
            run(**wrong)
    with pytest.raises(TypeError, match="out: expected float32"):
        run(out=np.zeros((3, 2)))


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
