"""Sizes of a saved model that follow from the batch: ``fixed + per_batch * n``, n the first input's size along axis 0.

In a file they are forms ``{"batch": [fixed, per_batch]}``; in the graph of a loaded model they are calls of
`batch_size`, plain integers when it runs, so that recording or compiling it finds them as it does in the model that was
saved.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._C import QTensor
from ..graph.graph_module import GraphModule
from ..graph.node import Node
from ..program.batch import BoundToBatch, generalize
from ..tensor import Tensor


def follows_batch(module: GraphModule, model: Any, inputs: tuple[Any, ...]) -> tuple[dict[Node, Any], str | None]:
    """Return what of a recorded graph follows from the batch, as `generalize` does, and why it cannot be told.

    One of both is empty.
    """
    first = inputs[0] if inputs else None
    if not isinstance(first, (Tensor, QTensor, np.ndarray)) or not len(first.shape) or not first.shape[0]:
        return {}, "the first input has no samples along axis 0"
    try:
        return generalize(module, model, inputs, 0, int(first.shape[0])), None
    except BoundToBatch as why:
        return {}, str(why)
