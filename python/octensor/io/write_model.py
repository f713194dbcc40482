"""`write_model`: a recorded graph as the arrays and the metadata of one file; `model_file` has the layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._C import PackedInt4Linear, PackedWeightOnly, QTensor
from ..graph.callables import ARGUMENT_NAMES, name_of
from ..graph.graph_module import GraphModule
from ..graph.meta import TensorMeta
from ..graph.node import Node
from ..program.batch import batch_size, fetch
from ..program.ir import BatchSize
from ..tensor import Tensor
from .model_file import KEY, VERSION
from .safetensors_file import write_safetensors
from .values import NUMPY_DTYPES, encode, encode_qparams


def write_model(
    path: str | Path, model: GraphModule, differing: Mapping[Node, Any], batch_bound: str | None = None
) -> None:
    """Write a recorded model.

    Parameters
    ----------
    path : path
    model : GraphModule
        What `fx.record` gives.
    differing : mapping
        What follows from the batch, as `program.batch.generalize` returns it.
    batch_bound : str, optional
        Why the model takes the batch of the example alone.

    Raises
    ------
    TypeError
        If a node holds what a file cannot: all are named with their modules.
    """
    writer = _Writer(model, differing)
    text = {
        "version": VERSION,
        "inputs": writer.inputs,
        "constants": writer.constants,
        "nodes": writer.nodes,
        "output": writer.output,
        "batch_bound": batch_bound,
    }
    if writer.faults:
        raise TypeError("save: a file cannot hold:\n" + "\n".join(dict.fromkeys(writer.faults)))
    write_safetensors(path, writer.arrays, {KEY: json.dumps(text, allow_nan=False, separators=(",", ":"))})


class _Writer:
    """Turns a graph into JSON and arrays."""

    def __init__(self, model: GraphModule, differing: Mapping[Node, Any]) -> None:
        self.model = model
        self.differing = differing
        self.arrays: dict[str, np.ndarray] = {}
        self.by_identity: dict[int, str] = {}
        self.inputs: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.nodes: list[Any] = []
        self.output: Any = None
        self.refs: dict[Node, Any] = {}
        self.faults: list[str] = []
        for node in model.graph.nodes:
            try:
                self.refs[node] = self.node(node)
            except TypeError as error:
                self.faults.append(f"  {node.meta.get('module') or node.name}: {error}")
                self.refs[node] = {"node": -1}

    def node(self, node: Node) -> Any:
        """Write one node; return how others refer to it."""
        if node.op == "placeholder":
            return self.input(node)
        if node.op == "get_attr":
            return self.attribute(node)
        if node.op == "output":
            self.output = encode(node.args[0], self.special)
            return None
        if node.target is batch_size:
            if node.args[0] is not next(iter(self.refs)):
                raise TypeError("expected the batch of the first input, got that of another one")
            return {"batch": list(node.args[1:])}
        name = name_of(node.target) if node.op == "call_function" else None
        if name is None:
            what = node.target if isinstance(node.target, str) else getattr(node.target, "__qualname__", node.target)
            raise TypeError(
                f"{node.op} of {what!s:.80}: expected an op: write this part with octensor's ops, so that recording "
                "(save with example inputs) can resolve it"
            )
        args, kwargs = self.differing.get(node) or (node.args, node.kwargs)
        try:
            forms = [encode(a, self.special) for a in args]
            named = {k: encode(v, self.special) for k, v in kwargs.items()}
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
        return self.add(name, forms, named, node)

    def add(self, name: str, args: list[Any], kwargs: dict[str, Any], node: Node) -> dict[str, Any]:
        """Add an entry to the nodes; return how others refer to it."""
        self.nodes.append({"op": name, "args": args, "kwargs": kwargs, "module": node.meta.get("module") or ""})
        return {"node": len(self.nodes) - 1}

    def input(self, node: Node) -> Any:
        meta = node.meta.get("tensor")
        known = meta if isinstance(meta, TensorMeta) else None
        self.inputs.append(
            {
                "name": str(node.target),
                "shape": None if known is None else list(known.shape),
                "dtype": None if known is None else str(known.dtype),
                "qparams": None if known is None or known.qparams is None else encode_qparams(known.qparams),
            }
        )
        return {"input": len(self.inputs) - 1}

    def attribute(self, node: Node) -> Any:
        name = str(node.target)
        value = fetch(self.model, name)
        repeated = self.differing.get(node)
        if repeated is None:
            self.constants[name] = self.constant(name, value)
            return {"constant": name}
        place, sizes = repeated
        self.constants[name] = self.constant(name, place)
        return self.add("expand", [{"constant": name}], {"shape": encode(tuple(sizes), self.special)}, node)

    def constant(self, name: str, value: Any) -> dict[str, Any]:
        if isinstance(value, QTensor):
            # Codes of 4 bits lie two to a byte, without a shape of their own.
            shape = list(value.shape) if value.dtype.name == "quint4x2" else None
            return {
                "tensor": self.tensor(value.int_repr(), name),
                "qparams": encode_qparams(value.qparams),
                **({} if shape is None else {"shape": shape}),
            }
        if isinstance(value, PackedInt4Linear):
            return {
                "int4": {key: self.part(name, key, getattr(value, key)) for key in _INT4_PARTS},
                "in_features": value.in_features,
                "group_size": value.group_size,
            }
        if isinstance(value, PackedWeightOnly):
            return {
                "weight_only": self.constant(f"{name}.weight", value.weight),
                "bias": self.part(name, "bias", value.bias),
            }
        if isinstance(value, (Tensor, np.ndarray)):
            return {"tensor": self.tensor(np.asarray(value), name), "qparams": None}
        raise TypeError(f"{name}: expected a tensor or a packed weight, got {type(value).__name__}")

    def part(self, name: str, key: str, value: np.ndarray | None) -> str | None:
        return None if value is None else self.tensor(value, f"{name}.{key}")

    def tensor(self, value: np.ndarray, name: str) -> str:
        """Add an array; return its key. The same array is written once."""
        if value.dtype.name not in NUMPY_DTYPES:
            raise TypeError(f"{name}: expected an array of numbers or booleans, got {value.dtype}")
        key = self.by_identity.get(id(value))
        if key is None:
            key = self.by_identity[id(value)] = name if name not in self.arrays else f"{name}.{len(self.arrays)}"
            self.arrays[key] = value
        return key

    def special(self, value: Any) -> Any:
        if isinstance(value, Node):
            return self.refs[value]
        if isinstance(value, BatchSize):
            return {"batch": list(value.pair())}
        if isinstance(value, (np.ndarray, Tensor)):
            return {"tensor": self.tensor(np.asarray(value), f"array.{len(self.arrays)}")}
        if isinstance(value, Callable) and value in ARGUMENT_NAMES:  # type: ignore[arg-type]
            return {"function": ARGUMENT_NAMES[value]}
        return None


_INT4_PARTS = ("weight", "scales", "zero_points", "bias")
