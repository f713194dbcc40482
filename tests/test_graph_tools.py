"""Generated code, drawings, interpreters, transformers and pattern replacement."""

from __future__ import annotations

import operator
import shutil
from enum import Enum
from typing import Any

import numpy as np
import pytest

import octensor as ot
from octensor import fx, nn
from octensor.graph.python_code import public_name


class Colour(Enum):
    RED = 1


def test_code_says_what_runs() -> None:
    graph = fx.Graph()
    x = graph.placeholder("input")
    options = graph.placeholder("options", default_value=float("inf"))
    q = ot.QParams(0.1, 3, ot.quint8)
    a = graph.call_function(ot.ops.OPS["add"], (x, x), {"qparams": q})
    b = graph.call_function(operator.getitem, (a, (slice(1, None, None), None, ..., -1)))
    c = graph.call_function(operator.pow, (-2, b))
    d = graph.call_function(dict, (), {"a": [c, (options,)], "dtype": np.float32, "kind": np.dtype(np.int64)})

    def first(v: Any, k: Any) -> Any:
        return v

    e = graph.call_function(first, (d, Colour.RED))
    graph.output((e, ot.quint8, float("nan"), "text", ot.per_tensor_affine))
    assert graph.python_code().src.splitlines() == [
        "def forward(self, input, options = float('inf')):",
        "    input_1 = input",
        '    add = OPS["add"](input_1, input_1, qparams = octensor.QParams(scale=0.1, zero_point=3, '
        "dtype=octensor.quint8));  input_1 = None",
        "    getitem = add[1:, None, ..., -1];  add = None",
        "    pow_1 = (-2) ** getitem;  getitem = None",
        "    dict_1 = dict(a = [pow_1, (options,)], dtype = octensor.float32, kind = numpy.dtype('<i8'));  "
        "pow_1 = options = None",
        "    first = first_1(dict_1, colour);  dict_1 = None",
        "    return (first, octensor.quint8, float('nan'), 'text', octensor.qscheme.per_tensor_affine)",
    ]
    module = fx.GraphModule({}, graph)
    module.recompile()
    assert "colour" in module.code
    for public, name in ((ot.relu, "octensor.relu"), (ot.nn.functional.gelu, "octensor.nn.functional.gelu")):
        assert public_name(public) == name


def test_parameter_kinds_survive() -> None:
    def model(x: Any, *rest: Any, scale: float = 2.0, **named: Any) -> Any:
        return x * scale + rest[0] + named["shift"]

    traced = fx.symbolic_trace(model)
    assert traced.code.startswith("def forward(self, x, *rest, scale")
    assert traced(1.0, 2.0, 9.0, scale=3.0, shift=0.5) == 5.5


def test_errors_in_generated_code_show_its_line() -> None:
    traced = fx.symbolic_trace(lambda x: ot.relu(x) + ot.ones(3))
    with pytest.raises(ValueError, match="expected tensors of shapes that broadcast") as caught:
        traced(ot.ones(2))
    shown = [str(entry.statement) for entry in caught.traceback]
    assert any("add = relu + " in line for line in shown)


def test_shapes_and_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    traced = fx.symbolic_trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    plain = str(traced.graph)
    assert "%_0 : [num_users=1] = call_module[target=0](args = (%input_1,), kwargs = {})" in plain
    fx.ShapeProp(traced).propagate(ot.ones(5, 3))
    assert [n.meta["tensor"] for n in traced.graph.nodes][1] == fx.TensorMeta((5, 2), "float32")
    traced.graph.print_tabular()
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["name", "op", "target", "args", "result", "module"]
    assert "float32 (5, 2)" in table[3]


def test_drawings(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    traced = fx.symbolic_trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    text = fx.to_dot(traced, 'my "net"')
    assert text.startswith('digraph "my \\"net\\"" {')
    assert '"input_1" -> "_0";' in text
    assert "Linear(in_features=3, out_features=2, bias=True)" in text
    assert fx.draw(traced, tmp_path / "net.dot").read_text() == fx.to_dot(traced) + "\n"
    with pytest.raises(ValueError, match=r"expected a name that ends in .dot, .png"):
        fx.draw(traced, tmp_path / "net.jpg")
    if shutil.which("dot"):
        assert fx.draw(traced, tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")
    program = tmp_path / "bin" / "dot"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n[ "$1" = -Tpng ] || { echo bad >&2; exit 1; }\ncat > "$3"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")
    assert fx.draw(traced, tmp_path / "net.png").read_text() == fx.to_dot(traced)
    with pytest.raises(RuntimeError, match="dot failed: bad"):
        fx.draw(traced, tmp_path / "net.svg")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"not installed: install it .* or write .*net.dot instead"):
        fx.draw(traced, tmp_path / "net.png")


def test_interpreter_runs_and_drops_values() -> None:
    traced = fx.symbolic_trace(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Flatten(0)))
    x = ot.randn(2, 3)

    class Watching(fx.Interpreter):
        most = 0

        def run_node(self, n: fx.Node) -> Any:
            self.most = max(self.most, len(self.env))
            return super().run_node(n)

    runner = Watching(traced)
    assert np.array_equal(runner.run(x), traced(x))
    assert runner.most == 1
    relu = list(traced.graph.nodes)[2]
    assert np.array_equal(runner.run(x, initial_env={relu: ot.ones(2)}), np.ones(2))
    with pytest.raises(TypeError, match="expected a value for input 'input'"):
        runner.run()


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Any, y: Any) -> Any:
        a = ot.relu(self.fc(x) + y)
        b = ot.relu(self.fc(a) + y)
        c = a + b
        return ot.relu(c), c


def test_replace_pattern() -> None:
    net = Twice()
    traced = fx.symbolic_trace(net)
    x, y = ot.randn(2, 3), ot.randn(2, 3)
    expected = traced(x, y)
    found = fx.replace_pattern(
        traced, lambda a, b: ot.relu(a + b), lambda a, b: ot.nn.functional.threshold(a + b, 0.0, 0.0)
    )
    assert [m.anchor.name for m in found] == ["relu", "relu_1"]  # the third sum is returned as well
    traced.graph.lint()
    assert sum(n.target is ot.relu for n in traced.graph.nodes) == 1
    assert all(np.array_equal(p, q) for p, q in zip(traced(x, y), expected, strict=True))
    with pytest.raises(ValueError, match="replacement: expected 2 inputs as the pattern has, got 1"):
        fx.replace_pattern(traced, lambda a, b: a + b, lambda a: a)

    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.extra = nn.Sequential(nn.Identity())

        def forward(self, a: Any) -> Any:
            return self.extra(ot.relu(a))

    fx.replace_pattern(traced, lambda a: ot.relu(a), fx.symbolic_trace(Other()))
    assert "extra.0" in dict(traced.named_modules())
    assert all(np.array_equal(p, q) for p, q in zip(traced(x, y), expected, strict=True))


def test_transformer_and_appending() -> None:
    class Minus(fx.Transformer):
        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            return (
                ot.neg(super().call_function(target, args, kwargs))
                if target is ot.relu
                else super().call_function(target, args, kwargs)
            )

    traced = fx.symbolic_trace(Twice())
    changed = Minus(traced).transform()
    changed.graph.lint()
    assert changed.fc is traced.fc
    assert sum(n.target is ot.neg for n in changed.graph.nodes) == 3
    output = list(traced.graph.nodes)[-1]
    tracer = fx.GraphAppendingTracer(traced.graph)
    with traced.graph.inserting_before(output):
        total = fx.Proxy(output.args[0][0], tracer) * 2
    output.args = (total.node,)
    traced.recompile()
    x, y = ot.randn(2, 3), ot.randn(2, 3)
    assert np.array_equal(traced(x, y), 2 * np.asarray(Twice.forward(traced, x, y)[0]))


def test_submodules_of_a_graph_module() -> None:
    traced = fx.symbolic_trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    assert traced.add_submodule("a.b", nn.ReLU())
    assert not traced.add_submodule("training.x", nn.ReLU())
    traced.graph.lint()
    traced.delete_all_unused_submodules()
    assert [name for name, _ in traced.named_modules()] == ["", "0", "1"]
    assert traced.delete_submodule("1")
    assert not traced.delete_submodule("1")
    with pytest.raises(RuntimeError, match="the owning module has no '1'"):
        traced.graph.lint()
    with pytest.raises(ValueError, match="expected a value for 0, 1, which the graph names"):
        fx.GraphModule({}, traced.graph)
