"""A ReLU6 in a layer: the kernels do its lower bound, the range of the codes its upper one, or it is applied."""

from __future__ import annotations

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import nn
from octensor.nn import functional as F
from octensor.quantization import quantize_fx as qfx


@pytest.fixture(autouse=True)
def seed():
    ot.manual_seed(0)


def conv_model():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(), nn.Flatten(), nn.Linear(128, 4), nn.ReLU6()
    )
    with ot.no_grad():
        for scale in (2.0, 20.0):  # far beyond 6
            model(ot.randn(8, 3, 6, 6) * scale)
    model[1].weight.data = np.full(8, 8.0, np.float32)
    model[4].weight.data = model[4].weight.numpy() * 8
    return model.eval()


def test_observed_behind_the_relu6_quantizing_is_enough():
    model, x = conv_model(), ot.randn(64, 3, 6, 6) * 10
    prepared = qfx.prepare_fx(model, {"": tq.default_qconfig})
    prepared(x)
    static = qfx.convert_fx(prepared)
    assert [n.target for n in static.graph.nodes if n.op == "call_module"] == ["0", "3", "4"]
    conv = static.get_submodule("0")
    assert type(conv.activation) is nn.ReLU6
    assert conv.zero_point == 0
    assert conv.scale == np.float32(6 / 255)
    assert tq.sqnr(model(x).detach(), static(x)) > 25
    assert static(x).numpy().max() <= np.float32(6)
    eager = tq.fuse_modules(model, [["0", "1", "2"], ["4", "5"]])
    eager = tq.QuantWrapper(eager)
    eager.qconfig = tq.default_qconfig
    eager = tq.prepare(eager.eval())
    eager(x)
    assert tq.convert(eager)(x).numpy().tobytes() == static(x).numpy().tobytes()
    # Nothing is left for the op itself to do: a layer without the upper bound gives the same.
    without = conv.shallow_copy()
    without.activation = nn.ReLU()
    q = ot.quantize_per_tensor(x, 0.5, 128, ot.quint8)
    assert conv(q).equal(without(q))


@pytest.mark.parametrize("dtype", [ot.quint8, ot.qint8])
def test_where_codes_reach_beyond_six_they_are_limited(dtype):
    observer = tq.MinMaxObserver.with_args(dtype=dtype, reduce_range=True)
    model, x = conv_model(), ot.randn(64, 3, 6, 6)
    prepared = qfx.prepare_fx(model, {"": tq.QConfig(observer, tq.default_weight_observer)})
    prepared(x)
    static = qfx.convert_fx(prepared)
    last = static.get_submodule("4")
    highest = (dtype.qmax - last.zero_point) * last.scale
    assert highest > 8
    assert 5.9 < static(x).numpy().max() < 6.1
    assert tq.sqnr(model(x).detach(), static(x)) > 20
    recorded = ot.fx.record(static, (x,))
    assert recorded(x).numpy().tobytes() == static(x).numpy().tobytes()


@pytest.mark.parametrize(
    "qconfig", [tq.default_dynamic_qconfig, tq.float16_dynamic_qconfig, tq.default_weight_only_qconfig]
)
def test_float_results_are_limited(qconfig):
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU6())
    model[0].weight.data = np.full((4, 6), 3.0, np.float32)
    x = ot.ones(2, 6)
    if qconfig is tq.default_weight_only_qconfig:
        prepared = qfx.prepare_qat_fx(model, {"": qconfig})
        prepared(x)
    else:
        prepared = qfx.prepare_fx(model.eval(), {"": qconfig})
    converted = qfx.convert_fx(prepared)
    assert len(list(converted.children())) == 1
    assert converted.get_submodule("0").stage in ("dynamic", "weight-only")
    assert converted(x).tolist() == [[6.0] * 4] * 2
    assert ot.fx.record(converted, (x,))(x).tolist() == [[6.0] * 4] * 2


def test_training():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn, self.fc = nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(F.relu6(self.bn(self.conv(x))).transpose(1, 2))

    model, x = Model().train(), ot.randn(16, 3, 8) * 9
    qat = qfx.prepare_qat_fx(model, {"": tq.get_default_qat_qconfig()})
    assert type(qat.conv.activation) is nn.ReLU6
    (qat(x) ** 2).mean().backward()
    qat.eval()
    assert qfx.convert_fx(qat)(x).numpy().tobytes() == qat(x).numpy().tobytes()


def test_names_of_fused_states_mean_a_relu():
    layer = tq.fuse_modules(nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU6()).eval(), ["0", "1"])[0]
    assert not isinstance(layer, nn.intrinsic.ConvReLU2d)
    assert "ReLU6" in repr(layer)
    with pytest.raises(ValueError, match="expected one of the sequences"):
        tq.fuse_modules(nn.Sequential(nn.BatchNorm2d(1), nn.ReLU6()).eval(), ["0", "1"])
