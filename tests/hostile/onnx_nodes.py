"""ONNX models whose nodes ask for too much, for nonsense, or for time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .case import Case

SIDE = 1 << 14
MAX = (1 << 63) - 1
Spec = tuple[Any, ...]  # operator, inputs, outputs (["y"]), attributes

_CONV = {"w": np.zeros((2, 3, 1, 1), np.float32)}
_CODES = {"q": np.zeros(2, np.uint8)}
_IMAGE = {"image": np.ones((1, 1, 2, 2), np.float32)}
_ONE: dict[str, Any] = {"one": np.ones(1, np.float32)}


def _conv(match: str = "Conv", **attributes: Any) -> tuple[list[Spec], dict[str, Any], str]:
    return [("Conv", ["x", "w"], ["y"], attributes)], _CONV, match


def _scale(scale: Any, **more: Any) -> tuple[list[Spec], dict[str, Any], str]:
    arrays = {**_CODES, "s": np.asarray(scale, np.float32), **{k: v for k, v in more.items() if k == "z"}}
    attributes = {k: v for k, v in more.items() if k != "z"}
    inputs = ["q", "s", *(["z"] if "z" in more else [])]
    return [("DequantizeLinear", inputs, ["y"], attributes)], arrays, "Dequantize"


def _range(*values: Any) -> dict[str, Any]:
    return {k: np.float32(v) for k, v in zip("abc", values, strict=True)}


REFUSED: list[tuple[list[Spec], dict[str, Any], str]] = [
    ([("Tile", ["one", "many"])], {"many": [1 << 40]}, "at most"),
    ([("Tile", ["one", "many"])], {"many": [MAX]}, "at most"),
    ([("Tile", ["one", "many"])], {"many": [-1]}, "Tile"),
    ([("ConstantOfShape", ["many"])], {"many": [1 << 20, 1 << 20]}, "at most"),
    ([("ConstantOfShape", ["many"])], {"many": [4194305, 211106198978564]}, "at most"),
    ([("ConstantOfShape", ["many"])], {"many": [0, 1 << 62, 4]}, "too big"),
    ([("ConstantOfShape", ["many"])], {"many": [-1]}, "ConstantOfShape"),
    ([("Expand", ["one", "many"])], {"many": [1 << 40]}, "at most"),
    ([("Range", ["zero", "many", "one0"])], {"many": 1 << 50, "zero": 0, "one0": 1}, "at most"),
    ([("Range", ["zero", "many", "zero"])], {"many": 5, "zero": 0}, "other than 0"),
    ([("Range", ["a", "b", "c"])], _range(0, 1, 1e-30), "at most"),
    ([("Range", ["a", "b", "c"])], _range(0, "nan", 1), "Range"),
    ([("Pad", ["one", "many"])], {"many": [1 << 40, 0]}, "at most"),
    ([("Pad", ["one", "many"])], {"many": [-(1 << 62), 0]}, "Pad"),
    ([("Pad", ["one", "many"], ["y"], {"mode": "reflect"})], {"many": [1 << 40, 0]}, "Pad"),
    ([("Resize", ["image", "", "", "many"])], {"many": [1, 1, 1 << 40, 1], **_IMAGE}, "most"),
    ([("Resize", ["image", "", "many"])], {"many": np.array([1, 1, 1e30, 1], "f"), **_IMAGE},
     "Resize"),
    ([("Resize", ["image", "", "many"])], {"many": np.array([1, 1, "nan", 1], "f"), **_IMAGE},
     "Resize"),
    ([("OneHot", ["i", "depth", "values"])], {"i": [0], "depth": 1 << 50, "values": np.zeros(2, "f")}, "at most"),
    ([("Reshape", ["one", "many"])], {"many": [-1, -1]}, "Reshape"),
    ([("Reshape", ["one", "many"])], {"many": [4194305, 211106198978564]}, "Reshape"),
    ([("Gather", ["one", "many"])], {"many": [7]}, "Gather"),
    ([("Gather", ["one", "many"])], {"many": [-MAX - 1]}, "Gather"),
    ([("Unsqueeze", ["one", "many"])], {"many": [MAX]}, "Unsqueeze"),
    ([("Split", ["one", "many"], ["y", "z"])], {"many": [MAX, MAX]}, "Split"),
    ([("TopK", ["one", "many"], ["y", "z"])], {"many": [MAX]}, "TopK"),
    ([("Add", ["later", "one"]), ("Relu", ["one"], ["later"])], {}, "before anything computes it"),
    ([("Relu", ["y"])], {}, "used before"),
    ([("Relu", ["one"]), ("Relu", ["one"])], {}, "the name of another value"),
    ([("Relu", ["one"], ["one"])], {}, "the name of another value"),
    ([("Relu", [])], {}, "Relu"),
    ([("Relu", ["one"], [])], {}, "used before"),
    ([("Relu", ["one"] * 100_000)], {}, "Relu"),
    _conv(group=0),
    _conv(group=-1),
    _conv(strides=[0, 0]),
    _conv(strides=[-1, 1]),
    _conv(dilations=[0, 1]),
    _conv(match="Conv|pads", pads=[-9, 0]),
    _conv(match="'evil'", evil=1),
    ([("Conv", ["x", "w"], ["y"], {})], {"w": np.zeros((0, 3, 1, 1), np.float32)}, "Conv"),
    ([("Conv", ["x", "w"], ["y"], {})], {"w": np.zeros((2, 3, 0, 1), np.float32)}, "Conv"),
    ([("MaxPool", ["x"], ["y"], {"kernel_shape": [0, 0]})], {}, "MaxPool"),
    ([("MaxPool", ["x"], ["y"], {"kernel_shape": [1, 1], "strides": [0, 1]})], {}, "MaxPool"),
    ([("AveragePool", ["x"], ["y"], {"kernel_shape": [0, 1]})], {}, "AveragePool"),
    ([("Cast", ["one"], ["y"], {"to": 99})], {}, "Cast"),
    _scale(0),
    _scale(-1),
    _scale("nan"),
    _scale("inf"),
    _scale(np.ones(3)),
    _scale(np.ones(0)),
    _scale(1, z=np.zeros(2, np.uint8)),
    _scale(1, z=np.zeros((), np.int8)),
    _scale(np.ones(2), axis=2),
    _scale(np.ones(2), axis=-3),
    _scale(np.ones(2), axis=MAX),
]  # fmt: skip

# They load: what would be too large is left to when the model runs.
LARGE: dict[str, tuple[list[Spec], dict[str, Any]]] = {
    "a shape of 2^28": ([("ConstantOfShape", ["s"], ["a"]), ("Relu", ["a"])], {"s": [1 << 28]}),
    "an outer sum": ([("Add", ["p", "q"])], {"p": np.ones((SIDE, 1), "f"), "q": np.ones((1, SIDE), "f")}),
    "an outer product": ([("MatMul", ["p", "q"])], {"p": np.ones((SIDE, 1), "f"), "q": np.ones((1, SIDE), "f")}),
    "a row many times": (
        [("Gather", ["p", "i"], ["y"], {"axis": 1})],
        {"p": np.ones((SIDE, 1), "f"), "i": np.zeros(SIDE, np.int64)},
    ),
    "a value many times": ([("Expand", ["p", "s"], ["a"]), ("Relu", ["a"])], {"p": np.ones(1, "f"), "s": [1 << 28]}),
    "tiles": ([("Tile", ["p", "s"])], {"p": np.ones(1, "f"), "s": [1 << 28]}),
    "a layer of a large weight": (
        [("ConstantOfShape", ["s"], ["a"]), ("Gemm", ["x", "a"])],
        {"s": [SIDE, SIDE]},
    ),
    "doubled 40 times": (
        [("Concat", [f"v{i}", f"v{i}"], [f"v{i + 1}"], {"axis": 0}) for i in range(40)] + [("Relu", ["v40"])],
        {"v0": np.ones(2, "f")},
    ),
    "squared 40 times": (
        [("MatMul", [f"v{i}", f"v{i}"], [f"v{i + 1}"]) for i in range(40)] + [("Relu", ["v40"])],
        {"v0": np.zeros((512, 512), "f")},
    ),
    "5,000 nodes": (
        [("Relu", [f"v{i}"], [f"v{i + 1}"]) for i in range(5000)] + [("Relu", ["v5000"])],
        {"v0": np.ones(2, "f")},
    ),
}


def _model(nodes: Sequence[Spec], arrays: dict[str, Any], shape: Sequence[int] = (1, 3, 8, 8)) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    made = [
        helper.make_node(kind, inputs, *(rest[:1] or [["y"]]), name=f"the {kind}", **(rest[1] if rest[1:] else {}))
        for kind, inputs, *rest in nodes
    ]
    graph = helper.make_graph(
        made,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in {**_ONE, **arrays}.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _write(folder: Path, nodes: Sequence[Spec], arrays: dict[str, Any]) -> Path:
    (folder / "x.onnx").write_bytes(_model(nodes, arrays).SerializeToString())
    return folder / "x.onnx"


def _branches(folder: Path, depth: int) -> Path:
    """Write branches in branches, each twice."""
    from onnx import helper

    def graph(level: int) -> Any:
        if level == 0:
            nodes = [helper.make_node("Relu", ["x"], ["b0"])]
        else:
            inner = graph(level - 1)
            nodes = [helper.make_node("If", ["c"], [f"b{level}"], then_branch=inner, else_branch=inner)]
        return helper.make_graph(nodes, f"g{level}", [], [helper.make_tensor_value_info(f"b{level}", 1, None)])

    model = _model([("Relu", ["x"])], {})
    model.graph.ClearField("node")
    model.graph.input.append(helper.make_tensor_value_info("c", 9, ()))
    branch = graph(depth)
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch))
    (folder / "x.onnx").write_bytes(model.SerializeToString())
    return folder / "x.onnx"


def _wide(folder: Path, kind: str, count: int) -> Path:
    """Write a model of many inputs, outputs, weights or layers, all with names that become one word."""
    from onnx import helper, numpy_helper

    model = _model([("Relu", ["x"])], {})
    graph = model.graph
    names = [f"a{'.' * (i % 50)}{'/' * (i // 50)}a" for i in range(count)]
    if kind == "inputs":
        graph.input.extend(helper.make_tensor_value_info(name, 1, (1,)) for name in names)
    elif kind == "outputs":
        graph.node.extend(helper.make_node("Relu", ["x"], [name]) for name in names)
        graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in names)
    else:
        weight = np.zeros((3, 3, 1, 1), np.float32)
        graph.initializer.extend(numpy_helper.from_array(weight, f"{name}.weight") for name in names)
        graph.node.extend(helper.make_node("Conv", ["x", f"{name}.weight"], [name]) for name in names)
        graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in names)
    (folder / "x.onnx").write_bytes(model.SerializeToString())
    return folder / "x.onnx"


def _attribute_twice(folder: Path) -> Path:
    model = _model([("Flatten", ["x"], ["y"], {"axis": 1})], {})
    model.graph.node[0].attribute.append(model.graph.node[0].attribute[0])
    (folder / "x.onnx").write_bytes(model.SerializeToString())
    return folder / "x.onnx"


def _functions(folder: Path) -> Path:
    from onnx import helper

    model = _model([("Relu", ["x"])], {})
    opsets = [helper.make_opsetid("", 17)]
    made = helper.make_function("evil", "Relu", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], opsets)
    model.functions.append(made)
    (folder / "x.onnx").write_bytes(model.SerializeToString())
    return folder / "x.onnx"


def _bytes(folder: Path, data: bytes) -> Path:
    (folder / "x.onnx").write_bytes(data)
    return folder / "x.onnx"


def _short(value: Any) -> str:
    return repr(value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value)[:40]


def cases() -> Iterator[Case]:
    """Give them all."""
    for nodes, arrays, match in REFUSED:
        spec = ", ".join(f"{n[0]} {n[3] if len(n) > 3 else ''}".strip() for n in nodes)
        name = f"{spec:.60} {', '.join(f'{k}={_short(v)}' for k, v in arrays.items()):.60}".strip()
        yield Case("onnx", name, lambda folder, n=nodes, a=arrays: _write(folder, n, a), match)
    for name, (nodes, arrays) in LARGE.items():
        yield Case("onnx", f"large: {name}", lambda folder, n=nodes, a=arrays: _write(folder, n, a), None)
    for depth, match in ((4, None), (14, "graphs")):
        yield Case("onnx", f"2^{depth} branches", lambda folder, depth=depth: _branches(folder, depth), match)
    for kind, count in (("inputs", 2000), ("outputs", 2000), ("layers", 500)):
        yield Case("onnx", f"{count} {kind} of one name", partial(_wide, kind=kind, count=count), None)
    yield Case("onnx", "an attribute twice", _attribute_twice, "stands there twice")
    yield Case("onnx", "functions of its own", _functions, "functions")
    for name, data in {
        "empty": b"",
        "a length of 2^63": b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        "groups in groups": b"\x0b" * 100_000,
        "messages in messages": b"\x3a\x7f" * 1000,
    }.items():
        yield Case("onnx", f"protobuf: {name}", lambda folder, data=data: _bytes(folder, data))
