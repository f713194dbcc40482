"""Models in one file: the recorded graph, its parameters and their qparams, as safetensors (docs/files.md).

The tensors of the file are the model's arrays: float parameters, codes of quantized tensors, constants. Its metadata
has one key, ``octensor``, with JSON:

=============== =======================================================================================
key             content
=============== =======================================================================================
``version``     1
``inputs``      list of ``{"name", "shape", "dtype", "qparams"}``: what was given for recording
``constants``   ``{path: constant}``: ``{"tensor": key, "qparams": {...} or null}``, for 4-bit codes
                with ``"shape"``; or a packed weight: ``{"int4": {"weight", "scales", "zero_points",
                "bias"}, "in_features", "group_size"}``, ``{"weight_only": constant, "bias": key or null}``
``nodes``       list of ``{"op", "args", "kwargs", "module"}`` in order; `values` has the forms
``output``      a form
``batch_bound`` why the model takes the batch of the recording alone, or null
=============== =======================================================================================

An ``op`` is looked up in `callables` and nowhere else; names of the file never become names of Python, attributes of
ops are those that the op has. Everything is checked before the first array is used. What is saved is what `fx.record`
gives, so that a file needs no model class; layouts of older versions stay readable.
"""

from __future__ import annotations

import json
import keyword
import re
from typing import Any

import numpy as np

from .._C import PackedInt4Linear, PackedWeightOnly, QTensor
from ..graph.callables import ARGUMENTS, check_call, find
from ..graph.graph import Graph
from ..graph.graph_module import GraphModule
from ..graph.meta import TensorMeta
from ..graph.node import Node
from ..program.batch import batch_size
from ..tensor import Tensor
from .limits import MOST_AXES
from .values import NUMPY_DTYPES, QDTYPES, decode, decode_qparams

VERSION = 1
KEY = "octensor"
MOST_TEXT = 8 << 20
MOST_NODES = 50_000
MOST_CONTAINERS = 300_000
MOST_VALUES = 200_000
MOST_SIZE = 1 << 48

# What stands for itself in generated code; an input may not have such a name.
_RESERVED = frozenset(
    ("self", "getattr", "float", "slice", "octensor", "operator", "math", "numpy", "nan", "inf", *keyword.kwlist)
)


class _Reader:
    """Turns the metadata of one file into a graph."""

    def __init__(self, where: str, text: str, arrays: dict[str, np.ndarray]) -> None:
        self.where = where
        self.arrays = arrays
        self.graph = Graph()
        self.inputs: list[Node] = []
        self.names: set[str] = set()
        self.nodes: list[Node] = []
        self.constants: dict[str, Any] = {}
        self.attributes: dict[str, Node] = {}
        self.sizes: dict[tuple[int, int], Node] = {}
        self.values = 0
        # What is parsed may take two hundred times the memory of its text, so it is bounded before.
        if len(text) > MOST_TEXT or text.count("{") + text.count("[") > MOST_CONTAINERS:
            raise self.error(f"expected a description of at most {MOST_TEXT} characters and {MOST_CONTAINERS} lists")
        try:
            self.content = json.loads(text, parse_constant=self.refuse, object_pairs_hook=self.unique)
        except (ValueError, RecursionError) as error:
            raise self.error(f"expected JSON in its metadata: {error!s:.100}") from None

    def error(self, text: str) -> ValueError:
        return ValueError(f"{self.where}: {text}")

    def refuse(self, text: str) -> Any:
        raise ValueError(f"{text} is not JSON")

    def unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise ValueError("a key stands there twice")
        return made

    def model(self) -> GraphModule:
        content = self.content
        version = content.get("version") if isinstance(content, dict) else None
        if type(version) is not int or version < 1:
            raise self.error(f"expected the version of its layout, got {version!r:.40}")
        if version > VERSION:
            raise self.error(f"expected a layout of version {VERSION} or older, got {version}: use a newer octensor")
        inputs, constants, nodes = (
            self.field(name, kind) for name, kind in (("inputs", list), ("constants", dict), ("nodes", list))
        )
        if len(nodes) > MOST_NODES:
            raise self.error(f"expected at most {MOST_NODES} nodes, got {len(nodes)}")
        for i, entry in enumerate(inputs):
            self.inputs.append(self.placeholder(i, entry))
        for name, entry in constants.items():
            self.attributes[name] = self.attribute(name, entry)
        for i, entry in enumerate(nodes):
            self.nodes.append(self.node(i, entry))
        output = self.graph.output(self.value("output", content.get("output")))
        bound = content.get("batch_bound")
        if bound is not None and not isinstance(bound, str):
            raise self.error(f"batch_bound: expected a text or null, got {bound!r:.40}")
        output.meta["batch_bound"] = bound
        model = GraphModule(self.constants, self.graph)
        model.training = False
        return model

    def field(self, name: str, kind: type) -> Any:
        value = self.content.get(name)
        if not isinstance(value, kind):
            raise self.error(f"{name}: expected a {kind.__name__}, got {value!r:.40}")
        return value

    # --- inputs and constants ----------------------------------------------------------------------------------------
    def placeholder(self, i: int, entry: Any) -> Node:
        where = f"inputs[{i}]"
        if not isinstance(entry, dict) or set(entry) != {"name", "shape", "dtype", "qparams"}:
            raise self.error(f"{where}: expected name, shape, dtype and qparams, got {entry!r:.80}")
        shape, dtype, name = entry["shape"], entry["dtype"], entry["name"]
        if not isinstance(name, str):
            raise self.error(f"{where}: expected a name, got {name!r:.40}")
        plain = re.fullmatch(r"[a-z][a-z0-9_]{0,60}", name) and name not in _RESERVED
        word = name if plain and name not in self.names else f"x{i}_"
        while word in self.names:
            word += "_"
        self.names.add(word)
        node = self.graph.placeholder(word)
        if shape is not None:
            if not isinstance(dtype, str) or (dtype not in NUMPY_DTYPES and dtype not in QDTYPES):
                raise self.error(f"{where}: expected a dtype, got {dtype!r:.40}")
            qparams = None if entry["qparams"] is None else self.qparams(where, entry["qparams"])
            node.meta["tensor"] = TensorMeta(self.shape(where, shape), dtype, qparams)
        return node

    def shape(self, where: str, shape: Any) -> tuple[int, ...]:
        if (
            not isinstance(shape, list)
            or len(shape) > MOST_AXES
            or not all(type(n) is int and 0 <= n < MOST_SIZE for n in shape)
        ):
            raise self.error(f"{where}: expected a shape, got {shape!r:.80}")
        return tuple(shape)

    def attribute(self, name: str, entry: Any) -> Node:
        where = f"constants: {name!r:.80}"
        try:
            made = self.constant(where, entry)
        except (ValueError, TypeError) as error:
            text = str(error)
            raise ValueError(text if text.startswith(self.where) else f"{self.where}: {where}: {text}") from None
        attribute = f"constant_{len(self.constants)}"
        self.constants[attribute] = made
        node = self.graph.get_attr(attribute)
        node.meta["module"] = name.rpartition(".")[0]
        return node

    def constant(self, where: str, entry: Any) -> Any:
        keys = frozenset(entry) if isinstance(entry, dict) else frozenset()
        if keys == {"int4", "in_features", "group_size"}:
            parts, sizes = entry["int4"], (entry["in_features"], entry["group_size"])
            if not isinstance(parts, dict) or set(parts) != {"weight", "scales", "zero_points", "bias"}:
                raise self.error(f"{where}: expected weight, scales, zero_points and bias, got {parts!r:.80}")
            if not all(type(n) is int and 0 <= n < MOST_SIZE for n in sizes):
                raise self.error(f"{where}: expected in_features and group_size, got {sizes!r:.80}")
            weight, scales, zeros, bias = (
                None if parts[k] is None and k in ("zero_points", "bias") else self.array(parts[k])
                for k in ("weight", "scales", "zero_points", "bias")
            )
            return PackedInt4Linear(weight, *sizes, scales, zero_points=zeros, bias=bias)
        if keys == {"weight_only", "bias"}:
            inner = entry["weight_only"]
            weight = self.constant(where, inner) if isinstance(inner, dict) and "tensor" in inner else None
            if not isinstance(weight, QTensor):
                raise self.error(f"{where}: expected a quantized weight, got {inner!r:.80}")
            return PackedWeightOnly(weight, None if entry["bias"] is None else self.array(entry["bias"]))
        if keys not in ({"tensor", "qparams"}, {"tensor", "qparams", "shape"}):
            raise self.error(f"{where}: expected a tensor and qparams, or a packed weight, got {entry!r:.80}")
        values = self.array(entry["tensor"])
        if entry["qparams"] is None:
            return Tensor(values)
        qparams = self.qparams(where, entry["qparams"])
        if qparams.dtype.name == "quint4x2":
            values = self.unpacked(where, values, self.shape(where, entry.get("shape")))
        return QTensor.from_numpy(values, qparams)

    def unpacked(self, where: str, pairs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return 4-bit codes one to a byte."""
        count = 1
        for n in shape:
            count *= n
        if pairs.dtype != np.uint8 or pairs.ndim != 1 or pairs.size != -(-count // 2):
            raise self.error(f"{where}: expected {-(-count // 2)} bytes for shape {list(shape)}, got {pairs.size}")
        codes = np.empty((pairs.size, 2), np.uint8)
        codes[:, 0], codes[:, 1] = pairs & 15, pairs >> 4
        return codes.reshape(-1)[:count].reshape(shape)

    def qparams(self, where: str, form: Any) -> Any:
        try:
            return decode_qparams(form if isinstance(form, dict) else {})
        except (ValueError, TypeError) as error:
            raise self.error(f"{where}: {error}") from None

    def array(self, name: Any) -> np.ndarray:
        if not isinstance(name, str) or name not in self.arrays:
            raise self.error(f"expected the name of a tensor of the file, got {name!r:.80}")
        return self.arrays[name]

    # --- nodes -------------------------------------------------------------------------------------------------------
    def node(self, i: int, entry: Any) -> Node:
        name = entry.get("op") if isinstance(entry, dict) else None
        where = f"nodes[{i}]"
        target = find(name)
        if target is None:
            raise self.error(f"{where}: expected the name of an op, got {name!r:.80}")
        args, kwargs, module = entry.get("args"), entry.get("kwargs"), entry.get("module", "")
        if not isinstance(args, list) or not isinstance(kwargs, dict) or not isinstance(module, str):
            raise self.error(f"{where}: {name}: expected args, kwargs and module, got {entry!r:.120}")
        try:
            check_call(target, tuple(args), kwargs)
        except ValueError as error:
            raise self.error(f"{where}: {name}: {error}") from None
        node = self.graph.call_function(
            target,
            tuple(self.value(f"{where}: {name}", a) for a in args),
            {k: self.value(f"{where}: {name}: {k!r:.40}", v) for k, v in kwargs.items()},
        )
        node.meta["module"] = module
        return node

    def value(self, where: str, form: Any) -> Any:
        try:
            return decode(form, self.special, self.count)
        except (ValueError, TypeError) as error:
            text = str(error)
            raise ValueError(text if text.startswith(self.where) else f"{self.where}: {where}: {text}") from None

    def count(self) -> None:
        """Count a value; what a graph holds becomes source, whose compilation takes memory for each."""
        self.values += 1
        if self.values > MOST_VALUES:
            raise self.error(f"expected at most {MOST_VALUES} values in the nodes")

    def special(self, kind: str, content: Any) -> Any:
        if kind == "tensor":
            return self.array(content)
        if kind == "function" and isinstance(content, str) and content in ARGUMENTS:
            return ARGUMENTS[content]
        if kind == "batch":
            return self.size(content)
        known: Any = {"input": self.inputs, "node": self.nodes, "constant": self.attributes}.get(kind)
        if isinstance(known, dict) and isinstance(content, str) and content in known:
            return known[content]
        if isinstance(known, list) and type(content) is int and 0 <= content < len(known):
            return known[content]
        raise ValueError(f"expected the {kind} of something before, got {content!r:.40}")

    def size(self, pair: Any) -> Node:
        """Return a node for a size that follows from the batch."""
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or not all(type(n) is int and abs(n) < MOST_SIZE for n in pair)
            or not self.inputs
        ):
            raise ValueError(f"expected two integers for a size that follows from the first input, got {pair!r:.60}")
        key = (pair[0], pair[1])
        if key not in self.sizes:
            self.sizes[key] = self.graph.call_function(batch_size, (self.inputs[0], *key))
        return self.sizes[key]


def read_model(where: str, arrays: dict[str, np.ndarray], text: str) -> GraphModule:
    """Return the model of a file's arrays and metadata.

    Raises
    ------
    ValueError
        If anything does not fit.
    """
    return _Reader(where, text, arrays).model()
