"""The accuracy tools: numeric suite, bias correction, cross-layer equalization."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import nn
from octensor.quantization import _correct_bias, _equalize
from octensor.quantization import _numeric_suite as ns

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 3, 8, 8)).astype(np.float32)


class Net(nn.Module):
    """Fused convolution, residual sum, plain convolution, linear."""

    def __init__(self):
        super().__init__()
        self.quant = tq.QuantStub()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.residual = tq.FloatFunctional()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(16, 5, bias=False)
        self.dequant = tq.DeQuantStub()

    def forward(self, x):
        x = self.stem(self.quant(x))
        x = self.residual.add_relu(x, self.conv(x))
        return self.dequant(self.fc(self.flatten(self.pool(x))))


@pytest.fixture(scope="module")
def models():
    """(float model, what became of it); no test may change them."""
    ot.manual_seed(0)
    model = tq.fuse_modules(Net().eval(), ["stem.0", "stem.1"])
    model.qconfig = tq.QConfig(tq.default_observer, tq.default_weight_observer)
    return model, tq.convert(tq.calibrate(tq.prepare(model), X))


def kept(values):
    return np.asarray(values.dequantize() if isinstance(values, ot.QTensor) else values)


# --- numeric suite ----------------------------------------------------------------------------------------


@pytest.mark.rows(276)
def test_compare_weights_pairs_what_is_quantized(models):
    model, quantized = models
    pairs = ns.compare_weights(model.state_dict(), quantized.state_dict())
    assert list(pairs) == ["stem.0.weight", "conv.weight", "fc.weight"]
    for name, pair in pairs.items():
        assert isinstance(pair["quantized"], ot.QTensor)
        np.testing.assert_array_equal(pair["float"], model.get_parameter(name))
        assert np.abs(kept(pair["quantized"]) - kept(pair["float"])).max() <= pair["quantized"].q_scale() * 0.5001


@pytest.mark.rows(278, 281)
def test_compare_model_outputs_pairs_every_layer(models):
    model, quantized = models
    pairs = ns.compare_model_outputs(model, quantized, ot.from_numpy(X))
    assert list(pairs) == [
        f"{p}.stats" for p in ("quant", "stem.0", "residual", "conv", "pool", "flatten", "fc", "dequant")
    ]
    for name, pair in pairs.items():
        (a,), (b,) = pair["float"], pair["quantized"]
        assert isinstance(a, ot.Tensor)
        assert isinstance(b, ot.Tensor if name == "dequant.stats" else ot.QTensor)
        assert tq.sqnr(a, b) > 20
    np.testing.assert_array_equal(kept(pairs["dequant.stats"]["float"][0]), np.asarray(model(ot.from_numpy(X))))
    assert pairs["stem.0.stats"]["quantized"][0].equal(quantized.stem(quantized.quant(ot.from_numpy(X))))
    assert ns.get_logger_dict(model) == ns.get_logger_dict(quantized) == {}  # both are left as they were


@pytest.mark.rows(278)
def test_compare_model_outputs_of_some_types(models):
    pairs = ns.compare_model_outputs(*models, ot.from_numpy(X), allow_list=[nn.Linear])
    assert list(pairs) == ["fc.stats"]


@pytest.mark.rows(277, 279)
def test_compare_model_stub_runs_both_on_the_same_input(models):
    model, quantized = models
    before = quantized.state_dict()
    pairs = ns.compare_model_stub(model, quantized, [nn.Conv2d, nn.Linear, tq.FloatFunctional], ot.from_numpy(X))
    assert set(pairs) == {"stem.0.stats", "residual.stats", "conv.stats", "fc.stats"}
    whole = pairs["conv.stats"]
    assert whole["quantized"][0].shape == (6, 4, 8, 8)  # whole batches, not their first sample
    stem = quantized.stem(quantized.quant(ot.from_numpy(X)))
    assert whole["quantized"][0].equal(quantized.conv(stem))
    np.testing.assert_array_equal(kept(whole["float"][0]), np.asarray(model.conv(stem.dequantize())))
    assert list(quantized.state_dict()) == list(before)
    assert type(quantized.conv) is nn.Conv2d


@pytest.mark.rows(277, 281)
def test_views_choose_what_is_shadowed(models):
    pairs = ns.compare_model_stub(*models, [nn.intrinsic.ConvReLU2d], ot.from_numpy(X))
    assert list(pairs) == ["stem.0.stats"]


@pytest.mark.rows(279, 281)
def test_loggers_fill_as_they_are_called(models):
    model, quantized = (copy.deepcopy(m) for m in models)
    ns.prepare_model_outputs(model, quantized)
    for x in (X[:2], X[2:]):
        model(ot.from_numpy(x))
        quantized(ot.from_numpy(x))
    pairs = ns.get_matching_activations(model, quantized)
    assert [t.shape for t in pairs["fc.stats"]["float"]] == [(2, 5), (4, 5)]
    assert [t.shape for t in pairs["fc.stats"]["quantized"]] == [(2, 5), (4, 5)]
    assert ns.get_logger_dict(model, "net")["net.fc.stats"]["tensor_val"] == pairs["fc.stats"]["float"]
    with pytest.raises(NotImplementedError, match="Logger"):
        ns.Logger()(1)


@pytest.mark.rows(280)
@pytest.mark.parametrize("op", ["add", "add_relu", "mul", "cat", "add_scalar", "mul_scalar"])
def test_shadow_of_a_functional(op):
    f = tq.FloatFunctional().eval()
    f.qconfig = tq.default_qconfig
    a, b = (ot.quantize_per_tensor(x, 0.05, 128, ot.quint8) for x in X[:2])

    def call(module, x, y):
        if op == "cat":
            return module.cat([x, y], 1)
        return getattr(module, op)(x, 0.3 if op.endswith("scalar") else y)

    prepared = tq.prepare(f)
    real = call(prepared, a.dequantize(), b.dequantize())
    static = tq.convert(prepared)
    shadow = ns.Shadow(static, f)
    output = call(shadow, a, b)
    assert output.equal(call(static, a, b))
    (x,), (y,) = shadow.logger.stats["quantized"], shadow.logger.stats["float"]
    assert x.equal(output)
    np.testing.assert_array_equal(y, real)


@pytest.mark.rows(280, 281)
def test_stubs_are_put_in_and_taken_out_in_place(models):
    model, quantized = models[0], copy.deepcopy(models[1])
    ns.prepare_model_with_stubs(model, quantized, [nn.Linear], ns.ShadowLogger)
    assert isinstance(quantized.fc, ns.Shadow)
    assert isinstance(quantized.conv, nn.Conv2d)
    for _ in range(2):
        quantized(ot.from_numpy(X))
    assert len(ns.get_logger_dict(quantized)["fc.stats"]["float"]) == 2
    ns.strip_shadows(quantized)
    assert isinstance(quantized.fc, nn.Linear)


class Reader(nn.Module):
    """An LSTM, whose output is a tuple, and attention, which takes keywords."""

    def __init__(self):
        super().__init__()
        self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
        self.rows = nn.LSTM(8, 6, batch_first=True)
        self.attend = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x):
        x, _ = self.rows(self.quant(x))
        return self.dequant(self.attend(x, x, value=x, need_weights=False)[0])


@pytest.mark.rows(277, 278, 280)
@pytest.mark.parametrize("static", [False, True])
def test_layers_made_of_parts_and_with_several_outputs_are_compared_whole(static):
    ot.manual_seed(3)
    model, x = Reader().eval(), X[:, 0]
    if static:
        model.qconfig = tq.default_qconfig
        swaps = {nn.LSTM: nn.quantizable.LSTM, nn.MultiheadAttention: nn.quantizable.MultiheadAttention}
        prepared = tq.prepare(model, prepare_custom_config_dict={"float_to_observed_custom_module_class": swaps})
        quantized = tq.convert(tq.calibrate(prepared, x))
    else:
        quantized = tq.quantize_dynamic(model)
    pairs = ns.compare_model_stub(model, quantized, [nn.LSTM, nn.MultiheadAttention], ot.from_numpy(x))
    assert set(pairs) == {"rows.stats", "attend.stats"}
    for pair in (*pairs.values(), ns.compare_model_outputs(model, quantized, ot.from_numpy(x))["rows.stats"]):
        (a,), (b,) = pair["float"], pair["quantized"]
        assert a.shape == b.shape == (6, 8, 6)
        assert 20 < tq.sqnr(a, b) < 100
    rows = tq.compare_layers(model, quantized, ot.from_numpy(x))
    assert [row.path for row in rows] == ["quant", "rows", "attend", "dequant"]


# --- bias correction --------------------------------------------------------------------------------------


def coarse(model):
    """The model with all weights rounded to a few codes, so that biases have something to correct."""
    weight = tq.MinMaxObserver.with_args(dtype=ot.qint8, qscheme=ot.per_tensor_symmetric, quant_min=-4, quant_max=3)
    model.qconfig = tq.QConfig(tq.default_observer, weight)
    quantized = tq.convert(tq.calibrate(tq.prepare(model), X + 1))
    for layer in (quantized.conv, quantized.fc):  # with room: nothing is clipped
        layer.activation_post_process = ot.QParams(4 * layer.scale, 128, ot.quint8)
    return quantized


@pytest.mark.rows(286)
def test_bias_correction_takes_off_the_mean_error():
    ot.manual_seed(1)
    model = Net().eval()
    quantized = coarse(model)
    batches = [(ot.from_numpy(x), None) for x in np.array_split(X + 1, [2])]  # of 2 and of 4 samples

    def mean_errors(quantized):
        pairs = ns.compare_model_stub(model, quantized, [nn.Conv2d, nn.Linear], ot.from_numpy(X + 1))
        errors = {}
        for name, pair in pairs.items():
            error = kept(pair["quantized"][0]) - kept(pair["float"][0])
            errors[name] = np.abs(error.mean(axis=tuple(a for a in range(error.ndim) if a != 1)))
        return errors

    before = mean_errors(quantized)
    assert quantized.fc.bias is None
    _correct_bias.bias_correction(model, quantized, batches)
    after = mean_errors(quantized)
    for name in ("conv.stats", "fc.stats"):
        step = quantized.get_submodule(name[:-6]).scale
        assert before[name].max() > step
        assert after[name].max() < 0.6 * step  # what rounding to the output's codes leaves
    assert quantized.fc.bias.shape == (5,)
    assert type(quantized.conv) is nn.Conv2d
    assert quantized(ot.from_numpy(X)).shape == (6, 5)


@pytest.mark.rows(286)
def test_bias_correction_of_some_layers_and_batches():
    ot.manual_seed(1)
    model = Net().eval()
    quantized = coarse(model)
    conv, fc = quantized.conv.bias.numpy().copy(), quantized.fc.bias
    batches = [(ot.from_numpy(X + 1),), (ot.from_numpy(X + 100),)]
    _correct_bias.bias_correction(model, quantized, batches, [nn.quantized.Conv2d], neval_batches=1)
    assert quantized.fc.bias is fc
    once = quantized.conv.bias.numpy().copy()
    assert not np.array_equal(once, conv)
    again = coarse(model)
    _correct_bias.bias_correction(model, again, batches[:1], {nn.quantized.Conv2d})
    np.testing.assert_array_equal(again.conv.bias, once)


@pytest.mark.rows(286)
def test_bias_correction_weighs_samples_alike_and_takes_the_last_axis_of_a_linear_layer():
    logger = _correct_bias.MeanShadowLogger()
    x = RNG.standard_normal((9, 4)).astype(np.float32)
    for part in np.split(x, [1, 4]):
        logger(part, 2 * part)
    np.testing.assert_allclose(logger.stats["quantized"], x.mean(0, keepdims=True), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logger.stats["float"], 2 * x.mean(0, keepdims=True), rtol=1e-5, atol=1e-6)
    ot.manual_seed(2)
    model = tq.QuantWrapper(nn.Linear(8, 5)).eval()
    model.qconfig = tq.default_qconfig
    rows = ot.from_numpy(X[:, 0])  # (6, 8, 8): three axes
    quantized = tq.convert(tq.calibrate(tq.prepare(model), rows))
    _correct_bias.bias_correction(model, quantized, [(rows,)])
    assert quantized.module.bias.shape == (5,)


# --- equalization -----------------------------------------------------------------------------------------


def chain():
    ot.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 2),
    ).eval()
    spread = np.float32([1e-2, 1, 30, 0.3])
    model[0].weight.data = model[0].weight.numpy() * spread[:, None, None, None]
    return model


@pytest.mark.rows(287)
def test_cross_layer_equalization_evens_ranges_and_keeps_the_function():
    model = chain()
    expected = np.asarray(model(ot.from_numpy(X)))
    _equalize.cross_layer_equalization(model[0], model[2])
    np.testing.assert_allclose(model(ot.from_numpy(X)), expected, rtol=1e-4, atol=1e-5)
    first = _equalize.channel_range(model[0].weight, 0)
    np.testing.assert_allclose(first, _equalize.channel_range(model[2].weight, 1), rtol=1e-5)


@pytest.mark.rows(287)
def test_cross_layer_equalization_is_the_published_formula():
    a, b = nn.Linear(1, 2), nn.Linear(2, 1)
    a.weight.data, a.bias.data = np.float32([[4], [0]]), np.float32([2, 5])
    b.weight.data = np.float32([[1, 3]])
    a.weight.data = np.concatenate([a.weight.numpy(), np.float32([[0], [0]])], axis=1)
    a.in_features = 2
    b.weight.data = np.concatenate([b.weight.numpy(), np.float32([[0, 0]])])
    _equalize.cross_layer_equalization(a, b)
    # r1 = [4, 0], r2 = [1, 3]: s = [2, 1 (nothing to share)]
    np.testing.assert_allclose(a.weight, [[2, 0], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(a.bias, [1, 5], rtol=1e-6)
    np.testing.assert_allclose(b.weight, [[2, 3], [0, 0]], rtol=1e-6)


@pytest.mark.rows(288)
def test_equalize_sweeps_until_nothing_moves():
    model = chain()
    x = ot.from_numpy(X)
    names = [["0", "2"], ["2", "6"]]
    equal = _equalize.equalize(model, names, inplace=False)
    assert model[0].weight.numpy().max() > 1  # a copy was changed
    np.testing.assert_allclose(equal(x), model(x), rtol=1e-4, atol=1e-5)
    for first, second in names:
        left, right = equal.get_submodule(first).weight, equal.get_submodule(second).weight
        np.testing.assert_allclose(_equalize.channel_range(left, 0), _equalize.channel_range(right, 1), rtol=1e-3)
    assert _equalize.equalize(model, names) is model
    layers = {name: model.get_submodule(name) for name in ("0", "2")}
    assert _equalize.converged(layers, copy.deepcopy(layers))
    moved = copy.deepcopy(layers)
    moved["0"].weight.data = moved["0"].weight.numpy() + np.float32(1e-3)
    assert not _equalize.converged(layers, moved)
    assert _equalize.converged(layers, moved, threshold=1.0)


@pytest.mark.rows(287)
def test_equalized_models_lose_less_to_a_scale_per_tensor():
    """The reason to do it: with one scale for a weight, small channels are lost beside large ones."""
    model = chain()
    spread = np.float32([1e-2, 1, 30, 0.3])  # of the first layer's channels; the second layer undoes it
    model[0].bias.data = model[0].bias.numpy() * spread
    model[2].weight.data = model[2].weight.numpy() / spread[:, None, None]
    levels = []
    for each in (copy.deepcopy(model), _equalize.equalize(copy.deepcopy(model), [["0", "2"]])):
        wrapped = tq.QuantWrapper(each).eval()
        wrapped.qconfig = tq.default_qconfig
        quantized = tq.convert(tq.calibrate(tq.prepare(wrapped), X))
        levels.append(tq.sqnr(wrapped(ot.from_numpy(X)), quantized(ot.from_numpy(X))))
    assert levels[1] > levels[0] + 6  # decibels: a bit at least
