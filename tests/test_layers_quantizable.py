"""`nn.quantizable`: LSTM, attention and encoder layers through the ordinary prepare and convert."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
import support
from octensor import _C, nn
from octensor.nn import quantizable as nnqa

CUSTOM = {"float_to_observed_custom_module_class": nnqa.MAPPING}


@pytest.fixture(autouse=True)
def _seed() -> None:
    ot.manual_seed(0)


class Model(nn.Module):
    """A layer between stubs, returning the first of what it returns."""

    def __init__(self, inner: nn.Module, arguments: int = 1) -> None:
        super().__init__()
        self.quant = tq.QuantStub()
        self.inner = inner
        self.dequant = tq.DeQuantStub()
        self.arguments = arguments

    def forward(self, x: Any, **options: Any) -> Any:
        x = self.quant(x)
        y = self.inner(*[x] * self.arguments, **options)
        return self.dequant(y[0] if isinstance(y, tuple) else y)


def statically(model: nn.Module, x: Any, **options: Any) -> tuple[Any, Any]:
    """Return the prepared and the converted model."""
    model.eval().qconfig = tq.get_default_qconfig()
    prepared = tq.prepare(model, prepare_custom_config_dict=CUSTOM)
    prepared(x, **options)
    return prepared, tq.convert(prepared)


def error(got: Any, want: Any) -> float:
    """Energy of the error relative to that of the values."""
    got, want = got.numpy(), want.detach().numpy()
    return float(((got - want) ** 2).sum() / (want**2).sum())


# --- LSTM -------------------------------------------------------------------------------------------


@pytest.mark.rows(173)
@pytest.mark.parametrize(
    ("layers", "options"),
    [(1, {}), (2, {"bidirectional": True}), (2, {"batch_first": True, "bias": False})],
)
def test_lstm_from_float_is_the_same_and_converts(layers: int, options: dict[str, Any]) -> None:
    layer = nn.LSTM(6, 8, layers, **options).eval()
    x = ot.randn(10, 4, 6)
    twin = nnqa.LSTM.from_float(layer)
    output, (h, c) = layer(x)
    twin_output, (twin_h, twin_c) = twin(x)
    for a, b in ((output, twin_output), (h, twin_h), (c, twin_c)):
        np.testing.assert_allclose(b.detach().numpy(), a.detach().numpy(), atol=1e-6)

    model = Model(layer)
    want = model(x)
    prepared, static = statically(model, x)
    assert isinstance(prepared.inner, nnqa.LSTM)
    np.testing.assert_allclose(prepared(x).detach().numpy(), want.detach().numpy(), atol=1e-6)
    assert static.inner.stage == "static"
    assert static.inner.layers[0].layer_fw.cell.igates.stage == "static"
    got = static(x)
    assert error(got, want) < 1e-2
    support.assert_everywhere(lambda: static(x).numpy(), got.numpy())


@pytest.mark.rows(173)
def test_lstm_cell_has_pytorchs_parts_and_gate_order() -> None:
    float_cell = nn.LSTMCell(5, 4)
    cell = nnqa.LSTMCell.from_float(float_cell)
    names = {name for name, _ in cell.named_children()}
    wanted = {"igates", "hgates", "gates", "fgate_cx", "igate_cgate", "fgate_cx_igate_cgate", "ogate_cy"}
    assert wanted <= names
    assert cell.igates.weight.equal(float_cell.weight_ih)
    x, state = ot.randn(3, 5), (ot.randn(3, 4), ot.randn(3, 4))
    for got, want in zip(cell(x, state), float_cell(x, state), strict=True):
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), atol=1e-6)
    keys = set(nnqa.LSTM(5, 4, 2, bidirectional=True).state_dict())
    assert "layers.1.layer_bw.cell.hgates.weight" in keys


@pytest.mark.rows(173, differs="the state to begin with is real 0 in the qparams of the states after it, not scale 1")
def test_lstm_begins_with_real_zero_in_the_qparams_of_its_state() -> None:
    x = ot.randn(10, 4, 6)
    _, static = statically(Model(nn.LSTM(6, 8)), x)
    cell = static.inner.layers[0].layer_fw.cell
    h, c = cell.initial(None, 4)
    assert h.qparams == cell.ogate_cy.activation_post_process
    assert c.qparams == cell.fgate_cx_igate_cgate.activation_post_process
    assert not h.dequantize().numpy().any()
    given = cell.initial((ot.zeros(4, 8), ot.zeros(4, 8)), 4)
    assert given[0].equal(h)
    q = static.quant(x)
    whole, last = static.inner(q)
    one, middle = static.inner(q[:3])
    two, end = static.inner(q[3:], middle)
    assert np.array_equal(np.concatenate([one.int_repr(), two.int_repr()]), whole.int_repr())
    assert end[0].equal(last[0])
    assert end[1].equal(last[1])


@pytest.mark.rows(173)
def test_lstm_ignores_dropout_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="dropout is ignored"):
        nnqa.LSTM(5, 4, 2, dropout=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nnqa.LSTM.from_float(nn.LSTM(5, 4, 2, dropout=0.5).eval())


def test_from_float_and_from_observed_check_what_they_get() -> None:
    with pytest.raises(TypeError, match="expected a float LSTM, got a GRU"):
        nnqa.LSTM.from_float(nn.GRU(5, 4))
    with pytest.raises(ValueError, match="expected the float stage, got dynamic"):
        nnqa.LSTM.from_float(tq.quantize_dynamic(nn.Sequential(nn.LSTM(5, 4)))[0])
    with pytest.raises(TypeError, match="from_observed"):
        nnqa.LSTM.from_observed(nn.LSTM(5, 4))
    layer = nnqa.LSTM(5, 4)
    assert nnqa.LSTM.from_observed(layer) is layer
    with pytest.raises(ValueError, match="input_size = 5"):
        layer(ot.randn(3, 2, 6))
    with pytest.raises(ValueError, match="hidden: expected shape"):
        nnqa.LSTMCell(5, 4)(ot.randn(3, 5), (ot.zeros(2, 4), ot.zeros(3, 4)))


# --- attention --------------------------------------------------------------------------------------


def integer_attention(q: Any, k: Any, v: Any, mask: Any, qparams: Any) -> np.ndarray:
    """Codes of one head from the formula, sums as plain Python would do them."""
    a, b, c = (x.int_repr().astype(np.int64) - x.qparams.zero_point for x in (q, k, v))
    step = np.float32(np.float64(q.qparams.scale) * np.float64(k.qparams.scale) / np.sqrt(np.float64(a.shape[-1])))
    scores = np.einsum("bld,bsd->bls", a, b).astype(np.float32) * step
    if mask is not None:
        scores = scores + mask
    e = np.rint(_C.exp(scores - scores.max(-1, keepdims=True)) * np.float32(2**20)).astype(np.int64)
    p = np.rint((e * 65535) / e.sum(-1, keepdims=True)).astype(np.int64)
    y = (np.einsum("bls,bsd->bld", p, c) * (np.float64(v.qparams.scale) / 65535)).astype(np.float32)
    return np.clip(np.rint(y / np.float32(qparams.scale)) + qparams.zero_point, 0, 255).astype(np.uint8)


@pytest.mark.rows(174, differs="attention between the projections is computed in integers, the same bits on every CPU")
@pytest.mark.parametrize("masked", [False, True])
def test_integer_attention_is_its_formula_on_every_backend(masked: bool) -> None:
    q, k, v = (ot.quantize_per_tensor(ot.randn(3, n, 8) * 3, 0.05, 120, ot.quint8) for n in (5, 7, 7))
    mask = np.where(np.arange(7) > np.arange(5)[:, None] + 2, np.float32(-np.inf), np.float32(0)) if masked else None
    qparams = _C.QParams(0.03, 110, _C.quint8)
    want = integer_attention(q, k, v, mask, qparams)
    support.assert_everywhere(lambda: nnqa.attention.attend_integer(q, k, v, mask, qparams)[0], want)
    weights = nnqa.attention.attend_integer(q, k, v, mask, qparams)[1].numpy()
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-4)
    assert not masked or not weights[:, 0, 3:].any()


@pytest.mark.rows(174)
@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True, "add_zero_attn": True}, {"batch_first": True}])
def test_attention_from_float_is_the_same_and_converts(options: dict[str, Any]) -> None:
    layer = nn.MultiheadAttention(8, 2, **options).eval()
    layer.in_proj_bias.data.normal_()
    x, mask = ot.randn(6, 6, 8), np.triu(np.ones((6, 6), bool), 1)
    twin = nnqa.MultiheadAttention.from_float(layer)
    for a, b in zip(layer(x, x, x, attn_mask=mask), twin(x, x, x, attn_mask=mask), strict=True):
        np.testing.assert_allclose(b.detach().numpy(), a.detach().numpy(), atol=1e-6)
    model = Model(layer, 3)
    want = model(x, attn_mask=mask)
    _, static = statically(model, x, attn_mask=mask)
    assert [getattr(static.inner, f"linear_{p}").stage for p in "QKV"] == ["static"] * 3
    assert error(static(x, attn_mask=mask), want) < 3e-3
    back = static.inner.dequantize()
    assert type(back) is nn.MultiheadAttention
    assert error(back(x, x, x, attn_mask=mask)[0].detach(), want) < 1e-3


@pytest.mark.rows(174)
def test_attention_with_other_key_and_value_sizes() -> None:
    layer = nn.MultiheadAttention(8, 2, kdim=5, vdim=3).eval()
    q, k, v = ot.randn(4, 2, 8), ot.randn(6, 2, 5), ot.randn(6, 2, 3)
    twin = nnqa.MultiheadAttention.from_float(layer)
    np.testing.assert_allclose(twin(q, k, v)[0].detach(), layer(q, k, v)[0].detach().numpy(), atol=1e-6)
    assert {"linear_Q", "linear_K", "linear_V", "out_proj"} <= {name for name, _ in twin.named_children()}


# --- encoder ----------------------------------------------------------------------------------------


@pytest.mark.rows(174)
@pytest.mark.parametrize("options", [{}, {"activation": "gelu", "norm_first": True, "batch_first": True}])
def test_encoder_is_quantized_statically(options: dict[str, Any]) -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, **options), 2)
    x = ot.randn(6, 6, 16)
    model = Model(encoder).eval()
    want = model(x)
    prepared, static = statically(model, x)
    np.testing.assert_allclose(prepared(x).detach().numpy(), want.detach().numpy(), atol=1e-5)
    assert all(m.stage == "static" for m in static.modules() if isinstance(m, (nn.Linear, nn.LayerNorm)))
    got = static(x)
    assert error(got, want) < 3e-3
    support.assert_everywhere(lambda: static(x).numpy(), got.numpy())


def test_encoder_is_quantized_dynamically() -> None:
    layer = nn.TransformerEncoderLayer(16, 4, 32).eval()
    dynamic = tq.quantize_dynamic(copy.deepcopy(layer))
    assert [dynamic.linear1.stage, dynamic.linear2.stage, dynamic.self_attn.out_proj.stage] == ["dynamic"] * 3
    x = ot.randn(6, 3, 16)
    assert error(dynamic(x), layer(x)) < 1e-3
