"""`save`: a model as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..graph.callables import name_of
from ..graph.graph_module import GraphModule
from ..graph.record import record
from ..program.batch import batch_size
from .batch import follows_batch
from .write_model import write_model


def save(model: Any, path: str | Path, example_inputs: Any = None) -> None:
    """Write a model to a file that `load` reads without the model's class.

    What is written is the recorded graph (`fx.record`): its ops, parameters and qparams, as safetensors; docs/files.md
    has the layout. The file appears whole or not at all. The loaded model takes any batch: what follows from the size
    of the inputs along axis 0 is found by running the model with one sample more. Where that cannot be (a loop over
    the samples, say) the file says why.

    Parameters
    ----------
    model : Module or callable
        In eval mode; converted or float.
    path : path
        By custom it ends in ``.oct``.
    example_inputs : tuple, or one tensor
        What the model is run on to record it. Not needed for a `GraphModule` that `load` returned, nor for one that
        `record` did, which then takes the batch it was recorded with.

    Raises
    ------
    TypeError
        If the model holds what a file cannot; the message names the module and the op.

    Examples
    --------
    >>> import octensor as ot, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.oct"
    >>> model, x = ot.nn.Sequential(ot.nn.Linear(3, 2), ot.nn.ReLU()), ot.ones(1, 3)
    >>> ot.save(model, path, x)
    >>> bool((ot.load(path)(x) == model(x)).all())
    True
    """
    if example_inputs is not None:
        inputs = tuple(example_inputs) if isinstance(example_inputs, (tuple, list)) else (example_inputs,)
        recorded = record(model, inputs)
        write_model(path, recorded, *follows_batch(recorded, model, inputs))
        return
    if not _is_recorded(model):
        raise TypeError("save: example_inputs: expected tensors to record the model with, got None")
    nodes = list(model.graph.nodes)
    write_model(path, model, {}, nodes[-1].meta.get("batch_bound"))


def _is_recorded(model: Any) -> bool:
    """Whether a model is a graph of ops, as `record` and `load` return it."""
    return isinstance(model, GraphModule) and all(
        node.op in ("placeholder", "get_attr", "output")
        or (node.op == "call_function" and (node.target is batch_size or name_of(node.target) is not None))
        for node in model.graph.nodes
    )
