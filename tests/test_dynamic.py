"""Dynamic and weight-only quantization: weights now, activations when they come."""

from __future__ import annotations

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import _C, nn
from octensor.quantization.qconfig import float16_dynamic_qconfig, per_channel_dynamic_qconfig
from support import ISAS, backend

RNG = np.random.default_rng(0)


def rand(*shape):
    return ot.from_numpy(RNG.standard_normal(shape).astype(np.float32))


def mlp():
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Sequential(nn.Linear(10, 4)))


def reference(x, weight, bias):
    """2.5: quantize the whole input, multiply in integers, one scale back."""
    p = _C.choose_qparams(float(x.min()), float(x.max()), ot.quint8)
    a = _C.quantize(x, p).int_repr().astype(np.int64) - p.zero_point
    w = weight.int_repr().astype(np.int64)
    return (a @ w.T) * (np.float64(p.scale) * np.asarray(weight.qparams.scale, np.float64)) + bias


@pytest.mark.rows(166, 208, 222, 298)
@pytest.mark.parametrize("qconfig", [None, per_channel_dynamic_qconfig])
def test_linear_layers_multiply_in_integers(qconfig):
    model, x = mlp(), rand(5, 6)
    dynamic = tq.quantize_dynamic(model, None if qconfig is None else {nn.Linear: qconfig})
    assert (model.stage, dynamic.stage, dynamic[0].stage) == ("float", "dynamic", "dynamic")
    assert dynamic[0].weight.qparams.is_per_channel == (qconfig is not None)
    hidden = reference(x.numpy(), dynamic[0].weight, np.asarray(model[0].bias))
    np.testing.assert_allclose(dynamic[0](x), hidden, rtol=1e-5, atol=1e-5)
    assert tq.sqnr(model(x), dynamic(x)) > 30
    results = set()
    for isa in ISAS:
        with backend(isa, 2):
            results.add(np.asarray(dynamic(x)).tobytes())
    assert len(results) == 1


@pytest.mark.rows(222)
def test_specs_by_type_name_and_mapping():
    model, x = mlp(), rand(5, 6)
    assert [m.stage for m in tq.quantize_dynamic(model, {"0"})] == ["dynamic", "float", "float"]
    assert tq.quantize_dynamic(model, {"2"})[2][0].stage == "dynamic"
    spec = {nn.Linear: float16_dynamic_qconfig, "0": tq.default_dynamic_qconfig}
    assert [m.stage for m in tq.quantize_dynamic(model, spec)] == ["dynamic", "float", "weight-only"]
    assert tq.quantize_dynamic(model, {**spec, "2.0": None})[2].stage == "float"
    assert tq.quantize_dynamic(model, inplace=True) is model
    assert not any(hasattr(m, "qconfig") for m in model.modules())
    with pytest.raises(ValueError, match=r"quantize_dynamic: 0: expected a float layer, got one in the dynamic stage"):
        tq.quantize_dynamic(model)
    assert model(x).shape == (5, 4)


@pytest.mark.rows(209, 297)
def test_float16_weights():
    model, x = mlp(), rand(5, 6)
    half = tq.quantize_dynamic(model, dtype=np.float16)
    assert half.stage == "weight-only"
    assert half[0].weight.dtype == np.float16
    want = np.asarray(x) @ np.asarray(model[0].weight).astype(np.float16).astype(np.float32).T
    np.testing.assert_allclose(half[0](x), want + np.asarray(model[0].bias), rtol=1e-5, atol=1e-6)
    state = half.state_dict()
    assert state["0.weight"].dtype == np.float16
    other = tq.quantize_dynamic(mlp(), dtype=np.float16)
    other.load_state_dict(state)
    np.testing.assert_array_equal(other(x), half(x))
    model[0].weight.data[0, 0] = 1e6
    with pytest.warns(UserWarning, match="1 of 60 values are beyond float16"):
        assert tq.quantize_dynamic(model, dtype=np.float16)[0].weight[0, 0] == 65504
    model[0].weight.data[0, 0] = -1e6
    with pytest.warns(UserWarning, match="1 of 60 values are beyond float16"):
        assert tq.quantize_dynamic(model, dtype=np.float16)[0].weight[0, 0] == -65504


@pytest.mark.rows(222)
def test_state_of_dynamic_layers():
    dynamic, x = tq.quantize_dynamic(mlp()), rand(5, 6)
    other = tq.quantize_dynamic(mlp())
    other.load_state_dict(dynamic.state_dict())
    np.testing.assert_array_equal(other(x), dynamic(x))
    with pytest.raises(ValueError, match="bring the model to the stage"):
        mlp().load_state_dict(dynamic.state_dict())


@pytest.mark.rows(210, 222, 296)
@pytest.mark.parametrize(("dtype", "levels"), [("quint8", 255), ("quint4x2", 15)])
@pytest.mark.parametrize("name", ["Embedding", "EmbeddingBag"])
def test_embeddings_are_weight_only(name, dtype, levels):
    from octensor.nn import embedding

    layer = getattr(embedding, name)(10, 12)
    model = nn.Sequential(layer, nn.Linear(12, 3))
    quantized = tq.quantize_dynamic(model, dtype=getattr(ot, dtype))
    assert [m.stage for m in quantized] == ["weight-only", "float"]
    assert quantized[0].weight.qparams.qscheme == ot.per_channel_affine_float_qparams
    indices = ot.from_numpy(RNG.integers(0, 10, (4, 3)))
    want, got = np.asarray(layer(indices).detach()), np.asarray(quantized[0](indices))
    span = np.ptp(np.asarray(layer.weight), axis=1).max()
    assert np.abs(want - got).max() <= 3 * span / levels
    assert (want != got).any()


@pytest.mark.rows(167, 168, 222, 297)
@pytest.mark.parametrize("name", ["LSTM", "GRU"])
@pytest.mark.parametrize("dtype", [ot.qint8, np.float16])
def test_recurrent_layers(name, dtype):
    layer = getattr(nn, name, None)
    if layer is None:
        pytest.skip("no such layer yet")
    model = nn.Sequential(layer(4, 8)).eval()
    quantized = tq.quantize_dynamic(model, dtype=dtype)
    assert quantized.stage == ("dynamic" if dtype is ot.qint8 else "weight-only")
    x = rand(5, 2, 4)
    assert tq.sqnr(model(x)[0].detach(), quantized(x)[0]) > 20


@pytest.mark.rows(222, 238)
def test_wrong_uses_and_mapping():
    with pytest.raises(ValueError, match=r"dtype: expected qint8 or float16"):
        tq.quantize_dynamic(mlp(), dtype=ot.qint32)
    with pytest.raises(ValueError, match=r"quantize_dynamic: qconfig_spec: .*'head'"):
        tq.quantize_dynamic(mlp(), {"head"})
    with pytest.raises(TypeError, match="a set of types or names"):
        tq.quantize_dynamic(mlp(), "0")
    with pytest.raises(ValueError, match="expected at least one layer to quantize"):
        tq.quantize_dynamic(nn.Sequential(nn.ReLU()))

    class Special(nn.Linear):
        @classmethod
        def from_float(cls, mod):
            return cls(mod.in_features, mod.out_features)

    assert type(tq.quantize_dynamic(mlp(), mapping={nn.Linear: Special})[0]) is Special


def test_a_dynamic_layer_refuses_codes():
    dynamic = tq.quantize_dynamic(mlp())
    with pytest.raises(TypeError, match=r"0 \(Linear, dynamic\): expected a float Tensor, got a QTensor"):
        dynamic(ot.quantize_per_tensor(rand(5, 6), 0.1, 0, ot.qint8))
