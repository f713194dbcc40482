"""A constant for each channel, times or plus what a layer gives, becomes part of that layer.

Converted Caffe networks have both after every batch norm, and a product of matrices with a bias is two operators. As
calls they would be quantized one by one, each with a rounding of its own, and would keep a layer from its ReLU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import nn
from ..graph.node import Node as GraphNode
from ..nn.batchnorm import BatchNormLayer
from .model import Node

if TYPE_CHECKING:
    from .importer import Importer

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, BatchNormLayer)


def absorb(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> GraphNode | None:
    """Make a Mul or an Add of a constant part of the layer whose result it is given; None where that cannot be."""
    for x, constant, name in ((*arguments, node.inputs[0]), (*reversed(arguments), node.inputs[1])):
        if not isinstance(x, GraphNode) or x.op != "call_module" or importer.uses[name] != 1:
            continue
        path = str(x.target)
        layer = importer.root[path]
        if not isinstance(layer, _LAYERS) or sum(n.target == path for n in importer.graph.nodes) != 1:
            continue
        values = _per_channel(constant, layer, importer.known_of(name).rank)
        if values is None or (node.operator == "Mul" and path in importer.layer_grids):  # its weights are codes
            continue
        state = {"bias": None if layer.bias is None else np.asarray(layer.bias)}
        if node.operator == "Add":
            state["bias"] = values if state["bias"] is None else state["bias"] + values
        else:
            weight = np.asarray(layer.weight)
            state = {key: value * values for key, value in state.items() if value is not None}
            state["weight"] = weight * values.reshape(-1, *(1,) * (weight.ndim - 1))
        for key, value in state.items():
            setattr(layer, key, nn.Parameter(value))
        return x
    return None


def _per_channel(constant: Any, layer: nn.Module, rank: int | None) -> np.ndarray | None:
    """Return a constant that has one value for each channel of a layer's result, which has `rank` axes, or None."""
    if not isinstance(constant, np.ndarray) or constant.dtype != np.float32:
        return None
    if isinstance(layer, nn.Linear):
        return constant if constant.shape == (layer.out_features,) else None
    channels = layer.num_features if isinstance(layer, BatchNormLayer) else layer.out_channels
    if rank is None or rank < 2 or constant.ndim > rank:
        return None
    shape = (1,) * (rank - constant.ndim) + constant.shape
    return constant.reshape(-1) if constant.size == shape[1] == channels else None
