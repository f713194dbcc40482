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
from ..graph.rows import Row, Rows, Unsupported, walk, where
from ..nn.recurrent import RecurrentLayer
from ..ops.spec import OpSpec
from ..program.batch import BoundToBatch, fetch
from ..program.ir import has_batch
from ..tensor import Tensor
from .draft import Draft, Site, Value, plain

ROWS = Rows()
row = ROWS.row
#: Classes of layers that are one operator.
LAYERS: dict[type, Row] = {}
LEAVES = (RecurrentLayer,)


class ExportError(ValueError):
    """A model holds what ONNX models are not written for; the text lists all of it, with module paths."""


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
    result, faults = walk(
        module,
        dict(inputs),
        lambda node: _attribute(draft, module, node, differing.get(node)),
        lambda node, args, kwargs: _call(draft, module, node, args, kwargs),
        differing,
    )
    if faults:
        count = "1 operation is" if len(faults) == 1 else f"{len(faults)} operations are"
        raise ExportError(f"onnx.export: {count} not written as ONNX:\n" + "\n".join(faults))
    return result


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
    if batched and spec.name not in ROWS.batched:
        raise BoundToBatch(f"an attribute of {where(node)} follows from the batch")
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
