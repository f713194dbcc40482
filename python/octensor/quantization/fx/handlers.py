"""What graph mode knows about every layer and function: `QuantizeHandler`s, and the table from patterns to them.

A handler says by its `rule` where the values of a node come from in a quantized model:

======= ===================================================== =====================================================
rule    the node                                              examples
======= ===================================================== =====================================================
given   takes quantized tensors; its result is observed       convolutions, linear layers, norms, sums, ELU
same    takes what comes; hands the parameters on             pools, ReLU, reshape, x[0]
fixed   as same, but the parameters are constants of the op   sigmoid, tanh
float   takes and returns float tensors                       softmax, embeddings, LSTM, everything unknown
reads   takes what comes; returns no quantized tensor         x.shape, x.size(), comparisons
======= ===================================================== =====================================================

For layers this is their `output_rule`; the table has a row for each of octensor's classes. A row of its own for a
function is all that a new op needs; `lift` gives the layer that stands for a call (see `lifted`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from octensor import nn
from octensor.graph.graph_module import GraphModule
from octensor.graph.node import Node
from octensor.graph.patterns import Match, MatchAllNode, Pattern, called, layer_of, layered, put_first
from octensor.nn import functional as F
from octensor.nn.embedding import EmbeddingTable
from octensor.nn.module import Module
from octensor.nn.observed import ObservedLayer
from octensor.nn.projection import ProjectingLayer
from octensor.nn.weighted import WeightedLayer
from octensor.ops import OPS, elementwise, matmul, reduce, shape
from octensor.quantization.fx.lifted import (
    Functional,
    FunctionLayer,
    arguments,
    is_constant,
    value_of,
    weighted_layer,
)
from octensor.quantization.stubs import QuantStub


class QuantizeHandler:
    """What becomes of the nodes that a pattern matched.

    Derive from it and register the class for a pattern to teach graph mode a layer or function of your own.

    Attributes
    ----------
    rule : str
        See the table at the head of this file.
    int8 : bool
        Whether there is a quantized form; without one the node stays float under an integer qconfig.
    float16 : bool
        Whether `float16_static_qconfig` rounds the result to float16.

    Parameters
    ----------
    match : Match
    modules : GraphModule
    """

    rule: ClassVar[str] = "given"
    int8: ClassVar[bool] = True
    float16: ClassVar[bool] = False

    def __init__(self, match: Match, modules: GraphModule) -> None:
        self.match = match
        self.modules = modules

    @property
    def layer(self) -> Module | None:
        """The layer that the first node calls; None for functions."""
        return layer_of(self.match.first, self.modules)

    def accepts(self) -> bool:
        """Whether these nodes can be handled as they are; otherwise the next pattern is tried."""
        return True

    def lift(self) -> tuple[Module, tuple[Any, ...]] | None:
        """Return a layer for matched functions, and its arguments; None if they are left as they are."""
        return None

    def has_relu(self) -> bool:
        """Whether the match ends in a ReLU."""
        last = self.match.last
        return called(last) is F.relu or type(layer_of(last, self.modules)) is nn.ReLU


class BinaryOpQuantizeHandler(QuantizeHandler):
    """Sums and products; of a tensor and a number, whose result needs no observer."""

    float16 = True

    def _operands(self) -> tuple[Any, Any]:
        given = arguments(self.match.first, _FUNCTIONS[self._op])
        return given["input"], given["other"]

    @property
    def _op(self) -> str:
        return "add" if called(self.match.first) is elementwise.add else "mul"

    def accepts(self) -> bool:
        """Refuse ``alpha``, and two numbers."""
        first = self.match.first
        return not first.kwargs.get("alpha") and len(first.args) == 2 and any(map(is_tensor, first.args))

    @property
    def is_scalar(self) -> bool:
        """Whether one operand is a number."""
        return not all(map(is_tensor, self._operands()))

    def lift(self) -> tuple[Module, tuple[Any, ...]] | None:
        """Return a `Functional`; a number comes second."""
        a, b = self._operands()
        relu = "_relu" if self.has_relu() else ""
        if not self.is_scalar:
            return Functional(self._op + relu), (a, b)
        return Functional(f"{self._op}_scalar{relu}"), (a, b) if is_tensor(a) else (b, a)


class CatQuantizeHandler(QuantizeHandler):
    """Concatenations."""

    def lift(self) -> tuple[Module, tuple[Any, ...]]:
        """Return a `Functional`."""
        given = arguments(self.match.first, shape.cat)
        return Functional("cat"), (given["tensors"], given.get("dim", 0))


class WeightedQuantizeHandler(QuantizeHandler):
    """Convolutions and linear layers, and their functions where weight and bias are parameters."""

    kinds: ClassVar[dict[Any, type[Module]]]

    def accepts(self) -> bool:
        """Refuse functions whose weight is computed."""
        node = self.match.first
        if self.layer is not None:
            return True
        return all(is_constant(v) for k, v in arguments(node, called(node)).items() if k != "input")

    def lift(self) -> tuple[Module, tuple[Any, ...]] | None:
        """Return the layer that the function is."""
        if self.layer is not None:
            return None
        function, training = called(self.match.first), self.modules.training
        given = arguments(self.match.first, function)
        x = given.pop("input")
        values = {name: value_of(value, self.modules) for name, value in given.items()}
        activation = nn.ReLU().train(training) if self.has_relu() else None
        return weighted_layer(self.kinds[function], values, activation, training), (x,)


class LinearReLUQuantizeHandler(WeightedQuantizeHandler):
    """`nn.Linear`, `F.linear`, each with a ReLU too."""

    float16 = True
    kinds: ClassVar[dict[Any, type[Module]]] = {F.linear: nn.Linear}


class ConvReluQuantizeHandler(WeightedQuantizeHandler):
    """Convolutions, plain and transposed, of 1, 2 and 3 axes, plain ones with a ReLU too."""

    kinds: ClassVar[dict[Any, type[Module]]] = {
        F.conv1d: nn.Conv1d,
        F.conv2d: nn.Conv2d,
        F.conv3d: nn.Conv3d,
        F.conv_transpose1d: nn.ConvTranspose1d,
        F.conv_transpose2d: nn.ConvTranspose2d,
        F.conv_transpose3d: nn.ConvTranspose3d,
    }


class BatchNormQuantizeHandler(QuantizeHandler):
    """Batch norms that were not folded, with a ReLU too."""


class DefaultNodeQuantizeHandler(QuantizeHandler):
    """Norms and activations whose result has a range of its own."""

    float16 = True

    def accepts(self) -> bool:
        """Refuse functions whose weight is computed."""
        node = self.match.first
        if self.layer is not None:
            return True
        given = arguments(node, called(node))
        return is_tensor(given["input"]) and all(is_constant(v) for k, v in given.items() if k != "input")

    def lift(self) -> tuple[Module, tuple[Any, ...]] | None:
        """Return a `FunctionLayer`."""
        if self.layer is not None:
            return None
        function = called(self.match.first)
        given = arguments(self.match.first, function)
        x = given.pop("input")
        settings = {k: value_of(v, self.modules) for k, v in given.items() if v is not None and k != "inplace"}
        return FunctionLayer(function, settings).train(self.modules.training), (x,)


class FixedQParamsOpQuantizeHandler(QuantizeHandler):
    """Activations whose range is known."""

    rule = "fixed"
    float16 = True
    kinds: ClassVar[dict[Any, type[Module]]] = {
        F.sigmoid: nn.Sigmoid,
        F.hardsigmoid: nn.Hardsigmoid,
        F.tanh: nn.Tanh,
    }

    def lift(self) -> tuple[Module, tuple[Any, ...]] | None:
        """Return the layer where it has a slot to fill: in training."""
        if self.layer is not None or not self.modules.training:
            return None
        function = called(self.match.first)
        return self.kinds[function]().train(True), (arguments(self.match.first, function)["input"],)


class CopyNodeQuantizeHandler(QuantizeHandler):
    """Ops that hand on the parameters of their input."""

    rule = "same"


class DropoutQuantizeHandler(CopyNodeQuantizeHandler):
    """``F.dropout``: in training a layer, which knows when training has ended."""

    def lift(self) -> tuple[Module, tuple[Any, ...]] | None:
        """Return `nn.Dropout`."""
        given = arguments(self.match.first, F.dropout)
        if not self.modules.training or not given.get("training", True):
            return None
        return nn.Dropout(given.get("p", 0.5)), (given["input"],)


class EmbeddingQuantizeHandler(QuantizeHandler):
    """Tables with quantized rows: weight-only."""

    rule = "float"


class RNNDynamicQuantizeHandler(QuantizeHandler):
    """Recurrent layers and attention: dynamic."""

    rule = "float"


class FloatHandler(QuantizeHandler):
    """Ops without a quantized form that float16 holds for."""

    rule = "float"
    int8 = False
    float16 = True


class ReadingHandler(QuantizeHandler):
    """What looks at a tensor and returns something else."""

    rule = "reads"


def is_tensor(argument: Any) -> bool:
    """Whether an argument is the node of a tensor (and not of a size or another number)."""
    return isinstance(argument, Node) and not argument.meta.get("is_number")


# --- the table ------------------------------------------------------------------------------------------------------

_FUNCTIONS = {"add": elementwise.add, "mul": elementwise.mul}
_SAME = {"cat", "leaky_relu"}  # have rows of their own
_READING = "size dim numel nelement stride eq ne lt le gt ge equal is_contiguous item"


def _layers() -> dict[Pattern, type[QuantizeHandler]]:
    """Rows for all layers, from what their classes say."""
    found: dict[Pattern, type[QuantizeHandler]] = {QuantStub: QuantizeHandler}
    for name in nn.__all__:
        kind = getattr(nn, name)
        if not (isinstance(kind, type) and issubclass(kind, Module)) or kind.__module__.endswith((".loss", ".module")):
            continue
        if issubclass(kind, WeightedLayer):
            found[kind] = LinearReLUQuantizeHandler if kind is nn.Linear else ConvReluQuantizeHandler
        elif issubclass(kind, nn.batchnorm.BatchNormLayer):
            found[kind] = BatchNormQuantizeHandler
        elif issubclass(kind, EmbeddingTable):
            found[kind] = EmbeddingQuantizeHandler
        elif issubclass(kind, ProjectingLayer):
            found[kind] = RNNDynamicQuantizeHandler
        elif kind.output_rule == "fixed":
            found[kind] = FixedQParamsOpQuantizeHandler
        elif issubclass(kind, ObservedLayer) and kind.output_rule == "given":
            found[kind] = DefaultNodeQuantizeHandler
        elif kind.output_rule == "same" and _is_layer(kind):
            found[kind] = CopyNodeQuantizeHandler
    return found


def _is_layer(kind: type[Module]) -> bool:
    return kind.__module__.rpartition(".")[2] in ("activation", "pooling", "resize", "dropout", "flatten", "linear")


def _functions() -> dict[Pattern, type[QuantizeHandler]]:
    """Rows for functions; those for ops whose parameters follow from the input's come from what the ops say."""
    found: dict[Pattern, type[QuantizeHandler]] = {}
    function: Any
    for function in (elementwise.add, elementwise.mul):
        for relu in (nn.ReLU, F.relu):
            found[relu, function] = BinaryOpQuantizeHandler
    for handler in (LinearReLUQuantizeHandler, ConvReluQuantizeHandler):
        for function in handler.kinds:
            if "transpose" not in function.__name__:
                found[nn.ReLU, function] = found[F.relu, function] = handler
            found[function] = handler
    found[elementwise.add] = found[elementwise.mul] = BinaryOpQuantizeHandler
    found[shape.cat] = CatQuantizeHandler
    for function in FixedQParamsOpQuantizeHandler.kinds:
        found[function] = FixedQParamsOpQuantizeHandler
    for name, spec in OPS.items():
        if spec.function is None or spec.function in found or spec.quantized is None:
            continue
        if spec.output_qparams == "given" and not name.endswith("_relu"):
            found[spec.function] = DefaultNodeQuantizeHandler
        elif spec.output_qparams == "same" and name not in _SAME:
            found[spec.function] = CopyNodeQuantizeHandler
    for function in (F.leaky_relu, F.celu, F.selu):
        found[function] = DefaultNodeQuantizeHandler
    composed = (
        "view view_as flatten squeeze unsqueeze transpose t split chunk select narrow unbind sort topk "
        "repeat_interleave max min clone contiguous detach"
    )
    for name in composed.split():
        found[name] = CopyNodeQuantizeHandler
    for function in (F.channel_shuffle, F.pixel_shuffle, F.pixel_unshuffle):
        found[function] = CopyNodeQuantizeHandler
    found[F.dropout] = DropoutQuantizeHandler
    for function in (elementwise.sub, elementwise.div, reduce.sum, matmul.bmm, matmul.matmul):
        found[function] = FloatHandler
    for name in _READING.split():
        found[name] = ReadingHandler
    found[getattr] = ReadingHandler
    return found


_REGISTERED: dict[Pattern, type[QuantizeHandler]] = {}
_DEFAULT = {**_functions(), **_layers()}
_OUTPUT_POST_PROCESS: dict[Pattern, Any] = {}


def register_quant_pattern(
    pattern: Pattern, output_activation_post_process: Any = None
) -> Callable[[type[QuantizeHandler]], type[QuantizeHandler]]:
    """Return a decorator that makes a class the handler of a pattern, before all that is there already.

    Parameters
    ----------
    pattern
        See `patterns`.
    output_activation_post_process
        A factory of what observes the result, in the place of ``qconfig.activation``.
    """

    def register(handler: type[QuantizeHandler]) -> type[QuantizeHandler]:
        put_first(_REGISTERED, pattern, handler)
        if output_activation_post_process is not None:
            _OUTPUT_POST_PROCESS[pattern] = output_activation_post_process
        return handler

    return register


def get_default_quant_patterns() -> dict[Pattern, type[QuantizeHandler]]:
    """Return {pattern: handler}, in the order in which they are tried."""
    return layered(_REGISTERED, _DEFAULT)


def get_default_output_activation_post_process_map() -> dict[Pattern, Any]:
    """Return {pattern: factory of what observes the result in training}, where it is not that of the qconfig."""
    from octensor.quantization.prepare import FIXED_FAKE_QUANTS

    kinds = FixedQParamsOpQuantizeHandler.kinds
    functions = {function: FIXED_FAKE_QUANTS[kind] for function, kind in kinds.items()}
    return {**FIXED_FAKE_QUANTS, **functions, **_OUTPUT_POST_PROCESS}


__all__ = [
    "MatchAllNode",
    "QuantizeHandler",
    "get_default_output_activation_post_process_map",
    "get_default_quant_patterns",
    "register_quant_pattern",
]
