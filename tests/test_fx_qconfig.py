"""Which qconfig each part of a model gets: the keys of qconfig_dict, their precedence, and None."""

from __future__ import annotations

import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import nn
from octensor.nn import functional as F
from octensor.quantization import quantize_fx as qfx
from octensor.quantization.fx.qconfig_mapping import GLOBAL, NAME, OBJECT_TYPE, REGEX, QConfigMapping

A, B, C = (tq.QConfig(tq.MinMaxObserver.with_args(eps=e), tq.default_weight_observer) for e in (1e-5, 1e-4, 1e-3))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.conv = nn.Conv1d(2, 2, 1)

    def forward(self, x):
        return self.conv(self.fc(x)) + x


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Block()
        self.second = Block()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return F.hardswish(self.head(self.second(self.first(x))))


def found(qconfig_dict):
    """Return {path or name of the layer that stands for a function: the qconfig it is observed with}."""
    prepared = qfx.prepare_fx(Net().eval(), qconfig_dict)
    return {
        path: m.qconfig for path, m in prepared.named_modules() if "qconfig" in vars(m) and "post_process" not in path
    }


LAYERS = ["first.fc", "first.conv", "second.fc", "second.conv", "head"]
ALL = [*LAYERS, "add", "add_1", "hardswish"]


@pytest.mark.rows(248)
def test_global():
    assert found({"": A}) == dict.fromkeys(ALL, A)


@pytest.mark.rows(249)
def test_object_type_takes_layers_functions_and_methods():
    by_type = found({"": A, "object_type": [(nn.Linear, B), (ot.add, C), (F.hardswish, None)]})
    assert by_type == {
        **dict.fromkeys(["first.fc", "second.fc", "head"], B),
        **dict.fromkeys(["first.conv", "second.conv"], A),
        **dict.fromkeys(["add", "add_1"], C),
    }
    assert found({"object_type": [(nn.Conv1d, B)]}) == dict.fromkeys(["first.conv", "second.conv"], B)
    # A function called in a module of a type that has an entry of its own takes that one.
    assert found({"object_type": [(Block, B), (ot.add, C)]}) == dict.fromkeys(["add", "add_1"], B)


@pytest.mark.rows(250)
def test_module_name_regex_the_first_that_matches_wins():
    by_regex = found({"": A, "module_name_regex": [(r".*\.fc", B), (r"first", C)]})
    assert by_regex == {
        **dict.fromkeys(["first.fc", "second.fc"], B),
        **dict.fromkeys(["first.conv", "add"], C),
        **dict.fromkeys(["second.conv", "head", "add_1", "hardswish"], A),
    }


@pytest.mark.rows(251)
def test_module_name_holds_for_what_is_below_it():
    by_name = found({"": A, "module_name": [("first", B), ("first.conv", C)]})
    assert by_name == {
        **dict.fromkeys(["first.fc", "add"], B),
        "first.conv": C,
        **dict.fromkeys(["second.fc", "second.conv", "head", "add_1", "hardswish"], A),
    }


@pytest.mark.rows(252)
def test_precedence_and_none():
    mapping = QConfigMapping.from_dict({"": A})
    levels = [mapping.of_module("first.fc", nn.Linear).level]
    for key, entry in (("object_type", nn.Linear), ("module_name_regex", "first"), ("module_name", "first.fc")):
        getattr(mapping, f"set_{key}")(entry, B if key == "object_type" else None)
        levels.append(mapping.of_module("first.fc", nn.Linear).level)
    assert levels == [GLOBAL, OBJECT_TYPE, REGEX, NAME]
    assert mapping.of_module("first.fc", nn.Linear).qconfig is None
    assert mapping.of_module("second.fc", nn.Linear).qconfig is B
    # None keeps a layer in float, between a dequantize and a quantize.
    model, x = Net().eval(), ot.randn(8, 2, 4)
    prepared = qfx.prepare_fx(model, {"": tq.get_default_qconfig(), "module_name": [("second", None)]})
    prepared(x)
    quantized = qfx.convert_fx(prepared)
    assert {p: quantized.get_submodule(p).stage for p in LAYERS} == {
        "first.fc": "static",
        "first.conv": "static",
        "second.fc": "float",
        "second.conv": "float",
        "head": "static",
    }
    names = [node.name for node in quantized.graph.nodes if node.op != "get_attr"]
    assert names.count("dequantize") == 1
    assert sum(name.startswith("quantize_per_tensor") for name in names) == 2
    assert tq.sqnr(model(x).detach(), quantized(x)) > 20


@pytest.mark.rows(252)
def test_mistakes_are_named():
    model = Net().eval()
    cases = {
        r"qconfig_dict: expected keys out of .*, got 'head': names of modules stand": {"head": A},
        r"module_name: expected names of modules, got 'haed'; the model has first": {"module_name": [("haed", A)]},
        r"module_name: expected a list of \(key, qconfig\) pairs": {"module_name": A},
        r"module_name: 'head': qconfig: expected a QConfig or None": {"module_name": [("head", tq.MinMaxObserver())]},
        r"module_name_regex: expected a regular expression, got '\('": {"module_name_regex": [("(", A)]},
        r"object_type: expected a class, a function or the name of a method": {"object_type": [(3, A)]},
        r"expected at least one layer or function to quantize, found none": {"object_type": [(nn.LSTM, A)]},
        r"prepare_fx: expected a model in eval mode": None,
    }
    for message, qconfig_dict in cases.items():
        with pytest.raises((ValueError, TypeError), match=message):
            qfx.prepare_fx(model.train(qconfig_dict is None), qconfig_dict or {"": A})
    with pytest.raises(TypeError, match="expected a dict or a QConfigMapping, got QConfig"):
        qfx.prepare_fx(model.eval(), A)
    with pytest.raises(ValueError, match=r"prepare_qat_fx: expected a model in train mode"):
        qfx.prepare_qat_fx(model, {"": A})
    with pytest.raises(
        ValueError, match=r"prepare_qat_fx: .*: expected a qconfig of fake quantizers, got one that makes"
    ):
        qfx.prepare_qat_fx(model.train(), {"": A})
    model.eval()
    with pytest.raises(TypeError, match="convert_fx: graph_module: expected what prepare_fx or"):
        qfx.convert_fx(model)
    with pytest.raises(ValueError, match=r"convert_fx: no calibration data reached first\.conv, "):
        qfx.convert_fx(qfx.prepare_fx(model, {"": A}))
    # A function is named by its node, the module that calls it, and the line.
    only_sums = qfx.prepare_fx(model, {"object_type": [(ot.add, A)]})
    with pytest.raises(ValueError, match=r"reached .*\(.*add in first, .*test_fx_qconfig.py:\d+; .* in second"):
        qfx.convert_fx(only_sums)


@pytest.mark.rows(248, 249, 250, 251)
def test_a_mapping_may_stand_for_the_dictionary():
    config = {
        "": A,
        "object_type": [(nn.Linear, B)],
        "module_name_regex": [("first", C)],
        "module_name": [("head", None)],
    }
    mapping = (
        qfx.QConfigMapping()
        .set_global(A)
        .set_object_type(nn.Linear, B)
        .set_module_name_regex("first", C)
        .set_module_name("head", None)
    )
    assert mapping.to_dict() == config
    assert found(mapping) == found(config)
    assert qfx.get_default_qconfig_mapping("qnnpack").global_qconfig is tq.get_default_qconfig("qnnpack")
    assert qfx.get_default_qat_qconfig_mapping("x86").global_qconfig is tq.get_default_qat_qconfig("x86")
