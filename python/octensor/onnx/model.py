"""ONNX files read with care: what is in them is checked before it is used.

`onnx` parses the protobuf; what stands here turns it into plain records (`Node`, NumPy arrays), and refuses what has
broken other readers: dimensions that are negative or whose product does not match the bytes, external data outside
the model's directory, behind links or of other lengths, unknown element types, names that stand twice.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

MOST_BYTES = 1 << 34
MOST_NODES = 100_000  # of all graphs of a file
MOST_GRAPHS = 300  # each branch becomes a module
EXTERNAL_KEYS = frozenset(("location", "offset", "length", "checksum"))

# TensorProto.DataType -> NumPy, and the field that holds values when raw_data does not.
_TYPES: Mapping[int, tuple[str, str]] = {
    1: ("float32", "float_data"),
    2: ("uint8", "int32_data"),
    3: ("int8", "int32_data"),
    4: ("uint16", "int32_data"),
    5: ("int16", "int32_data"),
    6: ("int32", "int32_data"),
    7: ("int64", "int64_data"),
    9: ("bool", "int32_data"),
    10: ("float16", "int32_data"),
    11: ("float64", "double_data"),
    12: ("uint32", "uint64_data"),
    13: ("uint64", "uint64_data"),
}
_NIBBLES = {21: False, 22: True}  # UINT4, INT4: two values per byte, the first in the lower half; signed?


@dataclass(frozen=True)
class Node:
    """One node of a graph."""

    operator: str  # with the domain before it, unless it is ONNX's own
    name: str
    inputs: tuple[str, ...]  # "" for those left out
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Value:
    """An input or output of a graph: name, dtype, and shape with names or None for sizes not given."""

    name: str
    dtype: str | None
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class GraphRecord:
    """A graph, or a subgraph of a node's attribute."""

    name: str
    inputs: tuple[Value, ...]  # without those that are initializers
    outputs: tuple[Value, ...]
    initializers: Mapping[str, np.ndarray]
    nodes: tuple[Node, ...]


@dataclass
class Reader:
    """Reads one file; `where` begins its messages."""

    where: str
    directory: Path | None
    opset: dict[str, int] = field(default_factory=dict)
    graphs: int = 0
    nodes: int = 0

    def error(self, text: str) -> ValueError:
        """Return an error of this file."""
        return ValueError(f"{self.where}: {text}")

    def read(self, data: bytes) -> GraphRecord:
        """Return the main graph of a serialised model."""
        try:
            import onnx
            from google.protobuf.message import DecodeError
        except ImportError:
            raise ImportError("octensor.onnx: expected the package onnx: pip install octensor[onnx]") from None
        try:
            model = onnx.ModelProto.FromString(data)
        except (DecodeError, RuntimeError) as error:
            raise self.error(f"expected an ONNX model: {error!s:.100}") from None
        if not model.HasField("graph") or not model.opset_import:
            raise self.error("expected an ONNX model with a graph and its operator set")
        self.opset = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import}
        if model.functions:
            names = ", ".join(sorted({f"{f.domain}.{f.name}" for f in model.functions})[:8])
            raise self.error(f"expected no functions of the model's own, got {names}: inline them (onnx.inliner)")
        try:
            return self.graph(model.graph)
        except (TypeError, AttributeError) as error:  # names that are no text come as bytes
            raise self.error(f"expected names that are text: {error!s:.100}") from None

    def graph(self, proto: Any) -> GraphRecord:
        """Return a graph's record."""
        self.graphs += 1
        self.nodes += len(proto.node)
        if self.graphs > MOST_GRAPHS or self.nodes > MOST_NODES:
            raise self.error(f"expected at most {MOST_NODES} nodes and {MOST_GRAPHS} graphs, got {self.nodes} or more")
        if proto.sparse_initializer:
            raise self.error("expected dense initializers, got a sparse one")
        for names in (
            [proto.name, *(v.name for v in (*proto.initializer, *proto.input, *proto.output))],
            *([n.op_type, n.domain, n.name, *n.input, *n.output, *(a.name for a in n.attribute)] for n in proto.node),
        ):
            for name in names:
                if not isinstance(name, str):  # what protobuf gives for bytes that are no text
                    raise self.error(f"expected names of UTF-8, got {name!r:.80}")
        arrays: dict[str, np.ndarray] = {}
        for tensor in proto.initializer:
            if tensor.name in arrays:
                raise self.error(f"initializer {tensor.name!r:.80} stands there twice")
            arrays[tensor.name] = self.array(tensor, f"initializer {tensor.name!r:.80}")
        inputs = tuple(self.value(v) for v in proto.input if v.name not in arrays)
        made = {v.name for v in inputs} | set(arrays)
        if len(made) != len(inputs) + len(arrays):
            raise self.error("two inputs have the same name")
        nodes = []
        for n in proto.node:
            domain = "" if n.domain in ("", "ai.onnx") else n.domain + "."
            label = f"{domain}{n.op_type} {n.name or ', '.join(n.output)!r}"
            for output in n.output:
                if output and output in made:
                    raise self.error(f"{label:.120}: its output {output!r:.80} is the name of another value")
                made.add(output)
            names = [a.name for a in n.attribute]
            if len(set(names)) != len(names):
                raise self.error(f"{label:.120}: an attribute stands there twice")
            attributes = {a.name: self.attribute(a, f"{label:.120}: {a.name:.40}") for a in n.attribute}
            nodes.append(Node(domain + n.op_type, n.name, tuple(n.input), tuple(n.output), attributes))
        return GraphRecord(proto.name, inputs, tuple(self.value(v) for v in proto.output), arrays, tuple(nodes))

    def value(self, proto: Any) -> Value:
        """Return the record of an input or output."""
        if not proto.type.HasField("tensor_type"):
            return Value(proto.name, None, None)
        tensor = proto.type.tensor_type
        kind = _TYPES.get(tensor.elem_type)
        shape: tuple[int | str | None, ...] | None = None
        if tensor.HasField("shape"):
            shape = tuple(d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in tensor.shape.dim)
            if any(isinstance(n, int) and n < 0 for n in shape):
                raise self.error(f"{proto.name!r:.80}: expected sizes of at least 0, got {shape}")
        return Value(proto.name, kind[0] if kind else None, shape)

    def attribute(self, proto: Any, label: str) -> Any:
        """Return an attribute's value: number, str, array, graph, or a tuple of them."""
        match proto.type:
            case 1:
                return float(proto.f)
            case 2:
                return int(proto.i)
            case 3:
                return proto.s.decode("utf-8", "replace")
            case 4:
                return self.array(proto.t, label)
            case 5:
                return self.graph(proto.g)
            case 6:
                return tuple(float(v) for v in proto.floats)
            case 7:
                return tuple(int(v) for v in proto.ints)
            case 8:
                return tuple(v.decode("utf-8", "replace") for v in proto.strings)
            case 9:
                return tuple(self.array(v, label) for v in proto.tensors)
        raise self.error(f"{label}: attributes of type {proto.type} are not read")

    def array(self, proto: Any, label: str) -> np.ndarray:
        """Return a tensor's values, checked against its dimensions."""
        dims = tuple(proto.dims)
        if any(d < 0 for d in dims) or len(dims) > 32:
            raise self.error(f"{label}: expected at most 32 sizes of at least 0, got {dims!r:.80}")
        count = math.prod(dims)
        if math.prod(d for d in dims if d) > MOST_BYTES:
            raise self.error(f"{label}: expected at most {MOST_BYTES} values, got {dims!r:.80}")
        if proto.data_type in _NIBBLES:
            return self.nibbles(proto, dims, count, label)
        if proto.data_type not in _TYPES:
            raise self.error(f"{label}: elements of type {proto.data_type} are not read")
        name, values_field = _TYPES[proto.data_type]
        dtype = np.dtype(name)  # of a little-endian machine, as the file is
        if proto.data_location == 1:
            return self.external(proto, dtype, count, label).reshape(dims)
        if proto.HasField("raw_data"):
            if len(proto.raw_data) != count * dtype.itemsize:
                raise self.error(
                    f"{label}: expected {count * dtype.itemsize} bytes for shape {dims}, got {len(proto.raw_data)}"
                )
            return np.frombuffer(proto.raw_data, dtype).reshape(dims)
        values = getattr(proto, values_field)
        if len(values) != count:
            raise self.error(f"{label}: expected {count} values for shape {dims}, got {len(values)}")
        if name == "float16":  # its bits, as integers
            return np.array(values, np.int32).astype(np.uint16).view(np.float16).reshape(dims)
        return np.array(values).astype(dtype).reshape(dims)

    def nibbles(self, proto: Any, dims: tuple[int, ...], count: int, label: str) -> np.ndarray:
        """Return 4-bit values as int8 or uint8."""
        packed = np.frombuffer(proto.raw_data, np.uint8) if proto.HasField("raw_data") else np.array(proto.int32_data)
        if packed.size != (count + 1) // 2:
            raise self.error(f"{label}: expected {(count + 1) // 2} bytes for shape {dims}, got {packed.size}")
        packed = packed.astype(np.uint8)
        values = np.stack([packed & 15, packed >> 4], -1).reshape(-1)[:count]
        if _NIBBLES[proto.data_type]:
            return ((values ^ 8).astype(np.int8) - 8).reshape(dims)
        return values.reshape(dims)

    def external(self, proto: Any, dtype: np.dtype, count: int, label: str) -> np.ndarray:
        """Map the bytes of a tensor that lies in a file beside the model."""
        entries = {e.key: e.value for e in proto.external_data}
        unknown = set(entries) - EXTERNAL_KEYS
        if unknown or "location" not in entries or len(entries) != len(proto.external_data):
            raise self.error(f"{label}: external data: expected the keys {sorted(EXTERNAL_KEYS)}, once each")
        if self.directory is None:
            raise self.error(f"{label}: its data lies in another file: load the model by its path")
        root = self.directory.resolve()
        path = root / entries["location"]
        try:
            real = Path(os.path.realpath(path, strict=True))
        except (OSError, ValueError) as error:
            raise self.error(f"{label}: external data: expected a file: {error!s:.100}") from None
        if Path(entries["location"]).is_absolute() or not real.is_relative_to(root) or path.is_symlink():
            raise self.error(
                f"{label}: external data: expected a file beside the model, got {entries['location']!r:.80}"
            )
        if not real.is_file():
            raise self.error(f"{label}: external data: expected a file, got {entries['location']!r:.80}, which is none")
        need = count * dtype.itemsize
        try:
            offset, length = int(entries.get("offset", "0")), int(entries.get("length", str(need)))
        except ValueError:
            raise self.error(f"{label}: external data: expected whole numbers as offset and length") from None
        if offset < 0 or length != need or offset + length > real.stat().st_size:
            raise self.error(
                f"{label}: external data: expected {need} bytes inside the file, got {length} from byte {offset} on"
            )
        if need == 0:
            return np.zeros(0, dtype)
        return np.memmap(real, dtype, "r", offset, (count,))
