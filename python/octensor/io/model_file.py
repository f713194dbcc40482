"""Models in one file: the recorded graph, its parameters and their qparams, as safetensors.

Layout, version 1. The tensors of the file are the model's arrays: float parameters, codes of quantized tensors,
constants. Its metadata has one key, ``octensor``, with JSON:

=============== =======================================================================================
key             content
=============== =======================================================================================
``version``     1
``inputs``      list of ``{"name", "shape", "dtype"}``: what the recording was given
``constants``   ``{name: {"tensor": key, "qparams": {...} or null}}``; the name is the attribute's path
``nodes``       list of ``{"op", "args", "kwargs", "module"}`` in order; `values` has the forms, where
                ``{"input": i}``, ``{"constant": name}`` and ``{"node": i}`` are values computed before
``output``      a form
=============== =======================================================================================

An ``op`` is the name of an `OpSpec`, looked up in `OPS` and `EXACT` and nowhere else; names of the file never become
names of Python. Everything is checked before the first array is used. What is saved is what `fx.record` gives, so that
a file needs no model class; layouts of older versions stay readable.
"""

from __future__ import annotations

import json
import keyword
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .._C import QParams, QTensor
from ..graph.graph import Graph
from ..graph.graph_module import GraphModule
from ..graph.meta import TensorMeta
from ..graph.node import Node
from ..ops.exact import EXACT
from ..ops.spec import OPS, OpSpec
from ..tensor import Tensor
from .safetensors_file import write_safetensors
from .values import decode, decode_qparams, encode, encode_qparams

VERSION = 1
KEY = "octensor"
MOST_NODES = 1_000_000


def write_model(path: str | Path, model: GraphModule) -> None:
    """Write a recorded model.

    Raises
    ------
    TypeError
        If a node holds what a file cannot: named with its module.
    """
    arrays: dict[str, np.ndarray] = {}
    by_identity: dict[int, str] = {}
    constants: dict[str, Any] = {}
    refs: dict[Node, dict[str, Any]] = {}
    inputs: list[Any] = []
    nodes: list[Any] = []
    output: Any = None

    def tensor(value: np.ndarray, name: str) -> str:
        key = by_identity.get(id(value))
        if key is None:
            key = by_identity[id(value)] = name if name not in arrays else f"{name}.{len(arrays)}"
            arrays[key] = value
        return key

    def special(value: Any) -> Any:
        if isinstance(value, Node):
            return refs[value]
        if isinstance(value, (np.ndarray, Tensor)):
            return {"tensor": tensor(np.asarray(value), f"array.{len(arrays)}")}
        return None

    for node in model.graph.nodes:
        if node.op == "placeholder":
            refs[node] = {"input": len(inputs)}
            meta = node.meta.get("tensor")
            inputs.append(
                {"name": node.name, "shape": list(meta.shape) if meta else None, "dtype": meta.dtype if meta else None}
            )
        elif node.op == "get_attr":
            refs[node] = {"constant": node.target}
            value: Any = model
            for part in node.target.split("."):
                value = getattr(value, part)
            constants[node.target] = _constant(node, value, tensor)
        elif node.op == "output":
            output = encode(node.args[0], special)
        else:
            if node.op != "call_function" or not isinstance(node.target, OpSpec):
                raise TypeError(
                    f"save: {node.name}: expected a recorded model, got a node {node.op} of {node.target!r:.80}: "
                    "give save the example inputs"
                )
            module = node.meta.get("module") or ""
            try:
                args, kwargs = (
                    [encode(a, special) for a in node.args],
                    {k: encode(v, special) for k, v in node.kwargs.items()},
                )
            except TypeError as error:
                raise TypeError(f"save: {module or node.name}: {node.target.name}: {error}") from None
            refs[node] = {"node": len(nodes)}
            nodes.append({"op": node.target.name, "args": args, "kwargs": kwargs, "module": module})
    text = {"version": VERSION, "inputs": inputs, "constants": constants, "nodes": nodes, "output": output}
    write_safetensors(path, arrays, {KEY: json.dumps(text, allow_nan=False, separators=(",", ":"))})


def _constant(node: Node, value: Any, tensor: Callable[[np.ndarray, str], str]) -> dict[str, Any]:
    if isinstance(value, QTensor):
        return {"tensor": tensor(value.int_repr(), node.target), "qparams": encode_qparams(value.qparams)}
    if isinstance(value, (Tensor, np.ndarray)):
        return {"tensor": tensor(np.asarray(value), node.target), "qparams": None}
    raise TypeError(f"save: {node.target}: expected a tensor, got {type(value).__name__}")


class _Reader:
    """Turns the metadata of one file into a graph."""

    def __init__(self, where: str, text: str, arrays: dict[str, np.ndarray]) -> None:
        self.where = where
        self.arrays = arrays
        self.graph = Graph()
        self.inputs: list[Node] = []
        self.nodes: list[Node] = []
        self.constants: dict[str, Any] = {}
        self.attributes: dict[str, Node] = {}
        self.names: dict[str, str] = {}
        try:
            self.content = json.loads(text, parse_constant=self.refuse)
        except (ValueError, RecursionError) as error:
            raise self.error(f"expected JSON in its metadata: {error!s:.100}") from None

    def error(self, text: str) -> ValueError:
        return ValueError(f"{self.where}: {text}")

    def refuse(self, text: str) -> Any:
        raise ValueError(f"{text} is not JSON")

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
            self.attributes[name] = self.constant(name, entry)
        for i, entry in enumerate(nodes):
            self.nodes.append(self.node(i, entry))
        self.graph.output(self.value("output", content.get("output")))
        return GraphModule(self.constants, self.graph)

    def field(self, name: str, kind: type) -> Any:
        value = self.content.get(name)
        if not isinstance(value, kind):
            raise self.error(f"{name}: expected a {kind.__name__}, got {value!r:.40}")
        return value

    def placeholder(self, i: int, entry: Any) -> Node:
        shape = entry.get("shape") if isinstance(entry, dict) else None
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
            raise self.error(f"inputs[{i}]: expected a shape, got {entry!r:.80}")
        node = self.graph.placeholder(f"x{i}" if len(self.content["inputs"]) > 1 else "x")
        node.meta["tensor"] = TensorMeta(tuple(shape), str(entry.get("dtype")))
        return node

    def constant(self, name: str, entry: Any) -> Node:
        if not isinstance(entry, dict) or set(entry) != {"tensor", "qparams"}:
            raise self.error(f"constants: {name!r:.80}: expected a tensor and qparams, got {entry!r:.80}")
        values = self.array(entry["tensor"])
        made: Any = Tensor(values)
        if entry["qparams"] is not None:
            try:
                qparams: QParams = decode_qparams(entry["qparams"] if isinstance(entry["qparams"], dict) else {})
                made = QTensor.from_numpy(values, qparams)
            except (ValueError, TypeError) as error:
                raise self.error(f"constants: {name!r:.80}: {error}") from None
        attribute = f"constant_{len(self.constants)}"
        self.constants[attribute] = made
        node = self.graph.get_attr(attribute)
        node.meta["module"] = name.rpartition(".")[0]
        return node

    def array(self, name: Any) -> np.ndarray:
        if not isinstance(name, str) or name not in self.arrays:
            raise self.error(f"expected the name of a tensor of the file, got {name!r:.80}")
        return self.arrays[name]

    def node(self, i: int, entry: Any) -> Node:
        name = entry.get("op") if isinstance(entry, dict) else None
        where = f"nodes[{i}]"
        op = (OPS.get(name) or EXACT.get(name)) if isinstance(name, str) else None
        if op is None:
            raise self.error(f"{where}: expected the name of an op, got {name!r:.80}")
        args, kwargs, module = entry.get("args"), entry.get("kwargs"), entry.get("module", "")
        if not isinstance(args, list) or not isinstance(kwargs, dict) or not isinstance(module, str):
            raise self.error(f"{where}: {name}: expected args, kwargs and module, got {entry!r:.120}")
        wrong = [key for key in kwargs if not key.isidentifier() or keyword.iskeyword(key)]
        if wrong:
            raise self.error(f"{where}: {name}: expected names of attributes, got {wrong[0]!r:.80}")
        node = self.graph.call_function(
            op,
            tuple(self.value(f"{where}: {name}", a) for a in args),
            {k: self.value(f"{where}: {name}: {k!r:.40}", v) for k, v in kwargs.items()},
        )
        node.meta["module"] = module
        return node

    def value(self, where: str, form: Any) -> Any:
        try:
            return decode(form, self.special)
        except (ValueError, TypeError) as error:
            raise self.error(f"{where}: {error}") from None

    def special(self, kind: str, content: Any) -> Any:
        if kind == "tensor":
            return self.array(content)
        known: Any = {
            "input": self.inputs,
            "node": self.nodes,
            "constant": self.attributes,
        }[kind]
        if isinstance(known, dict) and isinstance(content, str) and content in known:
            return known[content]
        if isinstance(known, list) and type(content) is int and 0 <= content < len(known):
            return known[content]
        raise ValueError(f"expected the {kind} of something before, got {content!r:.40}")


def read_model(where: str, arrays: dict[str, np.ndarray], text: str) -> GraphModule:
    """Return the model of a file's arrays and metadata.

    Raises
    ------
    ValueError
        If anything does not fit.
    """
    return _Reader(where, text, arrays).model()
