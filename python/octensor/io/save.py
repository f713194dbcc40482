"""`save`: a model as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..graph.graph_module import GraphModule
from ..graph.record import record
from ..ops.spec import OpSpec
from .model_file import write_model


def save(model: Any, path: str | Path, example_inputs: Any = None) -> None:
    """Write a model to a file that `load` reads without the model's class.

    What is written is the recorded graph (`fx.record`): its ops, parameters and qparams, as safetensors. The file
    appears whole or not at all.

    Parameters
    ----------
    model : Module or callable
        In eval mode; converted or float.
    path : path
        By custom it ends in ``.oct``.
    example_inputs : tuple, or one tensor
        What the model is run on to record it. Not needed for a `GraphModule` that `record` or `load` returned.

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
        model = record(model, example_inputs)
    elif not _is_recorded(model):
        raise TypeError("save: example_inputs: expected tensors to record the model with, got None")
    write_model(path, model)


def _is_recorded(model: Any) -> bool:
    return isinstance(model, GraphModule) and all(
        node.op in ("placeholder", "get_attr", "output") or isinstance(node.target, OpSpec)
        for node in model.graph.nodes
    )
