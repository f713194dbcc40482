"""What graph mode fuses, and what it leaves apart; patterns of one's own."""

from __future__ import annotations

import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import nn
from octensor.graph.patterns import match
from octensor.quantization import quantize_fx as qfx

QCONFIG = tq.get_default_qconfig()


@pytest.fixture(autouse=True)
def seed():
    ot.manual_seed(0)


def kinds(module):
    nodes = [n for n in module.graph.nodes if n.op.startswith("call")]
    return [n.target if isinstance(n.target, str) else n.target.__name__ for n in nodes]


def calibrated(model, x):
    prepared = qfx.prepare_fx(model.eval(), {"": QCONFIG})
    prepared(x)
    return prepared


SEQUENCES = {
    "conv": (lambda: [nn.Conv2d(3, 4, 3)], []),
    "conv bn": (lambda: [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)], ["norm"]),
    "conv relu": (lambda: [nn.Conv2d(3, 4, 3), nn.ReLU()], ["activation"]),
    "conv bn relu": (lambda: [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()], ["norm", "activation"]),
    "bn relu": (lambda: [nn.BatchNorm2d(3), nn.ReLU()], ["activation"]),
    "linear relu": (lambda: [nn.Linear(6, 3), nn.ReLU()], ["activation"]),
}


@pytest.mark.rows(260)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", SEQUENCES)
def test_fusion_patterns_fire(name, training):
    make, carried = SEQUENCES[name]
    model, x = nn.Sequential(*make()), ot.randn(4, 3, 6, 6)
    model(x)
    model.train(training)
    fused = qfx.fuse_fx(model)
    assert kinds(fused) == ["0"]
    layer = fused.get_submodule("0")
    want = {"norm": "norm" in carried and training, "activation": "activation" in carried}
    assert {k: getattr(layer, k, None) is not None for k in want} == want
    if not training:
        assert tq.sqnr(model(x).detach(), fused(x)) > 100
    eager = tq.fuse_modules(model, [str(i) for i in range(len(model))]) if carried else model
    assert eager(x).numpy().tobytes() == fused(x).numpy().tobytes()


@pytest.mark.rows(
    243, differs="a model in train mode is not refused: its norms are attached, as `fuse_modules` does there"
)
def test_fuse_fx():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()).eval()
    fused = qfx.fuse_fx(model)
    assert isinstance(fused, qfx.FusedGraphModule)
    assert kinds(fused) == ["0", "3"]
    assert fused.get_submodule("0").fused_from == ("0", "1", "2")
    assert len(model) == 4
    assert model[0].activation is None  # the model itself stays as it was
    with pytest.raises(AttributeError):
        fused.get_submodule("1")


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.bn = nn.BatchNorm2d(3)
        self.relu = nn.ReLU()

    def forward(self, x):
        y = self.conv(x)
        return self.relu(self.bn(y)) + y


class SumRelu(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(x + x)


@pytest.mark.rows(260)
def test_fusion_patterns_do_not_fire():
    x = ot.randn(2, 3, 4, 4)
    # The convolution's value has another user: only what follows it is fused.
    fused = qfx.fuse_fx(Two().eval())
    assert kinds(fused) == ["conv", "bn", "add"]
    # The convolution is called twice.
    conv = nn.Conv2d(3, 3, 1)
    twice = nn.Sequential(conv, nn.BatchNorm2d(3), conv, nn.ReLU()).eval()
    fused = qfx.fuse_fx(twice)
    assert kinds(fused) == ["0", "1", "0", "3"]
    assert fused(x).numpy().tobytes() == twice(x).numpy().tobytes()
    # The batch norm cannot be attached, or is in another mode.
    for norm in (nn.BatchNorm2d(3, affine=False), nn.BatchNorm2d(3).eval()):
        model = nn.Sequential(nn.Conv2d(3, 3, 1), norm)
        model.training = True
        assert kinds(qfx.fuse_fx(model)) == ["0", "1"]
    # It has no statistics to fold.
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)).eval()
    assert kinds(qfx.fuse_fx(model)) == ["0", "1"]
    # An entry of its own says otherwise.
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()).eval()
    for qconfig_dict, expected in (
        ({"": QCONFIG, "module_name": [("1", None)]}, ["0", "1"]),
        ({"": QCONFIG, "object_type": [(nn.ReLU, tq.default_qconfig)]}, ["0", "1"]),
        ({"object_type": [(nn.Conv2d, QCONFIG)]}, ["0"]),
        ({"": QCONFIG, "module_name": [("0", None)], "object_type": [(nn.ReLU, None)]}, []),
    ):
        if expected:
            assert kinds(qfx.prepare_fx(model, qconfig_dict))[1:] == expected
    # A sum is not joined with a ReLU that another entry is for.
    prepared = qfx.prepare_fx(SumRelu().eval(), {"": QCONFIG, "object_type": [(nn.ReLU, None)]})
    assert prepared.add.op == "add"
    joined = calibrated(SumRelu(), ot.randn(2, 3))
    assert kinds(qfx.convert_fx(joined)) == ["quantize_per_tensor", "add_relu", "dequantize"]


@pytest.mark.rows(274)
def test_patterns_of_ones_own():
    @qfx.register_quant_pattern((nn.Softmax, nn.Flatten))
    class Kept(qfx.QuantizeHandler):
        rule = "same"

    @qfx.register_fusion_pattern((nn.ReLU, nn.Conv2d))
    class Never(qfx.FuseHandler):
        def fuse(self, fuser_methods):
            return self.match.last

    from octensor.quantization.fx import fuse, handlers

    try:
        assert next(iter(qfx.get_default_quant_patterns().values())) is Kept
        assert qfx.get_default_fusion_patterns()[nn.ReLU, nn.Conv2d] is Never
        assert kinds(qfx.fuse_fx(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()).eval())) == ["0", "1"]
    finally:
        del handlers._REGISTERED[nn.Softmax, nn.Flatten], fuse._REGISTERED[nn.ReLU, nn.Conv2d]
    graph = ot.fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    last = next(n for n in graph.graph.nodes if n.target == "1")
    assert match(last, (nn.ReLU, qfx.MatchAllNode), graph).nodes == (last,)
    assert len(match(last, (nn.ReLU, nn.Linear), graph).nodes) == 2
    assert match(last, (nn.ReLU, nn.Conv2d), graph) is None


@pytest.mark.rows(274)
def test_a_handler_says_what_observes_its_result():
    factory = tq.MinMaxObserver.with_args(eps=0.5)

    @qfx.register_quant_pattern(nn.Hardswish, factory)
    class Coarse(qfx.QuantizeHandler):
        pass

    from octensor.quantization.fx import handlers

    try:
        assert qfx.get_default_output_activation_post_process_map()[nn.Hardswish] is factory
        model = nn.Sequential(nn.Hardswish(), nn.Hardswish())
        prepared = calibrated(model, ot.randn(4, 3))
        assert qfx.convert_fx(prepared).get_submodule("1").scale == 0.5
    finally:
        del handlers._REGISTERED[nn.Hardswish], handlers._OUTPUT_POST_PROCESS[nn.Hardswish]
