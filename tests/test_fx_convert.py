"""From a prepared graph to a quantized one: where tensors become quantized and float, references, float16, state."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import nn
from octensor.nn import functional as F
from octensor.quantization import quantize_fx as qfx
from octensor.quantization.prepare import get_observers

QCONFIG = tq.get_default_qconfig()


@pytest.fixture(autouse=True)
def seed():
    ot.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.norm = nn.GroupNorm(2, 4)
        self.up = nn.ConvTranspose2d(4, 4, 1)
        self.head = nn.Linear(4, 5)
        self.w = nn.Parameter(ot.randn(4, 4, 1, 1).numpy())
        self.b = nn.Parameter(ot.randn(4).numpy())

    def forward(self, x):
        x = self.relu(self.bn(self.conv(x)))
        y = F.relu(F.conv2d(x, self.w, self.b)) + x
        y = F.hardswish(self.up(self.norm(ot.cat([y, x], 1)[:, :4])))
        return F.softmax(self.head(F.avg_pool2d(y, 4).flatten(1)), 1)


SHAPE = (8, 3, 4, 4)


def kinds(module):
    nodes = [n for n in module.graph.nodes if n.op.startswith("call")]
    return [n.target if isinstance(n.target, str) else n.target.__name__ for n in nodes]


def calibrated(model, qconfig_dict=None, config=None, shape=SHAPE):
    prepared = qfx.prepare_fx(model.eval(), qconfig_dict or {"": QCONFIG}, config)
    x = ot.randn(*shape)
    prepared(x)
    return prepared, x


@pytest.mark.rows(247)
def test_reference():
    model = Net()
    prepared, x = calibrated(model)
    quantized, reference = qfx.convert_fx(prepared), qfx.convert_fx(prepared, is_reference=True)
    names = [n.target for n in reference.graph.nodes if n.op == "call_function"]
    assert {ot.add, ot.cat, F.conv2d, F.hardswish} <= set(names)
    assert not any("packed" in key for key in reference.state_dict())
    assert type(reference.conv) is nn.quantized._reference.Conv2d
    assert (reference.norm.stage, reference.head.stage) == ("float", "static")
    # Every result has the parameters of the quantized model; the values differ by float rounding only.
    assert tq.sqnr(quantized(x), reference(x)) > 40
    again = qfx.convert_to_reference_fx(prepared)
    assert again(x).numpy().tobytes() == reference(x).numpy().tobytes()


@pytest.mark.rows(259)
def test_the_tracer_keeps_layers_and_scopes():
    tracer = qfx.QuantizationTracer(["1"], [nn.Flatten])
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), nn.Sequential(nn.ReLU()), nn.Flatten())
    graph = tracer.trace(model)
    layers = [n for n in graph.nodes if n.op == "call_module"]
    assert [n.target for n in layers] == ["0.0", "0.1", "1", "2"]
    assert [n.meta["scope"] for n in layers][:2] == [("0.0", nn.Conv2d), ("0.1", nn.ReLU)]

    class Derived(nn.Linear):
        def forward(self, x):
            return super().forward(x)

    model = nn.Sequential(Derived(3, 3))
    prepared, _ = calibrated(model, shape=(4, 3))
    assert qfx.convert_fx(prepared).get_submodule("0").stage == "static"
    with_functional = tq.QuantWrapper(nn.Sequential(nn.Linear(3, 3)))
    prepared, x = calibrated(with_functional, shape=(4, 3))  # the stubs of eager mode may stay
    assert qfx.convert_fx(prepared)(x).shape == (4, 3)


class Uses(nn.Module):
    """One input for many."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(3, 3) for _ in range(3))

    def forward(self, x):
        return self.a(x), self.b(x) + x, self.c(F.softmax(x, 1)), x


@pytest.mark.rows(270)
def test_one_observer_for_a_tensor():
    prepared, x = calibrated(Uses(), shape=(8, 3))
    stubs = [path for path, m in prepared.named_modules() if isinstance(m, tq.QuantStub)]
    assert sorted(stubs) == ["softmax_activation_post_process_0", "x_activation_post_process_0"]
    assert set(get_observers(prepared)) == {"a", "add", "b", "c", *stubs}
    quantized = qfx.convert_fx(prepared)
    assert kinds(quantized).count("quantize_per_tensor") == 2
    assert quantized(x)[3] is x
    # Where consumers want it quantized differently, there are two.
    other = tq.QConfig(tq.MinMaxObserver.with_args(eps=1e-3), tq.default_weight_observer)
    prepared, x = calibrated(Uses(), {"": QCONFIG, "module_name": [("a", other)]}, shape=(8, 3))
    assert "x_activation_post_process_1" in get_observers(prepared)
    # A value of another dtype than its consumer takes is requantized.
    signed = tq.QConfig(tq.MinMaxObserver.with_args(dtype=ot.qint8), tq.default_weight_observer)
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    prepared, x = calibrated(model, {"": QCONFIG, "module_name": [("1", signed)]}, shape=(8, 3))
    quantized = qfx.convert_fx(prepared)
    assert kinds(quantized) == ["quantize_per_tensor", "0", "dequantize", "quantize_per_tensor", "1", "dequantize"]
    assert tq.sqnr(model(x).detach(), quantized(x)) > 20


@pytest.mark.rows(271)
def test_dequantize_stands_where_float_is_read():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            y = self.fc(x)
            z = ot.exp(y)  # no quantized form
            return {"sum": F.relu(y), "parts": [z - y, (y,)]}, y[0], F.softmax(y, 1)

    model = Mixed()
    prepared, x = calibrated(model, shape=(8, 3))
    quantized = qfx.convert_fx(prepared)
    assert kinds(quantized).count("dequantize") == 3  # of y, once, of y[0] and of relu(y)
    (tree, row, soft), expected = quantized(x), model(x)
    assert isinstance(tree["parts"][1][0], ot.Tensor)
    for got, want in (
        (tree["sum"], expected[0]["sum"]),
        (tree["parts"][0], expected[0]["parts"][0]),
        (row, expected[1]),
    ):
        assert tq.sqnr(want.detach(), got) > 20
    assert tq.sqnr(expected[2].detach(), soft) > 20


@pytest.mark.rows(273, 272)
def test_state_copies_and_errors():
    prepared, x = calibrated(Net())
    quantized = qfx.convert_fx(prepared)
    state = quantized.state_dict()
    assert {"conv_input_scale_0", "conv_input_zero_point_0", "_scale_0", "_zero_point_0", "head.scale"} <= set(state)
    expected = quantized(x).numpy().tobytes()
    for copied in (copy.deepcopy(quantized), pickle.loads(pickle.dumps(quantized))):
        assert type(copied) is qfx.QuantizedGraphModule
        assert copied(x).numpy().tobytes() == expected
    # Another conversion of the same model takes the state over, saved as arrays and QTensors.
    other = qfx.convert_fx(calibrated(Net())[0])
    assert other(x).numpy().tobytes() != expected
    other.load_state_dict(pickle.loads(pickle.dumps(state)))
    assert other(x).numpy().tobytes() == expected
    # Converting leaves the prepared model as it was; converting twice is refused.
    assert qfx.convert_fx(prepared)(x).numpy().tobytes() == expected
    with pytest.raises(TypeError, match="got a QuantizedGraphModule: it is quantized already"):
        qfx.convert_fx(quantized)
    assert not any("qconfig" in vars(m) for m in quantized.modules())
    assert qfx.convert_fx(prepared, _remove_qconfig=False).head.qconfig == QCONFIG


@pytest.mark.rows(
    275, differs="tensors hold float32, so `to_float16` rounds their values to float16 instead of changing their dtype"
)
def test_float16_rounds_what_is_between():
    model = Net()
    prepared, x = calibrated(model, {"": tq.float16_static_qconfig})
    halves = qfx.convert_fx(prepared)
    assert halves.head.weight.dtype == np.float16
    assert halves.conv.stage == "float"  # there is no float16 pattern for convolutions
    rounded = [n for n in halves.graph.nodes if n.target is ot.ops.half.to_float16]
    assert {n.args[0].name.rstrip("_0123456789") for n in rounded} >= {"head", "add", "hardswish", "softmax"} - {
        "softmax"
    }
    assert tq.sqnr(model(x).detach(), halves(x)) > 50

    class Sums(nn.Module):
        def forward(self, x):
            return ot.sum(x - x / 3, 1)

    prepared, x = calibrated(Sums(), {"": tq.float16_static_qconfig}, shape=(4, 3))
    halves = qfx.convert_fx(prepared)
    third = np.float16(x.numpy().astype(np.float16).astype(np.float32) / 3).astype(np.float32)
    difference = np.float16(x.numpy().astype(np.float16).astype(np.float32) - third).astype(np.float32)
    np.testing.assert_array_equal(halves(x).numpy(), np.float16(difference.sum(1)).astype(np.float32))


@pytest.mark.rows(246)
def test_a_converted_graph_can_be_recorded():
    prepared, x = calibrated(Net())
    quantized = qfx.convert_fx(prepared)
    recorded = ot.fx.record(quantized, (x,))
    assert recorded(x).numpy().tobytes() == quantized(x).numpy().tobytes()
    y = ot.randn(*SHAPE)
    assert recorded(y).numpy().tobytes() == quantized(y).numpy().tobytes()


@pytest.mark.rows(245)
def test_training_weights_only_and_activations_only():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).train(), ot.randn(8, 3)
    weights = qfx.prepare_qat_fx(model, {"": tq.default_weight_only_qconfig})
    assert [m.weight_fake_quant is not None for m in (weights.get_submodule("0"), weights.get_submodule("2"))] == [
        True
    ] * 2
    weights(x)
    converted = qfx.convert_fx(weights)
    assert converted.get_submodule("0").stage == "weight-only"
    assert kinds(converted) == ["0", "2"]
    assert tq.sqnr(model(x).detach(), converted(x)) > 30


def test_reports_and_comparisons_take_graph_modules():
    model = Net().eval()
    prepared, x = calibrated(model)
    quantized = qfx.convert_fx(prepared)
    assert "head" in str(tq.report(quantized, x))
    chain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()
    rows = tq.compare_layers(qfx.fuse_fx(chain), qfx.convert_fx(calibrated(chain)[0]), x)
    assert [row.path for row in rows] == ["0", "3", "4"]
    merged = tq.merge_observers_(qfx.prepare_fx(model, {"": QCONFIG}), prepared)
    assert qfx.convert_fx(merged)(x).numpy().tobytes() == quantized(x).numpy().tobytes()
    tq.calibrate(prepared, x)
