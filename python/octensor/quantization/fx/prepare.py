"""`prepare_fx`: which calls are quantized, and where a float tensor becomes quantized.

1. The model is traced and fused.
2. Every node gets its rule (`decide`). What cannot be quantized as its qconfig says has the rule "float".
3. A call of a function of rule "given" is replaced by a layer (`lifted`).
4. Layers of rule "given" get observers or fake quantizers into their own slots, by `prepare.add_observer_`.
5. In the order of the graph: where a "given" node takes a tensor that is not quantized, a `QuantStub` is put before it.
   A tensor has one stub for all who want it quantized alike; the value of a "given" node has been observed already.

What is decided is noted for `convert_fx` in ``node.meta["rule"]``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from octensor import _C
from octensor.graph.graph_module import GraphModule
from octensor.graph.node import Node
from octensor.graph.patterns import layer_of, layered
from octensor.nn.module import Module
from octensor.quantization.convert import swapped_for
from octensor.quantization.fx.custom_config import PrepareCustomConfig
from octensor.quantization.fx.decide import (
    Decision,
    activation_dtype,
    decide,
    is_index,
    quant_type_of,
    takes_weights,
    where,
)
from octensor.quantization.fx.graph_modules import Prepared
from octensor.quantization.fx.handlers import (
    DropoutQuantizeHandler,
    get_default_output_activation_post_process_map,
    get_default_quant_patterns,
    is_tensor,
)
from octensor.quantization.fx.qconfig_mapping import QConfigMapping
from octensor.quantization.mappings import no_observer_set
from octensor.quantization.prepare import add_observer_, propagate_qconfig_
from octensor.quantization.qconfig import QConfig
from octensor.quantization.quant_type import QuantType
from octensor.quantization.stubs import QuantStub


class Preparation:
    """One model being prepared.

    Parameters
    ----------
    modules : GraphModule
        Traced and fused; it is changed.
    mapping : QConfigMapping
    config : PrepareCustomConfig
    custom : tuple of type
        Classes of observed custom modules.
    """

    def __init__(
        self, modules: GraphModule, mapping: QConfigMapping, config: PrepareCustomConfig, custom: tuple[type, ...]
    ) -> None:
        self.modules = modules
        self.mapping = mapping
        self.config = config
        self.custom = custom
        table = layered(config.additional_quant_pattern, get_default_quant_patterns())
        self.decisions = decide(modules, mapping, table, custom)
        self._stubs: dict[Node, list[tuple[Any, Node]]] = {}
        self._dtypes: dict[Node, Any] = {}

    def run(self) -> None:
        """Do all steps."""
        self._swap_for_training()
        self._lift()
        self._fill_slots()
        self._place_stubs()
        for node in [n for n in self.modules.graph.nodes if n.op == "get_attr" and not n.users]:
            self.modules.graph.erase_node(node)
            del self.decisions[node]
        for node, decision in self.decisions.items():
            node.meta["rule"] = decision.rule
            if self._dtypes[node] is np.float16:
                node.meta["is_half"] = True
        self.modules.recompile()

    # --- layers ------------------------------------------------------------------------------------------------------
    def _swap_for_training(self) -> None:
        """Replace layers by those of ``additional_qat_module_mapping``."""
        mapping = self.config.additional_qat_module_mapping
        if not mapping or not self.modules.training:
            return
        for node, decision in self.decisions.items():
            layer = layer_of(node, self.modules)
            if layer is not None and decision.qconfig is not None and type(layer) in mapping:
                layer.qconfig = decision.qconfig
                new = swapped_for(layer, mapping, {})
                if new is not None:
                    self.modules.add_submodule(str(node.target), new.train(layer.training))

    def _lift(self) -> None:
        """Put layers in the place of functions that are quantized."""
        for node, (rule, _, handler) in list(self.decisions.items()):
            if rule in ("given", "fixed", "weights", "half") or isinstance(handler, DropoutQuantizeHandler):
                self._lift_one(node)

    def _lift_one(self, node: Node) -> Node:
        """Put a layer in the place of one call, if its handler has one for it; return the node it is now."""
        rule, qconfig, handler = self.decisions[node]
        lifted = None if handler is None else handler.lift()
        if handler is None or lifted is None:
            return node
        layer, args = lifted
        graph = self.modules.graph
        path = self._free(f"{node.name}")
        self.modules.add_submodule(path, layer.train(self.modules.training))
        with graph.inserting_before(node):
            new = graph.create_node("call_module", path, args, {}, name=node.name)
        new.meta = {**node.meta, "call": handler.match.first.name}
        node.replace_all_uses_with(new)
        for old in handler.match.nodes:
            graph.erase_node(old)
            del self.decisions[old]
        new.name = node.name  # which is free again
        self.decisions[new] = Decision(rule, qconfig, handler)
        return new

    def _free(self, name: str) -> str:
        """Return a name that the root has no attribute of."""
        number, free = 0, name
        while hasattr(self.modules, free):
            number, free = number + 1, f"{name}_{number}"
        return free

    def _fill_slots(self) -> None:
        """Give layers their qconfigs, and observers or fake quantizers to those that are observed."""
        factories = get_default_output_activation_post_process_map()
        for node, (rule, qconfig, handler) in self.decisions.items():
            layer = layer_of(node, self.modules)
            if layer is None or isinstance(layer, Prepared):
                continue
            if rule in ("given", "fixed", "half", "weights"):
                layer.qconfig = qconfig
            elif rule == "float":
                self._inside(layer, str(node.target))
            if type(layer) in no_observer_set():
                if rule == "given":
                    propagate_qconfig_(layer)
                    self._observe(layer, node)
                continue
            if isinstance(layer, self.custom):
                if rule == "given":
                    layer.activation_post_process = qconfig.activation()  # type: ignore[union-attr]
                continue
            if rule in ("given", "half", "fixed") and not _is_filled(layer):
                self._observe(layer, node)
                if handler is not None and handler.match.pattern in factories and rule == "given":
                    layer.activation_post_process = factories[handler.match.pattern]().train(layer.training)
            elif rule == "weights" and not _is_filled(layer) and quant_type_of(qconfig) is QuantType.QAT:
                self._observe(layer, node)

    def _inside(self, layer: Module, path: str) -> None:
        """Give the parts of a layer that is not looked into their qconfigs, where only weights are quantized."""
        for name, part in layer.named_modules():
            found = self.mapping.of_module(f"{path}.{name}", type(part)) if name else None
            if found is not None and takes_weights(type(part), found):
                part.qconfig = found.qconfig

    def _observe(self, layer: Module, node: Node) -> None:
        try:
            add_observer_(layer)
        except ValueError as error:
            raise ValueError(f"prepare_fx: {where(node)}: {error}") from None

    # --- stubs -------------------------------------------------------------------------------------------------------
    def _place_stubs(self) -> None:
        """Put stubs where a float tensor is wanted quantized."""
        inputs = [n for n in self.modules.graph.nodes if n.op == "placeholder"]
        for node in list(self.modules.graph.nodes):
            if node not in self.decisions:  # lifted with the one before it
                continue
            rule, qconfig, _ = self.decisions[node]
            dtype = activation_dtype(qconfig) if rule in ("given", "half") else None
            if rule == "placeholder":
                dtype = _C.quint8 if inputs.index(node) in self.config.input_quantized_idxs else None
                node.meta["is_quantized"] = dtype is not None
            elif (
                rule == "given" and not getattr(layer_of(node, self.modules), "takes_float", False)
            ) or rule == "half":
                self._quantize(node, node.all_input_nodes, qconfig, dtype)
            elif rule == "standalone":
                dtype = self._standalone(node, qconfig)
            elif rule == "number":
                node, dtype = self._number(node, qconfig)
            elif rule in ("same", "fixed"):
                dtype = next((self._dtypes[n] for n in node.all_input_nodes if is_tensor(n)), None)
                if is_index(node):
                    dtype = None
                if rule == "fixed" and self.modules.training and dtype is None:
                    self._empty(node)
            elif rule == "output":
                self._outputs(node)
            self._dtypes[node] = dtype

    def _quantize(self, user: Node, values: list[Node], qconfig: QConfig | None, dtype: Any) -> None:
        """Let a node take tensors quantized with a qconfig."""
        for value in values:
            if is_tensor(value) and self._dtypes[value] != dtype:
                user.replace_input_with(value, self._stub(value, user, qconfig))

    def _stub(self, value: Node, user: Node, qconfig: QConfig | None) -> Node:
        assert qconfig is not None
        stubs = self._stubs.setdefault(value, [])
        for factory, stub in stubs:
            if factory == qconfig.activation:
                return stub
        path = self._free(f"{value.name}_activation_post_process_{len(stubs)}")
        layer = QuantStub(qconfig).train(self.modules.training)
        self._observe(layer, value)
        self.modules.add_submodule(path, layer)
        graph = self.modules.graph
        with graph.inserting_before(user):
            stub = graph.call_module(path, (value,))
        notes = ("scope", "module") if value.op == "placeholder" else ("scope", "module", "line")
        stub.meta = {key: note for key, note in value.meta.items() if key in notes}
        stub.meta["for"] = str(user.target) if user.op == "call_module" else user.name
        half = activation_dtype(qconfig) is np.float16
        self.decisions[stub] = Decision("stub", qconfig, None)
        self._dtypes[stub] = np.float16 if half else layer.activation_post_process.dtype
        stubs.append((qconfig.activation, stub))
        return stub

    def _empty(self, node: Node) -> None:
        """Take the fake quantizer from a layer whose input, and therefore output, is float."""
        layer = layer_of(node, self.modules)
        if layer is not None:
            layer.activation_post_process = None

    def _number(self, node: Node, qconfig: QConfig | None) -> tuple[Node, Any]:
        """Settle a sum or product with a number: a layer if the tensor is quantized, else it stays as it is."""
        handler = self.decisions[node].handler
        assert handler is not None
        dtype = next((self._dtypes[n] for n in handler.match.first.all_input_nodes if is_tensor(n)), None)
        if isinstance(dtype, _C.dtype):
            node = self._lift_one(node)
        else:
            dtype = None
        for part in handler.match.nodes if dtype is None else (node,):
            self.decisions[part] = Decision("same" if dtype is not None else "float", qconfig, handler)
            self._dtypes[part] = dtype
        return node, dtype

    def _standalone(self, node: Node, qconfig: QConfig | None) -> Any:
        layer = layer_of(node, self.modules)
        assert isinstance(layer, Prepared)
        wanted = [node.args[i] for i in layer.input_quantized_idxs if i < len(node.args)]
        if wanted:
            self._quantize(node, wanted, layer.qconfig or qconfig, _C.quint8)
        return _C.quint8 if 0 in layer.output_quantized_idxs else None

    def _outputs(self, node: Node) -> None:
        returned = node.args[0]
        node.meta["quantized_idxs"] = tuple(self.config.output_quantized_idxs)
        values = list(returned) if isinstance(returned, (tuple, list)) else [returned]
        for i in self.config.output_quantized_idxs:
            if i >= len(values) or not is_tensor(values[i]):
                raise ValueError(
                    f"prepare_fx: output_quantized_idxs: expected indices of the {len(values)} outputs, got {i}"
                )
            if self._dtypes[values[i]] is None:
                qconfig = self.decisions[values[i]].qconfig or self.mapping.global_qconfig
                if not isinstance(activation_dtype(qconfig), _C.dtype):
                    raise ValueError(
                        f"prepare_fx: output_quantized_idxs: output {i} is float ({where(values[i])}) and its qconfig "
                        "quantizes no activations"
                    )
                values[i] = self._stub(values[i], node, qconfig)
        if isinstance(returned, (tuple, list)):
            node.args = (type(returned)(values) if not hasattr(returned, "_fields") else type(returned)(*values),)
        else:
            node.args = (values[0],)


def _is_filled(layer: Module) -> bool:
    return any(layer._modules.get(slot) is not None for slot in layer.slots)
