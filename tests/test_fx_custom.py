"""The custom-config dictionaries: units of their own, leaves, custom classes, edges that are quantized, patterns."""

from __future__ import annotations

import copy
import pickle

import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import nn
from octensor.nn import functional as F
from octensor.quantization import quantize_fx as qfx

QCONFIG = tq.get_default_qconfig()


class Branching(nn.Module):
    """Cannot be traced: which way it goes depends on values."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(x) if x.sum() > 0 else x


class Unit(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return F.relu(self.fc(x)) + x


class Net(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.before = nn.Linear(4, 4)
        self.inner = inner
        self.after = nn.Linear(4, 4)
        self.note = "kept"

    def forward(self, x):
        return self.after(self.inner(self.before(x)))


@pytest.fixture(autouse=True)
def seed():
    ot.manual_seed(0)


def prepared(model, config, x=None, qconfig=None):
    result = qfx.prepare_fx(model.eval(), qconfig or {"": QCONFIG}, config)
    result(ot.randn(64, 4) if x is None else x)
    return result


def kinds(module):
    return [n.target if n.op != "call_function" else n.target.__name__ for n in module.graph.nodes if "call" in n.op]


AROUND = ["quantize_per_tensor", "before", "dequantize", "inner", "quantize_per_tensor", "after", "dequantize"]


@pytest.mark.rows(254, 259)
@pytest.mark.parametrize(
    "entry", [{"non_traceable_module_name": ["inner"]}, {"non_traceable_module_class": [Branching]}]
)
def test_non_traceable_modules_stay_as_they_are(entry):
    model = Net(Branching())
    with pytest.raises(ValueError, match=r"test_fx_custom.py:\d+.*a condition depends on a traced value"):
        prepared(model, None)
    quantized = qfx.convert_fx(prepared(model, entry))
    assert type(quantized.inner) is Branching
    assert quantized.inner.fc.stage == "float"
    assert kinds(quantized) == AROUND
    x = ot.randn(8, 4)
    assert tq.sqnr(model(x).detach(), quantized(x)) > 15


@pytest.mark.rows(253)
@pytest.mark.parametrize("by_class", [False, True])
def test_standalone_modules_are_units_of_their_own(by_class):
    key = "standalone_module_class" if by_class else "standalone_module_name"
    unit = Unit if by_class else "inner"
    model, x = Net(Unit()).eval(), ot.randn(64, 4)
    plain = prepared(model, {key: [(unit, None, None)]}, x)
    assert isinstance(plain.inner, qfx.ObservedGraphModule)
    quantized = qfx.convert_fx(plain)
    assert isinstance(quantized.inner, qfx.QuantizedGraphModule)
    # Its own input and output are float; with edges that are quantized nothing stands between.
    assert kinds(quantized) == AROUND
    assert kinds(quantized.inner) == ["quantize_per_tensor", "fc", "add", "dequantize"]
    edges = {"input_quantized_idxs": [0], "output_quantized_idxs": [0]}
    joined = qfx.convert_fx(prepared(model, {key: [(unit, {"": QCONFIG}, edges)]}, x))
    assert kinds(joined) == ["quantize_per_tensor", "before", "inner", "after", "dequantize"]
    assert kinds(joined.inner) == ["fc", "add"]
    assert min(tq.sqnr(model(x).detach(), q(x)) for q in (quantized, joined)) > 20
    # What the unit is told holds for it alone.
    none = qfx.convert_fx(prepared(model, {key: [(unit, {"": None}, None)]}, x))
    assert (none.inner.fc.stage, none.before.stage) == ("float", "static")


class Scaled(nn.Module):
    def __init__(self, fc):
        super().__init__()
        self.fc = fc

    def forward(self, x):
        return self.fc(x)


class Observed(Scaled):
    @classmethod
    def from_float(cls, module):
        assert module.qconfig is not None
        return cls(module.fc)


class Quantized(Scaled):
    @classmethod
    def from_observed(cls, module):
        layer = module.fc
        layer.qconfig, layer.activation_post_process = module.qconfig, module.activation_post_process
        return cls(nn.quantized.Linear.from_float(layer))


@pytest.mark.rows(255)
def test_custom_classes():
    prepare = {"float_to_observed_custom_module_class": {"static": {Scaled: Observed}}}
    convert = {"observed_to_quantized_custom_module_class": {"static": {Observed: Quantized}}}
    model, x = Net(Scaled(nn.Linear(4, 4))).eval(), ot.randn(64, 4)
    observed = prepared(model, prepare, x)
    assert type(observed.inner) is Observed
    quantized = qfx.convert_fx(observed, convert_custom_config_dict=convert)
    assert type(quantized.inner) is Quantized
    assert kinds(quantized) == ["quantize_per_tensor", "before", "inner", "after", "dequantize"]
    expected = qfx.convert_fx(prepared(model, None, x))  # traced into, the same layers
    assert quantized(x).numpy().tobytes() == expected(x).numpy().tobytes()
    # By quant type: nothing is said about dynamic quantization.
    dynamic = qfx.prepare_fx(model, {"": tq.default_dynamic_qconfig}, prepare)
    assert type(dynamic.get_submodule("inner.fc")) is nn.Linear
    with pytest.raises(ValueError, match="float_to_observed_custom_module_class: expected tables under 'dynamic'"):
        qfx.prepare_fx(model, {"": QCONFIG}, {"float_to_observed_custom_module_class": {"Static": {}}})


@pytest.mark.rows(256)
def test_additional_mappings_and_patterns():
    def fuse(layer, act):
        layer.activation = nn.ReLU()
        return layer

    model = nn.Sequential(nn.Linear(4, 4), nn.Hardtanh(0.0, 1e9), nn.Linear(4, 4)).eval()
    x = ot.randn(32, 4)
    mapped = prepared(model, {"additional_fuser_method_mapping": {(nn.Linear, nn.Hardtanh): fuse}}, x)
    assert [n.target for n in mapped.graph.nodes if n.op == "call_module"][1:] == ["0", "2"]

    class Keeper(qfx.FuseHandler):
        def fuse(self, fuser_methods):
            self.modules.get_submodule(self.match.first.target).activation = nn.ReLU()
            self.match.last.replace_all_uses_with(self.match.first)
            self.modules.graph.erase_node(self.match.last)
            return self.match.first

    config = {"additional_fusion_pattern": {(nn.Hardtanh, nn.Linear): Keeper}}
    by_handler = prepared(model, config, x)
    assert mapped(x).numpy().tobytes() == by_handler(x).numpy().tobytes() == model(x).detach().numpy().tobytes()
    fused = qfx.fuse_fx(model, config)
    assert [n.target for n in fused.graph.nodes if n.op == "call_module"] == ["0", "2"]

    class FloatAll(qfx.QuantizeHandler):
        rule = "float"

    other = prepared(model, {"additional_quant_pattern": {nn.Hardtanh: FloatAll}}, x)
    assert "dequantize" in kinds(qfx.convert_fx(other))[:3]

    class Trained(nn.Linear):
        @classmethod
        def from_float(cls, layer):
            new = cls(layer.in_features, layer.out_features)
            new.weight, new.bias = layer.weight, layer.bias
            return new

    qat = qfx.prepare_qat_fx(
        model.train(), {"": tq.default_qat_qconfig}, {"additional_qat_module_mapping": {nn.Linear: Trained}}
    )
    assert type(qat.get_submodule("2")) is Trained
    assert qat.get_submodule("2").stage == "qat"
    qat(x)
    assert qfx.convert_fx(qat).stage == "static"


@pytest.mark.rows(256)
@pytest.mark.parametrize("nested", [True, False])
def test_additional_objects_are_put_in_the_place_of_others(nested):
    class Mine(nn.Linear):
        @classmethod
        def from_float(cls, layer):
            return cls(layer.in_features, layer.out_features)

        def forward(self, x):
            return x

    def softmin(x, dim):
        return F.softmax(-x, dim)

    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    table = {"static": {nn.Linear: Mine}}
    config = {"additional_object_mapping": table} if nested else table
    quantized = qfx.convert_fx(prepared(model, None), convert_custom_config_dict=config)
    assert type(quantized.get_submodule("1")) is Mine

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return F.softmax(self.fc(x), 1)

    config = {"additional_object_mapping": {"static": {F.softmax: softmin}}}
    quantized = qfx.convert_fx(prepared(Last(), None), convert_custom_config_dict=config)
    assert kinds(quantized)[-1] == "softmin"


@pytest.mark.rows(257)
def test_quantized_inputs_and_outputs():
    model, x = Net(Unit()).eval(), ot.randn(64, 4)
    quantized = qfx.convert_fx(prepared(model, {"input_quantized_idxs": [0], "output_quantized_idxs": [0]}, x))
    assert kinds(quantized) == ["before", "inner.fc", "add", "after"]
    q = ot.quantize_per_tensor(x, 0.05, 128, ot.quint8)
    assert isinstance(quantized(q), ot.QTensor)
    assert tq.sqnr(model(x).detach(), quantized(q)) > 20
    # An output that is float gets a quantize of its own, with what was observed there.
    soft = nn.Sequential(nn.Linear(4, 4), nn.Softmax())
    quantized = qfx.convert_fx(prepared(soft, {"output_quantized_idxs": [0]}, x))
    assert isinstance(quantized(x), ot.QTensor)
    with pytest.raises(ValueError, match="output_quantized_idxs: expected indices of the 1 outputs, got 3"):
        prepared(soft, {"output_quantized_idxs": [3]}, x)


@pytest.mark.rows(258)
def test_preserved_attributes():
    config = {"preserved_attributes": ["note"]}
    model = Net(Unit()).eval()
    assert qfx.fuse_fx(model, config).note == "kept"
    assert not hasattr(qfx.fuse_fx(model), "note")
    observed = prepared(model, config)
    assert copy.deepcopy(observed).note == "kept"
    quantized = qfx.convert_fx(observed, convert_custom_config_dict=config)
    assert quantized.note == copy.deepcopy(quantized).note == pickle.loads(pickle.dumps(quantized)).note == "kept"
    assert type(copy.deepcopy(quantized)) is qfx.QuantizedGraphModule
    with pytest.raises(ValueError, match="preserved_attributes: expected attributes of Net, got 'gone'"):
        prepared(model, {"preserved_attributes": ["gone"]})


@pytest.mark.parametrize(
    ("function", "kind"),
    [(qfx.fuse_fx, "fuse"), (lambda m, c: qfx.prepare_fx(m, {"": QCONFIG}, c), "prepare")],
)
def test_unknown_keys_are_named(function, kind):
    with pytest.raises(ValueError, match=f"{kind}_custom_config_dict: expected keys out of .*, got 'addtional'"):
        function(Net(Unit()).eval(), {"addtional": {}})
    with pytest.raises(TypeError, match=f"{kind}_custom_config_dict: expected a dict or a"):
        function(Net(Unit()).eval(), 3)
