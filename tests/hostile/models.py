"""Model files (.oct) whose description does not fit: nodes, constants, inputs, and the JSON itself."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import octensor as ot
import octensor.quantization as tq
from octensor import nn
from octensor.io.safetensors_file import read_safetensors, write_safetensors

from .case import Case


@cache
def small() -> tuple[bytes, dict[str, Any], dict[str, np.ndarray]]:
    """Return a small model's file, its description and its arrays; not to be changed."""
    ot.manual_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.oct"
        model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Flatten(0))
        ot.save(tq.quantize_dynamic(model.eval()), path, ot.ones(2, 3))
        arrays, metadata = read_safetensors(path)
        return path.read_bytes(), json.loads(metadata["octensor"]), {k: v.copy() for k, v in arrays.items()}


def write(path: Path, arrays: dict[str, np.ndarray], content: Any) -> Path:
    """Write a model's file; the description is JSON, or its text."""
    text = content if isinstance(content, str) else json.dumps(content)
    write_safetensors(path, arrays, {"octensor": text.replace("Infinity", "1e400")})
    return path


def node(op: Any = "relu", args: Any = None, kwargs: Any = None, **more: Any) -> dict[str, Any]:
    """Return a node's description."""
    return {"op": op, "args": [{"input": 0}] if args is None else args, "kwargs": kwargs or {}, "module": "", **more}


def _nested(depth: int) -> Any:
    form: Any = 1
    for _ in range(depth):
        form = [form]
    return form


CODE = "x); __import__('os').system('touch made') #"
QPARAMS = {"scale": 0.1, "zero_point": 0, "dtype": "qint8", "axis": None, "float_zero_point": False}
WRONG_QPARAMS: list[dict[str, Any]] = [
    {"scale": -1},
    {"scale": 0},
    {"scale": 1e400},
    {"scale": {"float": "nan"}},
    {"scale": "nan"},
    {"scale": 1e-46},  # 0 in float32
    {"scale": 1e39},
    {"scale": True},
    {"scale": []},
    {"scale": [0.1]},
    {"zero_point": 1000},
    {"zero_point": -129},
    {"zero_point": 1 << 80},
    {"zero_point": 0.5},
    {"zero_point": "0"},
    {"dtype": "qint9"},
    {"dtype": []},
    {"axis": 3},
    {"axis": 0, "scale": []},
    {"axis": 0, "scale": [], "zero_point": []},
    {"axis": 0, "scale": [0.1, 0.0], "zero_point": [0, 0]},
    {"axis": 0, "scale": [0.1, 0.1], "zero_point": [0]},
    {"axis": 0, "scale": [0.1, 0.1], "zero_point": [0, 200]},
    {"axis": -1, "scale": [0.1, 0.1], "zero_point": [0, 0]},
    {"axis": 1 << 62, "scale": [0.1, 0.1], "zero_point": [0, 0]},
    {"axis": "0"},
    {"float_zero_point": 1},
    {"float_zero_point": True, "axis": 0, "scale": [0.1], "zero_point": [1e400]},
]

NODES: list[Any] = [
    node("no such op"),
    node("__import__"),
    node("call.eval"),
    node(["relu"]),
    node({"a": 1}),
    node(None),
    node(CODE),
    node(kwargs={CODE: 1}),
    node(kwargs={"x=1, **{}": 1}),
    node(kwargs={"class": 1}),
    node(kwargs={"self": 1}),
    node("add", [{"input": 0}, 1.0], {"out": {"input": 0}}),
    node("add", [{"input": 0}, 1.0, {"input": 0}]),
    node("tanh", kwargs={"out": {"input": 0}}),
    node("clone", kwargs={"dtype": {"dtype": "float64"}}),
    node(args=[]),
    node(args={}),
    node(kwargs=[]),
    node(module=3),
    node(args=[{"node": 99}]),
    node(args=[{"node": -1}]),
    node(args=[{"node": True}]),
    node(args=[{"node": 1}]),  # itself
    node(args=[{"input": 1}]),
    node(args=[{"constant": "nothing"}]),
    node(args=[{"constant": ["a"]}]),
    node(args=[{"tensor": "../../etc/passwd"}]),
    node(args=[{"tensor": {}}]),
    node(args=[{"function": "system"}]),
    node(args=[{"function": []}]),
    node(args=[{"batch": [1]}]),
    node(args=[{"batch": [1, 1 << 60]}]),
    node(args=[{"batch": [1.5, 0]}]),
    node(args=[{"unknown": 1}]),
    node(args=[{"tuple": 1}]),
    node(args=[{"dict": [[[1], 2]]}]),
    node(args=[{"float": "__import__"}]),
    node(args=[{"dtype": "object"}]),
    node(args=[{"qdtype": []}]),
    node(args=[{"qparams": {}}]),
    *(node(args=[{"qparams": {**QPARAMS, **wrong}}]) for wrong in WRONG_QPARAMS),
    node(args=[_nested(40)]),
    node(args=[_nested(900)]),
    node(args=[1 << 70]),
    node(args=[[0] * 600_000]),
    node("call.item", [{"input": 0}]),
    node("call.argmax", [{"input": 0}], {"nothing": 1}),
    "a node",
    None,
]


def _input(**changed: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1], "dtype": "int8", "qparams": None, **changed}]}


def _constant(**entry: Any) -> dict[str, Any]:
    return {"constants": {"a": entry}}


def _int4(in_features: Any, group_size: Any) -> dict[str, Any]:
    parts = {"weight": "0.weight", "scales": "0.bias", "zero_points": None, "bias": None}
    return _constant(int4=parts, in_features=in_features, group_size=group_size)


PAIRS = {**QPARAMS, "dtype": "quint4x2"}
CHANGES: list[Any] = [
    {"version": 0},
    {"version": 2},
    {"version": 1 << 70},
    {"version": "1"},
    {"version": True},
    {"version": None},
    {"inputs": {}},
    {"inputs": [3]},
    _input(shape=[-1]),
    _input(shape=[1 << 60]),
    _input(shape=[1] * 33),
    _input(dtype="object"),
    _input(dtype=[]),
    _input(name=3),
    _input(dtype="qint8", qparams={**QPARAMS, "scale": 0}),
    {"constants": []},
    {"constants": {"a": 1}},
    _constant(tensor="nothing", qparams=None),
    _constant(tensor="0.weight", qparams={}),
    _constant(tensor="0.weight", qparams={**QPARAMS, "dtype": "qint32"}),
    _constant(tensor="0.weight", qparams=PAIRS, shape=[2, 3]),
    _constant(tensor="bytes", qparams=PAIRS, shape=[1 << 33, 1 << 32]),  # half a byte each: 2^64 bytes, which wraps
    _constant(tensor="bytes", qparams=PAIRS, shape=[1 << 40]),
    _constant(tensor="bytes", qparams=PAIRS, shape=[-6]),
    _constant(tensor="bytes", qparams=PAIRS),
    _constant(tensor="0.weight", qparams={**QPARAMS, "scale": [1.0] * 5, "zero_point": [0] * 5, "axis": 0}),
    _constant(tensor="0.weight", qparams={**QPARAMS, "scale": [1.0] * 2, "zero_point": [0] * 2, "axis": 2}),
    *(_constant(tensor="0.weight", qparams={**QPARAMS, **wrong}) for wrong in WRONG_QPARAMS),
    _constant(int4={}, in_features=3, group_size=32),
    *(_int4(n, size) for n in (0, 3, 1 << 40, (1 << 48) - 1) for size in (0, 1, 32, 1 << 40)),
    _int4(-1, 32),
    _int4(3, True),
    _constant(weight_only={"tensor": "0.weight", "qparams": None}, bias=None),
    _constant(weight_only={"tensor": "0.weight", "qparams": QPARAMS}, bias="bytes"),
    _constant(weight_only={"weight_only": {}, "bias": None}, bias=None),
    {"nodes": {}},
    {"nodes": [node()] * 60_000},
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
]


def _changed(change: Any) -> Any:
    _, content, arrays = small()
    arrays = {**arrays, "bytes": np.zeros(3, np.uint8)}
    content = change if isinstance(change, str) else {**content, **change}
    return lambda folder: write(folder / "x.oct", arrays, content)


def _with_node(entry: Any) -> Any:
    return _changed({"nodes": [*small()[1]["nodes"][:1], entry]})


def cases() -> Iterator[Case]:
    """Give them all."""
    for entry in NODES:
        name = json.dumps({k: v for k, v in entry.items() if k != "module" or v} if isinstance(entry, dict) else entry)
        yield Case("oct", f"node {name:.60}", lambda folder, entry=entry: _with_node(entry)(folder))
    for change in CHANGES:
        name = change if isinstance(change, str) else json.dumps(change)
        yield Case("oct", f"description {name:.60}", lambda folder, change=change: _changed(change)(folder))
