"""Fusion of every kind, qconfigs, mappings, custom modules, wrapping, calibration."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import nn
from octensor.backends import quantized as backend_quantized
from octensor.nn import batchnorm, conv

RNG = np.random.default_rng(0)


def rand(*shape):
    return ot.from_numpy(RNG.standard_normal(shape).astype(np.float32))


def settle(model, x):
    model.train()
    for m in model.modules():
        if isinstance(m, batchnorm.BatchNormLayer):
            m.weight.data = RNG.uniform(0.5, 2, m.num_features).astype(np.float32)
            m.bias.data = RNG.standard_normal(m.num_features).astype(np.float32)
    with ot.no_grad():
        for _ in range(3):
            model(x)
    return model.eval()


FUSIONS = {
    "conv1d bn relu": (lambda: [conv.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU()], (6, 2, 9)),
    "conv1d relu": (lambda: [conv.Conv1d(2, 4, 3), nn.ReLU()], (6, 2, 9)),
    "conv3d bn relu": (lambda: [conv.Conv3d(2, 4, 2), batchnorm.BatchNorm3d(4), nn.ReLU()], (3, 2, 4, 4, 4)),
    "conv3d bn": (lambda: [conv.Conv3d(2, 4, 2), batchnorm.BatchNorm3d(4)], (3, 2, 4, 4, 4)),
    "bn2d relu": (lambda: [nn.BatchNorm2d(2), nn.ReLU()], (6, 2, 5, 5)),
    "bn3d relu": (lambda: [batchnorm.BatchNorm3d(2), nn.ReLU()], (3, 2, 4, 4, 4)),
    "transposed1d bn": (lambda: [conv.ConvTranspose1d(4, 6, 3, groups=2), nn.BatchNorm1d(6)], (6, 4, 7)),
    "transposed2d bn": (lambda: [conv.ConvTranspose2d(4, 6, 3, stride=2), nn.BatchNorm2d(6)], (6, 4, 5, 5)),
    "transposed3d bn": (
        lambda: [conv.ConvTranspose3d(2, 4, 2, bias=False, groups=2), batchnorm.BatchNorm3d(4)],
        (3, 2, 3, 3, 3),
    ),
}


@pytest.mark.rows(223, 225, 226)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", FUSIONS)
def test_fusions_of_every_dimension(name, training):
    make, shape = FUSIONS[name]
    x = rand(*shape)
    model = settle(nn.Sequential(*make()), x).train(training)
    names = [str(i) for i in range(len(model))]
    if training and "transposed" in name:
        with pytest.raises(ValueError, match=r"only fused by folding; call model.eval\(\) first"):
            tq.fuse_modules(model, names)
        return
    fused = tq.fuse_modules(model, names)
    assert all(type(m) is nn.Identity for m in list(fused)[1:])
    assert fused[0].fused_from == tuple(names)
    np.testing.assert_allclose(fused(x).detach(), model(x).detach(), rtol=1e-4, atol=1e-5)
    if not training:
        wrapped = tq.QuantWrapper(fused)
        wrapped.qconfig = tq.get_default_qconfig()
        static = tq.convert(tq.calibrate(tq.prepare(wrapped), x))
        assert tq.sqnr(model(x), static(x)) > 28


# --- qconfigs -------------------------------------------------------------------------------------


@pytest.mark.rows(211, 214)
@pytest.mark.parametrize("engine", ["fbgemm", "x86", "onednn", "arm", "qnnpack"])
def test_default_qat_qconfigs(engine):
    qconfig = tq.get_default_qat_qconfig(engine)
    weight, output = qconfig.weight(), qconfig.activation()
    assert weight.is_per_channel == (engine != "qnnpack")
    assert isinstance(output.activation_post_process, tq.MovingAverageMinMaxObserver)
    assert (output.quant_min, output.quant_max) == (0, 255)
    assert tq.default_qat_qconfig == tq.get_default_qat_qconfig("qnnpack")
    with pytest.raises(ValueError, match="get_default_qat_qconfig: backend: expected one of"):
        tq.get_default_qat_qconfig("gpu")


@pytest.mark.rows(213, 289)
def test_the_engine_chooses_the_default_qconfig():
    before = backend_quantized.engine
    try:
        for engine in ("qnnpack", "x86"):
            backend_quantized.engine = engine
            assert tq.get_default_qconfig() is tq.get_default_qconfig(engine)
            assert tq.get_default_qat_qconfig() is tq.get_default_qat_qconfig(engine)
    finally:
        backend_quantized.engine = before


@pytest.mark.rows(204, 208, 209, 210, 216)
def test_quant_types():
    kinds = {
        "default_qconfig": tq.QuantType.STATIC,
        "default_per_channel_qconfig": tq.QuantType.STATIC,
        "float16_static_qconfig": tq.QuantType.STATIC,
        "default_dynamic_qconfig": tq.QuantType.DYNAMIC,
        "per_channel_dynamic_qconfig": tq.QuantType.DYNAMIC,
        "float16_dynamic_qconfig": tq.QuantType.DYNAMIC,
        "float_qparams_weight_only_qconfig": tq.QuantType.WEIGHT_ONLY,
        "float_qparams_weight_only_qconfig_4bit": tq.QuantType.WEIGHT_ONLY,
        "default_qat_qconfig": tq.QuantType.QAT,
    }
    assert {name: tq.get_quant_type(getattr(tq, name)) for name in kinds} == kinds
    assert [tq.quant_type_to_str(t) for t in tq.QuantType] == ["dynamic", "static", "qat", "weight_only"]
    assert tq.QConfigDynamic().weight is tq.default_weight_observer
    with pytest.raises(ValueError, match="an instance of MinMaxObserver, which all layers would share"):
        tq.QConfigDynamic(weight=tq.MinMaxObserver())
    with pytest.raises(ValueError, match="get_quant_type"):
        tq.get_quant_type(tq.QConfig(tq.NoopObserver, tq.NoopObserver.with_args(dtype=np.float32)))


@pytest.mark.rows(215, differs="transposed convolutions take per-channel weights here, so the qconfig is valid")
@pytest.mark.parametrize("groups", [1, 2])
def test_per_channel_weights_of_transposed_convolutions(groups):
    model = tq.QuantWrapper(conv.ConvTranspose2d(4, 6, 3, groups=groups)).eval()
    model.qconfig = tq.get_default_qconfig("fbgemm")
    tq.assert_valid_qconfig(model.qconfig, model.module)
    x = rand(2, 4, 5, 5)
    static = tq.convert(tq.calibrate(tq.prepare(model), x))
    qparams = static.module.weight.qparams
    assert (qparams.axis, qparams.scale.size) == (1, 6 // groups)
    assert tq.sqnr(model(x).detach(), static(x)) > 30


@pytest.mark.rows(209)
def test_float16_static_keeps_weights_in_float16():
    model = tq.QuantWrapper(nn.Linear(3, 2)).eval()
    model.qconfig = tq.float16_static_qconfig
    model = tq.convert(tq.prepare(model))
    assert (model.module.stage, model.module.weight.dtype) == ("weight-only", np.float16)
    assert model.module.input_dtype is None
    assert model(rand(2, 3)).shape == (2, 2)


# --- mappings and custom modules ------------------------------------------------------------------


class Scaled(nn.Module):
    def __init__(self, by=2.0):
        super().__init__()
        self.by, self.fc = by, nn.Linear(3, 3)

    def forward(self, x):
        return self.fc(x) * self.by


class ScaledObserved(nn.Module):
    def __init__(self, scaled):
        super().__init__()
        self.by, self.fc, self.times = scaled.by, scaled.fc, tq.FloatFunctional()

    @classmethod
    def from_float(cls, mod):
        made = cls(mod)
        made.fc.qconfig = made.times.qconfig = mod.qconfig
        return made

    def forward(self, x):
        return self.times.mul_scalar(self.fc(x), self.by)


class ScaledQuantized(ScaledObserved):
    @classmethod
    def from_observed(cls, mod):
        return tq.convert(cls(mod), inplace=True)


@pytest.mark.rows(237)
def test_custom_modules_at_any_depth():
    model = tq.QuantWrapper(nn.Sequential(nn.Sequential(Scaled()))).eval()
    model.qconfig = tq.default_qconfig
    x = rand(20, 3)
    prepared = tq.prepare(
        model, prepare_custom_config_dict={"float_to_observed_custom_module_class": {Scaled: ScaledObserved}}
    )
    inner = prepared.module[0][0]
    assert type(inner) is ScaledObserved
    prepared(x)
    config = {"observed_to_quantized_custom_module_class": {ScaledObserved: ScaledQuantized}}
    static = tq.convert(prepared, convert_custom_config_dict=config)
    assert type(static.module[0][0]) is ScaledQuantized
    assert static.stage == "static"
    assert tq.sqnr(model(x).detach(), static(x)) > 30


@pytest.mark.rows(237)
def test_swapped_custom_modules_keep_hooks_and_mode_and_are_shared():
    class Quantized(ScaledQuantized):
        @classmethod
        def from_float(cls, mod):
            raise AssertionError("from_observed is the one to call")

    shared, seen = Scaled(), []
    shared.register_forward_hook(lambda module, args, out: seen.append(type(module)))
    model = tq.QuantWrapper(nn.Sequential(shared, shared)).eval()
    model.qconfig = tq.default_qconfig
    swaps = {"float_to_observed_custom_module_class": {Scaled: ScaledObserved}}
    prepared = tq.prepare(model, prepare_custom_config_dict=swaps)
    assert prepared.module[0] is prepared.module[1]
    assert not prepared.module[0].training
    prepared(rand(20, 3))
    assert seen == [ScaledObserved, ScaledObserved]
    config = {"observed_to_quantized_custom_module_class": {ScaledObserved: Quantized}}
    static = tq.convert(prepared, convert_custom_config_dict=config)
    assert static.module[0] is static.module[1]
    assert type(static.module[0]) is Quantized


@pytest.mark.rows(232, 238)
def test_swap_module_and_mapping():
    class Special(nn.Module):
        @classmethod
        def from_float(cls, mod):
            return cls()

        def forward(self, x):
            return x

    calls = []
    model = nn.Linear(2, 2).eval()
    model.register_forward_hook(lambda *args: calls.append("after"))
    assert tq.swap_module(model, {nn.Linear: Special}) is model  # no qconfig
    model.qconfig = tq.default_qconfig
    swapped = tq.swap_module(model, {nn.Linear: Special})
    assert (type(swapped), swapped.qconfig, swapped.training) == (Special, tq.default_qconfig, False)
    swapped(rand(1, 2))
    assert calls == ["after"]
    assert tq.swap_module(model, {nn.Conv2d: Special}) is model
    wrapped = tq.QuantWrapper(nn.Linear(2, 2)).eval()
    wrapped.qconfig = tq.default_qconfig
    prepared = tq.calibrate(tq.prepare(wrapped), rand(4, 2))
    assert type(tq.convert(prepared, mapping={nn.Linear: Special}).module) is Special
    defaults = tq.convert(prepared, mapping=tq.get_default_static_quant_module_mappings())
    assert (type(defaults.module), defaults.stage) == (nn.Linear, "static")
    assert tq.swap_module(prepared.module, {nn.Linear: nn.quantized.Linear}).stage == "static"


@pytest.mark.rows(236)
def test_tables_follow_from_the_views():
    static = tq.get_default_static_quant_module_mappings()
    assert static[nn.Linear] is nn.quantized.Linear
    assert static[nn.Conv2d] is tq.get_static_quant_module_class(nn.Conv2d) is nn.quantized.Conv2d
    assert static[nn.intrinsic.ConvReLU2d] is nn.intrinsic.quantized.ConvReLU2d
    assert static[nn.intrinsic.ConvBnReLU2d] is nn.intrinsic.quantized.ConvReLU2d
    assert static[nn.intrinsic.ConvBn2d] is nn.quantized.Conv2d
    from octensor.nn import qat
    from octensor.nn.intrinsic import qat as iqat

    trained = tq.get_default_qat_module_mappings()
    assert (trained[nn.Linear], trained[nn.Conv2d]) == (qat.Linear, qat.Conv2d)
    assert trained[nn.intrinsic.ConvBn2d] is iqat.ConvBn2d
    assert static[iqat.ConvBnReLU2d] is nn.intrinsic.quantized.ConvReLU2d
    assert {nn.Linear, nn.Conv2d, nn.Sequential, tq.QuantStub} <= tq.get_default_qconfig_propagation_list()
    assert nn.quantized.Linear in tq.get_default_compare_output_module_list()
    with pytest.raises(ValueError, match=r"expected one of .*Linear.*, got 'MSELoss'"):
        tq.get_static_quant_module_class(nn.MSELoss)


# --- wrapping, calibration ------------------------------------------------------------------------


@pytest.mark.rows(229)
def test_add_quant_dequant_wraps_leaves_with_a_qconfig():
    model = nn.Sequential(nn.Linear(3, 4), nn.Softmax(1), nn.Sequential(nn.Linear(4, 2))).eval()
    for m in (model[0], model[2][0]):
        m.qconfig = tq.default_qconfig
    wrapped = tq.add_quant_dequant(model)
    assert wrapped is model
    assert [type(m).__name__ for m in (model[0], model[1], model[2][0])] == ["QuantWrapper", "Softmax", "QuantWrapper"]
    x = rand(10, 3)
    static = tq.convert(tq.calibrate(tq.prepare(model), x))
    assert tq.sqnr(model(x), static(x)) > 25
    lone = nn.Linear(2, 2)
    lone.qconfig = tq.default_qconfig
    assert type(tq.add_quant_dequant(lone)) is tq.QuantWrapper


@pytest.mark.rows(234, differs="the output slot runs in every call; there is no hook to register, only a check")
def test_the_output_slot_needs_no_hook():
    layer = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="expected an observer in the output slot"):
        tq.register_activation_post_process_hook(layer)
    layer.activation_post_process = tq.MinMaxObserver()
    tq.register_activation_post_process_hook(layer)
    layer(rand(3, 2))
    assert layer.activation_post_process.is_observed


@pytest.mark.parametrize("rich", [True, False])
def test_calibrate_shows_progress(rich, monkeypatch, capsys):
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.progress", None)
    else:
        pytest.importorskip("rich")
    model = tq.QuantWrapper(nn.Linear(2, 2)).eval()
    model.qconfig = tq.default_qconfig
    prepared = tq.prepare(model)
    tq.calibrate(prepared, rand(10, 2), batch_size=4)
    assert capsys.readouterr().err == ""
    tq.calibrate(prepared, rand(10, 2), batch_size=4, progress=True)
    assert "calibrating" in (shown := capsys.readouterr().err)
    assert rich or "3/3" in shown


def test_calibrate_feeds_fake_quantizers_too():
    model = tq.QuantWrapper(nn.Linear(2, 2)).train()
    model.qconfig = tq.get_default_qat_qconfig()
    prepared = tq.prepare_qat(model).eval()
    tq.calibrate(prepared, ot.from_numpy(np.array([[1.0, 2.0], [30.0, 40.0]], np.float32)), batch_size=1)
    fake = prepared.quant.activation_post_process
    assert float(fake.activation_post_process.max_val) > 2
    assert not fake.observe_in_eval


def test_there_is_no_torchscript():
    with pytest.raises(AttributeError, match="there is no TorchScript here"):
        tq.quantize_jit  # noqa: B018
