"""Rules that compute in integers what stands between a dequantize and a quantize.

With q quantized tensors, L a layer whose weights are on a grid, and Q a quantize with known parameters:

    Q(relu(L(dequantize(q))))                →  L'(q)               L' the layer in its static stage
    Q(relu(dequantize(a) + dequantize(b)))   →  quantized.add_relu(a, b, scale, zero_point)      and so on, `CALLS`
    Q(f(dequantize(q)))                      →  f(q, qparams)      f of one number: a table
    Q(mean pool(dequantize(q)))              →  pool(q)            where both have the same parameters
    dequantize(q) through a max pool         →  dequantize(pool(q))

The relu may be missing; a clamp that the quantize does anyway is dropped. Each fires only where nothing else reads
what it takes away. Unlike the other rules these change bits: the integer form rounds once where the float form rounds
several times, by less than the width of a float32 before the last rounding.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from octensor import _C, nn
from octensor.graph.graph_module import GraphModule
from octensor.graph.node import Node
from octensor.graph.patterns import called, layer_of
from octensor.graph.rules.movement import is_dequantize, is_quantize
from octensor.graph.rules.requantize import MAX_POOLS, MEAN_POOLS, exchange, qparams_of
from octensor.nn.weighted import WeightedLayer
from octensor.ops import OPS, OpSpec
from octensor.ops import quantized as qops
from octensor.ops.activation import CLAMP, relu, relu6
from octensor.ops.elementwise import add, mul
from octensor.ops.shape import cat

# Function -> what it is on quantized tensors, without and with a relu behind it.
CALLS: Mapping[Any, tuple[Any, Any]] = {
    add: (qops.add, qops.add_relu),
    mul: (qops.mul, qops.mul_relu),
    cat: (qops.cat, qops.cat_relu),
}


def integer_layers(modules: GraphModule, grids: Mapping[str, _C.QParams]) -> int:
    """Bring layers into the static stage: those of the paths in `grids`, which holds their weights' parameters."""
    count = 0
    for node in list(modules.graph.nodes):
        layer = layer_of(node, modules)
        source: Any = node.args[0] if node.args else None
        if node.target not in grids or not isinstance(layer, WeightedLayer) or not is_dequantize(source):
            continue
        end = _end(node, modules)
        if end is None or layer.stage != "float":
            continue
        quantize, has_relu, qparams = end
        layer.weight = signed(_C.quantize(np.asarray(layer.weight), grids[str(node.target)]))
        layer.activation = nn.ReLU() if has_relu else None
        layer.activation_post_process = qparams
        node.args = (source.args[0],)
        _take(quantize, node)
        count += 1
    return count


def signed(weight: _C.QTensor) -> _C.QTensor:
    """Return weights as int8 codes, which is what layers take."""
    q = weight.qparams
    if q.dtype == _C.qint8:
        return weight
    zeros: Any = np.asarray(q.zero_point).astype(np.int64) - 128
    scale: Any = np.asarray(q.scale, np.float64)
    if not q.is_per_channel:
        scale, zeros = float(q.scale), int(zeros)
    codes = (weight.int_repr().astype(np.int16) - 128).astype(np.int8)
    return _C.QTensor.from_numpy(codes, _C.QParams(scale, zeros, _C.qint8, q.axis))


def integer_calls(modules: GraphModule) -> int:
    """Let sums, products and concatenations of dequantized tensors be those of quantized ones."""
    count = 0
    for node in list(modules.graph.nodes):
        forms = CALLS.get(called(node)) if node.op in ("call_function", "call_method") else None
        if forms is None or (node.kwargs and set(node.kwargs) != {"dim"}):
            continue
        parts = list(node.args[0]) if called(node) is cat else list(node.args)
        if len(parts) < 2 or not all(is_dequantize(part) for part in parts):
            continue
        end = _end(node, modules)
        if end is None:
            continue
        quantize, has_relu, qparams = end
        operands: tuple[Any, ...] = tuple(part.args[0] for part in parts)
        if called(node) is cat:
            operands = (list(operands), node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0))
        with modules.graph.inserting_before(quantize):
            arguments = (*operands, qparams.scale, qparams.zero_point)
            made = modules.graph.call_function(forms[has_relu], arguments)
        made.meta = {**node.meta, "qparams": qparams}
        _take(quantize, made)
        count += 1
    return count


def integer_tables(modules: GraphModule) -> int:
    """Let functions of one number be tables from codes to codes."""
    count = 0
    for node in list(modules.graph.nodes):
        spec = _tables().get(called(node)) if node.op in ("call_function", "call_method") else None
        if spec is None or node.kwargs or not is_dequantize(node.args[0]):
            continue
        user = next(iter(node.users), None)
        qparams = qparams_of(user, modules) if len(node.users) == 1 and is_quantize(user) else None
        names = list(inspect.signature(spec.forward).parameters)
        if user is None or qparams is None or qparams.dtype.itemsize != 1 or len(node.args) > len(names):
            continue
        source: Any = node.args[0]
        attributes = dict(zip(names[1:], node.args[1:], strict=False))
        with modules.graph.inserting_before(user):
            made = modules.graph.call_function(spec, (source.args[0],), {**attributes, "qparams": qparams})
        made.meta = {**node.meta, "qparams": qparams}
        _take(user, made)
        count += 1
    return count


@cache
def _tables() -> Mapping[Any, OpSpec]:
    """Return the ops of one number by their functions."""
    return {spec.function: spec for spec in OPS.values() if spec.table and spec.function is not None}


def mean_codes(modules: GraphModule) -> int:
    """Take the means of codes, in integers, where they are to have the same parameters."""
    count = 0
    for node in list(modules.graph.nodes):
        source: Any = node.args[0] if node.args else None
        user = next(iter(node.users), None)
        if not isinstance(layer_of(node, modules), MEAN_POOLS) or not is_dequantize(source) or len(node.users) != 1:
            continue
        qparams = qparams_of(user, modules) if is_quantize(user) else None
        if user is None or qparams is None or qparams != qparams_of(source.args[0], modules):
            continue
        with modules.graph.inserting_before(user):
            made = modules.graph.call_module(str(node.target), (source.args[0],))
        made.meta = {**node.meta, "qparams": qparams}
        _take(user, made)
        count += 1
    return count


def pool_codes(modules: GraphModule) -> int:
    """Take the largest codes instead of the largest values."""
    count = 0
    for node in modules.graph.nodes:
        source: Any = node.args[0] if node.args else None
        if isinstance(layer_of(node, modules), MAX_POOLS) and is_dequantize(source) and len(source.users) == 1:
            exchange(node, source)
            count += 1
    return count


def split_dequantize(modules: GraphModule) -> int:
    """Give every reader of a dequantized tensor a dequantize of its own, so that each can be rewritten alone."""
    count = 0
    for node in list(modules.graph.nodes):
        if not is_dequantize(node):
            continue
        for user in list(node.users)[1:]:
            with modules.graph.inserting_before(user):
                twin = modules.graph.call_method("dequantize", (node.args[0],))
            user.replace_input_with(node, twin)
            count += 1
    return count


def _end(node: Node, modules: GraphModule) -> tuple[Node, bool, _C.QParams] | None:
    """Return the only quantize behind a node, whether a relu is between, and the parameters; None if it is not so."""
    has_relu = False
    while len(node.users) == 1:
        user = next(iter(node.users))
        if is_quantize(user):
            qparams = qparams_of(user, modules)
            return None if qparams is None else (user, has_relu, qparams)
        if called(user) is relu:
            has_relu = True
        elif not _is_idle_clamp(user, modules):
            return None
        node = user
    return None


def _is_idle_clamp(node: Node, modules: GraphModule) -> bool:
    """Whether a node clamps to bounds that the quantize behind it reaches neither below nor above."""
    function = called(node)
    if function is relu6:
        low, high = 0.0, 6.0
    elif function is CLAMP.function and len(node.args) == 3:
        low, high = (default if v is None else v for v, default in zip(node.args[1:], (-np.inf, np.inf), strict=True))
    else:
        return False
    user = next(iter(node.users), None)
    qparams = qparams_of(user, modules) if len(node.users) == 1 and is_quantize(user) else None
    if qparams is None:
        return False
    lowest = (qparams.dtype.qmin - qparams.zero_point) * qparams.scale
    highest = (qparams.dtype.qmax - qparams.zero_point) * qparams.scale
    half = qparams.scale / 2
    return bool(low < lowest + half and high > highest - half)


def _take(quantize: Node, by: Node) -> None:
    """Let the users of a quantize read another node, and erase what led to it."""
    quantize.replace_all_uses_with(by)
    graph = quantize.graph
    node: Any = quantize
    while node is not by and not node.users:
        source = node.args[0] if node.args else None
        graph.erase_node(node)
        if not isinstance(source, Node) or source is by:
            break
        node = source
