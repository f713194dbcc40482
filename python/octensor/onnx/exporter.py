"""From a recorded graph to an ONNX graph: every op has a row in `ROWS`, a function that adds its nodes.

A row is called with a `Site` (where it stands, and how to add), the op's tensors (`Value`s and None) and its
attributes, and returns a `Value` or a tuple of them. It raises `Unsupported` for what it does not cover. Layers that
ONNX has as one operator, with their loop inside, stay whole when the model is recorded; their rows are in `LAYERS`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._C import QTensor
from ..graph.graph_module import GraphModule
from ..graph.meta import TensorMeta, meta_of
from ..graph.node import Node
from ..nn.recurrent import RecurrentLayer
from ..ops.spec import OpSpec
from ..program.batch import BoundToBatch, fetch
from ..program.ir import has_batch
from ..tensor import Tensor
from .draft import Draft, Site, Unsupported, Value, plain

Row = Callable[..., Any]
ROWS: dict[str, Row] = {}
#: Rows that understand attributes which follow from the batch.
BATCHED: set[str] = set()
#: Classes of layers that are one operator.
LAYERS: dict[type, Row] = {}
LEAVES = (RecurrentLayer,)


class ExportError(ValueError):
    """A model holds what ONNX models are not written for; the text lists all of it, with module paths."""


def row(*names: str, batched: bool = False) -> Callable[[Row], Row]:
    """Decorate the function that writes the ops of these names."""

    def register(function: Row) -> Row:
        for name in names:
            ROWS[name] = function
            if batched:
                BATCHED.add(name)
        return function

    return register


def layer(kind: type) -> Callable[[Row], Row]:
    """Decorate the function that writes layers of a class, one of `LEAVES`."""

    def register(function: Row) -> Row:
        LAYERS[kind] = function
        return function

    return register


def write(draft: Draft, module: GraphModule, differing: Mapping[Node, Any], inputs: Mapping[Node, Value]) -> Any:
    """Add the nodes of a recorded graph to a draft; return what it returns, with values in place of tensors.

    Raises
    ------
    ExportError
        Naming everything that has no row.
    """
    known: dict[Node, Any] = dict(inputs)
    faults: list[str] = []
    broken: set[Node] = set()
    for node in module.graph.nodes:
        if node.op == "output":
            break
        if any(n in broken for n in node.all_input_nodes):
            broken.add(node)
            continue
        try:
            if node.op == "get_attr":
                known[node] = _attribute(draft, module, node, differing.get(node))
            elif node.op != "placeholder":
                args, kwargs = differing.get(node) or (node.args, dict(node.kwargs))
                known[node] = _call(draft, module, node, _values(args, known), _values(kwargs, known))
        except Unsupported as fault:
            broken.add(node)
            faults.append(f"  {_where(node)}: {fault}")
    if faults:
        count = "1 operation is" if len(faults) == 1 else f"{len(faults)} operations are"
        raise ExportError(f"onnx.export: {count} not written as ONNX:\n" + "\n".join(dict.fromkeys(faults)))
    return _values(next(n for n in module.graph.nodes if n.op == "output").args[0], known)


def _attribute(draft: Draft, module: GraphModule, node: Node, repeated: Any) -> Any:
    tensor = plain(fetch(module, node.target))
    if not isinstance(tensor, (QTensor, np.ndarray)):
        return tensor  # a packed weight
    site = Site(draft, str(node.target), "", node.meta.get("tensor"))
    if repeated is None:
        return site.value(tensor, str(node.target))
    place, sizes = repeated
    return Value(site.add("Expand", site.constant(place), site.sizes(sizes)), node.meta["tensor"])


def _call(draft: Draft, module: GraphModule, node: Node, args: Any, kwargs: dict[str, Any]) -> Any:
    if node.target is operator.getitem and isinstance(args[0], (tuple, dict)):
        return args[0][args[1]]
    path, meta = node.meta.get("module", ""), node.meta.get("tensor")
    if node.op == "call_module":
        target = module.get_submodule(str(node.target))
        write_layer = next((made for kind, made in LAYERS.items() if isinstance(target, kind)), None)
        if write_layer is None:
            raise Unsupported("a leaf that was recorded as one step: only octensor's ops are written")
        return write_layer(Site(draft, type(target).__name__, str(node.target), meta), target, *args, **kwargs)
    spec = node.target
    if not isinstance(spec, OpSpec):
        raise Unsupported("a function that was recorded as one step: only octensor's ops are written")
    site = Site(draft, spec.name, path, meta)
    batched = has_batch((args, kwargs))
    if not batched and _is_constant((args, kwargs)):
        return _constants(site, spec(*_folded(args), **_folded(kwargs)))
    if spec.name not in ROWS:
        raise Unsupported("it has no form in ONNX here: write this part of the model with other ops")
    if batched and spec.name not in BATCHED:
        raise BoundToBatch(f"an attribute of {_where(node)} follows from the batch")
    return ROWS[spec.name](site, *args, **kwargs)


def _is_constant(tree: Any) -> bool:
    """Whether all values in a tree of arguments are constants; without any value it is not."""
    found: list[Value] = []

    def look(part: Any) -> None:
        if isinstance(part, Value):
            found.append(part)
        for inner in part.values() if isinstance(part, dict) else part if isinstance(part, (tuple, list)) else ():
            look(inner)

    look(tree)
    return bool(found) and all(v.constant is not None for v in found)


def _folded(tree: Any) -> Any:
    if isinstance(tree, Value):
        return tree.constant
    if isinstance(tree, dict):
        return {key: _folded(part) for key, part in tree.items()}
    return type(tree)(_folded(part) for part in tree) if type(tree) in (tuple, list) else tree


def _constants(site: Site, result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(_constants(site, part) for part in result)
    return site.value(plain(result)) if isinstance(result, (Tensor, QTensor, np.ndarray)) else result


def _values(tree: Any, known: Mapping[Node, Any]) -> Any:
    """Return a tree of arguments with values in place of nodes."""
    if isinstance(tree, Node):
        return known.get(tree)
    if isinstance(tree, (tuple, list)):
        parts = [_values(part, known) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts) if isinstance(tree, tuple) else parts
    if isinstance(tree, dict):
        return {key: _values(part, known) for key, part in tree.items()}
    return tree


def results_of(tree: Any) -> list[Value]:
    """Return the values in what a model returns, in order."""
    if isinstance(tree, Value):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (tuple, list)) else ()
    return [value for part in parts for value in results_of(part)]


def shapes_of(result: Any) -> list[tuple[int, ...]]:
    """Return the shapes of the tensors in what a model returned, in order."""
    found: list[tuple[int, ...]] = []

    def look(meta: Any) -> None:
        if isinstance(meta, TensorMeta):
            found.append(meta.shape)
        else:
            for part in meta.values() if isinstance(meta, dict) else meta or ():
                look(part)

    look(meta_of(result))
    return found


def _where(node: Node) -> str:
    name = getattr(node.target, "name", None) or getattr(node.target, "__name__", None) or str(node.target)
    path, line = node.meta.get("module", ""), node.meta.get("line")
    meta = node.meta.get("tensor")
    text = f"{path}: {name}" if path else str(name)
    if isinstance(meta, TensorMeta):
        text += f" -> {meta.dtype} {meta.shape}"
    return f"{text} ({line})" if line else text
