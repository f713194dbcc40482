"""Recurrent layers and cells: float against a plain loop, dynamic against its definition, packed sequences."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
import support
from octensor import _C, nn
from octensor.nn.quantized import dynamic as nnqd
from octensor.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence, pad_sequence

KINDS = [("LSTM", {}), ("GRU", {}), ("RNN", {}), ("RNN", {"nonlinearity": "relu"})]
F32 = np.float32


@pytest.fixture(autouse=True)
def _seed() -> None:
    ot.manual_seed(0)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def naive_step(kind: str, options: dict[str, Any], gi: Any, gh: Any, h: Any, c: Any) -> Any:
    """One step of one row in float64."""
    if kind == "LSTM":
        i, f, g, o = np.split(gi + gh, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    if kind == "GRU":
        (ir, iz, i_n), (hr, hz, hn) = np.split(gi, 3, -1), np.split(gh, 3, -1)
        n = np.tanh(i_n + sigmoid(ir + hr) * hn)
        z = sigmoid(iz + hz)
        return (1 - z) * n + z * h, c
    return (np.maximum if options else lambda x, _: np.tanh(x))(gi + gh, 0), c


def naive(layer: Any, kind: str, options: dict[str, Any], x: np.ndarray, product: Any = None) -> Any:
    """Run a layer over x (T, N, features), one weight at a time; `product(x, name)` replaces the float products."""

    def plain(value: Any, weight: str) -> Any:
        bias = getattr(layer, weight.replace("weight", "bias"))
        return value @ getattr(layer, weight).numpy().T.astype(float) + (0 if bias is None else bias.numpy())

    product = product or plain
    hs, cs = [], []
    for depth in range(layer.num_layers):
        outputs = []
        for ending in ("", "_reverse")[: 2 if layer.bidirectional else 1]:
            parts = product(x, f"weight_ih_l{depth}{ending}")
            h = c = np.zeros((x.shape[1], layer.hidden_size), F32)
            rows: Any = [None] * len(x)
            for t in range(len(x))[:: -1 if ending else 1]:
                h, c = naive_step(kind, options, parts[t], product(h, f"weight_hh_l{depth}{ending}"), h, c)
                rows[t] = h
            outputs.append(np.stack(rows))
            hs.append(h)
            cs.append(c)
        x = np.concatenate(outputs, -1)
    return x, np.stack(hs), np.stack(cs)


def states(result: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    output, state = result
    return output.detach().numpy(), [s.detach().numpy() for s in (state if isinstance(state, tuple) else (state,))]


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize(("layers", "two_ways", "bias"), [(1, False, True), (2, True, True), (3, False, False)])
def test_layer_is_the_plain_loop(kind: str, options: Any, layers: int, two_ways: bool, bias: bool) -> None:
    layer = getattr(nn, kind)(5, 4, layers, bias=bias, bidirectional=two_ways, **options)
    x = ot.randn(6, 3, 5)
    output, state = states(layer(x))
    want = naive(layer, kind, options, x.numpy())
    np.testing.assert_allclose(output, want[0], atol=2e-6)
    for got, expected in zip(state, want[1:], strict=False):
        np.testing.assert_allclose(got, expected, atol=2e-6)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_gradients_are_the_differences(kind: str, options: Any) -> None:
    layer = getattr(nn, kind)(3, 4, 2, bidirectional=True, **options)
    x = ot.randn(5, 2, 3, requires_grad=True)
    weigh = ot.randn(5, 2, 8)

    def objective() -> Any:
        return (layer(x)[0] * weigh).sum()

    objective().backward()
    rng = np.random.default_rng(1)
    for tensor in (x, *layer.parameters()):
        values, way = np.asarray(tensor.data), rng.standard_normal(tensor.shape).astype(F32)
        way /= np.sqrt((way * way).sum())
        kept, ends = values.copy(), []
        for sign in (1, -1):
            values[...] = kept + F32(sign * 0.002) * way
            ends.append(objective().item())
        values[...] = kept
        assert abs((ends[0] - ends[1]) / 0.004 - float((tensor.grad.numpy() * way).sum())) < 2e-2


def test_batch_first_single_sequences_and_given_states() -> None:
    layer = nn.LSTM(5, 4, 2, bidirectional=True)
    first = nn.LSTM(5, 4, 2, bidirectional=True, batch_first=True)
    first.load_state_dict(layer.state_dict())
    x, hx = ot.randn(6, 3, 5), (ot.randn(4, 3, 4), ot.randn(4, 3, 4))
    output, state = states(layer(x, hx))
    swapped, state_first = states(first(x.transpose(0, 1), hx))
    np.testing.assert_array_equal(swapped, output.swapaxes(0, 1))
    single, state_single = states(layer(x[:, 1], tuple(s[:, 1] for s in hx)))
    np.testing.assert_allclose(single, output[:, 1], atol=1e-6)
    for k in range(2):
        np.testing.assert_array_equal(state_first[k], state[k])
        np.testing.assert_allclose(state_single[k], state[k][:, 1], atol=1e-6)


def test_a_sequence_can_be_run_in_two_parts() -> None:
    layer, x = nn.GRU(5, 4, 2), ot.randn(6, 3, 5)
    whole, last = layer(x)
    one, middle = layer(x[:2])
    two, end = layer(x[2:], middle)
    np.testing.assert_allclose(np.concatenate([one.detach(), two.detach()]), whole.detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(end.detach(), last.detach().numpy(), atol=1e-6)


def test_dropout_acts_between_layers_while_training() -> None:
    layer, x = nn.LSTM(5, 4, 2, dropout=0.5), ot.randn(6, 3, 5)
    assert not layer(x)[0].equal(layer(x)[0])
    layer.eval()
    assert layer(x)[0].equal(layer(x)[0])
    assert nn.LSTM(5, 4, 1, dropout=0.5)(x)[0].shape == (6, 3, 4)


# --- packed sequences -------------------------------------------------------------------------------


@pytest.mark.rows(167, 168)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_packed_sequences_are_the_sequences_alone(kind: str) -> None:
    layer = getattr(nn, kind)(5, 4, 2, bidirectional=True)
    lengths = [3, 6, 1, 4]
    x = ot.randn(6, 4, 5)
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    output, state = layer(packed)
    padded, got_lengths = pad_packed_sequence(output, padding_value=-7.0)
    assert got_lengths.tolist() == lengths
    for i, length in enumerate(lengths):
        alone, own = states(layer(x[:length, i : i + 1]))
        np.testing.assert_allclose(padded.detach().numpy()[:length, i], alone[:, 0], atol=1e-6)
        assert (padded.detach().numpy()[length:, i] == -7).all()
        for got, want in zip(states((output.data, state))[1], own, strict=True):
            np.testing.assert_allclose(got[:, i], want[:, 0], atol=1e-6)


@pytest.mark.rows(167, 168)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_dynamic_packed_batch_of_equal_lengths_is_the_padded_batch(kind: str) -> None:
    layer = tq.quantize_dynamic(nn.Sequential(getattr(nn, kind)(5, 4, 2, bidirectional=True)))[0]
    x = ot.randn(6, 3, 5)
    packed, _ = pad_packed_sequence(layer(pack_padded_sequence(x, [6, 6, 6]))[0])
    assert packed.equal(layer(x)[0])
    uneven, _ = layer(pack_sequence([x[:6, 0], x[:2, 1]]))
    assert uneven.batch_sizes.tolist() == [2, 2, 1, 1, 1, 1]


def test_packing_and_its_errors() -> None:
    x = ot.randn(4, 2, 3)
    packed = pack_padded_sequence(x, [4, 2])
    assert packed.data.shape == (6, 3)
    np.testing.assert_array_equal(packed.data.numpy(), x.numpy().reshape(-1, 3)[[0, 1, 2, 3, 4, 6]])
    assert pad_packed_sequence(packed, batch_first=True, total_length=5)[0].shape == (2, 5, 3)
    assert pad_sequence([x[:, 0], x[:2, 1]], batch_first=True).shape == (2, 4, 3)
    with pytest.raises(ValueError, match="enforce_sorted"):
        pack_padded_sequence(x, [2, 4])
    with pytest.raises(ValueError, match=r"lengths: expected 2 integers in \[1, 4\]"):
        pack_padded_sequence(x, [5, 1])
    with pytest.raises(ValueError, match="total_length"):
        pad_packed_sequence(packed, total_length=3)


# --- dynamic ----------------------------------------------------------------------------------------


def dynamic_product(layer: Any, x: np.ndarray, name: str) -> np.ndarray:
    """x Wᵀ + b with x quantized over its whole range, from the definition."""
    weight, bias = getattr(layer, name), getattr(layer, name.replace("weight", "bias"))
    lo, hi = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    qparams = _C.choose_qparams(lo, hi, _C.quint8)
    codes = np.clip(np.rint(x.astype(F32) / F32(qparams.scale)) + qparams.zero_point, 0, 255).astype(np.int64)
    sums = (codes - qparams.zero_point) @ weight.int_repr().astype(np.int64).T
    scales = F32(qparams.scale) * np.asarray(weight.qparams.scale, F32)
    return sums.astype(F32) * scales + (0 if bias is None else bias.numpy())


def quantized_dynamically(layer: Any) -> Any:
    return tq.quantize_dynamic(nn.Sequential(layer))[0]


@pytest.mark.rows(167, 168)
@pytest.mark.parametrize(("kind", "options"), KINDS[:2])
def test_dynamic_layer_quantizes_its_whole_input_once_and_the_state_at_each_step(kind: str, options: Any) -> None:
    layer = quantized_dynamically(getattr(nn, kind)(7, 6, 2, bidirectional=True, **options))
    assert layer.stage == "dynamic"
    x = ot.randn(5, 3, 7).numpy() * np.linspace(0.1, 3, 5, dtype=F32)[:, None, None]
    got, state = states(layer(x))
    want = naive(layer, kind, options, x, lambda v, name: dynamic_product(layer, v.astype(F32), name))
    np.testing.assert_allclose(got, want[0], atol=1e-5)
    np.testing.assert_allclose(state[0], want[1], atol=1e-5)

    def step_by_step(v: np.ndarray, name: str) -> Any:
        parts = v if v.ndim == 3 else v[None]
        done = np.stack([dynamic_product(layer, p.astype(F32), name) for p in parts])
        return done if v.ndim == 3 else done[0]

    assert np.abs(naive(layer, kind, options, x, step_by_step)[0] - got).max() > 1e-3


@pytest.mark.rows(167, 168)
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_dynamic_layer_is_near_the_float_layer_and_the_same_everywhere(kind: str, options: Any) -> None:
    layer = getattr(nn, kind)(16, 12, 2, bidirectional=True, **options).eval()
    dynamic = quantized_dynamically(copy.deepcopy(layer))
    x = ot.randn(8, 4, 16)
    want = layer(x)[0].detach().numpy()
    got = dynamic(x)[0].numpy()
    assert ((got - want) ** 2).sum() < 1e-3 * (want**2).sum()
    support.assert_everywhere(lambda: dynamic(x)[0].numpy(), got)


@pytest.mark.rows(166, 167, 168, 169, 170, 171)
@pytest.mark.parametrize("kind", ["Linear", "LSTM", "GRU", "LSTMCell", "GRUCell", "RNNCell"])
def test_dynamic_views_make_and_recognise_layers(kind: str) -> None:
    view, layer = getattr(nnqd, kind), getattr(nn, kind)(5, 4)
    assert not isinstance(layer, view)
    layer.qconfig = tq.default_dynamic_qconfig
    made = view.from_float(layer)
    assert isinstance(made, view)
    assert made.stage == "dynamic"
    assert layer.stage == "float"
    empty = view(5, 4)
    empty.load_state_dict(made.state_dict())
    x = ot.randn(3, 2, 5) if kind in ("LSTM", "GRU") else ot.randn(3, 5)
    first = [np.asarray(a) for a in np.atleast_1d(np.asarray(0))] and empty(x)
    second = made(x)
    for a, b in zip(_flat(first), _flat(second), strict=True):
        assert a.equal(b)
    with pytest.raises(ValueError, match="qconfig"):
        view.from_float(getattr(nn, kind)(5, 4))


def _flat(value: Any) -> list[Any]:
    return [part for item in value for part in _flat(item)] if isinstance(value, tuple) else [value]


@pytest.mark.rows(172)
def test_weights_and_biases_by_the_names_of_the_float_parameters() -> None:
    layer = quantized_dynamically(nn.LSTM(5, 4, 2, bidirectional=True))
    weights, biases = layer.get_weight(), layer.get_bias()
    assert list(weights)[:3] == ["weight_ih_l0", "weight_hh_l0", "weight_ih_l0_reverse"]
    assert all(isinstance(w, ot.QTensor) for w in weights.values())
    assert sorted(biases) == sorted(name.replace("weight", "bias") for name in weights)
    assert biases["bias_hh_l1_reverse"] is layer.bias_hh_l1_reverse
    cell = quantized_dynamically(nn.GRUCell(5, 4))
    assert list(cell.get_weight()) == ["weight_ih", "weight_hh"]
    assert list(cell.get_bias()) == ["bias_ih", "bias_hh"]


@pytest.mark.rows(167, 168)
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "LSTMCell"])
def test_float16_weights_compute_in_float(kind: str) -> None:
    layer = getattr(nn, kind)(5, 4)
    half = tq.quantize_dynamic(nn.Sequential(copy.deepcopy(layer)), dtype=np.float16)[0]
    assert all(w.dtype == np.float16 for w in half.get_weight().values())
    assert isinstance(half, getattr(nnqd, kind))
    for name in layer.weight_names:
        layer.get_parameter(name).data = getattr(half, name).astype(F32)
    x = ot.randn(3, 2, 5) if kind != "LSTMCell" else ot.randn(3, 5)
    for a, b in zip(_flat(half(x)), _flat(layer(x)), strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), atol=1e-5)


@pytest.mark.rows(167)
def test_dynamic_layer_saves_copies_and_pickles() -> None:
    layer = quantized_dynamically(nn.LSTM(5, 4, 2))
    x = ot.randn(6, 3, 5)
    want = layer(x)[0]
    assert copy.deepcopy(layer)(x)[0].equal(want)
    assert pickle.loads(pickle.dumps(layer))(x)[0].equal(want)
    other = quantized_dynamically(nn.LSTM(5, 4, 2))
    other.load_state_dict(layer.state_dict())
    assert other(x)[0].equal(want)


# --- cells ------------------------------------------------------------------------------------------

CELLS = [
    pytest.param("LSTMCell", {}, marks=pytest.mark.rows(169)),
    pytest.param("GRUCell", {}, marks=pytest.mark.rows(170)),
    pytest.param("RNNCell", {}, marks=pytest.mark.rows(171)),
    pytest.param("RNNCell", {"nonlinearity": "relu"}, marks=pytest.mark.rows(171)),
]


@pytest.mark.parametrize(("kind", "options"), CELLS)
def test_cell_is_one_step_of_the_layer(kind: str, options: Any) -> None:
    layer = getattr(nn, kind.removesuffix("Cell"))(5, 4, **options)
    cell = getattr(nn, kind)(5, 4, **options)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    x = ot.randn(3, 5)
    for run in (lambda m: m, quantized_dynamically):
        one, many = run(copy.deepcopy(cell)), run(copy.deepcopy(layer))
        state = one(x)
        again = one(x, state)
        output, _ = many(ot.stack([x, x]))
        h = again[0] if kind == "LSTMCell" else again
        np.testing.assert_allclose(h.detach().numpy(), output.detach().numpy()[1], atol=1e-6)
        assert one(x[0])[0].shape == ((4,) if kind == "LSTMCell" else ())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LSTM(0, 4), "LSTM: input_size"),
        (lambda: nn.GRU(5, 4, dropout=1.5), "dropout"),
        (lambda: nn.RNN(5, 4, nonlinearity="sin"), "nonlinearity: expected 'tanh' or 'relu'"),
        (lambda: nn.RNNCell(5, 4, nonlinearity="sin"), "nonlinearity"),
        (lambda: nn.LSTM(5, 4)(ot.randn(3, 2, 6)), "input_size = 5"),
        (lambda: nn.LSTM(5, 4)(ot.randn(0, 2, 5)), "at least one step"),
        (lambda: nn.LSTM(5, 4)(ot.randn(3, 2, 5), (ot.randn(1, 2, 3), ot.randn(1, 2, 4))), "hx: expected shape"),
        (lambda: nn.LSTM(5, 4)(ot.randn(3, 2, 5), (ot.randn(1, 2, 4),)), "hx: expected 2 tensors"),
        (lambda: nn.LSTMCell(5, 4)(ot.randn(3, 6)), "expected shape"),
        (lambda: nn.GRUCell(5, 4)(ot.randn(3, 5), ot.randn(2, 4)), "hx: expected shape"),
        (lambda: nnqd.LSTM(5, 4, dtype=_C.qint32), "dtype: expected one of"),
    ],
)
def test_wrong_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_quantized_input_is_refused_with_the_remedy() -> None:
    q = ot.quantize_per_tensor(ot.randn(3, 2, 5), 0.1, 128, ot.quint8)
    for layer in (nn.LSTM(5, 4), nn.LSTMCell(5, 4)):
        with pytest.raises(TypeError, match="DeQuantStub"):
            layer(q)
