"""The last step of `convert_fx`: stubs and lifted layers become calls, quantized tensors float where that is wanted.

The layers have been converted already. What is left is a walk over the nodes in their order, knowing of each value
whether it is quantized:

* a `QuantStub` becomes ``quantize_per_tensor(x, scale, zero_point, dtype)``, or ``to_float16(x)``; scale and zero point
  are buffers of the root, ``<consumer>_input_scale_<i>`` and ``<consumer>_input_zero_point_<i>``;
* a layer that stands for a call (`lifted`) becomes the call of a function of `octensor.ops.quantized`; its scale and
  zero point are the buffers ``<scope>_scale_<i>`` and ``<scope>_zero_point_<i>``, its weight is packed once and is
  ``<scope>_packed_weight_<i>``;
* before a node that takes floats, ``dequantize`` is called on quantized values, once for each value.

With `is_reference` what has a result of its own (rule "given") is computed in float, between a dequantize and a
quantize.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from octensor import _C, nn
from octensor.graph.graph_module import GraphModule
from octensor.graph.node import Node, map_arg
from octensor.graph.patterns import layer_of
from octensor.graph.rules.movement import gives_several
from octensor.nn.module import Module
from octensor.nn.quantized import _reference
from octensor.nn.weighted import WeightedLayer
from octensor.ops import quantized as qops
from octensor.ops.activation import relu
from octensor.ops.elementwise import add, mul
from octensor.ops.half import to_float16
from octensor.ops.shape import cat
from octensor.qtensor import dequantize, quantize_per_tensor
from octensor.quantization.fx.decide import is_index, where
from octensor.quantization.fx.handlers import ConvReluQuantizeHandler, FixedQParamsOpQuantizeHandler, is_tensor
from octensor.quantization.fx.lifted import Functional, FunctionLayer
from octensor.quantization.fx.packed_weight import PackedWeight
from octensor.quantization.mappings import get_default_float_to_quantized_operator_mappings, no_observer_set
from octensor.tensor import Tensor

_CONV = {kind: function.__name__ for function, kind in ConvReluQuantizeHandler.kinds.items()}
_FIXED = {kind: function for function, kind in FixedQParamsOpQuantizeHandler.kinds.items()}
_REFERENCE = {kind.layer: kind for kind in (_reference.Linear, _reference.Conv1d, _reference.Conv2d, _reference.Conv3d)}
_BINARY = {"add": add, "mul": mul}


class Lowering:
    """One converted graph being lowered, in place.

    Parameters
    ----------
    modules : GraphModule
    is_reference : bool
    """

    def __init__(self, modules: GraphModule, is_reference: bool) -> None:
        self.modules = modules
        self.graph = modules.graph
        self.is_reference = is_reference
        self._quantized: dict[Node, bool] = {}
        self._floats: dict[Node, Node] = {}

    def run(self) -> None:
        """Walk the graph."""
        for node in list(self.graph.nodes):
            step = getattr(self, f"_{node.meta.get('rule', 'float')}")
            with self.graph.inserting_before(node):
                new, quantized = step(node)
            if new is not node:
                new.meta = {**{k: v for k, v in node.meta.items() if k != "call"}, **new.meta}
                node.replace_all_uses_with(new)
                self.graph.erase_node(node)
            self._quantized[new] = quantized
        self.graph.eliminate_dead_code()
        self.modules.delete_all_unused_submodules()
        self.modules.recompile()

    # --- one method for each rule; it returns the node that has the value now, and whether that is quantized ---------
    def _placeholder(self, node: Node) -> tuple[Node, bool]:
        return node, bool(node.meta.get("is_quantized"))

    def _get_attr(self, node: Node) -> tuple[Node, bool]:
        return node, False

    def _reads(self, node: Node) -> tuple[Node, bool]:
        return node, False

    def _same(self, node: Node) -> tuple[Node, bool]:
        quantized = self._first_is_quantized(node) and not is_index(node)
        layer = layer_of(node, self.modules)
        if isinstance(layer, Functional):  # a sum or product with a number
            return self._number(node, layer, quantized), quantized
        if quantized and node.op == "call_method" and node.target == "view":
            node.target = "reshape"  # images are channels-last where they are quantized: a view may not be possible
        return node, quantized

    def _fixed(self, node: Node) -> tuple[Node, bool]:
        quantized = self._first_is_quantized(node)
        layer = layer_of(node, self.modules)
        if layer is not None and "call" in node.meta:
            return self._call(_FIXED[type(layer)], node.args), quantized
        return node, quantized

    def _float(self, node: Node) -> tuple[Node, bool]:
        self._dequantize_inputs(node)
        return node, False

    _inside = _float

    def _weights(self, node: Node) -> tuple[Node, bool]:
        self._dequantize_inputs(node)
        layer = layer_of(node, self.modules)
        if "call" not in node.meta or not isinstance(layer, WeightedLayer):
            return node, False
        if layer.stage == "dynamic":
            function = qops.linear_dynamic if layer.activation is None else qops.linear_relu_dynamic
            return self._call(function, (*node.args, self._packed("linear", layer, node))), False
        return (self._in_float(node, layer), False) if layer.stage == "float" else (node, False)

    def _half(self, node: Node) -> tuple[Node, bool]:
        self._dequantize_inputs(node)
        layer = layer_of(node, self.modules)
        if "call" in node.meta and isinstance(layer, (Functional, FunctionLayer)):
            result = self._in_float(node, layer)
            rounded = self._call(to_float16, (result,))
        else:
            with self.graph.inserting_after(node):
                rounded = self.graph.call_function(to_float16, (node,))
            node.replace_all_uses_with(rounded, lambda user: user is not rounded)
            self._quantized[rounded] = False
            return node, False
        return rounded, False

    def _standalone(self, node: Node) -> tuple[Node, bool]:
        layer: Any = layer_of(node, self.modules)
        for i, arg in enumerate(node.args):
            if i not in layer.input_quantized_idxs and isinstance(arg, Node):
                node.update_arg(i, self._as_float(arg, node))
        return node, 0 in layer.output_quantized_idxs

    def _stub(self, node: Node) -> tuple[Node, bool]:
        layer: Any = layer_of(node, self.modules)
        x, qparams = node.args[0], layer.activation_post_process
        x = self._as_float(x, node)
        if isinstance(qparams, _C.QParams):
            prefix = f"{_as_name(node.meta['for'])}_input_"
            return self._quantize(x, qparams, prefix), True
        return (self._call(to_float16, (x,)) if node.meta.get("is_half") else x), False

    def _given(self, node: Node) -> tuple[Node, bool]:
        layer: Any = layer_of(node, self.modules)
        takes_float = getattr(layer, "takes_float", False)
        if layer.stage == "float" or layer.stage == "weight-only":  # its qconfig finds no parameters
            self._dequantize_inputs(node)
            return (self._in_float(node, layer) if "call" in node.meta else node), False
        if takes_float:
            self._dequantize_inputs(node)
            return node, True
        for value in node.all_input_nodes:
            if is_tensor(value) and not self._quantized[value]:
                raise ValueError(
                    f"convert_fx: {where(node)}: expected a quantized input from {where(value)}, it is float"
                )
        if self.is_reference:
            return self._by_reference(node, layer), True
        if "call" not in node.meta:
            return node, True
        return self._lowered(node, layer), True

    def _output(self, node: Node) -> tuple[Node, bool]:
        kept = node.meta.get("quantized_idxs", ())
        returned = node.args[0]
        if isinstance(returned, (tuple, list)) and not hasattr(returned, "_fields"):
            parts = [v if i in kept else map_arg(v, lambda n: self._as_float(n, node)) for i, v in enumerate(returned)]
            node.args = (type(returned)(parts) if isinstance(returned, tuple) else list(parts),)
        elif 0 not in kept:
            node.args = (map_arg(returned, lambda n: self._as_float(n, node)),)
        return node, False

    # --- making nodes ------------------------------------------------------------------------------------------------
    def _call(self, function: Any, args: Any, kwargs: dict[str, Any] | None = None) -> Node:
        return self.graph.call_function(function, tuple(args), kwargs)

    def _first_is_quantized(self, node: Node) -> bool:
        return next((self._quantized[n] for n in node.all_input_nodes if is_tensor(n)), False)

    def _dequantize_inputs(self, node: Node) -> None:
        for value in node.all_input_nodes:
            node.replace_input_with(value, self._as_float(value, node))

    def _as_float(self, value: Node, user: Node) -> Node:
        """Return the node of a value that is float."""
        if not self._quantized[value]:
            return value
        if value not in self._floats:
            with self.graph.inserting_before(user):
                if gives_several(value) or type(layer_of(value, self.modules)) in no_observer_set():
                    made = self.graph.call_function(dequantize, (value,))
                else:
                    made = self.graph.call_method("dequantize", (value,))
            made.meta = {k: v for k, v in value.meta.items() if k in ("scope", "module", "line")}
            made.meta["rule"] = "float"
            self._floats[value] = made
            self._quantized[made] = False
        return self._floats[value]

    def _buffer(self, prefix: str, value: Any) -> Node:
        """Return the node of a new buffer (or module) of the root."""
        number = 0
        while hasattr(self.modules, f"{prefix}{number}"):
            number += 1
        name = f"{prefix}{number}"
        if isinstance(value, Module):
            self.modules.add_module(name, value)
            return self.graph.get_attr(f"{name}.packed")
        self.modules.register_buffer(name, value)
        return self.graph.get_attr(name)

    def _parameters(self, qparams: _C.QParams, prefix: str) -> tuple[Node, Node]:
        scale = self._buffer(f"{prefix}scale_", Tensor(np.asarray(qparams.scale, np.float32)))
        zero_point = self._buffer(f"{prefix}zero_point_", Tensor(np.asarray(qparams.zero_point, np.int64)))
        return scale, zero_point

    def _quantize(self, x: Node, qparams: _C.QParams, prefix: str) -> Node:
        return self._call(quantize_per_tensor, (x, *self._parameters(qparams, prefix), qparams.dtype))

    def _packed(self, name: str, layer: Any, node: Node) -> Node:
        settings = {} if name == "linear" else _geometry(layer)
        return self._buffer(f"{_scope(node)}_packed_weight_", PackedWeight(name, layer.weight, layer.bias, settings))

    # --- calls -------------------------------------------------------------------------------------------------------
    def _number(self, node: Node, layer: Functional, quantized: bool) -> Node:
        if not quantized:
            return self._in_float(node, layer)
        return self._call(getattr(qops, layer.op), node.args)

    def _lowered(self, node: Node, layer: Any) -> Node:
        """Return the call of a quantized function that a static layer stands for."""
        qparams = layer.activation_post_process
        if isinstance(layer, FunctionLayer):
            return self._quantized_function(node, layer, qparams)
        if isinstance(layer, Functional):
            return self._call(getattr(qops, layer.op), (*node.args, *self._parameters(qparams, f"{_scope(node)}_")))
        if not isinstance(layer, WeightedLayer):
            return node
        name = "linear" if type(layer) is nn.Linear else _CONV[type(layer)]
        function = getattr(qops, name if layer.activation is None else f"{name}_relu")
        packed = self._packed(name, layer, node)
        return self._call(function, (*node.args, packed, *self._parameters(qparams, f"{_scope(node)}_")))

    def _quantized_function(self, node: Node, layer: FunctionLayer, qparams: _C.QParams) -> Node:
        """Return the call of a function of `ops.quantized`; the layer itself where none takes the same settings."""
        function = get_default_float_to_quantized_operator_mappings().get(layer.function)
        settings = {} if function is None else _settings(layer, function)
        if function is None or settings is None:
            return node
        for name in layer.constants:
            settings[name] = self.graph.get_attr(f"{node.target}.{name}")
        settings["output_scale"], settings["output_zero_point"] = self._parameters(qparams, f"{_scope(node)}_")
        return self._call(function, node.args, settings)

    def _in_float(self, node: Node, layer: Any) -> Node:
        """Return the float function that a layer stands for, called on the node's arguments."""
        if isinstance(layer, Functional):
            result = self._call(_BINARY.get(layer.op.partition("_")[0], cat), node.args)
            return self._call(relu, (result,)) if layer.op.endswith("_relu") else result
        if isinstance(layer, FunctionLayer):
            constants = {name: self.graph.get_attr(f"{node.target}.{name}") for name in layer.constants}
            return self._call(layer.function, node.args, {**layer.settings, **constants})
        return node

    def _by_reference(self, node: Node, layer: Any) -> Node:
        """Return the node computed in float, between a dequantize and a quantize."""
        if type(layer) in _REFERENCE and "call" not in node.meta:
            self.modules.add_submodule(str(node.target), _REFERENCE[type(layer)].from_float(layer))
            return node
        if isinstance(layer, WeightedLayer) and "call" not in node.meta:
            return node
        qparams, args = layer.activation_post_process, map_arg(node.args, lambda n: self._as_float(n, node))
        if isinstance(layer, WeightedLayer):
            is_linear = type(layer) is nn.Linear
            weight = self._buffer(f"{_scope(node)}_weight_", layer.weight)
            values: dict[str, Any] = {"weight": self.graph.call_method("dequantize", (weight,)), "bias": None}
            if layer.bias is not None:
                values["bias"] = self._buffer(f"{_scope(node)}_bias_", Tensor(np.asarray(layer.bias)))
            name = "linear" if is_linear else _CONV[type(layer)]
            result = self._call(
                getattr(nn.functional, name), args, {**values, **({} if is_linear else _geometry(layer))}
            )
            if layer.activation is not None:
                result = self._call(relu, (result,))
        elif isinstance(layer, (Functional, FunctionLayer)):
            node.args = args
            result = self._in_float(node, layer)
        else:
            layer.activation_post_process = None
            result = self.graph.call_module(str(node.target), args)
        return self._quantize(result, qparams, f"{_scope(node)}_output_")


def _settings(layer: FunctionLayer, function: Any) -> dict[str, Any] | None:
    """Return the settings of a float function as its quantized form takes them; None where it does not know one."""
    taken, defaults = (inspect.signature(f).parameters for f in (function, layer.function))
    if not {*layer.settings, *layer.constants} <= set(taken):
        return None
    names = [name for name in list(taken)[1:] if not name.startswith("output_") and name not in layer.constants]
    return {name: layer.settings.get(name, defaults[name].default) for name in names if name in defaults}


def _geometry(layer: Any) -> dict[str, Any]:
    names = ("stride", "padding", "dilation", "groups")
    geometry = {name: getattr(layer, name) for name in names}
    if layer.channel_axis:
        geometry["output_padding"] = layer.output_padding
    return geometry


def _as_name(path: str) -> str:
    return path.replace(".", "_")


def _scope(node: Node) -> str:
    return _as_name(node.meta.get("module", ""))
