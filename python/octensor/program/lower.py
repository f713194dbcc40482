"""From a recorded graph to instructions: every op has a row in `ROWS`, a function that adds its instructions.

A row is called with a `Site` (where it stands, how to add), the op's tensors (`Value`s and None) and its attributes. It
returns a `Value` or a tuple of them. It raises `Unsupported` for what it does not cover.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._C import QTensor
from ..arrays import as_array
from ..autograd import no_grad
from ..graph.callables import name_of
from ..graph.graph_module import GraphModule
from ..graph.immutable import map_aggregate
from ..graph.meta import TensorMeta
from ..graph.node import Node
from ..graph.rows import Rows, Unsupported, walk, where
from ..ops.spec import OpSpec
from ..tensor import Tensor
from .batch import BoundToBatch, batch_size, fetch
from .ir import Draft, Instruction, Value, constant_value, has_batch, plain_array, plain_meta

ROWS = Rows()
row = ROWS.row


class CompileError(ValueError):
    """A model holds what programs have no steps for; the text lists all of it, with module paths and what to do."""


class Site:
    """Where an op stands in the model, and the draft that its instructions go to."""

    def __init__(self, draft: Draft, spec: Any, path: str, meta: Any) -> None:
        self.draft = draft
        self.spec = spec
        self.path = path
        self.meta = meta  # of the op's result

    def add(self, step: str, inputs: list[Value], meta: Any, **attrs: Any) -> Value:
        """Add an instruction with one output."""
        return self.add_many(step, inputs, [meta], **attrs)[0]

    def add_many(self, step: str, inputs: list[Value], metas: list[Any], **attrs: Any) -> list[Value]:
        """Add an instruction with several outputs."""
        made = Instruction(step, self.path, inputs, attrs)
        made.outputs = [Value(meta, producer=made) for meta in metas]
        self.draft.instructions.append(made)
        return made.outputs

    def constant(self, array: Any) -> Value:
        """Return a constant as a value."""
        return constant_value(array)


def constant_of(value: Value | None, what: str) -> Any:
    """Return the tensor that a value always is, which this op needs to know before."""
    if value is None:
        return None
    if value.constant is None:
        raise Unsupported(f"its {what} is computed while the model runs: programs want a parameter or a constant there")
    return value.constant


def lower(module: GraphModule, differing: Mapping[Node, Any]) -> tuple[Draft, Any]:
    """Return the instructions of a recorded graph, and what it returns with values in place of tensors.

    Raises
    ------
    CompileError
        Naming everything that has no row.
    """
    draft = Draft()
    inputs = {node: _input(draft, node) for node in module.graph.find_nodes(op="placeholder")}
    result, faults = walk(
        module,
        inputs,
        lambda node: _attribute(draft, module, node, differing.get(node)),
        lambda node, args, kwargs: _call(draft, node, args, kwargs),
        differing,
    )
    if faults:
        count = "1 operation has" if len(faults) == 1 else f"{len(faults)} operations have"
        raise CompileError("compile: " + count + " no step in a program:\n" + "\n".join(faults))
    _outputs(draft, result)
    return draft, result


def _input(draft: Draft, node: Node) -> Any:
    meta = node.meta.get("tensor")
    if not isinstance(meta, TensorMeta):
        if meta is None:
            return None
        raise CompileError(f"compile: input {node.name!r}: expected a tensor, got a {type(meta).__name__} of them")
    value = Value(plain_meta(meta))
    draft.inputs.append((str(node.target), value))
    return value


def _attribute(draft: Draft, module: GraphModule, node: Node, repeated: Any) -> Any:
    tensor = fetch(module, node.target)
    if not isinstance(tensor, (Tensor, QTensor, np.ndarray)):
        return tensor  # a packed weight
    if repeated is None:
        # Floats are float32, as ops take them.
        return constant_value(tensor if isinstance(tensor, QTensor) else np.ascontiguousarray(as_array(tensor)))
    place, sizes = repeated
    site = Site(draft, None, node.meta.get("module", ""), None)
    return ROWS["expand"](site, constant_value(place), shape=sizes, like=node.meta["tensor"])


def _call(draft: Draft, node: Node, args: Any, kwargs: dict[str, Any]) -> Any:
    if node.target is batch_size:
        return None  # its readers have it already (`settled.sizes_of`)
    if node.target is operator.getitem and isinstance(args[0], (tuple, dict)):
        return args[0][args[1]]
    spec = node.target
    name = name_of(spec) if node.op == "call_function" else None
    if name is None or (not isinstance(spec, OpSpec) and name not in ROWS):
        kind = "a leaf" if node.op == "call_module" else "a function"
        raise Unsupported(f"{kind} that was recorded as one step: programs know octensor's ops alone")
    known = _folded(spec, args, kwargs)
    if known is not None:
        return known
    if name not in ROWS:
        raise Unsupported(
            "programs have no such step: run this part of the model outside of the program, or write it with other ops"
        )
    if name not in ROWS.batched and has_batch((args, kwargs)):
        raise BoundToBatch(f"an attribute of {where(node)} follows from the batch")
    site = Site(draft, spec, node.meta.get("module", ""), plain_meta(node.meta.get("tensor")))
    return ROWS[name](site, *args, **kwargs)


MOST_FOLDED = 1 << 20  # elements of what is computed while compiling; and no more than it is made of


def _folded(spec: Any, args: Any, kwargs: dict[str, Any]) -> Value | None:
    """Return the result of an op on constants alone, or None."""
    found: list[Value] = []

    def constant(part: Any) -> Any:
        if not isinstance(part, Value):
            return part
        found.append(part)
        return plain_array(part.constant)

    plain, named = map_aggregate((tuple(args), kwargs), constant, frozen=False)
    if any(value.constant is None for value in found) or has_batch((args, kwargs)):
        return None
    with no_grad():
        result = spec(*plain, **named)
    array = result._array if isinstance(result, Tensor) else result
    if not isinstance(array, (QTensor, np.ndarray)):
        return None
    size = sum(math.prod(value.meta.shape) for value in found)
    return constant_value(array) if math.prod(array.shape) <= max(MOST_FOLDED, size) else None


def _outputs(draft: Draft, tree: Any) -> None:
    if isinstance(tree, Value):
        draft.outputs.append(tree)
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (tuple, list)) else ():
        _outputs(draft, part)
