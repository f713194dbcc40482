"""Loaded models: graphs that say themselves what follows from the batch, so that nothing has to run to find it.

`octensor.load` gives a graph of ops in which such sizes are calls of `batch_size`. Whatever the values are, it goes one
way; a program needs no more than the shape of each value, for which layers of packed weights need not multiply.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..autograd import no_grad
from ..graph.callables import name_of
from ..graph.graph_module import GraphModule
from ..graph.meta import meta_of
from ..graph.node import Node, map_arg
from ..ops.packing import sharing
from .batch import BoundToBatch, batch_size, fetch
from .ir import BatchSize

_ONE_AT_A_TIME = threading.Lock()  # shapes are noted in the nodes of the user's model


def is_settled(model: Any, inputs: tuple[Any, ...]) -> bool:
    """Whether a model is such a graph, of ops alone, for so many inputs."""
    if not isinstance(model, GraphModule):
        return False
    nodes = list(model.graph.nodes)
    return (
        "batch_bound" in nodes[-1].meta
        and sum(node.op == "placeholder" for node in nodes) == len(inputs)
        and all(
            node.op in ("placeholder", "get_attr", "output")
            or (node.op == "call_function" and (node.target is batch_size or name_of(node.target) is not None))
            for node in nodes
        )
    )


@contextmanager
def shapes_noted(model: GraphModule, inputs: tuple[Any, ...]) -> Iterator[None]:
    """Let `node.meta["tensor"]` say what each value is for these inputs, as it does where a model was recorded."""
    with _ONE_AT_A_TIME:
        before = {node: node.meta.get("tensor") for node in model.graph.nodes}
        try:
            _note(model, inputs)
            yield
        finally:
            for node, meta in before.items():
                node.meta["tensor"] = meta


def _note(model: GraphModule, inputs: tuple[Any, ...]) -> None:
    given = iter(inputs)
    values: dict[Node, Any] = {}
    readers: dict[Node, int] = {node: len(node.users) for node in model.graph.nodes}
    with no_grad(), sharing(shapes_only=True, inherit=True):
        for node in model.graph.nodes:
            if node.op == "output":
                return
            if node.op == "placeholder":
                values[node] = next(given)
            elif node.op == "get_attr":
                values[node] = fetch(model, node.target)
            else:
                args, kwargs = map_arg((node.args, dict(node.kwargs)), values.__getitem__)
                values[node] = node.target(*args, **kwargs)
            node.meta["tensor"] = meta_of(values[node])
            for read in node.all_input_nodes:
                readers[read] -= 1
                if not readers[read]:
                    del values[read]


def sizes_of(model: GraphModule, inputs: tuple[Any, ...] | None = None) -> dict[Node, Any]:
    """Return (args, kwargs) of the nodes that read a size: as it is for these inputs, or else as a `BatchSize`.

    Raises
    ------
    BoundToBatch
        If they cannot follow the batch: the file says why.
    """
    bound = list(model.graph.nodes)[-1].meta["batch_bound"]
    if bound is not None and inputs is None:
        raise BoundToBatch(bound)
    sizes: dict[Node, Any] = {}
    for node in model.graph.nodes:
        if node.target is batch_size:
            _, fixed, per_batch = node.args
            sizes[node] = BatchSize(fixed, per_batch) if inputs is None else batch_size(inputs[0], fixed, per_batch)
    readers = dict.fromkeys(reader for node in sizes for reader in node.users)
    return {
        reader: map_arg((reader.args, dict(reader.kwargs)), lambda node: sizes.get(node, node)) for reader in readers
    }
