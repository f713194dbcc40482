"""ONNX models whose tensors contradict themselves, or lie in files that they should not reach."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .case import Case

FLOAT, UINT8, INT8, STRING, INT4 = 1, 2, 3, 8, 22

TENSORS: list[tuple[tuple[int, ...], int, bytes, str]] = [  # dims, type, bytes, message
    ((2, 2), FLOAT, b"\0" * 15, "expected 16 bytes"),
    ((2, 2), INT8, b"\0" * 16, "expected 4 bytes"),
    ((-1,), FLOAT, b"", "sizes of at least 0"),
    ((-1, -4), FLOAT, b"\0" * 16, "sizes of at least 0"),
    ((4194305, 211106198978564), FLOAT, b"\0" * 16, "expected at most"),  # 4 values, if their number wraps
    ((1 << 62,), FLOAT, b"", "expected at most"),  # 0 bytes, if their number wraps
    ((1 << 33, 1 << 32), INT4, b"", "expected at most"),  # 2^64 halves of bytes
    ((1 << 33,), INT4, b"\0", "expected 4294967296 bytes"),
    ((1 << 40,), FLOAT, b"", "expected at most"),
    ((0,) + (1 << 20,) * 3, FLOAT, b"", "expected at most"),
    ((3,), INT4, b"\0", "expected 2 bytes"),
    ((2,), STRING, b"ab", "type 8"),
    ((2,), 99, b"ab", "type 99"),
    ((1,) * 33, FLOAT, b"\0" * 4, "at most 32"),
]


def _model(**tensors: Any) -> Any:
    """Return a model of one sum, with these tensors beside it."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2,))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    for name, tensor in tensors.items():
        graph_tensor = model.graph.initializer.add()
        graph_tensor.CopyFrom(tensor)
        graph_tensor.name = name
    return model


def _tensor(**fields: Any) -> Any:
    from onnx import TensorProto

    return TensorProto(**fields)


def _write(folder: Path, model: Any) -> Path:
    (folder / "x.onnx").write_bytes(model.SerializeToString())
    return folder / "x.onnx"


def _with_tensor(folder: Path, **fields: Any) -> Path:
    return _write(folder, _model(w=_tensor(**fields)))


EXTERNAL: dict[str, dict[str, str]] = {
    "outside": {"location": "../secret"},
    "outside, by another folder": {"location": "a/../../secret"},
    "outside, by its whole path": {"location": "/etc/passwd"},
    "a link": {"location": "link"},
    "in a linked folder": {"location": "folder/secret"},
    "a folder": {"location": "."},
    "a pipe": {"location": "pipe"},
    "no name": {"location": ""},
    "a name with a zero": {"location": "w\0.bin"},
    "a long name": {"location": "w" * 5000},
    "missing": {"location": "missing"},
    "offset past the end": {"location": "w.bin", "offset": "4"},
    "offset -4": {"location": "w.bin", "offset": "-4"},
    "offset 1 << 63": {"location": "w.bin", "offset": str(1 << 63)},
    "offset 1 << 64": {"location": "w.bin", "offset": str(1 << 64)},
    "offset of 5,000 digits": {"location": "w.bin", "offset": "9" * 5000},
    "another length": {"location": "w.bin", "length": "4"},
    "length -1": {"location": "w.bin", "length": "-1"},
    "offset a text": {"location": "w.bin", "offset": "x"},
    "an attribute of Python": {"location": "w.bin", "__class__": "x"},
    "unknown key": {"location": "w.bin", "basepath": "/etc"},
    "no location": {"offset": "0"},
}


def _external(folder: Path, entries: dict[str, str], twice: bool = False) -> Path:
    """Write a model whose tensor lies elsewhere, a secret beside its folder, and links and a pipe in it."""
    inside = folder / "model"
    inside.mkdir()
    (inside / "w.bin").write_bytes(np.arange(2, dtype=np.float32).tobytes())
    (folder / "secret").write_bytes(b"\0" * 8)
    (inside / "link").symlink_to(folder / "secret")
    (inside / "folder").symlink_to(folder)
    os.mkfifo(inside / "pipe")
    tensor = _tensor(dims=(2,), data_type=FLOAT, data_location=1)
    for key, value in [*entries.items()] * (2 if twice else 1):
        tensor.external_data.add(key=key, value=value)
    return _write(inside, _model(w=tensor))


def _twice(folder: Path) -> Path:
    model = _model(w=_tensor(dims=(2,), data_type=FLOAT, raw_data=b"\0" * 8))
    model.graph.initializer.add().CopyFrom(model.graph.initializer[0])
    return _write(folder, model)


def _values(folder: Path, count: int) -> Path:
    return _with_tensor(folder, dims=(2,), data_type=FLOAT, float_data=[1.0] * count)


def cases() -> Iterator[Case]:
    """Give them all."""
    for dims, kind, raw, match in TENSORS:
        write: Any = partial(_with_tensor, dims=dims, data_type=kind, raw_data=raw)
        yield Case("onnx", f"tensor {dims!r:.60} of type {kind} in {len(raw)} bytes", write, match)
    for count in (1, 3):
        yield Case("onnx", f"tensor of 2 in {count} values", partial(_values, count=count), "expected 2 values")
    yield Case(
        "onnx", "tensor of 2^33 in no field", partial(_with_tensor, dims=(1 << 33,), data_type=FLOAT), "expected"
    )
    yield Case("onnx", "a name of two tensors", _twice, "stands there twice")
    for name, entries in EXTERNAL.items():
        yield Case("onnx", f"external data: {name}", partial(_external, entries=entries), "external data")
    both = partial(_external, entries={"location": "w.bin"}, twice=True)
    yield Case("onnx", "external data: a key twice", both, "external data")
