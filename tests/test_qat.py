"""Quantization-aware training: what it computes, that it trains, and that eval mode is what convert makes of it."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import _C, nn
from octensor.grid import GridTensor, codes_of
from octensor.nn import batchnorm, conv, qat
from octensor.nn.intrinsic import qat as iqat
from support import ISAS, backend

RNG = np.random.default_rng(0)


def rand(*shape):
    return ot.from_numpy(RNG.standard_normal(shape).astype(np.float32))


class Net(nn.Module):
    """Layers between stubs."""

    def __init__(self, *layers, groups=()):
        super().__init__()
        self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
        self.body = nn.Sequential(*layers)
        self.groups = [[f"body.{i}" for i in group] for group in groups]

    def forward(self, x):
        return self.dequant(self.body(self.quant(x)))


class Branches(nn.Module):
    """Every FloatFunctional operation, pools and an activation of fixed range."""

    def __init__(self):
        super().__init__()
        self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
        self.left, self.right = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 1)
        self.relu, self.pool, self.sigmoid = nn.ReLU(), nn.MaxPool2d(2), nn.Sigmoid()
        self.average, self.flatten = nn.AdaptiveAvgPool2d(2), nn.Flatten()
        self.add, self.mul, self.cat, self.add_relu = (tq.FloatFunctional() for _ in range(4))
        self.head = nn.Linear(32, 5)
        self.groups = [["right", "relu"]]

    def forward(self, x):
        x = self.quant(x)
        a, b = self.left(x), self.relu(self.right(x))
        summed = self.add_relu.add_relu(a, self.add.add_scalar(b, 0.3))
        product = self.mul.mul(self.add.mul_scalar(a, -0.7), self.sigmoid(b))
        both = self.cat.cat([self.pool(summed), self.pool(product)], dim=1)
        return self.dequant(self.head(self.flatten(self.average(both))))


def trained(model, x, qconfig=None, steps=3):
    """Fuse, prepare and train a little, so that weights, statistics and ranges are not the initial ones."""
    model.train()
    if model.groups:
        model = tq.fuse_modules(model, model.groups)
    model.qconfig = qconfig or tq.get_default_qat_qconfig()
    model = tq.prepare_qat(model)
    optimiser = ot.optim.SGD(model.parameters(), lr=0.02)
    for _ in range(steps):
        y = model(x)
        optimiser.zero_grad()
        ((y - 1.0) * (y - 1.0)).mean().backward()
        optimiser.step()
    return model.eval()


def bn(kind, channels):
    layer = kind(channels)
    layer.weight.data = RNG.uniform(-1.5, 1.5, channels).astype(np.float32)
    layer.bias.data = RNG.standard_normal(channels).astype(np.float32)
    return layer


MODELS = {
    "linear": lambda: (Net(nn.Linear(6, 30), nn.ReLU(), nn.Linear(30, 40)), (64, 6)),
    "linear bn relu": lambda: (
        Net(nn.Linear(6, 40), bn(nn.BatchNorm1d, 40), nn.ReLU(), groups=[(0, 1, 2)]),
        (64, 6),
    ),
    "conv bn relu": lambda: (
        Net(nn.Conv2d(3, 8, 3), bn(nn.BatchNorm2d, 8), nn.ReLU(), nn.Conv2d(8, 6, 3, bias=False), groups=[(0, 1, 2)]),
        (8, 3, 9, 9),
    ),
    "conv bn, unfused bn": lambda: (
        Net(nn.Conv2d(3, 8, 3, groups=1), bn(nn.BatchNorm2d, 8), nn.ReLU(), bn(nn.BatchNorm2d, 8), groups=[(0, 1)]),
        (8, 3, 9, 9),
    ),
    "depthwise": lambda: (
        Net(nn.Conv2d(8, 8, 3, groups=8, stride=2), bn(nn.BatchNorm2d, 8), nn.Tanh(), groups=[(0, 1)]),
        (8, 8, 11, 11),
    ),
    "conv1d": lambda: (
        Net(conv.Conv1d(3, 8, 3, dilation=2), bn(nn.BatchNorm1d, 8), nn.ReLU(), groups=[(0, 1, 2)]),
        (12, 3, 20),
    ),
    "conv3d": lambda: (
        Net(conv.Conv3d(2, 4, 2), bn(batchnorm.BatchNorm3d, 4), nn.ReLU(), groups=[(0, 1, 2)]),
        (4, 2, 6, 6, 6),
    ),
    "transposed": lambda: (Net(conv.ConvTranspose2d(4, 6, 3, stride=2, groups=2), nn.ReLU6()), (4, 4, 7, 7)),
    "branches": lambda: (Branches(), (60, 2, 8, 8)),
}


def count_mismatches(prepared, converted, shape, scale, wanted):
    """Run both on random data until `wanted` outputs were compared."""
    seen = wrong = 0
    while seen < wanted:
        x = ot.from_numpy((RNG.standard_normal(shape) * scale).astype(np.float32))
        with ot.no_grad():
            a, b = np.asarray(prepared(x)), np.asarray(converted(x))
        assert a.shape == b.shape
        seen += a.size
        wrong += int((a.view(np.uint32) != b.view(np.uint32)).sum())
    return wrong


@pytest.mark.rows(163, 164, 218, 219, 241)
@pytest.mark.parametrize("name", MODELS)
def test_eval_mode_is_the_converted_model(name):
    """0 mismatches in 10,000 random outputs, on every instruction set."""
    model, shape = MODELS[name]()
    prepared = trained(model, rand(*shape))
    converted = tq.convert(prepared)
    assert (prepared.stage, converted.stage) == ("qat", "static")
    for isa in ISAS:
        with backend(isa, 1):
            assert count_mismatches(prepared, converted, shape, 1.5, 10_000) == 0


LAYERS = {
    "AvgPool2d": (2,),
    "MaxPool2d": (2,),
    "AdaptiveAvgPool2d": (3,),
    "Hardtanh": (),
    "LeakyReLU": (),
    "ELU": (),
    "Hardswish": (),
    "Hardsigmoid": (),
    "Sigmoid": (),
    "Tanh": (),
    "Threshold": (0.1, 0.0),
    "GroupNorm": (2, 4),
    "InstanceNorm2d": (4,),
    "LayerNorm": ((6, 6),),
    "UpsamplingBilinear2d": (None, 2),
    "ReflectionPad2d": (1,),
    "ZeroPad2d": (1,),
    "ChannelShuffle": (2,),
}


@pytest.mark.rows(218, 241)
@pytest.mark.parametrize("name", [name for name in LAYERS if hasattr(nn, name)])
def test_codes_pass_through_every_kind_of_layer(name):
    model = Net(nn.Conv2d(3, 4, 1), getattr(nn, name)(*LAYERS[name]), nn.Conv2d(4, 2, 1))
    prepared = trained(model, rand(8, 3, 6, 6))
    assert count_mismatches(prepared, tq.convert(prepared), (8, 3, 6, 6), 1.5, 2000) == 0
    with ot.no_grad():
        assert codes_of(prepared.body(prepared.quant(rand(2, 3, 6, 6)))) is not None


@pytest.mark.rows(214)
@pytest.mark.parametrize(
    "qconfig",
    [
        tq.get_default_qat_qconfig("qnnpack"),
        tq.default_qat_qconfig_v2,
        tq.QConfig(  # 4-bit weights, 7-bit activations
            tq.FakeQuantize.with_args(quant_min=0, quant_max=127),
            tq.default_weight_fake_quant.with_args(quant_min=-8, quant_max=7),
        ),
        tq.QConfig(
            tq.FakeQuantize.with_args(observer=tq.MinMaxObserver, reduce_range=True),
            tq.default_per_channel_weight_fake_quant,
        ),
        tq.QConfig(
            tq._LearnableFakeQuantize.with_args(observer=tq.MovingAverageMinMaxObserver),
            tq._LearnableFakeQuantize.with_args(
                observer=tq.MovingAverageMinMaxObserver,
                quant_min=-128,
                quant_max=127,
                dtype=ot.qint8,
                qscheme=ot.per_tensor_symmetric,
            ),
        ),
    ],
)
def test_eval_mode_is_the_converted_model_under_every_qconfig(qconfig):
    model, shape = MODELS["conv bn relu"]()
    prepared = trained(model, rand(*shape), qconfig)
    assert count_mismatches(prepared, tq.convert(prepared), shape, 3.0, 10_000) == 0


@pytest.mark.rows(218)
def test_evaluating_changes_nothing_and_records_gradients_all_the_same():
    model, shape = MODELS["conv bn relu"]()
    prepared = trained(model, rand(*shape))
    before = {k: np.array(v) for k, v in prepared.state_dict().items()}
    converted = tq.convert(prepared)
    x = rand(*shape) * 10
    y = prepared(x)  # recorded
    np.testing.assert_array_equal(y.detach(), converted(x))
    y.sum().backward()
    assert np.abs(np.asarray(prepared.body[0].weight.grad)).max() > 0
    for key, value in prepared.state_dict().items():
        np.testing.assert_array_equal(before[key], value)


def test_train_mode_rounds_too_but_carries_no_codes():
    prepared = trained(Net(nn.Linear(6, 4)), rand(16, 6)).train()
    layer = prepared.body[0]
    y = layer(rand(5, 6))
    assert codes_of(y) is None
    np.testing.assert_array_equal(layer.activation_post_process.eval()(y.detach()), y.detach())


@pytest.mark.rows(159, 160)
def test_the_weight_is_fake_quantized():
    layer = qat.Linear(6, 4, qconfig=tq.default_qat_qconfig)
    assert isinstance(layer, qat.Linear)
    assert (layer.stage, isinstance(layer, nn.Linear)) == ("qat", True)
    x = rand(3, 6)
    weight = np.asarray(layer.weight)
    s = np.float32(np.abs(weight).max() / np.float32(127.5))
    rounded = np.clip(np.rint(weight / s), -128, 127) * s
    np.testing.assert_allclose(
        layer(x).detach(), np.asarray(x) @ rounded.T + np.asarray(layer.bias), rtol=1e-4, atol=1e-6
    )
    layer(x).sum().backward()  # straight through, but where 127.5 was clamped to 127
    passed = np.rint(weight / s) < 128
    np.testing.assert_allclose(layer.weight.grad, np.asarray(x).sum(0) * passed, rtol=1e-5, atol=1e-6)
    for training in (True, False):
        source = nn.Linear(6, 4).train(training)
        source.qconfig = tq.default_qat_qconfig
        assert qat.Linear.from_float(source).weight_fake_quant.training == training
    for d, (view, shape) in enumerate(
        [(qat.Conv1d, (1, 2, 5)), (qat.Conv2d, (1, 2, 5, 5)), (qat.Conv3d, (1, 2, 5, 5, 5))], 1
    ):
        made = view(2, 3, 3, qconfig=tq.get_default_qat_qconfig())
        assert made(rand(*shape)).shape == (1, 3, *[3] * d)
        assert isinstance(made, view)
        assert made.weight_fake_quant.ch_axis == 0
    with pytest.raises(ValueError, match=r"Linear: qconfig: expected one with a fake quantizer"):
        qat.Linear(2, 2)
    with pytest.raises(ValueError, match="expected a fake quantizer, got MinMaxObserver"):
        qat.Linear(2, 2, qconfig=tq.default_qconfig)


@pytest.mark.rows(161, 162, 163, 164)
@pytest.mark.parametrize("name", [n for n in iqat.__all__ if n[0].isupper()])
def test_fused_views_make_and_know_layers_in_the_qat_stage(name):
    view = getattr(iqat, name)
    arguments = (2, 3) if name.startswith("Linear") else (2, 3, 3)
    shape = (4, 2) if name.startswith("Linear") else (4, 2, *[5] * int(name[-2]))
    made = view(*arguments, qconfig=tq.get_default_qat_qconfig(), **({"eps": 1e-3} if "Bn" in name else {}))
    assert isinstance(made, view)
    assert made.stage == "qat"
    others = [getattr(iqat, other) for other in iqat.__all__ if other[0].isupper() and other != name]
    assert not any(isinstance(made, other) for other in others)
    y = np.asarray(made(rand(*shape)).detach())
    assert ("ReLU" not in name) or y.min() >= 0
    if "Bn" in name:
        assert made.norm.eps == 1e-3
        assert made.norm.num_batches_tracked.item() == 1


@pytest.mark.rows(163)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_weight_is_rounded_at_its_folded_scale(d):
    """norm(conv(x, fake(w · f)) / f + b), with f from the running statistics."""
    view = getattr(iqat, f"ConvBn{d}d")
    layer = view(2, 4, 3, bias=True, qconfig=tq.get_default_qat_qconfig())
    x = rand(6, 2, *[5] * d)
    gamma = RNG.uniform(0.5, 2, 4).astype(np.float32)
    layer.norm.weight.data = gamma
    layer.norm.running_var.copy_(RNG.uniform(0.5, 2, 4).astype(np.float32))
    f = (gamma / np.sqrt(np.asarray(layer.norm.running_var) + np.float32(1e-5))).reshape(-1, *[1] * (d + 1))
    folded = np.asarray(layer.weight) * f
    s = np.abs(folded).reshape(4, -1).max(1).reshape(f.shape) / 127.5
    plain = copy.deepcopy(layer)
    plain.weight_fake_quant = None
    plain.weight.data = (np.clip(np.rint(folded / s), -128, 127) * s / f).astype(np.float32)
    np.testing.assert_allclose(layer(x).detach(), plain(x).detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.rows(165)
def test_freezing_batch_norm():
    model, shape = MODELS["conv bn relu"]()
    model.train()
    model = tq.fuse_modules(model, model.groups)
    model.qconfig = tq.get_default_qat_qconfig()
    model = tq.prepare_qat(model)
    x = rand(*shape)
    model(x)
    norm = model.body[0].norm
    model.apply(iqat.freeze_bn_stats)
    model.train()
    mean = np.array(norm.running_mean)
    model(x)
    assert (norm.training, model.body[0].training) == (False, True)
    np.testing.assert_array_equal(norm.running_mean, mean)
    model.apply(iqat.update_bn_stats)
    model(x)
    assert norm.training
    assert (np.asarray(norm.running_mean) != mean).any()


@pytest.mark.rows(221)
def test_quantize_qat_trains_and_converts():
    ot.manual_seed(3)
    x = ot.randn(64, 4)
    target = x @ ot.randn(4, 3)

    def fit(model, steps):
        optimiser = ot.optim.Adam(model.parameters(), lr=0.05)
        for _ in range(steps):
            optimiser.zero_grad()
            loss = nn.MSELoss()(model(x), target)
            loss.backward()
            optimiser.step()

    model = Net(nn.Linear(4, 3))
    model.qconfig = tq.QConfig(  # ranges must follow quickly: training starts from random weights
        tq.default_fake_quant.with_args(averaging_constant=0.2),
        tq.default_weight_fake_quant.with_args(averaging_constant=0.5),
    )
    before = copy.deepcopy(model.state_dict())
    static = tq.quantize_qat(model, fit, [150])
    assert (model.stage, static.stage) == ("float", "static")
    np.testing.assert_array_equal(before["body.0.weight"], model.body[0].weight)
    assert tq.sqnr(target, static(x)) > 25


@pytest.mark.rows(212)
def test_one_sided_qconfigs():
    x = rand(16, 6)
    for qconfig, weight, output in (
        (tq.default_weight_only_qconfig, True, False),
        (tq.default_activation_only_qconfig, False, True),
    ):
        model = Net(nn.Linear(6, 4)).train()
        model.qconfig = qconfig
        prepared = tq.prepare_qat(model)
        layer = prepared.body[0]
        assert (layer.weight_fake_quant is not None, layer.activation_post_process is not None) == (weight, output)
        prepared(x)
        if weight:
            converted = tq.convert(prepared.eval())
            assert converted.body[0].stage == "weight-only"
            np.testing.assert_allclose(converted(x), prepared(x).detach(), rtol=1e-5, atol=1e-6)
        else:
            with pytest.raises(ValueError, match="a qconfig for activations only"):
                tq.convert(prepared.eval())


@pytest.mark.rows(218, 237, 238)
def test_prepare_qat_says_what_is_missing_and_takes_a_mapping():
    model = Net(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"prepare_qat: Net: expected a qconfig.*get_default_qat_qconfig"):
        tq.prepare_qat(model.train())
    model.qconfig = tq.get_default_qat_qconfig()
    with pytest.raises(ValueError, match="expected a model in train mode"):
        tq.prepare_qat(model.eval())
    model.train()
    prepared = tq.prepare_qat(model)
    assert prepared is not model
    with pytest.raises(ValueError, match="prepare a float model, once"):
        tq.prepare_qat(prepared)
    with pytest.raises(ValueError, match=r"convert: no calibration data reached quant, body.0"):
        tq.convert(prepared.eval())
    model.qconfig = tq.default_qconfig
    with pytest.raises(ValueError, match="expected a qconfig of fake quantizers"):
        tq.prepare_qat(model)

    class Doubled(nn.Linear):
        @classmethod
        def from_float(cls, mod):
            return cls(mod.in_features, mod.out_features)

    model.qconfig = tq.get_default_qat_qconfig()
    swapped = tq.prepare_qat(model, mapping={nn.Linear: Doubled})
    assert type(swapped.body[0]) is Doubled
    assert swapped.body[0].stage == "qat"
    assert tq.prepare_qat(model, inplace=True) is model


def test_a_grid_tensor_is_a_tensor_until_it_is_written_to():
    codes = _C.quantize(np.array([[1.0, -2.0], [0.5, 3.0]], np.float32), ot.QParams(0.5, 10, ot.quint8))
    x = GridTensor.of(codes)
    assert isinstance(x, ot.Tensor)
    assert codes_of(x[0]).equal(codes[0])
    assert codes_of(ot.relu(x)).equal(ot.relu(codes))
    assert codes_of(x.reshape(4)).shape == (4,)
    assert codes_of(x + x) is None
    assert codes_of(x.dequantize()) is None
    assert type(copy.deepcopy(x)) is ot.Tensor
    before = np.array(x)
    x += 1.0
    x = GridTensor.of(codes)
    x.add_(1.0)
    assert codes_of(x) is None
    np.testing.assert_array_equal(x, before + 1)


@pytest.mark.rows(159, 160)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_convolution_computes_with_the_fake_quantized_weight(axes):
    layer = getattr(qat, f"Conv{axes}d")(2, 3, 3, qconfig=tq.get_default_qat_qconfig())
    x = rand(1, 2, *[5] * axes)
    got = layer(x)
    plain = getattr(nn, f"Conv{axes}d")(2, 3, 3)
    weight = np.asarray(layer.weight)
    s = (np.abs(weight).reshape(3, -1).max(1) / np.float32(127.5)).reshape(3, *[1] * (axes + 1))
    plain.weight = nn.Parameter(np.clip(np.rint(weight / s), -128, 127) * s)
    plain.bias = layer.bias
    np.testing.assert_allclose(got.detach(), plain(x).detach(), rtol=1e-4, atol=1e-6)
