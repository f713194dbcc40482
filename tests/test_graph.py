"""Graphs: nodes and their users, symbolic tracing, generated code, and what cannot be traced."""

from __future__ import annotations

import copy
import math
import operator
import pickle
import threading
from typing import Any

import numpy as np
import pytest

import octensor as ot
import octensor.nn.functional as F
from octensor import fx, nn
from octensor.graph.intercept import public_functions
from octensor.nn.functional import hardtanh as imported


def three() -> tuple[fx.Graph, fx.Node, fx.Node, fx.Node]:
    graph = fx.Graph()
    x = graph.placeholder("x")
    y = graph.call_function(ot.relu, (x,))
    z = graph.call_function(operator.add, (y, y))
    graph.output({"z": [z, 1]})
    return graph, x, y, z


# --- nodes ----------------------------------------------------------------------------------------------------------


def test_users_follow_arguments() -> None:
    graph, x, y, z = three()
    assert list(x.users) == [y]
    assert list(y.users) == [z]
    assert z.all_input_nodes == [y]
    z.args = (y, x)
    assert list(x.users) == [y, z]
    z.update_arg(0, x)
    assert list(y.users) == []
    assert z.all_input_nodes == [x]
    z.kwargs = {"alpha": slice(y, None)}
    assert list(y.users) == [z]
    z.update_kwarg("alpha", 2)
    assert list(y.users) == []
    z.replace_input_with(x, y)
    assert z.args == (y, y)
    assert y.replace_all_uses_with(x) == [z]
    assert z.args == (x, x)
    with pytest.raises(TypeError, match="not changed in place"):
        list(graph.nodes)[-1].args[0]["z"].append(1)
    graph.lint()


def test_replace_all_uses_with_asks_for_each_user() -> None:
    graph, _x, y, z = three()
    with graph.inserting_after(y):
        new = graph.call_function(ot.neg, (y,))
    y.replace_all_uses_with(new, lambda user: user is not new)
    assert z.args == (new, new)
    assert new.args == (y,)
    graph.lint()


def test_insertion_points_and_order() -> None:
    graph, x, y, z = three()
    with graph.inserting_before(y):
        a = graph.call_method("neg", (x,))
        with graph.inserting_after(z):
            b, c = graph.call_method("neg", (z,)), graph.call_method("abs", (z,))
        d = graph.call_method("neg", (a,))
    graph_end = graph.call_method("tanh", (z,))
    names = [n.name for n in graph.nodes]
    assert names == ["x", "neg", "neg_2", "relu", "add", "neg_1", "abs_1", "output", "tanh"]
    assert [n.name for n in reversed(graph.nodes)] == names[::-1]
    assert [a, d, b, c] == graph.find_nodes(op="call_method")[:4]
    with pytest.raises(RuntimeError, match="after the output"):
        graph.lint()
    graph.erase_node(graph_end)
    c.append(b)  # move
    graph.lint()
    assert [n.name for n in graph.nodes][-3:] == ["abs_1", "neg_1", "output"]
    assert len(graph.nodes) == 8


def test_erasing_lint_and_dead_code() -> None:
    graph, x, y, z = three()
    with pytest.raises(RuntimeError, match="relu is still used by add"):
        graph.erase_node(y)
    with graph.inserting_before(z):
        graph.call_function(ot.neg, (graph.call_function(ot.neg, (y,)),))
        write = graph.call_method("add_", (y, 1))
    assert graph.eliminate_dead_code()
    assert [n.name for n in graph.nodes] == ["x", "relu", "add_", "add", "output"]
    assert not graph.eliminate_dead_code()
    x.prepend(write)
    with pytest.raises(RuntimeError, match="uses relu before it runs"):
        graph.lint()
    _other, ox, *_ = three()
    with pytest.raises(ValueError, match="another graph"):
        graph.call_function(ot.relu, (ox,))


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        (["a", "a", "a"], ["a", "a_1", "a_2"]),
        (["a_1", "a", "a_1", "a_1"], ["a_1", "a", "a_2", "a_3"]),
        (["max", "for", "1.x", "a-b"], ["max_1", "for_1", "_1_x", "a_b"]),
    ],
)
def test_names_are_unique_and_hide_nothing(wanted: list[str], got: list[str]) -> None:
    graph = fx.Graph()
    assert [graph.create_node("placeholder", "x", name=name).name for name in wanted] == got


# --- tracing --------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.add = nn.quantized.FloatFunctional()
        self.unused = nn.Linear(3, 3)
        self.note = "not of the graph"

    def forward(self, x: Any) -> Any:
        return self.add.add(self.conv(x), x)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seq = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.block = Block()
        self.w = nn.Parameter(np.full((4, 1, 1), 0.5, np.float32))
        self.register_buffer("shift", ot.tensor([1.0, 2.0, 3.0, 4.0]))
        self.act = F.relu6

    def forward(self, x: Any, scale: float = 2.0, *, alpha: Any = None) -> Any:
        y = self.block(self.seq(x))
        a, b = y.chunk(2, 1)
        y = ot.cat([a, -b], dim=1) + self.w
        y = self.w * self.act(imported(y))
        n, rest = y.shape[0], y.size(-1)
        y = ot.flatten(y, 1).reshape(n, rest, -1)
        y = y[:, 1:, ..., None].squeeze(-1) * scale + ot.tensor([1.0])
        y = y.permute(0, 2, 1) / math.sqrt(16) - self.shift.sum() * np.ones(1, np.float32)
        if alpha is not None:
            y = y**alpha
        return {"out": F.softmax(y, dim=-1), "n": n, "pair": (y.mean((1, 2)), 3)}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and np.array_equal(np.asarray(a), np.asarray(b))


def test_a_traced_module_computes_the_same_and_holds_what_the_graph_names() -> None:
    net = Net().eval()
    traced = fx.symbolic_trace(net, {"alpha": None})
    traced.graph.lint()
    x = ot.randn(2, 3, 6, 6)
    assert same(traced(x), net(x))
    assert same(traced(x, scale=0.5), net(x, 0.5))
    assert set(traced.state_dict()) == {
        *(name for name in net.state_dict() if "unused" not in name and name != "shift"),
        *(f"_tensor_constant{i}" for i in range(2)),  # what was computed from no input
    }
    assert traced.block.conv is net.block.conv
    assert not hasattr(traced.block, "unused")
    assert not hasattr(traced.block, "note")
    assert not traced.training
    targets = {n.target for n in traced.graph.nodes if n.op == "call_module"}
    assert targets == {"seq.0", "seq.1", "seq.2", "block.conv"}
    conv = traced.graph.find_nodes(op="call_module", target="block.conv")[0]
    assert conv.meta["scope"] == ("block.conv", nn.Conv2d)
    add = next(iter(conv.users))
    assert (add.target, add.meta["module"]) == (ot.add, "block")
    assert fx.symbolic_trace(traced).code == traced.code


def test_copies_and_assigned_graphs_are_independent() -> None:
    net = Net().eval()
    traced, x = fx.symbolic_trace(net, {"alpha": None}), ot.randn(1, 3, 6, 6)
    before = traced(x)
    copied = copy.deepcopy(traced)
    assert copied.graph.owning_module is copied
    assert copied.seq.get_submodule("0") is not traced.seq.get_submodule("0")
    for node in copied.graph.nodes:
        if node.target is F.relu6:
            node.target = F.sigmoid
    copied.recompile()
    assert not same(copied(x), before)
    assert same(traced(x), before)
    shared = fx.GraphModule(traced, traced.graph)
    assert shared.graph is not traced.graph
    assert same(shared(x), before)
    loaded = pickle.loads(pickle.dumps(traced))
    assert same(loaded(x), before)


def test_concrete_arguments_decide_branches() -> None:
    net = Net().eval()
    x = ot.randn(1, 3, 6, 6)
    traced = fx.symbolic_trace(net, concrete_args={"alpha": 2, "scale": 1.5})
    assert [n.target for n in traced.graph.nodes if n.op == "placeholder"] == ["x"]
    assert same(traced(x), net(x, 1.5, alpha=2))
    with pytest.raises(ValueError, match=r"concrete_args: expected names among .x, scale, alpha., got beta"):
        fx.symbolic_trace(net, concrete_args={"beta": 1})


def test_every_public_function_accepts_a_proxy_and_eager_calls_keep_their_code() -> None:
    functions = list(public_functions())
    assert {F.relu, ot.cat, ot.quantize_per_tensor, ot.ops.quantized.add, F.interpolate, ot.flatten} <= set(functions)
    codes = [f.__code__ for f in functions]

    def all_of_them(x: Any) -> Any:
        for function in functions:
            function(x)
        return x

    graph = fx.Tracer().trace(all_of_them)
    assert any(f.__closure__ for f in functions)
    assert {n.target for n in graph.nodes if n.op == "call_function"} == set(functions)
    assert [f.__code__ for f in functions] == codes
    with pytest.raises(ZeroDivisionError):
        fx.symbolic_trace(lambda x: 1 / 0)
    assert [f.__code__ for f in functions] == codes
    assert nn.Module.__call__.__name__ == "__call__"


def test_other_threads_compute_while_one_traces() -> None:
    stop = threading.Event()
    wrong: list[Any] = []
    layer, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval(), ot.randn(3, 4)
    expected = layer(x).flatten(0)

    def compute() -> None:
        while not stop.is_set():
            if not same(ot.flatten(layer(x), 0), expected):
                wrong.append(1)

    threads = [threading.Thread(target=compute) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            fx.symbolic_trace(Net())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong


def test_leaves_and_standalone_tracers() -> None:
    class Own(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return module_qualified_name == "block" or super().is_leaf_module(m, module_qualified_name)

    net = Net().eval()
    tracer = Own()
    module = fx.GraphModule(net, tracer.trace(net, {"alpha": None}))
    assert "block" in {n.target for n in module.graph.nodes}
    assert module.block is net.block
    x = ot.randn(1, 3, 6, 6)
    assert same(module(x), net(x))
    assert tracer.node_name_to_scope["block"] == ("block", Block)


# --- what cannot be traced ------------------------------------------------------------------------------------------


def branches(x: Any) -> Any:
    if x.sum() > 0:  # HERE branches
        return x
    return -x


def loops(x: Any) -> Any:
    return [part + 1 for part in x]  # HERE loops


def counts(x: Any) -> Any:
    return x[: len(x)]  # HERE counts


def numpys(x: Any) -> Any:
    return np.exp(x)  # HERE numpys


def concatenates(x: Any) -> Any:
    return np.concatenate([x, x])  # HERE concatenates


def numbers(x: Any) -> Any:
    return float(x.max())  # HERE numbers


def ranges(x: Any) -> Any:
    return [x[i] for i in range(x.shape[0])]  # HERE ranges


def writes(x: Any) -> Any:
    x[0] = 1  # HERE writes
    return x


def contains(x: Any) -> Any:
    return 1 in x  # HERE contains


class Stranger(nn.Module):
    def forward(self, x: Any) -> Any:
        return nn.Linear(2, 2)(x)  # HERE Stranger


class Static(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.add = nn.quantized.QFunctional()

    def forward(self, x: Any) -> Any:
        return self.add.add(x, x)  # HERE Static


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (branches, "a condition depends on a traced value .gt."),
        (loops, "a loop or . over a traced value .x."),
        (counts, "len.. of a traced value"),
        (numpys, "numpy.exp is called on a traced value"),
        (concatenates, "numpy.concatenate is called on a traced value"),
        (numbers, "float of a traced value .max_1."),
        (ranges, "an index or range of a traced value"),
        (writes, "assignment to an item"),
        (contains, "`in` a traced value"),
        (Stranger(), "a Linear is called that is no submodule of the traced Stranger"),
        (Static(), "got Proxy, Proxy"),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_what_cannot_be_traced_is_named_with_its_line(model: Any, words: str) -> None:
    name = getattr(model, "__name__", type(model).__name__)
    with open(__file__, encoding="utf-8") as file:
        line = next(i for i, text in enumerate(file, 1) if text.rstrip().endswith(f"# HERE {name}"))
    with pytest.raises((fx.TraceError, NameError), match=words) as caught:
        fx.symbolic_trace(model)
    assert f"{__file__}:{line}: " in str(caught.value)
    if caught.type is fx.TraceError:
        assert "fx.record" in str(caught.value)


def test_a_single_layer_says_what_to_do() -> None:
    with pytest.raises(fx.TraceError, match="a Linear is one layer and not traced into: put it in a Sequential"):
        fx.symbolic_trace(nn.Linear(2, 2))


@fx.wrap
def opaque(x: Any, n: int = 2) -> Any:
    return x[: len(x) // n]


def test_wrapped_functions_are_one_step() -> None:
    traced = fx.symbolic_trace(lambda x: ot.relu(opaque(x, n=2)))
    assert [n.target for n in traced.graph.nodes][1:3] == [opaque, ot.relu]
    x = ot.randn(6, 2)
    assert same(traced(x), ot.relu(x[:3]))
    assert opaque(x).shape == (3, 2)
