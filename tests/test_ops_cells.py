"""Recurrent cells and layers by hand: the composition of dynamic linear layers and the gate functions."""

from __future__ import annotations

import numpy as np
import pytest

import octensor as ot
import oracle
import oracle_ops
from octensor import _C
from octensor.ops import quantized as oq

F32 = np.float32
K, H, N, T = 5, 4, 3, 6
GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


class Weights:
    """The matrices of one cell, quantized, packed and plain."""

    def __init__(self, kind: str, inputs: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.q, self.plain, self.bias, self.packed = [], [], [], []
        for columns in (inputs, H):
            codes = rng.integers(-128, 127, (GATES[kind] * H, columns), endpoint=True).astype(np.int8)
            scale = F32(0.008)
            self.q.append(_C.QTensor.from_numpy(codes, _C.QParams(scale, 0, _C.qint8)))
            self.plain.append(oracle.Q(codes, scale, 0, "qint8"))
            self.bias.append(rng.standard_normal(GATES[kind] * H).astype(F32))
            self.packed.append(oq.linear_prepack(self.q[-1], self.bias[-1]))

    def parts(self, x: np.ndarray, h: np.ndarray, reduce_range: bool = False) -> tuple[np.ndarray, np.ndarray]:
        both = zip((x, h), self.plain, self.bias, strict=True)
        gi, gh = (oracle_ops.linear_dynamic(v, w, b, reduce_range) for v, w, b in both)
        return gi, gh


def step(kind: str, gi, gh, states):
    """The textbook cell in float64, to agree with the float32 gates within their error."""
    gi, gh, states = np.float64(gi), np.float64(gh), [np.float64(s) for s in states]

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    if kind == "lstm":
        i, f, g, o = np.split(gi + gh, 4, axis=1)
        c = sigmoid(f) * states[1] + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    if kind == "gru":
        (r, z, n), (hr, hz, hn) = np.split(gi, 3, axis=1), np.split(gh, 3, axis=1)
        gate = sigmoid(z + hz)
        return ((1 - gate) * np.tanh(n + sigmoid(r + hr) * hn) + gate * states[0],)
    return (np.tanh(gi + gh) if kind == "rnn_tanh" else np.maximum(gi + gh, 0),)


def data(kind: str):
    rng = np.random.default_rng(3)
    states = [rng.standard_normal((N, H)).astype(F32) for _ in range(2 if kind == "lstm" else 1)]
    return rng.standard_normal((N, K)).astype(F32), states


@pytest.mark.parametrize("kind", list(GATES))
@pytest.mark.rows(111)
def test_cells(kind):
    w, (x, states) = Weights(kind, K, 1), data(kind)
    cell = getattr(oq, f"quantized_{kind}_cell_dynamic")
    got = cell(x, states if kind == "lstm" else states[0], *w.packed, *w.bias)
    got = got if kind == "lstm" else (got,)
    want = step(kind, *w.parts(x, states[0]), states)
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a.numpy(), b, atol=1e-6)


@pytest.mark.rows(111)
def test_a_bias_counts_once():
    w, (x, (h,)) = Weights("rnn_relu", K, 1), data("rnn_relu")
    bare = [oq.linear_prepack(q) for q in w.q]
    with_bias = oq.quantized_rnn_relu_cell_dynamic(x, h, *w.packed)
    beside = oq.quantized_rnn_relu_cell_dynamic(x, h, *bare, *w.bias)
    np.testing.assert_array_equal(with_bias.numpy(), beside.numpy())
    with pytest.raises(TypeError, match="w_ih: expected what linear_prepack"):
        oq.quantized_rnn_relu_cell_dynamic(x, h, *w.q)


def run(kind: str, x: np.ndarray, hx: list[np.ndarray], cells: list[Weights], layers: int, sides: int):
    """Layers over time: the sequence quantized at once, the state at every step."""
    ends = []
    for layer in range(layers):
        outputs = []
        for side in range(sides):
            w, states = cells[layer * sides + side], [s[layer * sides + side] for s in hx]
            gi = oracle_ops.linear_dynamic(x.reshape(-1, x.shape[2]), w.plain[0], w.bias[0]).reshape(T, N, -1)
            out = np.zeros((T, N, H), F32)
            for t in range(T) if side == 0 else range(T - 1, -1, -1):
                gh = oracle_ops.linear_dynamic(states[0], w.plain[1], w.bias[1])
                # the same gates; what is checked here is who feeds whom
                states = list(_C.recurrent_step(kind, gi[t], gh, tuple(states)))
                out[t] = states[0]
            outputs.append(out)
            ends.append(states)
        x = np.concatenate(outputs, axis=2)
    return x, [np.stack([e[k] for e in ends]) for k in range(len(hx))]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.rows(110, 112)
def test_layers(kind, bidirectional):
    rng, sides = np.random.default_rng(8), 1 + bidirectional
    x = rng.standard_normal((T, N, K)).astype(F32)
    hx = [rng.standard_normal((2 * sides, N, H)).astype(F32) for _ in range(2 if kind == "lstm" else 1)]
    cells = [Weights(kind, K if i < sides else H * sides, i) for i in range(2 * sides)]
    want, ends = run(kind, x, hx, cells, 2, sides)
    params = [oq.make_quantized_cell_params_dynamic(*w.packed, *w.bias) for w in cells]
    call = getattr(oq, f"quantized_{kind}")
    state = hx if kind == "lstm" else hx[0]
    for batch_first in (False, True):
        got, *last = call(x.swapaxes(0, 1) if batch_first else x, state, params, 2, bidirectional, batch_first)
        np.testing.assert_array_equal(got.numpy(), want.swapaxes(0, 1) if batch_first else want)
        for a, b in zip(last, ends, strict=True):
            np.testing.assert_array_equal(a.numpy(), b)
    with pytest.raises(ValueError, match="params: expected"):
        call(x, state, params[:1], 2, bidirectional)


@pytest.mark.rows(110)
def test_cell_parameters_of_every_kind():
    w, (x, (h,)) = Weights("gru", K, 2), data("gru")
    by_dynamic = oq.make_quantized_cell_params_dynamic(*w.packed, *w.bias)
    by_matrix = oq.make_quantized_cell_params(*w.q, *w.bias)
    gi, gh = w.parts(x, h)
    for params in (by_dynamic, by_matrix):
        np.testing.assert_array_equal(params.of_input(x), gi)
        np.testing.assert_array_equal(params.of_hidden(h), gh)
    narrow = oq.make_quantized_cell_params_dynamic(*w.packed, *w.bias, reduce_range=True)
    np.testing.assert_array_equal(narrow.of_input(x), w.parts(x, h, True)[0])
    half = [oq.linear_prepack_fp16(oracle.dequantize(q), b) for q, b in zip(w.plain, w.bias, strict=True)]
    params = oq.make_quantized_cell_params_fp16(*half)
    np.testing.assert_array_equal(params.of_input(x), oq.linear_dynamic_fp16(x, half[0]).numpy())
    output, last = oq.quantized_gru(np.stack([x, x]), h[None], [params])
    assert (output.shape, last.shape) == ((2, N, H), (1, N, H))
    assert isinstance(output, ot.Tensor)
