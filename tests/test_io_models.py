"""Saved models: equal bytes after loading, for any batch, run or compiled; and files that are damaged or hostile."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import nn
from octensor.graph.callables import check_call, takes
from octensor.io import model_file
from octensor.io.safetensors_file import read_safetensors, write_safetensors
from octensor.ops.exact import EXACT
from octensor.ops.quantized import (
    Int4Weight,
    linear_dynamic_int4,
    linear_prepack_int4,
    linear_prepack_weight_only,
    linear_weight_only,
)
from octensor.ops.spec import OPS
from octensor.quantization import quantize_fx

GOLDEN = Path(__file__).parent / "data" / "model-v1.oct"
GOLDEN_HASH = "5b58bf4889f5112605cdb1854fdb5e58f5653d1ea4186a8f21e8f3abe91b6753"


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.b, self.pool, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        x = self.act(self.norm(self.a(x)))
        return self.head(self.pool(ot.relu(self.b(x) + x)).flatten(1))


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.lstm, self.head = nn.Embedding(20, 6), nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, ids: Any) -> Any:
        steps, (h, _) = self.lstm(self.table(ids))
        return {"tags": self.head(steps), "state": h}


class Bags(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bags = nn.EmbeddingBag(20, 6, mode="sum")

    def forward(self, ids: Any) -> Any:
        rows = self.bags(ids)
        return rows, ot.argmax(rows, 1), rows > 0, ot.max(rows, 1)


class Packed(nn.Module):
    """Layers with weights that only kernels read."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        weights = [rng.standard_normal(s).astype(np.float32) for s in ((5, 40), (3, 5))]
        self.int4 = linear_prepack_int4(Int4Weight.quantize(weights[0], 32, symmetric=False), np.ones(5, np.float32))
        coded = ot.quantize_per_channel(weights[1], np.full(3, 0.02), np.zeros(3, np.int64), 0, ot.qint8)
        self.rows = linear_prepack_weight_only(coded)

    def forward(self, x: Any) -> Any:
        return linear_weight_only(linear_dynamic_int4(x, self.int4), self.rows), linear_weight_only(x, self.int4)


def _static(model: nn.Module, x: Any) -> nn.Module:
    prepared = quantize_fx.prepare_fx(model.eval(), {"": tq.get_default_qconfig("x86")})
    prepared(x)
    return quantize_fx.convert_fx(prepared)


def _cases() -> dict[str, Callable[[], tuple[Any, Any]]]:
    image, ids, words = ot.randn(4, 3, 8, 8), ot.randint(0, 20, (3, 5)), ot.randn(3, 5, 8)
    embeddings = {nn.Embedding: tq.float_qparams_weight_only_qconfig_4bit}
    cnn = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 5))
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    return {
        "float cnn": lambda: (cnn.eval(), image),
        "static cnn": lambda: (_static(cnn, image), image),
        "static residual": lambda: (_static(Residual(), image), image),
        "float residual": lambda: (Residual().eval(), image),
        "float lstm": lambda: (Tagger().eval(), ids),
        "dynamic lstm": lambda: (tq.quantize_dynamic(Tagger().eval()), ids),
        "float transformer": lambda: (layer, words),
        "dynamic transformer": lambda: (tq.quantize_dynamic(layer), words),
        "4-bit embedding": lambda: (tq.quantize_dynamic(Tagger().eval(), embeddings), ids),
        "bags": lambda: (Bags().eval(), ids),
        "packed": lambda: (Packed().eval(), ot.randn(3, 40)),
    }


CASES = _cases()


def _leaves(value: Any) -> list[np.ndarray]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in _leaves(part)]
    return [np.asarray(value)]


def _same(a: Any, b: Any) -> bool:
    pairs = list(zip(_leaves(a), _leaves(b), strict=True))
    return all(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in pairs)


@pytest.mark.parametrize("name", CASES)
def test_a_loaded_model_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    ot.manual_seed(0)
    model, x = CASES[name]()
    path, again = tmp_path / "m.oct", tmp_path / "n.oct"
    ot.save(model, path, x)
    loaded = ot.load(path)
    ot.save(loaded, again)
    for batch in (len(x), 1, 7):
        xs = ot.Tensor(np.concatenate([np.asarray(x)] * 3)[:batch])
        want = model(xs)
        assert _same(loaded(xs), want)
        assert _same(ot.load(again)(xs), want)
        if name != "bags":  # programs have no bags
            program = ot.compile(loaded, x)
            assert program.batch_bound is None
            assert _same(program(xs), want)
    assert not loaded.training


def test_a_model_bound_to_its_batch_says_so(tmp_path: Path) -> None:
    class Loops(nn.Module):
        def forward(self, x: Any) -> Any:
            return ot.stack([row * 2 for row in x])

    ot.save(Loops().eval(), tmp_path / "m.oct", ot.ones(2, 3))
    loaded = ot.load(tmp_path / "m.oct")
    assert "other ops with another batch" in list(loaded.graph.nodes)[-1].meta["batch_bound"]
    assert np.array_equal(loaded(ot.ones(2, 3)), np.full((2, 3), 2))


def test_what_a_file_cannot_hold_is_named_all_at_once(tmp_path: Path) -> None:
    model = ot.fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2), nn.Tanh()))
    with pytest.raises(TypeError, match="example_inputs: expected tensors"):
        ot.save(model, tmp_path / "m.oct")

    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.leaf, self.other = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            return self.other(self.leaf(x))

    recorded = ot.fx.record(Held().eval(), ot.ones(1, 2), leaves=(nn.Linear,))
    with pytest.raises(TypeError, match=r"(?s)cannot hold:\n  leaf: call_module of leaf.*\n  other: call_module"):
        model_file_write(tmp_path / "m.oct", recorded)
    assert not list(tmp_path.iterdir())


def model_file_write(path: Path, model: Any) -> None:
    from octensor.io.write_model import write_model

    write_model(path, model, {})


class Everything(nn.Module):
    """What the golden file was made of, by `python tests/test_io_models.py FILE`: one form of each kind."""

    def __init__(self) -> None:
        super().__init__()
        ot.manual_seed(3)
        conv = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU())
        self.conv = _static(conv, ot.randn(8, 2, 6, 6))
        self.lstm = tq.quantize_dynamic(nn.Sequential(nn.LSTM(16, 8, batch_first=True)).eval())[0]
        rng = np.random.default_rng(4)
        self.int4 = linear_prepack_int4(Int4Weight.quantize(rng.standard_normal((5, 8)).astype(np.float32), 32))
        self.table = tq.quantize_dynamic(
            nn.Sequential(nn.Embedding(5, 3)).eval(), {nn.Embedding: tq.float_qparams_weight_only_qconfig_4bit}
        )[0]

    def forward(self, x: Any) -> Any:
        steps, (h, _) = self.lstm(self.conv(x).flatten(2))
        y = linear_dynamic_int4(steps, self.int4)
        return {"y": ot.softmax(y, -1), "h": h, "rows": (self.table(ot.argmax(y, -1)), y[:, 1:, ::2])}


def test_the_golden_file_of_version_1_stays_readable() -> None:
    model = ot.load(GOLDEN)
    rng = np.random.default_rng(5)
    x = rng.standard_normal((3, 2, 6, 6)).astype(np.float32)
    out = b"".join(leaf.tobytes() for leaf in _leaves(model(x)))
    assert hashlib.sha256(out).hexdigest() == GOLDEN_HASH


def test_attributes_of_all_ops_are_known() -> None:
    rng = np.random.default_rng(0)
    for op in [*OPS.values(), *EXACT.values()]:
        for arrays, attrs in op.samples(rng):
            check_call(op, arrays, attrs)
        assert takes(op)[0] >= (op.name != "range")
        for name in ("out", "where", "like", "self", "casting"):
            with pytest.raises(ValueError, match="attributes among"):
                check_call(op, (1,) * min(1, takes(op)[0]), {name: 1})


# --- hostile metadata -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, Any], dict[str, np.ndarray]]:
    ot.manual_seed(1)
    path = tmp_path_factory.mktemp("small") / "m.oct"
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Flatten(0))
    ot.save(tq.quantize_dynamic(model.eval()), path, ot.ones(2, 3))
    arrays, metadata = read_safetensors(path)
    return path.read_bytes(), json.loads(metadata["octensor"]), arrays


def _written(path: Path, arrays: dict[str, np.ndarray], content: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    write_safetensors(path, arrays, {"octensor": text})
    return path


def _node(op: Any = "relu", args: Any = None, kwargs: Any = None, **more: Any) -> dict[str, Any]:
    return {"op": op, "args": [{"input": 0}] if args is None else args, "kwargs": kwargs or {}, "module": "", **more}


def _nested(depth: int) -> Any:
    form: Any = 1
    for _ in range(depth):
        form = [form]
    return form


CODE = "x); __import__('os').system('touch made') #"
QPARAMS = {"scale": 0.1, "zero_point": 0, "dtype": "qint8", "axis": None, "float_zero_point": False}


@pytest.mark.parametrize(
    "node",
    [
        _node("no such op"),
        _node("__import__"),
        _node("call.eval"),
        _node(["relu"]),
        _node({"a": 1}),
        _node(None),
        _node(CODE),
        _node(kwargs={CODE: 1}),
        _node(kwargs={"x=1, **{}": 1}),
        _node(kwargs={"class": 1}),
        _node(kwargs={"self": 1}),
        _node("add", [{"input": 0}, 1.0], {"out": {"input": 0}}),
        _node("add", [{"input": 0}, 1.0, {"input": 0}]),
        _node("tanh", kwargs={"out": {"input": 0}}),
        _node("clone", kwargs={"dtype": {"dtype": "float64"}}),
        _node(args=[]),
        _node(args={}),
        _node(kwargs=[]),
        _node(module=3),
        _node(args=[{"node": 99}]),
        _node(args=[{"node": -1}]),
        _node(args=[{"node": True}]),
        _node(args=[{"node": 1}]),  # itself
        _node(args=[{"input": 1}]),
        _node(args=[{"constant": "nothing"}]),
        _node(args=[{"constant": ["a"]}]),
        _node(args=[{"tensor": "../../etc/passwd"}]),
        _node(args=[{"tensor": {}}]),
        _node(args=[{"function": "system"}]),
        _node(args=[{"function": []}]),
        _node(args=[{"batch": [1]}]),
        _node(args=[{"batch": [1, 1 << 60]}]),
        _node(args=[{"batch": [1.5, 0]}]),
        _node(args=[{"unknown": 1}]),
        _node(args=[{"tuple": 1}]),
        _node(args=[{"dict": [[[1], 2]]}]),
        _node(args=[{"float": "__import__"}]),
        _node(args=[{"dtype": "object"}]),
        _node(args=[{"qdtype": []}]),
        _node(args=[{"qparams": {}}]),
        _node(args=[{"qparams": {**QPARAMS, "scale": -1}}]),
        _node(args=[{"qparams": {**QPARAMS, "scale": 0}}]),
        _node(args=[{"qparams": {**QPARAMS, "scale": 1e400}}]),
        _node(args=[{"qparams": {**QPARAMS, "zero_point": 1000}}]),
        _node(args=[{"qparams": {**QPARAMS, "zero_point": "0"}}]),
        _node(args=[{"qparams": {**QPARAMS, "dtype": "qint9"}}]),
        _node(args=[{"qparams": {**QPARAMS, "dtype": []}}]),
        _node(args=[{"qparams": {**QPARAMS, "axis": 3}}]),
        _node(args=[{"qparams": {**QPARAMS, "axis": 0, "scale": []}}]),
        _node(args=[_nested(40)]),
        _node(args=[_nested(900)]),
        _node(args=[1 << 70]),
        _node(args=[[0] * 600_000]),
        _node("call.item", [{"input": 0}]),
        _node("call.argmax", [{"input": 0}], {"nothing": 1}),
        "a node",
        None,
    ],
)
def test_a_node_that_does_not_fit_is_refused(node: Any, small: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    _, content, arrays = small
    text = json.dumps({**content, "nodes": [*content["nodes"][:1], node]}).replace("Infinity", "1e400")
    _written(tmp_path / "x.oct", arrays, text)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"load: x.oct: "):
        ot.load(tmp_path / "x.oct")
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"version": 2},
        {"version": "1"},
        {"version": True},
        {"version": None},
        {"inputs": {}},
        {"inputs": [3]},
        {"inputs": [{"name": "x", "shape": [-1], "dtype": "float32", "qparams": None}]},
        {"inputs": [{"name": "x", "shape": [1 << 60], "dtype": "float32", "qparams": None}]},
        {"inputs": [{"name": "x", "shape": [1], "dtype": "object", "qparams": None}]},
        {"inputs": [{"name": "x", "shape": [1], "dtype": [], "qparams": None}]},
        {"inputs": [{"name": 3, "shape": [1], "dtype": "int8", "qparams": None}]},
        {"constants": []},
        {"constants": {"a": 1}},
        {"constants": {"a": {"tensor": "nothing", "qparams": None}}},
        {"constants": {"a": {"tensor": "0.weight", "qparams": {}}}},
        {"constants": {"a": {"tensor": "0.weight", "qparams": {**QPARAMS, "dtype": "qint32"}}}},
        {"constants": {"a": {"tensor": "0.weight", "qparams": {**QPARAMS, "dtype": "quint4x2"}, "shape": [2, 3]}}},
        {"constants": {"a": {"tensor": "0.weight", "qparams": {**QPARAMS, "scale": [1.0] * 5, "axis": 0}}}},
        {"constants": {"a": {"int4": {}, "in_features": 3, "group_size": 32}}},
        {
            "constants": {
                "a": {
                    "int4": {"weight": "0.weight", "scales": "0.bias", "zero_points": None, "bias": None},
                    "in_features": 1 << 40,
                    "group_size": 0,
                }
            }
        },
        {"constants": {"a": {"weight_only": {"tensor": "0.weight", "qparams": None}, "bias": None}}},
        {"constants": {"a": {"weight_only": {"weight_only": {}, "bias": None}, "bias": None}}},
        {"nodes": {}},
        {"nodes": [_node()] * 60_000},
        {"nodes": [[]] * 2_000_000},
        {"output": {"node": 99}},
        {"output": {"lambda": 1}},
        {"batch_bound": 3},
        '{"version": 1, "version": 1}',
        '{"version": NaN}',
        "[" * 100_000,
        "3",
        "",
        "null",
    ],
)
def test_a_description_that_does_not_fit_is_refused(change: Any, small: Any, tmp_path: Path) -> None:
    _, content, arrays = small
    content = change if isinstance(change, str) else {**content, **change}
    _written(tmp_path / "x.oct", arrays, content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"load: x.oct: "):
        ot.load(tmp_path / "x.oct")
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["self", "octensor", "class", "__class__", "x, y", "OPS", "x=print(1)", "é", "x" * 99])
def test_names_of_inputs_never_become_code(name: str, small: Any, tmp_path: Path) -> None:
    _, content, arrays = small
    inputs = [{**content["inputs"][0], "name": name}]
    loaded = ot.load(_written(tmp_path / "x.oct", arrays, {**content, "inputs": inputs}))
    assert [n.target for n in loaded.graph.nodes if n.op == "placeholder"] == ["x0_"]
    loaded(ot.ones(2, 3))


def test_a_model_of_the_most_nodes_loads(small: Any, tmp_path: Path) -> None:
    _, content, arrays = small
    nodes = [_node()] + [_node(args=[{"node": i}]) for i in range(9_999)]
    ot.load(_written(tmp_path / "x.oct", arrays, {**content, "nodes": nodes, "output": {"node": 9_999}}))
    # Each node once: a walk that came back to earlier ones would not end (conftest.py stops what hangs).


def test_damaged_files_are_refused(small: Any, tmp_path: Path) -> None:
    data, _, _ = small
    path = tmp_path / "cut.oct"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"load: cut.oct: "):
            ot.load(path)
    rng = np.random.default_rng(0)
    x = np.ones((2, 3), np.float32)
    for _ in range(400):  # a changed byte gives an error of the loader, or another model; nothing else
        changed = bytearray(data)
        changed[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(changed)
        with contextlib.suppress(ValueError):
            model = ot.load(path)
            with contextlib.suppress(Exception):
                model(x)
    assert (x == 1).all()


def test_hostile_sizes_of_a_convolution_read_nothing_outside(small: Any, tmp_path: Path) -> None:
    _, content, _ = small
    weight = np.ones((2, 1, 3, 3), np.float32)
    good = {"stride": {"tuple": [1, 1]}, "padding": {"tuple": [0, 0]}, "dilation": {"tuple": [1, 1]}, "groups": 2}
    head = {**content, "constants": {"w": {"tensor": "w", "qparams": None}}, "output": {"node": 0}}
    for change in (
        {"stride": {"tuple": [-1, 1]}},
        {"stride": {"tuple": [0, 1]}},
        {"dilation": {"tuple": [-40, 1]}},
        {"padding": {"tuple": [-3, 0]}},
        {"groups": 3},
        {"groups": 0},
        {"stride": {"tuple": [1]}},
    ):
        node = _node("conv2d", [{"input": 0}, {"constant": "w"}, None], {**good, **change})
        loaded = ot.load(_written(tmp_path / "x.oct", {"w": weight}, {**head, "nodes": [node]}))
        with pytest.raises((ValueError, TypeError, ZeroDivisionError)):
            loaded(ot.ones(1, 2, 8, 8))


def test_hostile_sizes_of_a_pool_are_refused(small: Any, tmp_path: Path) -> None:
    _, content, _ = small
    good = {name: {"tuple": [n, n]} for name, n in (("kernel", 2), ("stride", 2), ("padding", 0), ("dilation", 1))}
    for name, size in (("kernel", 0), ("stride", 0), ("stride", -1), ("dilation", 0), ("padding", -1)):
        kwargs = {**good, "ceil_mode": False, name: {"tuple": [size, size]}}
        text = {**content, "nodes": [_node("max_pool2d", kwargs=kwargs)], "output": {"node": 0}}
        loaded = ot.load(_written(tmp_path / "x.oct", {}, {**text, "constants": {}}))
        with pytest.raises(ValueError, match="max_pool"):
            loaded(ot.ones(1, 2, 8, 8))


if __name__ == "__main__":
    ot.save(Everything().eval(), sys.argv[1], ot.randn(2, 2, 6, 6))

assert model_file.VERSION == 1, "write a golden file of the new version, and keep the old one"
