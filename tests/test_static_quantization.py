"""Static quantization from a float model to an integer one: every step, and that the result is the oracle's."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
import oracle
from octensor import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import digits

RNG = np.random.default_rng(0)
IMAGES = RNG.random((16, 1, 8, 8)).astype(np.float32)


def settled(model, *inputs):
    """Give batch norms statistics of real data, and random weights, then go to eval mode."""
    for m in model.modules():
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
            m.weight.data = RNG.uniform(0.5, 2, m.num_features).astype(np.float32)
            m.bias.data = RNG.standard_normal(m.num_features).astype(np.float32)
    model.train()
    with ot.no_grad():
        for _ in range(5):
            model(*inputs)
    return model.eval()


def digits_net():
    ot.manual_seed(0)
    return settled(digits.DigitsNet(8), ot.from_numpy(IMAGES))


def prepared_digits(engine="fbgemm"):
    fused = tq.fuse_modules(digits_net(), digits.DigitsNet.FUSE)
    fused.qconfig = tq.get_default_qconfig(engine)
    return fused, tq.calibrate(tq.prepare(fused), IMAGES)


def converted(model, *inputs, qconfig=None):
    model.qconfig = qconfig or tq.get_default_qconfig()
    prepared = tq.prepare(model.eval())
    prepared(*inputs)
    return tq.convert(prepared)


def q(t):
    """A QTensor as the oracle sees it."""
    p = t.qparams
    return oracle.Q(t.int_repr(), p.scale, p.zero_point, t.dtype.name, p.axis)


def out(p):
    return oracle.Q(None, p.scale, p.zero_point, p.dtype.name)


# --- the flow -------------------------------------------------------------------------------------


@pytest.mark.rows(217, 219, 240)
def test_stages_and_copies():
    model = digits_net()
    model.qconfig = tq.get_default_qconfig()
    fused = tq.fuse_modules(model, digits.DigitsNet.FUSE)
    prepared = tq.prepare(fused)
    tq.calibrate(prepared, IMAGES)
    static = tq.convert(prepared)
    assert [m.stage for m in (model, fused, prepared, static)] == ["float", "float", "calibrating", "static"]
    assert isinstance(model.stem[1], nn.BatchNorm2d)
    assert "qconfig" not in fused.stem[0].__dict__
    assert not any(hasattr(m, "qconfig") for m in static.modules())
    assert not any(m._forward_pre_hooks for m in static.modules())


@pytest.mark.rows(240)
def test_inplace_changes_the_model_itself():
    model = digits_net()
    model.qconfig = tq.default_qconfig
    assert tq.fuse_modules(model, digits.DigitsNet.FUSE, inplace=True) is model
    assert tq.prepare(model, inplace=True) is model
    tq.calibrate(model, IMAGES)
    assert tq.convert(model, inplace=True, remove_qconfig=False) is model
    assert model.stage == "static"
    assert model.stem[0].qconfig is model.qconfig


@pytest.mark.rows(217, 228)
def test_observers_are_transparent_and_sit_where_qparams_are_needed():
    fused, prepared = prepared_digits()
    x = ot.from_numpy(IMAGES)
    np.testing.assert_array_equal(prepared(x), fused(x))
    found = {}
    tq.get_observer_dict(prepared, found)
    places = ["quant", "stem.0", "depthwise.0", "pointwise.0", "residual", "down.0", "classify"]
    assert list(found) == [f"{place}.activation_post_process" for place in places]
    assert len({id(observer) for observer in found.values()}) == len(found)


@pytest.mark.rows(219, 295)
@pytest.mark.parametrize("engine", ["fbgemm", "x86", "onednn", "qnnpack", "arm"])
def test_converted_layers_hold_what_the_observers_found(engine):
    _, prepared = prepared_digits(engine)
    static = tq.convert(prepared)
    found = {}
    tq.get_observer_dict(prepared, found)
    for key, observer in found.items():
        path = key.rpartition(".")[0]
        assert static.get_submodule(path).activation_post_process == observer.qparams()
    weight = static.stem[0].weight
    assert (weight.dtype, weight.qparams.is_per_channel) == (ot.qint8, engine != "qnnpack")
    assert (np.asarray(weight.qparams.zero_point) == 0).all()
    assert np.abs(weight.int_repr().astype(int)).max() >= 127


@pytest.mark.rows(219, 230)
def test_a_whole_network_equals_the_oracle():
    """Every intermediate of a converted network, recomputed with the oracle from the layer's actual inputs."""
    _, prepared = prepared_digits()
    static = tq.convert(prepared)
    seen = {}

    def keep(path):
        return lambda module, args, output: seen.__setitem__(path, (args, output))

    for path, module in static.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, tq.FloatFunctional, tq.QuantStub)):
            module.register_forward_hook(keep(path))
    result = static(ot.from_numpy(IMAGES))
    assert isinstance(result, ot.Tensor)
    assert len(seen) == 7
    for path, (args, output) in seen.items():
        module = static.get_submodule(path)
        p = module.activation_post_process
        relu = getattr(module, "activation", None) is not None
        bias = None if getattr(module, "bias", None) is None else np.asarray(module.bias)
        if isinstance(module, nn.Conv2d):
            expected = oracle.conv(
                q(args[0]),
                q(module.weight),
                bias,
                out(p),
                module.stride,
                module.padding,
                module.dilation,
                module.groups,
                relu,
            )
        elif isinstance(module, nn.Linear):
            expected = oracle.linear(q(args[0]), q(module.weight), bias, out(p), relu)
        elif isinstance(module, tq.QuantStub):
            expected = oracle.quantize(IMAGES, p.scale, p.zero_point, "quint8")
        else:
            expected = oracle.add(q(args[0]), q(args[1]), out(p), relu=True)
        np.testing.assert_array_equal(output.int_repr(), expected, err_msg=path)


@pytest.mark.parametrize("engine", ["fbgemm", "qnnpack"])
def test_quantized_follows_float(engine):
    fused, prepared = prepared_digits(engine)
    rows = tq.compare_layers(fused, tq.convert(prepared), ot.from_numpy(IMAGES))
    assert min(row.sqnr for row in rows) > 22
    assert rows[0].sqnr > 40


def test_digits_keep_their_accuracy():
    pytest.importorskip("sklearn")
    x, y, x_test, y_test = digits.load()
    ot.manual_seed(0)
    model = digits.train(digits.DigitsNet(8), x, y, epochs=4)
    fused = tq.fuse_modules(model, digits.DigitsNet.FUSE)
    fused.qconfig = tq.get_default_qconfig()
    static = tq.convert(tq.calibrate(tq.prepare(fused), x[:128]))
    before, after = (digits.accuracy(m, x_test, y_test) for m in (model, static))
    assert before > 0.93
    assert after > before - 0.01


def test_converted_models_copy_pickle_and_load():
    _, prepared = prepared_digits()
    static, x = tq.convert(prepared), ot.from_numpy(IMAGES)
    expected = np.asarray(static(x))
    np.testing.assert_array_equal(copy.deepcopy(static)(x), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(static))(x), expected)
    other = tq.convert(tq.calibrate(prepared, 3 * IMAGES))
    assert not np.array_equal(other(x), expected)
    other.load_state_dict(static.state_dict())
    np.testing.assert_array_equal(other(x), expected)


@pytest.mark.rows(220, 235)
def test_quantize_is_prepare_run_convert():
    fused, prepared = prepared_digits()
    pairs = [(ot.from_numpy(IMAGES), None)]
    for m in fused.modules():
        m.training = True  # quantize goes to eval mode itself
    static = tq.quantize(fused, tq.default_eval_fn, [pairs])
    np.testing.assert_array_equal(static(pairs[0][0]), tq.convert(prepared)(pairs[0][0]))


def test_a_layer_can_be_the_model():
    model = nn.Linear(6, 3)
    x = RNG.standard_normal((5, 6)).astype(np.float32)
    static = converted(model, x)
    p = tq.choose_qparams(x.min(), x.max(), ot.quint8)
    xq = ot.quantize_per_tensor(x, float(p[0][0]), int(p[1][0]), ot.quint8)
    assert tq.sqnr(model(ot.from_numpy(x)), static(xq)) > 30


@pytest.mark.rows(231)
def test_quant_wrapper():
    model = tq.QuantWrapper(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)))
    x = ot.from_numpy(RNG.standard_normal((50, 6)).astype(np.float32))
    static = converted(model, x)
    assert tq.sqnr(model(x), static(x)) > 25


def test_layers_without_qconfig_stay_float():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
            self.inside, self.outside = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.outside(self.dequant(self.inside(self.quant(x))))

    model = Mixed()
    model.outside.qconfig = None
    x = ot.from_numpy(RNG.standard_normal((20, 4)).astype(np.float32))
    static = converted(model, x)
    assert (static.inside.stage, static.outside.stage) == ("static", "float")
    np.testing.assert_array_equal(static.outside.weight, model.outside.weight)
    assert tq.sqnr(model(x), static(x)) > 25


@pytest.mark.parametrize(
    "data", [IMAGES, ot.from_numpy(IMAGES), [IMAGES[:3], (IMAGES[3:],)], iter([[IMAGES]])], ids=str
)
def test_calibrate_takes_arrays_and_batches(data):
    model = tq.QuantStub(tq.default_qconfig).eval()
    prepared = tq.calibrate(tq.prepare(model), data, batch_size=5)
    assert prepared.activation_post_process.max_val == IMAGES.max()


# --- qconfig --------------------------------------------------------------------------------------


@pytest.mark.rows(227)
def test_propagation_precedence():
    a, b, c, d = (
        tq.QConfig(tq.MinMaxObserver.with_args(eps=e), tq.default_weight_observer) for e in (1e-6, 1e-5, 1e-4, 1e-3)
    )
    inner = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    model = nn.Sequential(nn.Linear(1, 1), inner, nn.Linear(1, 1), nn.Sequential(nn.ReLU()))
    model.qconfig, model[2].qconfig, model[3].qconfig = a, d, None
    tq.propagate_qconfig_(model, {"1": b, nn.Linear: c, "2": b})
    assert [m.qconfig for m in model] == [c, b, d, None]
    assert [m.qconfig for m in inner] == [c, b]
    assert model[3][0].qconfig is None


@pytest.mark.rows(228, 233)
def test_allow_list_and_containers_observed_as_one():
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 2)).eval()
    model.qconfig = tq.default_qconfig
    found = {}
    tq.get_observer_dict(tq.prepare(model, allow_list={nn.Conv2d, nn.Linear}), found)
    assert list(found) == ["0.0.activation_post_process", "1.activation_post_process"]
    found.clear()

    class Block(nn.Sequential):
        pass

    model[0] = Block(nn.Linear(2, 2)).eval()
    tq.get_observer_dict(tq.prepare(model, observer_non_leaf_module_list=[Block]), found)
    assert list(found) == ["0.activation_post_process", "1.activation_post_process"]


@pytest.mark.rows(
    213,
    294,
    differs="kernels never saturate, so the defaults of every engine observe all codes; reduce_range stays an option",
)
def test_default_qconfigs_use_every_code():
    for engine in ("fbgemm", "qnnpack"):
        qconfig = tq.get_default_qconfig(engine)
        assert (qconfig.activation().quant_min, qconfig.activation().quant_max) == (0, 255)
        assert (qconfig.weight().quant_min, qconfig.weight().quant_max) == (-128, 127)
    assert tq.get_default_qconfig() is tq.get_default_qconfig("x86")


@pytest.mark.rows(205, differs="the range of activations is not reduced: kernels never saturate")
def test_the_default_qconfig_observes_all_codes():
    activation, weight = (factory() for factory in tq.default_qconfig)
    assert type(activation) is type(weight) is tq.MinMaxObserver
    assert (activation.dtype, activation.quant_max, weight.dtype) == (ot.quint8, 255, ot.qint8)
    assert weight.qscheme is ot.per_tensor_symmetric


@pytest.mark.rows(207)
def test_the_per_channel_qconfig_scales_each_channel():
    weight = tq.default_per_channel_qconfig.weight()
    assert type(weight) is tq.PerChannelMinMaxObserver
    assert weight.qscheme is ot.per_channel_symmetric
    model = nn.Sequential(tq.QuantStub(), nn.Linear(4, 3)).eval()
    model.qconfig = tq.default_per_channel_qconfig
    assert tq.convert(tq.calibrate(tq.prepare(model), ot.randn(8, 4)))[1].weight.q_per_channel_axis() == 0


@pytest.mark.rows(206)
def test_the_debug_qconfig_records_what_passes():
    model = nn.Sequential(tq.QuantStub(), nn.Linear(4, 3)).eval()
    model.qconfig = tq.default_debug_qconfig
    prepared, x = tq.prepare(model), ot.randn(8, 4)
    y = prepared(x)
    for layer, expected in zip(prepared, (x, y), strict=True):
        (recorded,) = layer.activation_post_process.get_tensor_value()
        np.testing.assert_array_equal(recorded, expected)


# --- swaps ----------------------------------------------------------------------------------------


@pytest.mark.rows(237)
def test_custom_modules_are_swapped_at_any_depth():
    class Scale(nn.Module):
        def forward(self, x):
            return x * 2

    class Observed(nn.Module):
        @classmethod
        def from_float(cls, module):
            return cls()

        def forward(self, x):
            return x * 2

    class Quantized(Observed):
        @classmethod
        def from_observed(cls, module):
            return cls()

    model = nn.Sequential(nn.Sequential(nn.Sequential(Scale())), tq.QuantStub()).eval()
    model.qconfig = tq.default_qconfig
    prepared = tq.prepare(
        model, prepare_custom_config_dict={"float_to_observed_custom_module_class": {Scale: Observed}}
    )
    assert type(prepared[0][0][0]) is Observed
    prepared(ot.ones(2))
    config = {"observed_to_quantized_custom_module_class": {Observed: Quantized}}
    assert type(tq.convert(prepared, convert_custom_config_dict=config)[0][0][0]) is Quantized
    assert type(tq.convert(prepared, mapping={Observed: Quantized})[0][0][0]) is Quantized


# --- bias -----------------------------------------------------------------------------------------


def test_a_bias_too_large_for_int32_raises_the_scale_of_its_channel():
    model = nn.Sequential(tq.QuantStub(), nn.Linear(4, 3), tq.DeQuantStub())
    model[1].weight.data = RNG.standard_normal((3, 4)).astype(np.float32)
    model[1].weight.data[1] = 1e-12  # a dead channel, as batch norm leaves them
    model[1].bias.data = np.array([0.5, 30000.0, -0.5], np.float32)
    x = ot.from_numpy(RNG.uniform(0, 1e-2, (8, 4)).astype(np.float32))
    model.qconfig = tq.QConfig(tq.default_observer, tq.default_per_channel_weight_observer)
    prepared = tq.prepare(model.eval())
    prepared(x)
    with pytest.warns(UserWarning, match=r"convert: .*1: 1"):
        static = tq.convert(prepared)
    assert static[1].raised_weight_channels == (1,)
    scale, step = static[1].weight.qparams.scale, static[1].scale
    np.testing.assert_allclose(scale[[0, 2]], np.abs(model[1].weight.numpy()[[0, 2]]).max(1) / 127.5, rtol=1e-6)
    assert np.abs(np.asarray(static(x)) - np.asarray(model(x))).max() <= step


# --- FloatFunctional ------------------------------------------------------------------------------


def two_qtensors(dtype=ot.quint8):
    zero = 120 if dtype is ot.quint8 else -3
    values = np.random.default_rng(0).standard_normal((2, 2, 3, 4)).astype(np.float32)
    return [ot.quantize_per_tensor(x, 0.02 * i, zero + i, dtype) for i, x in enumerate(values, 1)]


@pytest.mark.rows(146, 148)
@pytest.mark.parametrize("op", ["add", "add_relu", "mul", "cat"])
def test_functional_observes_then_computes_in_integers(op):
    f = tq.FloatFunctional()
    f.qconfig = tq.default_qconfig
    prepared = tq.prepare(f.eval())
    a, b = two_qtensors()

    def call(module, x, y):
        return module.cat([x, y], dim=1) if op == "cat" else getattr(module, op)(x, y)

    real = call(prepared, a.dequantize(), b.dequantize())
    assert prepared.activation_post_process.max_val == np.asarray(real).max()
    static = tq.convert(prepared)
    assert static.stage == "static"
    o = out(static.activation_post_process)
    expected = {
        "add": lambda: oracle.add(q(a), q(b), o),
        "add_relu": lambda: oracle.add(q(a), q(b), o, relu=True),
        "mul": lambda: oracle.mul(q(a), q(b), o),
        "cat": lambda: oracle.cat([q(a), q(b)], 1, o),
    }[op]()
    np.testing.assert_array_equal(call(static, a, b).int_repr(), expected)


@pytest.mark.rows(146, 148)
@pytest.mark.parametrize(
    ("op", "c", "scale", "zero_point"),
    [
        ("add_scalar", 1, 0.1, 90),
        ("add_scalar", 20, 0.139216, 0),
        ("add_scalar", -20, 0.117647, 255),
        ("mul_scalar", 2, 0.2, 100),
        ("mul_scalar", -2, 0.2, 155),
        ("mul_scalar", 0, 1.0, 0),
    ],
)
def test_scalar_forms_derive_their_qparams(op, c, scale, zero_point):
    f = tq.FloatFunctional()
    codes = np.arange(256, dtype=np.uint8)
    x = ot.QTensor.from_numpy(codes, ot.QParams(0.1, 100, ot.quint8))
    y = getattr(f, op)(x, c)
    np.testing.assert_allclose(y.q_scale(), scale, rtol=1e-5)
    assert y.q_zero_point() == zero_point
    real = np.asarray(x.dequantize())
    expected = np.asarray(getattr(f, op)(ot.from_numpy(real), c))
    assert np.abs(np.asarray(y.dequantize()) - expected).max() <= max(0.1, scale) * 0.501 + 1e-6


def test_scalar_forms_need_no_calibration():
    class Shift(nn.Module):
        def __init__(self):
            super().__init__()
            self.quant, self.f = tq.QuantStub(), tq.FloatFunctional()

        def forward(self, x):
            return self.f.add_scalar(self.quant(x), 0.5)

    static = converted(Shift(), ot.rand(10))
    assert static.f.activation_post_process is None
    assert static(ot.rand(10)).is_quantized


# --- comparing ------------------------------------------------------------------------------------


def test_sqnr():
    x = RNG.standard_normal(1000)
    assert tq.sqnr(x, x) == np.inf
    assert tq.sqnr(0 * x, x) == -np.inf
    np.testing.assert_allclose(tq.sqnr(x, 1.1 * x), 20)


def test_compare_layers_lists_fused_layers_once():
    fused, prepared = prepared_digits()
    rows = tq.compare_layers(fused, tq.convert(prepared), ot.from_numpy(IMAGES))
    assert [(row.path, row.kind) for row in rows] == [
        ("quant", "QuantStub"),
        ("stem.0", "Conv2d+ReLU"),
        ("depthwise.0", "Conv2d+ReLU"),
        ("pointwise.0", "Conv2d"),
        ("residual", "FloatFunctional"),
        ("down.0", "Conv2d+ReLU"),
        ("pool", "AdaptiveAvgPool2d"),
        ("flatten", "Flatten"),
        ("classify", "Linear"),
        ("dequant", "DeQuantStub"),
    ]
    assert all(np.isinf(row.sqnr) for row in tq.compare_layers(fused, prepared, ot.from_numpy(IMAGES)))


@pytest.mark.rows(240)
@pytest.mark.parametrize("inplace", [False, True])
def test_inplace_of_the_dynamic_and_the_training_workflow(inplace):
    model = digits_net()
    dynamic = tq.quantize_dynamic(model, inplace=inplace)
    assert (dynamic is model, model.stage == "float") == (inplace, not inplace)
    model = digits_net().train()
    model.qconfig = tq.get_default_qat_qconfig()
    trained = tq.prepare_qat(model, inplace=inplace)
    assert (trained is model, model.stage == "float") == (inplace, not inplace)
