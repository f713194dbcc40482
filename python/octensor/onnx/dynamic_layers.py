"""Linear layers in ONNX's dynamic form become `nn.Linear` in the dynamic stage.

    codes, s, z = DynamicQuantizeLinear(x)
    y = Cast(MatMulInteger(codes, W, z)) · (s · s_w) + b          →  Linear(x)

Both round x to the same codes, but for the last bit of s: octensor divides the range in float64, ONNX in float32.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import nn
from .._C import QParams, QTensor, qint8, quint8
from ..graph.node import Node
from ..graph.rules.integer import signed
from ..ops import elementwise
from ..tensor import Tensor
from .registry import OPERATORS

if TYPE_CHECKING:
    from .importer import Importer

_ENDING = r"([._](quantized|t|weight|kernel|W))*$"


def dynamic_layers(importer: Importer, item: Any) -> None:
    """Rewrite the graph of an importer; `item` is the function that takes one of several results."""
    for node in list(importer.graph.nodes):
        if node.op == "call_function" and node.target is OPERATORS["MatMulInteger"].function:
            _rewrite(importer, node, item)
    importer.graph.eliminate_dead_code()


def _rewrite(importer: Importer, product: Node, item: Any) -> None:
    codes, weight, zero, *more = (*product.args, None, None)
    source = _part(codes, 0, item)
    held: Any = importer.root.get(str(weight.target)) if isinstance(weight, Node) and weight.op == "get_attr" else None
    known = isinstance(held, np.ndarray) and held.ndim == 2 and held.dtype in (np.int8, np.uint8)
    if source is None or _part(zero, 2, item) is not source or not known or not isinstance(weight, Node):
        return
    zeros = _constant(importer, more[0])
    cast = _only_user(product, "Cast")
    scaled = None if cast is None else _only_user(cast, "Mul")
    if cast is None or scaled is None or zeros is None:
        return
    step: Any = scaled.args[1] if scaled.args[0] is cast else scaled.args[0]
    factors = list(step.args) if isinstance(step, Node) and _is(step, "Mul") else [step]
    scale: Any = np.float32(1.0)
    own = [f for f in factors if _part(f, 1, item) is source]
    for other in (f for f in factors if f not in own):
        scale = _constant(importer, other)
    outputs = held.shape[1]
    if len(own) != 1 or scale is None or np.size(scale) not in (1, outputs) or zeros.size not in (1, outputs):
        return
    last, bias = scaled, None
    add = _only_user(scaled, "Add")
    if add is not None:
        bias = _constant(importer, add.args[1] if add.args[0] is scaled else add.args[0])
        if bias is not None and bias.shape == (outputs,):
            last = add
        else:
            bias = None
    if not (np.isfinite(scale).all() and np.greater(scale, 0).all()):
        return
    layer = nn.Linear(held.shape[0], outputs, bias is not None)
    layer.weight = _weight(held, scale, zeros)
    if bias is not None:
        layer.bias = nn.Parameter(np.array(bias, np.float32))
    layer.eval()
    if len(weight.users) == 1:
        product.args = (codes,)  # the product is dead, and its weight free
        importer.graph.erase_node(weight)
        importer.forget(str(weight.target))
    path = importer.store(re.sub(_ENDING, "", str(weight.target).replace("_quantized", "")), layer)
    with importer.graph.inserting_after(last):
        made = importer.graph.call_module(path, (source.args[0],))
    made.meta = dict(product.meta)
    last.replace_all_uses_with(made)


def _weight(codes: np.ndarray, scale: Any, zeros: np.ndarray) -> QTensor:
    """Return a layer's weight [N, K] from codes [K, N]."""
    dtype = qint8 if codes.dtype == np.int8 else quint8
    turned = np.ascontiguousarray(codes.T)
    if np.size(scale) == 1 and zeros.size == 1:
        return signed(QTensor.from_numpy(turned, QParams(float(np.reshape(scale, ())), int(zeros.reshape(())), dtype)))
    n = len(turned)
    scales = np.broadcast_to(np.reshape(scale, -1), (n,)).astype(np.float64)
    return signed(QTensor.from_numpy(turned, QParams(scales, np.broadcast_to(zeros.reshape(-1), (n,)), dtype, 0)))


def _part(node: Any, index: int, item: Any) -> Node | None:
    """Return the DynamicQuantizeLinear whose result of this index a node is."""
    if not isinstance(node, Node) or node.target is not item or node.args[1] != index:
        return None
    source = node.args[0]
    dynamic = OPERATORS["DynamicQuantizeLinear"].function
    return source if isinstance(source, Node) and source.target is dynamic else None


_OWN = {"Mul": elementwise.mul, "Add": elementwise.add}


def _is(node: Node, operator: str) -> bool:
    return node.target in (OPERATORS[operator].function, _OWN.get(operator))


def _only_user(node: Node, operator: str) -> Node | None:
    user = next(iter(node.users), None)
    if user is None or len(node.users) != 1 or not _is(user, operator):
        return None
    return user if operator != "Cast" or user.kwargs.get("to") == 1 else None


def _constant(importer: Importer, value: Any) -> np.ndarray | None:
    """Return a constant; 0 where there is none, None for what is computed."""
    if value is None:
        return np.zeros((), np.int64)
    if isinstance(value, Node):
        value = importer.root.get(str(value.target)) if value.op == "get_attr" else None
        return np.asarray(value) if isinstance(value, (Tensor, np.ndarray)) else None
    return np.asarray(value)
