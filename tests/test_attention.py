"""Float multi-head attention and encoder layers: against the definition, masks, gradients, the dynamic stage."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import nn


@pytest.fixture(autouse=True)
def _seed() -> None:
    ot.manual_seed(0)


def plain(layer: Any, q: np.ndarray, k: np.ndarray, v: np.ndarray, blocked: np.ndarray) -> tuple[Any, Any]:
    """Attention of one sample, head by head; `blocked` (L, S) says which keys a query does not see."""
    e, d = layer.embed_dim, layer.head_dim
    w, b = layer.in_proj_weight.numpy().astype(float), layer.in_proj_bias.numpy()
    q, k, v = (x @ w[i * e : (i + 1) * e].T + b[i * e : (i + 1) * e] for i, x in enumerate((q, k, v)))
    heads, weights = [], []
    for h in range(layer.num_heads):
        part = slice(h * d, (h + 1) * d)
        scores = np.where(blocked, -np.inf, q[:, part] @ k[:, part].T / np.sqrt(d))
        p = np.exp(scores - scores.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        heads.append(p @ v[:, part])
        weights.append(p)
    out = np.concatenate(heads, 1) @ layer.out_proj.weight.numpy().T + layer.out_proj.bias.numpy()
    return out, np.stack(weights)


def test_attention_is_its_definition_with_both_masks() -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    layer.in_proj_bias.data.normal_()
    q, k, v = ot.randn(3, 4, 8), ot.randn(3, 5, 8), ot.randn(3, 5, 8)
    padding = np.zeros((3, 5), bool)
    padding[1, 3:] = padding[2, :2] = True
    causal = np.triu(np.ones((4, 5), bool), 2)
    causal[:, 2] = False
    out, weights = layer(q, k, v, key_padding_mask=padding, attn_mask=causal)
    each = layer(q, k, v, key_padding_mask=padding, attn_mask=causal, average_attn_weights=False)[1]
    for n in range(3):
        want, want_weights = plain(layer, q.numpy()[n], k.numpy()[n], v.numpy()[n], causal | padding[n])
        np.testing.assert_allclose(out.detach().numpy()[n], want, atol=1e-5)
        np.testing.assert_allclose(each.detach().numpy()[n], want_weights, atol=1e-5)
        np.testing.assert_allclose(weights.detach().numpy()[n], want_weights.mean(0), atol=1e-5)
    bias = np.where(causal, -1e9, 0).astype(np.float32)
    np.testing.assert_allclose(
        layer(q, k, v, key_padding_mask=padding, attn_mask=bias)[0].detach(), out.detach().numpy(), atol=1e-5
    )
    assert layer(q, k, v, need_weights=False)[1] is None


def test_self_attention_is_attention_and_layouts_agree() -> None:
    layer = nn.MultiheadAttention(8, 2)
    x = ot.randn(5, 3, 8)
    twin = ot.from_numpy(x.numpy().copy())
    np.testing.assert_allclose(layer(x, x, x)[0].detach(), layer(x, twin, twin)[0].detach().numpy(), atol=1e-6)
    first = nn.MultiheadAttention(8, 2, batch_first=True)
    first.load_state_dict(layer.state_dict())
    y = x.transpose(0, 1)
    np.testing.assert_allclose(first(y, y, y)[0].detach().transpose(0, 1), layer(x, x, x)[0].detach(), atol=1e-6)
    assert set(layer.state_dict()) == {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"}


def test_extra_keys_change_what_is_attended_to() -> None:
    layer = nn.MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True)
    x = ot.randn(5, 3, 8)
    _, weights = layer(x, x, x, attn_mask=np.zeros((5, 5), bool))
    assert weights.shape == (3, 5, 7)
    np.testing.assert_allclose(weights.detach().numpy().sum(-1), 1, atol=1e-5)


def test_gradients_reach_every_parameter() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu")
    x = ot.randn(5, 3, 8, requires_grad=True)
    weigh = ot.randn(5, 3, 8)

    def objective() -> Any:
        return (layer(x) * weigh).sum()

    objective().backward()
    rng = np.random.default_rng(1)
    for tensor in (x, *layer.parameters()):
        values, way = np.asarray(tensor.data), rng.standard_normal(tensor.shape).astype(np.float32)
        way /= np.sqrt((way * way).sum())
        kept, ends = values.copy(), []
        for sign in (1, -1):
            values[...] = kept + np.float32(sign * 0.005) * way
            ends.append(objective().item())
        values[...] = kept
        assert abs((ends[0] - ends[1]) / 0.01 - float((tensor.grad.numpy() * way).sum())) < 2e-2


def test_encoder_layer_orders_norms() -> None:
    x = ot.randn(5, 3, 8)
    layer = nn.TransformerEncoderLayer(8, 2, 16).eval()
    after = layer.norm1(x + layer.self_attn(x, x, x)[0])
    want = layer.norm2(after + layer.linear2(layer.linear1(after).relu()))
    np.testing.assert_allclose(layer(x).detach(), want.detach().numpy(), atol=1e-5)
    first = nn.TransformerEncoderLayer(8, 2, 16, norm_first=True).eval()
    first.load_state_dict(layer.state_dict())
    n = first.norm1(x)
    after = x + first.self_attn(n, n, n)[0]
    want = after + first.linear2(first.linear1(first.norm2(after)).relu())
    np.testing.assert_allclose(first(x).detach(), want.detach().numpy(), atol=1e-5)
    both = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8))
    np.testing.assert_allclose(both.eval()(x).detach(), both.norm(layer(layer(x))).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"kdim": 5, "vdim": 3}])
def test_dynamic_projections(options: dict[str, int]) -> None:
    layer = nn.MultiheadAttention(8, 2, **options).eval()
    q, k, v = ot.randn(5, 3, 8), ot.randn(6, 3, layer.kdim), ot.randn(6, 3, layer.vdim)
    dynamic = tq.quantize_dynamic(nn.Sequential(copy.deepcopy(layer)), {nn.MultiheadAttention, nn.Linear})[0]
    assert dynamic.stage == "dynamic"
    assert dynamic.out_proj.stage == "dynamic"
    want, got = layer(q, k, v)[0].detach().numpy(), dynamic(q, k, v)[0].numpy()
    assert ((got - want) ** 2).sum() < 1e-3 * (want**2).sum()
    if not options:
        want, got = layer(q, q, q)[0].detach().numpy(), dynamic(q, q, q)[0].numpy()
        assert ((got - want) ** 2).sum() < 1e-3 * (want**2).sum()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.MultiheadAttention(8, 3), "num_heads: expected a divisor"),
        (lambda: nn.MultiheadAttention(8, 2)(*[ot.zeros(2, 8)] * 3), "query: expected shape"),
        (lambda: nn.MultiheadAttention(8, 2)(*[ot.zeros(4, 2, 8)] * 3, attn_mask=np.zeros((3, 3))), "attn_mask"),
        (
            lambda: nn.MultiheadAttention(8, 2)(*[ot.zeros(4, 2, 8)] * 3, key_padding_mask=np.zeros((4, 2), bool)),
            "key_padding_mask",
        ),
        (lambda: nn.TransformerEncoderLayer(8, 2, activation="sin"), "activation: expected 'relu' or 'gelu'"),
    ],
)
def test_wrong_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_quantized_input_is_refused_with_the_remedy() -> None:
    q = ot.quantize_per_tensor(ot.randn(4, 2, 8), 0.1, 128, ot.quint8)
    with pytest.raises(TypeError, match=r"nn\.quantizable\.MultiheadAttention"):
        nn.MultiheadAttention(8, 2)(q, q, q)
