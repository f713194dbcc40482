"""What graph mode does with each kind of layer and function."""

from __future__ import annotations

import pickle

import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import nn
from octensor.graph.patterns import match
from octensor.nn import functional as F
from octensor.quantization import quantize_fx as qfx

QCONFIG = tq.get_default_qconfig()


@pytest.fixture(autouse=True)
def seed():
    ot.manual_seed(0)


class Between(nn.Module):
    """An operation between two layers that are quantized."""

    def __init__(self, function, inner=None, shape=(8, 3, 6, 6)):
        super().__init__()
        self.shape = shape
        self.conv = nn.Conv2d(3, 4, 1)
        self.inner = inner
        self.function = function
        self.w = nn.Parameter(ot.randn(5, 4, 3, 3).numpy())
        self.v = nn.Parameter(ot.randn(3, 6).numpy())
        self.b = nn.Parameter(ot.randn(5).numpy())

    def forward(self, x):
        return self.function(self, self.conv(x))


def convert(model, config=None, qconfig=QCONFIG, **how):
    """Return (model, prepared, converted, input) after calibration."""
    x = ot.randn(*model.shape)
    prepared = qfx.prepare_fx(model.eval(), {"": qconfig}, config)
    prepared(x)
    return model, prepared, qfx.convert_fx(prepared, **how), x


def kinds(module):
    nodes = [n for n in module.graph.nodes if n.op.startswith("call")]
    return [n.target if isinstance(n.target, str) else n.target.__name__ for n in nodes]


def close(model, quantized, x, decibels=20):
    expected, got = model(x), quantized(x)
    return expected.shape == got.shape and tq.sqnr(expected.detach(), got) > decibels


COPIES = {
    "relu": lambda m, x: F.relu(x),
    "relu method": lambda m, x: x.relu(),
    "relu6": lambda m, x: F.relu6(x),
    "hardtanh": lambda m, x: F.hardtanh(x, -0.5, 0.5),
    "clamp": lambda m, x: ot.clamp(x, -0.5, 0.5),
    "clamp method": lambda m, x: x.clamp(-0.5, 0.5),
    "threshold": lambda m, x: F.threshold(x, 0.1, 0.0),
    "dropout": lambda m, x: F.dropout(x, 0.5, m.training),
    "max_pool2d": lambda m, x: F.max_pool2d(x, 2),
    "avg_pool2d": lambda m, x: F.avg_pool2d(x, 2),
    "adaptive": lambda m, x: F.adaptive_avg_pool2d(x, 2),
    "interpolate": lambda m, x: F.interpolate(x, scale_factor=2),
    "pad": lambda m, x: F.pad(x, (1, 1)),
    "flatten": lambda m, x: ot.flatten(x, 1),
    "flatten method": lambda m, x: x.flatten(1),
    "view": lambda m, x: x.view(x.size(0), -1),
    "reshape": lambda m, x: x.reshape(x.shape[0], 4, -1),
    "permute": lambda m, x: x.permute(0, 2, 3, 1),
    "transpose": lambda m, x: ot.transpose(x, 1, 2),
    "squeeze": lambda m, x: x.unsqueeze(1).squeeze(1),
    "index": lambda m, x: x[:, 1:3],
    "chunk": lambda m, x: ot.chunk(x, 2, 1)[1],
    "split": lambda m, x: x.split(2, 1)[0],
    "mean": lambda m, x: x.mean((2, 3)),
    "max": lambda m, x: ot.max(x, 1)[0],
    "min": lambda m, x: ot.min(x),
    "sort": lambda m, x: x.sort(1)[0],
    "repeat": lambda m, x: x.repeat(1, 2, 1, 1),
    "repeat_interleave": lambda m, x: ot.repeat_interleave(x, 2, 1),
    "contiguous": lambda m, x: x.contiguous().detach(),
    "shuffle": lambda m, x: F.channel_shuffle(x, 2),
    "module": lambda m, x: nn.Sequential.forward(m.inner, x),
}
INNER = {"module": nn.Sequential(nn.MaxPool2d(2), nn.Dropout(), nn.Identity(), nn.ReLU6(), nn.AvgPool2d(2))}


@pytest.mark.rows(269, 271)
@pytest.mark.parametrize("name", COPIES)
def test_ops_that_hand_qparams_on(name):
    model, prepared, quantized, x = convert(Between(COPIES[name], INNER.get(name)))
    # Nothing but the input and the convolution is observed, and only the end is dequantized.
    assert list(observed(prepared)) == [
        "conv",
        "x_activation_post_process_0",
    ]
    assert (kinds(quantized).count("dequantize"), kinds(quantized)[-1]) == (1, "dequantize")
    assert close(model, quantized, x)


def observed(prepared):
    from octensor.quantization.prepare import get_observers

    return get_observers(prepared)


@pytest.mark.rows(269)
def test_sizes_and_indices_are_no_quantized_tensors():
    def function(m, x):
        n = x.size(0) * x.shape[1] // 4
        return x.view(n, -1, 6, 6) > 0, ot.max(x, 1)[1], x.sort(1)

    model, _, quantized, x = convert(Between(function))
    got, expected = quantized(x), model(x)
    assert [type(t) for t in (*got[:2], *got[2])] == [ot.Tensor] * 4
    assert (got[0].numpy() == expected[0].numpy()).mean() > 0.9


GIVEN = {
    "elu": lambda m, x: F.elu(x, 0.7),
    "celu": lambda m, x: F.celu(x, 0.7),
    "hardswish": lambda m, x: F.hardswish(x),
    "leaky_relu": lambda m, x: F.leaky_relu(x, 0.2),
    "silu": lambda m, x: F.silu(x),
    "gelu": lambda m, x: F.gelu(x),
    "mish": lambda m, x: F.mish(x),
    "instance_norm": lambda m, x: F.instance_norm(x),
    "layer_norm": lambda m, x: F.layer_norm(x, (6,), m.v[0], eps=1e-3),
    "layer_norm plain": lambda m, x: F.layer_norm(x, (4, 6, 6)),
    "group_norm": lambda m, x: F.group_norm(x, 2),
    "LayerNorm": lambda m, x: m.inner(x),
    "InstanceNorm2d": lambda m, x: m.inner(x),
    "ConvTranspose2d": lambda m, x: m.inner(x),
    "ELU": lambda m, x: m.inner(x),
}
GIVEN_INNER = {
    "LayerNorm": nn.LayerNorm(6),
    "InstanceNorm2d": nn.InstanceNorm2d(4),
    "ConvTranspose2d": nn.ConvTranspose2d(4, 3, 2),
    "ELU": nn.ELU(),
}


@pytest.mark.rows(267)
@pytest.mark.parametrize("name", GIVEN)
def test_ops_that_are_observed(name):
    model, prepared, quantized, x = convert(Between(GIVEN[name], GIVEN_INNER.get(name)))
    assert len(observed(prepared)) == 3
    assert kinds(quantized).count("dequantize") == 1
    assert close(model, quantized, x)
    names = {node.target for node in quantized.graph.nodes if node.op == "call_function"}
    if name in ("elu", "hardswish", "leaky_relu", "instance_norm"):
        assert getattr(ot.ops.quantized, name) in names


@pytest.mark.rows(268, 241)
@pytest.mark.parametrize("name", ["sigmoid", "hardsigmoid", "tanh", "method", "module"])
def test_fixed_ranges(name):
    functions = {"method": lambda m, x: x.sigmoid(), "module": lambda m, x: m.inner(x)}
    function = functions.get(name) or (lambda m, x: getattr(F, name)(x))
    model, prepared, quantized, x = convert(Between(function, nn.Tanh()), {"output_quantized_idxs": [0]})
    assert len(observed(prepared)) == 2
    assert quantized(x).q_scale() == (1 / 256 if name not in ("tanh", "module") else 1 / 128)
    # On float it stays float.
    float_first = nn.Sequential(nn.Sigmoid(), nn.Flatten(), nn.Linear(108, 2))
    float_first.shape = (8, 3, 6, 6)
    assert kinds(convert(float_first)[2])[:2] == ["0", "1"]
    # In training it is rounded to what it will be, and eval mode equals the converted model.
    model.train()
    qat = qfx.prepare_qat_fx(model, {"": tq.get_default_qat_qconfig()})
    fakes = [m for m in qat.modules() if isinstance(m, tq.FixedQParamsFakeQuantize)]
    assert len(fakes) == 1
    qat(x)
    qat.eval()
    assert qfx.convert_fx(qat)(x).numpy().tobytes() == qat(x).numpy().tobytes()
    types = qfx.get_default_output_activation_post_process_map()
    assert types[nn.Sigmoid] is types[F.sigmoid] is tq.default_fixed_qparams_range_0to1_fake_quant


@pytest.mark.rows(261)
def test_sums_and_products():
    def function(m, x):
        a = F.relu(x + x.flip(3))  # add_relu
        b = ot.mul(a, x).relu()  # mul_relu
        c = (2 * b + 1) * x  # numbers, from either side
        d = ot.add(c, 0.5).relu()
        e = c * x.size(1)  # a number that is computed
        return d + e, x.size(0) + x.size(1)

    model, prepared, quantized, x = convert(Between(function))
    assert len(observed(prepared)) == 2 + 4
    assert [k for k in kinds(quantized) if k.startswith(("add", "mul"))] == [
        "add_relu", "mul_relu", "mul_scalar", "add_scalar", "mul", "add_scalar_relu", "mul_scalar", "add", "add",
    ]  # fmt: skip
    got, total = quantized(x)
    assert total == 12
    assert tq.sqnr(model(x)[0].detach(), got) > 20


@pytest.mark.rows(261)
def test_numbers_and_parameters_on_float_tensors():
    class Model(nn.Module):
        shape = (16, 3)

        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(ot.randn(3).numpy())
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            return F.softmax(self.fc(x * 2 - 1), 1) * 3 + self.fc(x + self.shift) / 2

    model, _, quantized, x = convert(Model())
    assert close(model, quantized, x)
    # The parameter is quantized like any other operand; a product of floats stays one.
    assert [k for k in kinds(quantized) if k in ("mul", "sub", "truediv")] == ["mul", "sub", "mul", "truediv"]


class Tokens(nn.Module):
    shape = (4, 6)

    def __init__(self):
        super().__init__()
        self.table, self.places = nn.Embedding(10, 4), nn.Embedding(10, 4)
        self.fc = nn.Linear(4, 4)

    def forward(self, ids):
        y = self.table(ids * 2 + 1) + self.places(ot.arange(ids.shape[1]))
        y = F.dropout(self.fc(y), 0.5, self.training)
        return y * ids.shape[0]


@pytest.mark.rows(261)
def test_numbers_stay_what_they_are():
    """Sums of indices are no sums of quantized tensors."""
    model = Tokens().eval()
    ids = ot.tensor([[0, 1, 2, 3], [3, 2, 1, 0]])
    prepared = qfx.prepare_fx(model, {"": QCONFIG})
    prepared(ids)
    quantized = qfx.convert_fx(prepared)
    assert tq.sqnr(model(ids).detach(), quantized(ids)) > 20
    assert [k for k in kinds(quantized) if k in ("mul", "add", "mul_scalar")] == ["mul", "add", "add", "mul_scalar"]
    # Dropout ends with training, though the model was traced in train mode.
    qat = qfx.prepare_qat_fx(model.train(), {"": tq.get_default_qat_qconfig()})
    qat(ids)
    assert qat(ids).numpy().tobytes() != qat(ids).numpy().tobytes()
    trained = qfx.convert_fx(qat)
    assert trained(ids).numpy().tobytes() == trained(ids).numpy().tobytes() == qat.eval()(ids).numpy().tobytes()


def test_qconfig_attributes_are_not_looked_at():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).eval()
    model[1].qconfig = tq.default_dynamic_qconfig
    with pytest.warns(
        UserWarning, match="the qconfig attribute of 1 is not looked at: graph mode goes by qconfig_dict"
    ):
        prepared = qfx.prepare_fx(model, {"": QCONFIG, "module_name": [("1", None)]})
    prepared(ot.randn(8, 3))
    assert qfx.convert_fx(prepared).get_submodule("1").stage == "float"


@pytest.mark.rows(
    262,
    differs="a concatenation has an observer of its own, as FloatFunctional.cat has, and its inputs keep theirs; "
    "PyTorch gives all of them the first input's",
)
def test_concatenation():
    model, prepared, quantized, x = convert(Between(lambda m, x: ot.cat([x, x * 2, F.relu(x)], dim=1)))
    assert "cat" in kinds(quantized)
    assert prepared.cat.activation_post_process.is_observed
    assert close(model, quantized, x)


FUNCTIONAL = {
    "linear": (lambda m, x: F.linear(x, m.v), "linear"),
    "linear relu": (lambda m, x: F.relu(F.linear(x, m.v)), "linear_relu"),
    "conv2d": (lambda m, x: F.conv2d(x, m.w, m.b, 1, 1), "conv2d"),
    "conv2d keywords": (lambda m, x: F.conv2d(x, m.w, bias=m.b, stride=2).relu(), "conv2d_relu"),
    "conv_transpose2d": (lambda m, x: F.conv_transpose2d(x, m.w.transpose(0, 1)), "conv_transpose2d"),
    "computed": (lambda m, x: F.conv2d(x, m.w * x.mean()), None),
    "conv1d": (lambda m, x: F.conv1d(x.flatten(2), m.inner.weight, groups=2), "conv1d"),
}


@pytest.mark.rows(263, 272)
@pytest.mark.parametrize("name", FUNCTIONAL)
def test_functions_with_weights(name):
    function, op = FUNCTIONAL[name]
    model, _, quantized, x = convert(Between(function, nn.Conv1d(4, 2, 3, groups=2)))
    assert close(model, quantized, x)
    if op is None:  # its weight is computed: it stays float
        assert not any("packed" in key for key in quantized.state_dict())
        return
    assert op in kinds(quantized)
    state = quantized.state_dict()
    assert isinstance(state["_packed_weight_0.weight"], ot.QTensor)
    assert ("_packed_weight_0.bias" in state) == name.startswith("conv2d")


@pytest.mark.rows(263, 272, 273)
def test_functions_become_what_layers_become():
    model = Between(lambda m, x: F.relu(F.linear(F.conv2d(x, m.w, m.b, 1, 1), m.v)))
    layers = Between(
        lambda m, x: m.inner(x), nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.Linear(6, 3, bias=False), nn.ReLU())
    )
    layers.conv.load_state_dict(model.conv.state_dict())
    layers.inner[0].load_state_dict({"weight": model.w, "bias": model.b})
    layers.inner[1].load_state_dict({"weight": model.v})
    ot.manual_seed(3)
    functions = convert(model)[2]
    ot.manual_seed(3)
    _, _, quantized, x = convert(layers)
    assert functions(x).numpy().tobytes() == quantized(x).numpy().tobytes()
    # The state holds all of it: a twin that saw other data takes it over.
    twin = convert(Between(model.function))[2]
    assert twin(x).numpy().tobytes() != functions(x).numpy().tobytes()
    twin.load_state_dict(functions.state_dict())
    assert twin(x).numpy().tobytes() == functions(x).numpy().tobytes()
    assert sum(key.startswith("_packed_weight_") for key in functions.state_dict()) == 3
    copied = pickle.loads(pickle.dumps(functions))
    assert copied(x).numpy().tobytes() == functions(x).numpy().tobytes()


@pytest.mark.rows(263)
def test_functions_with_weights_dynamic_and_reference():
    model = Between(lambda m, x: F.relu(F.linear(x, m.v)))
    x = ot.randn(*model.shape)
    dynamic = qfx.convert_fx(qfx.prepare_fx(model.eval(), {"": tq.default_dynamic_qconfig}))
    assert kinds(dynamic)[-1] == "linear_relu_dynamic"
    layer = nn.Linear(6, 3, bias=False)
    layer.weight = model.v
    expected = F.relu(tq.quantize_dynamic(nn.Sequential(layer))(model.conv(x)))
    assert dynamic(x).numpy().tobytes() == expected.numpy().tobytes()
    half = qfx.convert_fx(qfx.prepare_fx(model.eval(), {"": tq.float16_dynamic_qconfig}))
    assert close(model, half, x, 60)
    # One parameter may serve several calls, and training reaches it.
    twice = Between(lambda m, x: F.linear(x, m.v) * F.linear(x, m.v)).train()
    qat = qfx.prepare_qat_fx(twice, {"": tq.get_default_qat_qconfig()})
    assert sum(p.shape == (3, 6) for p in qat.parameters()) == 1
    (qat(x) ** 2).sum().backward()
    assert all(p.grad is not None for p in qat.parameters())


@pytest.mark.rows(264)
@pytest.mark.parametrize("relu", [True, False])
def test_batch_norms(relu):
    model = nn.Sequential(nn.BatchNorm2d(3), *[nn.ReLU()] * relu, nn.Conv2d(3, 2, 1))
    model.shape = (8, 3, 6, 6)
    model(ot.randn(*model.shape) * 3 + 1)
    model, _, quantized, x = convert(model)
    norm = quantized.get_submodule("0")
    assert norm.stage == "static"
    assert (norm.activation is not None) == relu
    assert kinds(quantized) == ["quantize_per_tensor", "0", str(1 + relu), "dequantize"]
    assert close(model, quantized, x)


# --- fusing ----------------------------------------------------------------------------------------------------------

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
    model = Between(lambda m, x: m.inner(x + x), nn.ReLU())
    prepared = qfx.prepare_fx(model.eval(), {"": QCONFIG, "object_type": [(nn.ReLU, None)]})
    assert prepared.add.op == "add"


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
        model.shape = (4, 3)
        assert convert(model)[2].get_submodule("1").scale == 0.5
    finally:
        del handlers._REGISTERED[nn.Hardswish], handlers._OUTPUT_POST_PROCESS[nn.Hardswish]
