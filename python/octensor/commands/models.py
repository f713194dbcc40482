"""Model files on the command line: reading them, their inputs, and running them over samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import octensor as ot

from ..autograd import no_grad
from ..graph.graph_module import GraphModule
from ..graph.meta import TensorMeta
from ..program import CompileError
from . import CommandError


def read(path: Path) -> GraphModule:
    """Load an .onnx or .oct file."""
    if not path.is_file():
        raise CommandError(f"{path}: expected a model file, found none")
    if path.suffix == ".onnx":
        imported: GraphModule = ot.onnx.load(path)
        return imported
    if path.suffix != ".oct":
        raise CommandError(f"{path}: expected a file whose name ends in .onnx or .oct")
    model = ot.load(path)
    if not isinstance(model, GraphModule):
        raise CommandError(f"{path}: expected a model, got a file of tensors")
    return model


def inputs_of(model: GraphModule) -> dict[str, TensorMeta | None]:
    """Return the inputs by name with what is known of them."""
    metas = {str(n.target): n.meta.get("tensor") for n in model.graph.nodes if n.op == "placeholder"}
    return {name: meta if isinstance(meta, TensorMeta) else None for name, meta in metas.items()}


def output_of(model: GraphModule) -> Any:
    """Return the node that returns."""
    return list(model.graph.nodes)[-1]


class Runner:
    """A model as a program where it can be one, else node by node.

    Attributes
    ----------
    note : str
        Why it is no program; "" if it is.
    """

    def __init__(self, model: GraphModule, example: tuple[Any, ...], compiled: bool = True) -> None:
        self.note = "" if compiled else "node by node was asked for"
        self.run: Any = model
        if compiled:
            try:
                program = ot.compile(model, example)
            except (CompileError, ot.fx.TraceError) as error:
                lines = str(error).splitlines()
                self.note = " ".join(line.strip() for line in lines[:2]) + (" ..." if len(lines) > 2 else "")
            else:
                self.run = program if program.batch_bound is None else model
                self.note = "" if program.batch_bound is None else f"bound to its batch: {program.batch_bound}"

    def __call__(self, inputs: tuple[Any, ...]) -> dict[str, np.ndarray]:
        """Return the outputs of one batch by name."""
        with no_grad():
            return named(self.run(*inputs))


def named(value: Any, name: str = "") -> dict[str, np.ndarray]:
    """Return the arrays in what a model returns, by name: the real values of quantized ones."""
    if isinstance(value, dict):
        parts = [(f"{name}.{key}" if name else str(key), part) for key, part in value.items()]
    elif isinstance(value, (tuple, list)):
        parts = [(f"{name or 'output'}_{i}", part) for i, part in enumerate(value)]
    elif value is None:
        return {}
    else:
        real = value.dequantize() if isinstance(value, ot.QTensor) else value
        return {name or "output": np.asarray(real)}
    return {key: array for inner, part in parts for key, array in named(part, inner).items()}
