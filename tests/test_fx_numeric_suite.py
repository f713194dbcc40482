"""The numeric suite of graph mode: matching, weights, loggers, shadows."""

from __future__ import annotations

import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import nn
from octensor.nn import functional as F
from octensor.quantization import _numeric_suite_fx as ns
from octensor.quantization import quantize_fx as qfx
from octensor.quantization.fx.matching import base_of


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.second = nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(16, 5)
        self.w = nn.Parameter(ot.randn(3, 5).numpy())

    def forward(self, x):
        x = self.relu(self.bn(self.conv(x)))
        y = F.relu(self.second(x) + x)
        y = ot.flatten(F.max_pool2d(ot.cat([y[:, :2], x[:, 2:]], 1), 2), 1)
        return ot.sigmoid(F.linear(F.hardswish(self.fc(y)), self.w))


PARTS = ["conv", "second", "add", "cat", "max_pool2d", "fc", "hardswish", "linear", "sigmoid"]


@pytest.fixture(scope="module")
def models():
    ot.manual_seed(0)
    model, x = Net().eval(), ot.randn(16, 3, 4, 4)
    prepared = qfx.prepare_fx(model, {"": tq.get_default_qconfig()})
    prepared(x)
    return {"float": qfx.fuse_fx(model), "prepared": prepared, "int8": qfx.convert_fx(prepared)}, x


@pytest.mark.rows(285)
@pytest.mark.parametrize(("a", "b"), [("float", "int8"), ("prepared", "int8"), ("float", "prepared"), ("int8", "int8")])
def test_matching(models, a, b):
    models, _ = models
    pairs = ns.get_matching_subgraph_pairs(models[a], models[b])
    assert len(pairs) == len(PARTS)
    for one, other in pairs.values():
        assert base_of(one.start, models[a]) == base_of(other.start, models[b])
    expected = ["conv2d", "conv2d", "add", "cat", "maxpool2d", "linear", "hardswish", "linear", "sigmoid"]
    assert sorted(base_of(one.start, models[a]) for one, _ in pairs.values()) == sorted(expected)


@pytest.mark.rows(285)
def test_graphs_of_other_models_do_not_match(models):
    models, _ = models
    other = ot.fx.symbolic_trace(nn.Sequential(nn.Linear(3, 3), nn.Sigmoid()))
    with pytest.raises(
        ns.GraphMatchingException, match=r"hardswish \(hardswish\) in the first has no counterpart|differ"
    ):
        ns.get_matching_subgraph_pairs(models["float"], other)
    tanh = ot.fx.symbolic_trace(nn.Sequential(nn.Linear(3, 3), nn.Tanh()))
    with pytest.raises(ns.GraphMatchingException, match=r"1 \(sigmoid\) in the first stands where 1 \(tanh\) does"):
        ns.get_matching_subgraph_pairs(other, tanh)
    assert list(ns.get_matching_subgraph_pairs(other, tanh, {"squash": {nn.Sigmoid, nn.Tanh}})) == ["0", "1"]
    ignored = {"mods_unmatchable": {nn.Sigmoid, nn.Tanh}}
    assert list(ns.get_matching_subgraph_pairs(other, tanh, None, ignored)) == ["0"]


@pytest.mark.rows(282)
def test_extract_weights(models):
    models, _ = models
    found = ns.extract_weights("a", models["float"], "b", models["int8"])
    assert len(found) == 4
    for part in found.values():
        entry_a, entry_b = part["weight"]["a"][0], part["weight"]["b"][0]
        assert entry_a["type"] == "weight"
        assert tq.sqnr(entry_a["values"][0], entry_b["values"][0]) > 35
    entry = found["conv"]["weight"]["b"][0]
    assert entry["prev_node_target_type"] == "octensor.nn.conv.Conv2d"
    keys = "type values prev_node_name prev_node_target_type ref_node_name index_within_arg index_of_arg"
    assert set(entry) == set(keys.split())
    lstm = qfx.prepare_fx(nn.Sequential(nn.LSTM(3, 4)).eval(), {"": tq.default_dynamic_qconfig})
    found = ns.extract_weights("a", lstm, "b", qfx.convert_fx(lstm))
    assert [w.dtype for w in found["0"]["weight"]["b"][0]["values"]] == [ot.qint8] * 2


@pytest.mark.rows(283)
def test_loggers(models):
    models, x = models
    before = models["int8"](x)
    a, b = ns.add_loggers("a", models["float"], "b", models["int8"], ns.OutputLogger, should_log_inputs=True)
    assert b(x).numpy().tobytes() == before.numpy().tobytes()
    a(x)
    results = ns.extract_logger_info(a, b, ns.OutputLogger)
    assert len(results) == len(PARTS)
    for part in results.values():
        for kind in ("node_output", "node_input"):
            for ours, theirs in zip(part[kind]["a"], part[kind]["b"], strict=True):
                assert tq.sqnr(ours["values"][0], theirs["values"][0]) > 15
    assert isinstance(results["conv"]["node_output"]["b"][0]["values"][0], ot.QTensor)
    assert len(results["add"]["node_input"]["a"]) == 2
    ns.extend_logger_results_with_comparison(results, "a", "b", ns.sqnr, "sqnr")
    assert results["fc"]["node_output"]["b"][0]["sqnr"][0] > 15
    # The models themselves have no loggers.
    assert not any(isinstance(m, ns.OutputLogger) for m in models["int8"].modules())
    by_b = ns.extract_logger_info(a, b, ns.OutputLogger, "b")
    assert "add_relu" in by_b


@pytest.mark.rows(284)
def test_shadows(models):
    models, x = models
    before = models["int8"](x)
    shadowed = ns.add_shadow_loggers("a", models["float"], "b", models["int8"], ns.OutputLogger, should_log_inputs=True)
    assert shadowed(x).numpy().tobytes() == before.numpy().tobytes()
    results = ns.extract_shadow_logger_info(shadowed, ns.OutputLogger)
    assert len(results) == len(PARTS)
    a, b = ns.add_loggers("a", models["float"], "b", models["int8"])
    a(x), b(x)
    alone = ns.extract_logger_info(a, b)
    for name, part in results.items():
        ours, theirs = (part["node_output"][m][0]["values"][0] for m in "ab")
        own = tq.sqnr(ours, theirs)
        assert own > 30  # its own error is smaller than that of all before it together
        assert own >= tq.sqnr(*(alone[name]["node_output"][m][0]["values"][0] for m in "ab")) - 1
    inputs = results["fc"]["node_input"]
    assert isinstance(inputs["a"][0]["values"][0], ot.Tensor)
    assert isinstance(inputs["b"][0]["values"][0], ot.QTensor)
    with pytest.warns(
        UserWarning, match="add_shadow_loggers: left out conv, .* and 4 more: int8 takes other inputs there than float"
    ):
        ns.add_shadow_loggers("int8", models["int8"], "float", models["float"])


def test_models_that_are_not_graphs_are_traced():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU()).eval()
    a, b = ns.add_loggers("a", model, "b", model)
    x = ot.randn(2, 3)
    a(x), b(x)
    results = ns.extract_logger_info(a, b)
    assert list(results) == ["0"]  # with the ReLU behind it
    assert results["0"]["node_output"]["a"][0]["values"][0].numpy().min() == 0
