"""Operators that become modules or functions of octensor, so that prepare, convert and the rules know them.

A maker adds an operator to the importer's graph and returns its result, or returns None where it has no better form
than a call of the operator's function: weights that are no constants, padding that no layer has, unknown types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import sub
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import nn
from ..graph.intercept import keep_whole
from ..graph.node import Node as GraphNode
from ..nn import functional
from ..ops import activation, curves, elementwise, quantized, shape, softmax
from ..qtensor import quantize_per_tensor
from ..tensor import Tensor
from .model import Node
from .operators.quantized import QDTYPES, qparams_of
from .operators.recurrent import make_layer, output_of, states_of
from .operators.values import innermost_first
from .scale_layers import absorb

if TYPE_CHECKING:
    from .importer import Importer

Maker = Callable[["Importer", Node, list[Any], dict[str, Any]], Any]
_CONVS = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_TRANSPOSED = {3: nn.ConvTranspose1d, 4: nn.ConvTranspose2d, 5: nn.ConvTranspose3d}
_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_AVERAGE_POOLS = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
_MAX_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}


def _is_constant(*values: Any) -> bool:
    return all(v is None or (isinstance(v, np.ndarray) and v.dtype == np.float32) for v in values)


def _load(layer: nn.Module, **state: Any) -> nn.Module:
    layer.load_state_dict({k: np.ascontiguousarray(v) for k, v in state.items() if v is not None}, strict=False)
    return layer


def _around(keywords: dict[str, Any], axes: int) -> tuple[int, ...] | None:
    """Return the symmetric padding that a module can do, or None."""
    pads = tuple(keywords.get("pads") or (0,) * (2 * axes))
    if len(pads) != 2 * axes:
        raise ValueError(f"pads: expected {2 * axes} amounts, got {pads}")
    if keywords.get("auto_pad", "NOTSET") == "VALID":
        pads = (0,) * (2 * axes)
    elif keywords.get("auto_pad", "NOTSET") != "NOTSET":
        return None
    return pads[:axes] if len(pads) == 2 * axes and pads[:axes] == pads[axes:] else None


def _make_conv(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    x, w, b = (*arguments, None)[:3]
    if not isinstance(x, GraphNode) or not _is_constant(w, b) or w.ndim not in _CONVS:
        return None
    axes = w.ndim - 2
    padding = _around(keywords, axes)
    pads = keywords.get("pads")
    if padding is None and pads and keywords.get("auto_pad", "NOTSET") == "NOTSET" and len(pads) == 2 * axes:
        flat = innermost_first(list(zip(pads[:axes], pads[axes:], strict=True)))
        x, padding = importer.graph.call_function(functional.pad, (x, flat)), (0,) * axes
    if padding is None:
        return None
    group = keywords.get("group", 1)
    one = (1,) * axes
    layer = _CONVS[w.ndim](
        w.shape[1] * group, w.shape[0], w.shape[2:], keywords.get("strides") or one, padding,
        keywords.get("dilations") or one, group, b is not None,
    )  # fmt: skip
    return importer.note_grid(importer.module(node, node.inputs[1], _load(layer, weight=w, bias=b), x), w)


def _make_conv_transpose(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    x, w, b = (*arguments, None)[:3]
    if not isinstance(x, GraphNode) or not _is_constant(w, b) or w.ndim not in _TRANSPOSED:
        return None
    axes = w.ndim - 2
    padding = _around(keywords, axes)
    stride = tuple(keywords.get("strides") or (1,) * axes)
    dilation = tuple(keywords.get("dilations") or (1,) * axes)
    extra = tuple(keywords.get("output_padding") or (0,) * axes)
    if (
        padding is None
        or keywords.get("output_shape")
        or any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True))
    ):
        return None
    group = keywords.get("group", 1)
    layer = _TRANSPOSED[w.ndim](
        w.shape[0], w.shape[1] * group, w.shape[2:], stride, padding, extra, group, b is not None, dilation
    )
    return importer.note_grid(importer.module(node, node.inputs[1], _load(layer, weight=w, bias=b), x), w)


def _linear(importer: Importer, node: Node, x: Any, weight: np.ndarray, bias: Any, name: str) -> Any:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    return importer.module(node, name, _load(layer, weight=weight, bias=bias), x)


def _make_gemm(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    x, w, c = (*arguments, None)[:3]
    plain = keywords.get("alpha", 1.0) == 1.0 and keywords.get("beta", 1.0) == 1.0 and not keywords.get("transA", 0)
    if not isinstance(x, GraphNode) or not plain or not _is_constant(w, c) or w.ndim != 2:
        return None
    weight = w if keywords.get("transB", 0) else w.T
    if c is not None and c.reshape(-1).size != weight.shape[0]:
        return None
    made = _linear(importer, node, x, weight, None if c is None else c.reshape(-1), node.inputs[1])
    return importer.note_grid(made, w, not keywords.get("transB", 0))


def _make_matmul(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    x, w = arguments
    if (
        not isinstance(x, GraphNode)
        or not _is_constant(w)
        or w.ndim != 2
        or importer.known_of(node.inputs[0]).rank == 1
    ):
        return None
    return importer.note_grid(_linear(importer, node, x, w.T, None, node.inputs[1]), w, True)


def _make_quantize(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    x, scale, zero = (*arguments, None)[:3]
    plain = isinstance(scale, np.ndarray) and scale.size == 1 and isinstance(zero, np.ndarray)
    if not plain or not isinstance(x, GraphNode) or zero.dtype.name not in QDTYPES:
        return None
    qparams = qparams_of(scale, zero, QDTYPES[zero.dtype.name], None, 0)
    parameters = (qparams.scale, qparams.zero_point, qparams.dtype)
    made = importer.graph.call_function(quantize_per_tensor, (x, *parameters))
    importer.quantized[made] = qparams
    return made


def _make_dequantize(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """Dequantize codes that came from a QuantizeLinear; with another scale than there, in another unit."""
    x, scale, zero = (*arguments, None)[:3]
    known = importer.quantized.get(x)
    if known is None or not isinstance(scale, np.ndarray) or scale.size != 1:
        return None
    qparams = qparams_of(scale, zero, known.dtype, None, 0)
    if qparams.zero_point != known.zero_point:
        return None
    if qparams.scale != known.scale:
        x = importer.graph.call_function(quantized.mul_scalar, (x, qparams.scale / known.scale))
        importer.quantized[x] = x.meta["qparams"] = qparams
    return importer.graph.call_method("dequantize", (x,))


def _make_sum(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """Make a sum of two what an Add is, and a sum of one nothing."""
    if len(arguments) == 1 and isinstance(arguments[0], GraphNode):
        return arguments[0]
    if len(arguments) != 2 or not all(importer.known_of(name).dtype == "float32" for name in node.inputs):
        return None
    terms = tuple(importer.argument(a, name) for a, name in zip(arguments, node.inputs, strict=True))
    return importer.graph.call_function(elementwise.add, terms)


def _make_norm(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    x, scale, bias, mean, var = arguments
    kind = _NORMS.get(importer.known_of(node.inputs[0]).rank or 0)
    if kind is None or not _is_constant(scale, bias, mean, var) or keywords.get("training_mode"):
        return None
    layer = _load(
        kind(scale.size, keywords.get("epsilon", 1e-5)), weight=scale, bias=bias, running_mean=mean, running_var=var
    )
    return importer.module(node, node.inputs[1], layer, x)


def _make_layer_norm(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    x, scale, bias = (*arguments, None)[:3]
    rank, axis = importer.known_of(node.inputs[0]).rank, keywords.get("axis", -1)
    if (
        not _is_constant(scale, bias)
        or len(node.outputs) > 1
        or (axis >= 0 and (rank is None or rank - axis != scale.ndim))
        or axis < -1
    ):
        return None
    layer = nn.LayerNorm(scale.shape, keywords.get("epsilon", 1e-5))
    return importer.module(
        node, node.inputs[1], _load(layer, weight=scale, bias=np.zeros_like(scale) if bias is None else bias), x
    )


def _pool_padding(keywords: dict[str, Any], kernel: tuple[int, ...]) -> tuple[tuple[int, ...], bool] | None:
    """Return the symmetric padding of a pooling layer and whether it rounds sizes up; None where no layer does that.

    One step less a cell more at the end than at the beginning, b and b + s - 1, makes as many windows as rounding up
    does: floor((n + 2b + s - 1 - k) / s) = ceil((n + 2b - k) / s); b + s - 1 < k, so that each begins inside the image.
    """
    axes = len(kernel)
    padding, ceil_mode = _around(keywords, axes), bool(keywords.get("ceil_mode", 0))
    one = (1,) * axes
    strides, pads = tuple(keywords.get("strides") or one), tuple(keywords.get("pads") or ())
    more = tuple(b + s - 1 for b, s in zip(pads, strides, strict=False))
    plain = tuple(keywords.get("dilations") or one) == one and keywords.get("auto_pad", "NOTSET") == "NOTSET"
    if padding is None and plain and not ceil_mode and pads[axes:] == more and max(map(sub, more, kernel)) < 0:
        padding, ceil_mode = pads[:axes], True
    if padding is None or any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        return None
    return padding, ceil_mode


def _make_max_pool(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    kernel = tuple(keywords["kernel_shape"])
    around = _pool_padding(keywords, kernel)
    if around is None or len(node.outputs) > 1:
        return None
    one = (1,) * len(kernel)
    layer = _MAX_POOLS[len(kernel)](
        kernel, keywords.get("strides") or one, around[0], keywords.get("dilations") or one, ceil_mode=around[1]
    )
    return importer.module(node, node.name or node.outputs[0], layer, arguments[0])


def _make_average_pool(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    kernel = tuple(keywords["kernel_shape"])
    around = _pool_padding(keywords, kernel)
    one = (1,) * len(kernel)
    gaps, with_padding = tuple(keywords.get("dilations") or one) != one, bool(keywords.get("count_include_pad", 0))
    rounded_here = around is not None and around[1] and not keywords.get("ceil_mode", 0)
    if around is None or gaps or (with_padding and rounded_here):  # what is added by rounding up is never counted
        return None
    layer = _AVERAGE_POOLS[len(kernel)](kernel, keywords.get("strides") or one, *around, with_padding)
    return importer.module(node, node.name or node.outputs[0], layer, arguments[0])


def _make_global_pool(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    pools = {3: nn.AdaptiveAvgPool1d, 4: nn.AdaptiveAvgPool2d, 5: nn.AdaptiveAvgPool3d}
    pool = pools.get(importer.known_of(node.inputs[0]).rank or 0)
    return importer.module(node, node.name or node.outputs[0], pool(1), arguments[0]) if pool else None


def _make_activation(function: Callable[..., Any]) -> Maker:
    def make(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        if importer.known_of(node.inputs[0]).dtype != "float32" or keywords:
            return None
        return importer.graph.call_function(function, (arguments[0],))

    return make


def _make_dropout(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """Make a dropout whose mask nobody reads nothing."""
    training = (*arguments, None, None)[2]
    if training is not None and (not isinstance(training, np.ndarray) or training.any()):
        return None
    return None if any(importer.uses[name] for name in node.outputs[1:]) else (arguments[0], None)


def _make_clip(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    x, *bounds = arguments
    if importer.known_of(node.inputs[0]).dtype != "float32" or not all(b is None or _is_constant(b) for b in bounds):
        return None
    low, high = ((None if b is None else float(b.reshape(()))) for b in (*bounds, None, None)[:2])
    if (low, high) == (0.0, 6.0):
        return importer.graph.call_function(activation.relu6, (x,))
    if (low is None and high is None) or (low is not None and high is not None and low > high):
        return None
    return importer.graph.call_function(activation.clamp, (x, low, high))


def _make_softmax(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    if keywords["opset"] < 13:
        return None
    return importer.graph.call_function(softmax.softmax, (arguments[0], keywords.get("axis", -1)))


def _make_recurrent(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    x, w, r, b, lengths, h, c, peepholes = (*arguments, *[None] * 8)[:8]
    if not _is_constant(w, r, b) or lengths is not None or peepholes is not None:
        return None
    graph, layout = importer.graph, keywords.get("layout", 0)
    layer = make_layer(node.operator, w, r, b, keywords)
    directions = w.shape[0]
    if layer is None or ((h is None) != (c is None) and node.operator == "LSTM"):
        return None
    x, h, c = (
        graph.call_function(shape.transpose, (importer.argument(v, node.name), 0, 1))
        if layout and v is not None
        else importer.argument(v, node.name)
        for v in (x, h, c)
    )
    both = importer.module(node, node.inputs[1], layer, x)
    both.args = (x, (h, c)) if node.operator == "LSTM" and h is not None else (x,) if h is None else (x, h)
    y = graph.call_function(output_of, (graph.call_function(item, (both, 0)), directions, layout))
    states = graph.call_function(states_of, (graph.call_function(item, (both, 1)), layout))
    if node.operator == "LSTM":
        return (y, graph.call_function(item, (states, 0)), graph.call_function(item, (states, 1)))
    return (y, states)


def _make_gather(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """Make rows of a table, by numbers that are computed or given, an embedding."""
    table, indices = arguments
    whole = importer.known_of(node.inputs[1]).dtype in ("int64", "int32")
    if not isinstance(table, np.ndarray) or not _is_constant(table) or table.ndim != 2 or keywords.get("axis", 0):
        return None
    if not whole or not isinstance(indices, GraphNode) or 0 in table.shape:
        return None
    rows, width = table.shape
    layer = nn.Embedding(rows, width, _weight=Tensor(table))
    return importer.module(node, node.inputs[0], layer, indices)


def _make_flatten(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    known = importer.known_of(node.inputs[0])
    if known.dtype != "float32" or keywords.get("axis", 1) != 1:
        return None
    return importer.graph.call_function(shape.flatten, (arguments[0], 1))


def _make_reshape(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    x, sizes = (*arguments, keywords.get("shape"))[:2]
    plain = isinstance(sizes, (np.ndarray, tuple)) and 0 not in np.asarray(sizes)
    if not plain or not isinstance(x, GraphNode) or importer.known_of(node.inputs[0]).dtype != "float32":
        return None
    return importer.graph.call_function(shape.reshape, (x, tuple(int(n) for n in np.asarray(sizes))))


def _make_transpose(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    order = keywords.get("perm")
    if order is None or importer.known_of(node.inputs[0]).dtype != "float32":
        return None
    return importer.graph.call_function(shape.permute, (arguments[0], tuple(order)))


def _make_concat(importer: Importer, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    if not all(importer.known_of(name).dtype == "float32" for name in node.inputs):
        return None
    parts = [importer.argument(a, name) for a, name in zip(arguments, node.inputs, strict=True)]
    return importer.graph.call_function(shape.cat, (parts, keywords["axis"]))


@keep_whole
def item(values: Any, index: int) -> Any:
    """Return one of several results."""
    return values[index]


MAKERS: Mapping[str, Maker] = {
    "Reshape": _make_reshape,
    "Transpose": _make_transpose,
    "Concat": _make_concat,
    "QuantizeLinear": _make_quantize,
    "DequantizeLinear": _make_dequantize,
    "Conv": _make_conv,
    "ConvTranspose": _make_conv_transpose,
    "Gemm": _make_gemm,
    "MatMul": _make_matmul,
    "Add": absorb,
    "Mul": absorb,
    "Sum": _make_sum,
    "BatchNormalization": _make_norm,
    "LayerNormalization": _make_layer_norm,
    "MaxPool": _make_max_pool,
    "AveragePool": _make_average_pool,
    "GlobalAveragePool": _make_global_pool,
    "Clip": _make_clip,
    "Dropout": _make_dropout,
    "Softmax": _make_softmax,
    "Flatten": _make_flatten,
    "Gather": _make_gather,
    "LSTM": _make_recurrent,
    "GRU": _make_recurrent,
    "RNN": _make_recurrent,
    "HardSwish": _make_activation(curves.hardswish),
}
