"""Each rule of the graph fires where it fits, not where it must not, and keeps every bit of the result."""

from __future__ import annotations

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import nn
from octensor.graph import rules
from octensor.nn import functional as F

Q = (0.05, 128, ot.quint8)


def quantize(x, scale=Q[0]):
    return ot.quantize_per_tensor(x, scale, *Q[1:])


class Model(nn.Module):
    """A function as a module."""

    def __init__(self, function, **children):
        super().__init__()
        self.function = function
        for name, child in children.items():
            setattr(self, name, child)

    def forward(self, x):
        return self.function(self, x)


def traced(function, training=False, **children):
    return ot.fx.symbolic_trace(Model(function, **children).train(training))


def names(graph):
    return [node.name for node in graph.graph.nodes if node.op not in ("placeholder", "output")]


def result_bytes(result):
    parts = result if isinstance(result, tuple) else (result,)
    return [p.int_repr().tobytes() if isinstance(p, ot.QTensor) else p.numpy().tobytes() for p in parts]


MOVES = {
    "flatten": lambda x: x.flatten(1),
    "reshape": lambda x: x.reshape(2, -1),
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "transpose": lambda x: ot.transpose(x, 1, 2),
    "unsqueeze": lambda x: x.unsqueeze(0).squeeze(0),
    "flip": lambda x: x.flip(1),
    "shuffle": lambda x: F.channel_shuffle(x, 2),
    "index": lambda x: x[:, 1:, 0],
    "select": lambda x: x.select(1, 0),
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
}

FIRES = {
    "drop_idle": [
        lambda m, x: m.a(x) + 1,
        lambda m, x: F.relu(F.dropout(x, 0.5, False)),
        lambda m, x: m.d(x) * 2,
    ],
    "drop_dead": [lambda m, x: (x * 3, x + 1)[1]],
    "merge_duplicates": [
        lambda m, x: x.flatten(1) + x.flatten(1),
        lambda m, x: (quantize(x), quantize(x)),
        lambda m, x: quantize(x).dequantize() * quantize(x).dequantize(),
    ],
    "push_dequantize": [
        *(lambda m, x, f=f: f(quantize(x).dequantize()) for k, f in MOVES.items() if k != "repeat"),
    ],
    "push_quantize": [*(lambda m, x, f=f: quantize(f(x)) for k, f in MOVES.items() if k not in ("index", "select"))],
    "merge_requantizations": [
        lambda m, x: quantize(quantize(x).dequantize()),
        lambda m, x: quantize(quantize(x).flatten(1).dequantize()),
    ],
}
SILENT = {
    "drop_idle": [
        lambda m, x: F.dropout(x, 0.0, True),
        lambda m, x: m.hooked(x),
        lambda m, x: m.trained(x),
    ],
    "drop_dead": [lambda m, x: x * 3],
    "merge_duplicates": [
        lambda m, x: x.flatten(1) + x.flatten(2).flatten(1),
        lambda m, x: (quantize(x), quantize(x, 0.1)),
        lambda m, x: F.dropout(x, 0.5, True) + F.dropout(x, 0.5, True),  # two different draws
        lambda m, x: m.fc(x) + m.fc(x),  # hooks and observers may count calls
    ],
    "push_dequantize": [
        lambda m, x: (lambda y: (y, y.flatten(1)))(quantize(x).dequantize()),  # several users
        lambda m, x: quantize(x).dequantize().repeat(1, 2, 1, 1),  # more to dequantize
        lambda m, x: quantize(x).dequantize() * 2,
    ],
    "push_quantize": [
        lambda m, x: (lambda y: (y, quantize(y)))(x.flatten(1)),
        lambda m, x: quantize(x[:, 1:]),  # more to quantize
        lambda m, x: quantize(x * 2),
    ],
    "merge_requantizations": [
        lambda m, x: quantize(quantize(x).dequantize(), 0.1),  # other parameters
        lambda m, x: quantize(F.relu(quantize(x).dequantize())),
        lambda m, x: quantize(m.fc(x)),
    ],
}


def children():
    hooked, trained = nn.Identity(), nn.Dropout(0.0)
    hooked.register_forward_hook(lambda *args: None)
    return {"a": nn.Identity(), "d": nn.Dropout(), "hooked": hooked, "trained": trained, "fc": nn.Linear(5, 5)}


def cases(table):
    return [pytest.param(rule, case, id=f"{rule}-{i}") for rule in table for i, case in enumerate(table[rule])]


def test_every_rule_is_tested():
    assert [rule.__name__ for rule in rules.RULES] == [
        "drop_idle",
        "push_dequantize",
        "push_quantize",
        "merge_requantizations",
        "fold_constants",
        "merge_duplicates",
        "drop_dead",
    ]
    assert set(FIRES) == set(SILENT) == {rule.__name__ for rule in rules.RULES} - {"fold_constants"}


@pytest.mark.parametrize(("rule", "function"), cases(FIRES))
def test_fires(rule, function):
    ot.manual_seed(0)
    graph, x = traced(function, **children()), ot.randn(2, 4, 3, 5)
    before, old = result_bytes(graph(x)), names(graph)
    assert getattr(rules, rule)(graph) > 0
    graph.graph.lint()
    graph.recompile()
    assert names(graph) != old
    assert result_bytes(graph(x)) == before
    rules.simplify(graph)
    assert result_bytes(graph(x)) == before
    assert rules.simplify(graph) == {}


@pytest.mark.parametrize(("rule", "function"), cases(SILENT))
def test_does_not_fire(rule, function):
    module = Model(function, **children()).eval()
    module.trained.train()
    graph = ot.fx.symbolic_trace(module)
    old = str(graph.graph)
    assert getattr(rules, rule)(graph) == 0
    assert str(graph.graph) == old


def with_constant(training):
    """Return the graph of x + dequantize(quantize(reshape(v))), which tracing would compute on the way."""
    root = nn.Module()
    root.v = nn.Parameter(np.linspace(-1, 1, 6))
    graph = ot.fx.Graph()
    x, v = graph.placeholder("x"), graph.get_attr("v")
    moved = graph.call_method("reshape", (v, 2, 3))
    codes = graph.call_function(ot.quantize_per_tensor, (moved, *Q))
    graph.output(graph.call_function(ot.add, (graph.call_method("dequantize", (codes,)), x)))
    return ot.fx.GraphModule(root.train(training), graph)


def test_constants_are_folded():
    graph, x = with_constant(training=False), ot.randn(2, 3)
    before = result_bytes(graph(x))
    fired = rules.simplify(graph)
    assert fired["fold_constants"] == 2
    assert [(n.op, n.target) for n in graph.graph.nodes][1:3] == [
        ("get_attr", "v_folded_1"),
        ("call_method", "dequantize"),
    ]
    assert list(graph.state_dict()) == ["v_folded_1"]
    assert result_bytes(graph(x)) == before
    # In training the parameter still moves.
    assert rules.fold_constants(with_constant(training=True)) == 0


def test_movement_between_dequantize_and_quantize_leaves_nothing():
    """Pushing and merging together: what was dequantized to be reshaped never leaves its codes."""
    graph = traced(lambda m, x: quantize(quantize(x).dequantize().permute(0, 2, 3, 1).flatten(1)).dequantize())
    x = ot.randn(2, 4, 3, 5)
    before = result_bytes(graph(x))
    fired = rules.simplify(graph)
    assert fired["merge_requantizations"] == 1
    kinds = [name.rstrip("_0123456789") for name in names(graph)]
    assert kinds == ["quantize_per_tensor", "permute", "flatten", "dequantize"]
    assert result_bytes(graph(x)) == before


def test_a_dropout_inside_a_quantized_model_is_gone():
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(), nn.Identity(), nn.Linear(6, 2)).eval()
    prepared = tq.quantize_fx.prepare_fx(model, {"": tq.get_default_qconfig()})
    prepared(ot.randn(32, 6))
    quantized = tq.quantize_fx.convert_fx(prepared)
    assert [n.target for n in quantized.graph.nodes if n.op == "call_module"] == ["0", "3"]
    assert [path for path, _ in quantized.named_modules() if path] == ["0", "3"]
    x = ot.randn(4, 6)
    q = quantized.get_submodule("0")(ot.quantize_per_tensor(x, 0.05, 128, ot.quint8))
    assert isinstance(q, ot.QTensor)
    assert np.isfinite(quantized(x).numpy()).all()
