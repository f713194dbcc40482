"""From the records of an ONNX graph to a `GraphModule`.

Node by node, in the file's order (ONNX sorts them): what depends on constants alone is computed at once; operators
with constant weights become modules of `octensor.nn`, named after their weights, so that prepare and convert find
them; float operators with a counterpart become octensor's functions; everything else becomes a call of the operator's
function (`registry`).
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import nn
from .._C import QParams, QTensor
from ..graph.graph import Graph
from ..graph.graph_module import GraphModule
from ..graph.meta import TensorMeta
from ..graph.node import Node as GraphNode
from ..graph.rules import simplify
from ..graph.rules.drop import merge_duplicates
from ..graph.rules.integer import (
    integer_calls,
    integer_layers,
    integer_tables,
    mean_codes,
    pool_codes,
    split_dequantize,
)
from ..ops import activation, elementwise, matmul
from ..tensor import Tensor
from . import operators  # noqa: F401  (fills the table)
from .dynamic_layers import dynamic_layers
from .folding import Budget
from .makers import MAKERS, item
from .model import GraphRecord, Node
from .operators.quantized import as_qtensor
from .operators.values import array
from .registry import OPERATORS, Operator
from .types import Known, infer

MOST_NAME = 100
# How names of weights end, and what tools add to them that write them quantized.
_WEIGHT = r"[._]?(weight|kernel|W)([._](real|t|dequantized|DequantizeLinear_Output))*$"
MOST_LITERAL = 64  # whole numbers that are written into the graph instead of stored
# Float operators that are octensor's functions as they are, given float32 inputs and no attributes.
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "Add": elementwise.add,
    "Sub": elementwise.sub,
    "Mul": elementwise.mul,
    "Div": elementwise.div,
    "Relu": activation.relu,
    "MatMul": matmul.matmul,
}


class Importer:
    """Builds the graph of one ONNX graph, or of a branch within one.

    Parameters
    ----------
    error : callable
        Makes an error of the file from a text.
    opset : mapping
        Versions of the operator sets by domain.
    constants : mapping
        Values of inputs that are to be constants.
    outer : Importer, optional
        Of the graph that this one is a branch of.
    """

    def __init__(
        self,
        error: Callable[[str], Exception],
        opset: Mapping[str, int],
        constants: Mapping[str, Any],
        outer: Importer | None = None,
    ) -> None:
        self.error = error
        self.opset = opset
        self.fixed = constants
        self.outer = outer
        self.budget: Budget = outer.budget if outer else Budget(0)
        self.graph = Graph()
        self.root: dict[str, Any] = {}
        self.beginnings: set[str] = set()  # of the paths in `root`
        self.numbers: Counter[str] = Counter()  # of names made from a path that was taken
        self.values: dict[str, Any] = {}  # GraphNode, or a constant: ndarray or QTensor
        self.known: dict[str, Known] = {}
        self.captured: list[str] = []
        self.uses: Counter[str] = Counter()
        self.last_placeholder: GraphNode | None = None
        self.words: set[str] = set()  # names of the placeholders
        self.grids: dict[int, QParams] = {}  # of constants that were dequantized, by the id of the array
        self.layer_grids: dict[str, QParams] = {}  # of the weights of layers, by their path
        self.quantized: dict[GraphNode, QParams] = {}  # nodes whose value is a QTensor

    # --- the whole graph ---------------------------------------------------------------------------------------------
    def run(self, record: GraphRecord) -> GraphModule:
        """Return the module of a graph."""
        self.check_operators(record)
        if self.outer is None:
            self.budget = Budget(sum(array(value).nbytes for value in record.initializers.values()))
        for value in record.inputs:
            if value.name in self.fixed:
                self.values[value.name] = np.asarray(self.fixed[value.name])
                continue
            node = self.placeholder(value.name)
            if value.shape is not None and all(isinstance(n, int) for n in value.shape):
                node.meta["tensor"] = TensorMeta(tuple(value.shape), value.dtype or "")  # type: ignore[arg-type]
            self.known[value.name] = Known(value.dtype, None if value.shape is None else len(value.shape))
        self.walk(record)
        results = [self.argument(self.value(o.name), o.name) for o in record.outputs]
        self.graph.output(results[0] if len(results) == 1 else tuple(results))
        self.graph.eliminate_dead_code()
        dynamic_layers(self, item)
        used = {n.target for n in self.graph.nodes if n.op in ("get_attr", "call_module")}
        module = GraphModule(
            {k: v for k, v in self.root.items() if k in used}, self.graph, record.name or "GraphModule"
        )
        module.eval()
        if self.layer_grids or self.quantized:
            to_integers(module, self.layer_grids)
        return module

    def check_operators(self, record: GraphRecord) -> None:
        """Raise for all operators that are not known, with where they occur."""
        missing: dict[str, list[str]] = {}

        def look(graph: GraphRecord) -> None:
            for node in graph.nodes:
                if node.operator not in OPERATORS and node.operator not in ("Constant", "If"):
                    missing.setdefault(node.operator, []).append(node.name or ", ".join(node.outputs))
                for value in node.attributes.values():
                    if isinstance(value, GraphRecord):
                        look(value)

        look(record)
        if missing:
            places = "; ".join(
                f"{name} ({len(where)} times: {', '.join(where[:3])}{', …' if len(where) > 3 else ''})"
                for name, where in sorted(missing.items())
            )
            raise self.error(f"operators that are not known: {places}")

    def walk(self, record: GraphRecord) -> None:
        """Add the nodes of a graph to this one."""
        self.values.update(record.initializers)
        self.uses.update(name for node in record.nodes for name in node.inputs)
        self.uses.update(o.name for o in record.outputs)
        for node in record.nodes:
            for value in node.attributes.values():
                if isinstance(value, GraphRecord):
                    self.uses.update(name for inner in value.nodes for name in inner.inputs)
        for node in record.nodes:
            try:
                self.add(node)
            except (ValueError, TypeError, LookupError, AttributeError, MemoryError, ArithmeticError) as error:
                if getattr(error, "located", False):
                    raise
                located = self.error(f"{node.operator} {node.name or ', '.join(node.outputs)!r:.80}: {error}")
                located.located = True  # type: ignore[attr-defined]
                raise located from None

    # --- values ------------------------------------------------------------------------------------------------------
    def placeholder(self, name: str) -> GraphNode:
        """Add an input."""
        word = chosen = _identifier(name)
        while chosen in self.words:  # "a.b" and "a_b" are one word
            self.numbers[word] += 1
            chosen = f"{word}_{self.numbers[word]}"
        self.words.add(chosen)
        here = self.graph.inserting_after(self.last_placeholder) if self.last_placeholder else None
        if here is None:
            node = self.graph.placeholder(chosen)
        else:
            with here:
                node = self.graph.placeholder(chosen)
        self.last_placeholder = node
        self.values[name] = node
        return node

    def value(self, name: str) -> Any:
        """Return a value by its ONNX name: a node or a constant; from the graph around, if it is of there."""
        if name in self.values:
            return self.values[name]
        if self.outer is None:
            raise self.error(f"the value {name!r:.80} is used before anything computes it")
        value = self.outer.value(name)
        if not isinstance(value, GraphNode):
            return value
        self.captured.append(name)
        self.known[name] = self.outer.known.get(name, Known())
        return self.placeholder(name)

    def known_of(self, name: str) -> Known:
        """Return what is known of a value."""
        value = self.value(name)
        if isinstance(value, GraphNode):
            return self.known.get(name, Known())
        return Known(str(value.dtype).rpartition(".")[2], len(value.shape))

    def argument(self, value: Any, name: str) -> Any:
        """Return how a value stands in the graph: a node, a number, a tuple of numbers, or an attribute."""
        if value is None or isinstance(value, GraphNode):
            return value
        if isinstance(value, np.ndarray):
            if value.dtype == np.int64 and value.ndim <= 1 and value.size <= MOST_LITERAL:
                return tuple(int(v) for v in value) if value.ndim else int(value)
            if value.dtype == np.float32 and value.ndim == 0 and np.isfinite(value):
                return float(value)
        path = self.store(_path(name), Tensor(value) if getattr(value, "dtype", None) == np.float32 else value)
        return self.graph.get_attr(path)

    def store(self, path: str, value: Any) -> str:
        """Keep an attribute or module under a path, or one like it that is free; return the path."""
        chosen = path
        while (chosen in self.root and self.root[chosen] is not value) or self.inside_another(chosen):
            self.numbers[path] += 1  # without dots, so that no other path is the beginning of it
            chosen = f"{path.replace('.', '_')}_{self.numbers[path]}"
        self.root[chosen] = value
        parts = chosen.split(".")
        self.beginnings.update(".".join(parts[:i]) for i in range(1, len(parts)))
        return chosen

    def forget(self, path: str) -> None:
        """Let go of an attribute, so that its path is free."""
        del self.root[path]
        self.beginnings = {".".join(p.split(".")[:i]) for p in self.root for i in range(1, p.count(".") + 1)}

    def inside_another(self, path: str) -> bool:
        """Whether a path leads through, or is the beginning of, another one."""
        parts = path.split(".")
        return path in self.beginnings or any(".".join(parts[:i]) in self.root for i in range(1, len(parts)))

    # --- nodes -------------------------------------------------------------------------------------------------------
    def add(self, node: Node) -> None:
        """Add one node's results to the values."""
        if node.operator == "Constant":
            self.values[node.outputs[0]] = _constant(node)
            return
        if node.operator == "If":
            self.add_if(node)
            return
        operator = OPERATORS[node.operator]
        arguments, keywords = self.bind(operator, node)
        constant = not any(isinstance(a, GraphNode) for a in (*arguments, *keywords.values()))
        folded = self.budget.compute(node.operator, operator.function, arguments, keywords) if constant else None
        if folded is not None:
            result = _as_constants(folded)
            if node.operator == "DequantizeLinear" and not keywords.get("block_size"):
                codes, scale, zero_point = (*arguments, None)[:3]
                quantized = as_qtensor("DequantizeLinear", codes, scale, zero_point, keywords.get("axis", 1))
                self.grids[id(result)] = quantized.qparams
            self.finish(node, result)
            return
        maker = MAKERS.get(node.operator) if not constant and self.budget.copies(arguments) else None
        result = maker(self, node, arguments, keywords) if maker else None
        if result is None:
            result = self.call(operator, node, arguments, keywords)
        self.finish(node, result)

    def bind(self, operator: Operator, node: Node) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of an operator's function for one node."""
        arguments = [self.value(name) if name else None for name in node.inputs]
        while arguments and arguments[-1] is None:
            arguments.pop()
        if not operator.variadic and len(arguments) > len(operator.inputs):
            raise ValueError(f"expected at most {len(operator.inputs)} inputs, got {len(arguments)}")
        keywords: dict[str, Any] = {}
        for name, value in node.attributes.items():
            if name in operator.attributes:
                keywords[name] = value
            elif name in operator.inputs:  # an input that used to be an attribute
                place = operator.inputs.index(name)
                arguments.extend([None] * (place + 1 - len(arguments)))
                arguments[place] = np.asarray(value, np.float32 if isinstance(value, float) else None)
            elif name not in operator.ignored:
                raise ValueError(f"the attribute {name!r:.40} is not known")
        if operator.needs_opset:
            keywords["opset"] = self.opset.get("", 1)
        if "outputs" in operator.attributes:
            keywords["outputs"] = len(node.outputs)
        return arguments, keywords

    def call(self, operator: Operator, node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        """Add a call of an operator's function, or of octensor's own."""
        function = operator.function
        own = FUNCTIONS.get(node.operator)
        if own is not None and all(self.known_of(n).dtype == "float32" for n in node.inputs if n):
            function = own
        placed = [self.argument(a, n) for a, n in zip(arguments, [*node.inputs, *[node.name] * 8], strict=False)]
        result = self.graph.call_function(function, tuple(placed), keywords)
        result.meta["onnx"] = node.name
        return result

    def finish(self, node: Node, result: Any) -> None:
        """Give the results of a node their names."""
        second = self.value(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] else None
        constant = second if isinstance(second, np.ndarray) else None
        first = infer(node.operator, [self.known_of(n) for n in node.inputs if n], node.attributes, constant)
        if len(node.outputs) == 1 or (isinstance(result, GraphNode) and not any(node.outputs[1:])):
            if isinstance(result, tuple):
                result = result[0]
            elif isinstance(result, GraphNode) and node.operator in ("LSTM", "GRU", "RNN", "TopK", "Split", "If"):
                result = self.graph.call_function(item, (result, 0))
            self.values[node.outputs[0]] = result
            self.known[node.outputs[0]] = first
            return
        for i, name in enumerate(node.outputs):
            if name:
                part = self.graph.call_function(item, (result, i)) if isinstance(result, GraphNode) else result[i]
                self.values[name] = part
                self.known[name] = first if i == 0 or node.operator == "Split" else Known()

    def module(self, node: Node, weight: str, layer: nn.Module, *arguments: Any) -> GraphNode:
        """Add a call of a layer; it is named after its weight, or after the node."""
        stem = re.sub(_WEIGHT, "", weight)
        path = self.store(_path(stem if "." in stem or stem else node.name), layer.eval())
        placed = tuple(self.argument(a, node.name) for a in arguments)
        result = self.graph.call_module(path, placed)
        result.meta["onnx"] = node.name
        return result

    def note_grid(self, node: GraphNode, weight: np.ndarray, transposed: bool = False) -> GraphNode:
        """Remember the grid of a layer's weight, if it is on one."""
        grid = self.grids.get(id(weight))
        if grid is not None:
            if transposed and grid.is_per_channel:
                zeros = np.asarray(grid.zero_point).astype(np.int64)
                grid = QParams(np.asarray(grid.scale, np.float64), zeros, grid.dtype, 1 - grid.axis)
            self.layer_grids[str(node.target)] = grid
        return node

    def add_if(self, node: Node) -> None:
        """Take the branch that a constant condition chooses; else keep both, as modules."""
        condition = self.value(node.inputs[0])
        branches = {True: node.attributes["then_branch"], False: node.attributes["else_branch"]}
        if not isinstance(condition, GraphNode):
            record = branches[bool(np.asarray(condition).reshape(()))]
            inner = dict(self.values)
            self.walk(record)
            results = [self.value(o.name) for o in record.outputs]
            known = [self.known_of(o.name) for o in record.outputs]
            for name in set(self.values) - set(inner):
                del self.values[name]
            for name, value, k in zip(node.outputs, results, known, strict=True):
                self.values[name], self.known[name] = value, k
            return
        parts: list[Any] = []
        arguments: list[Any] = []
        for record in branches.values():
            importer = Importer(self.error, self.opset, {}, self)
            parts.append((importer.run(record), len(importer.captured)))
            arguments.extend(self.argument(self.value(name), name) for name in importer.captured)
        (then, count), (otherwise, _) = parts
        path = self.store(_path(node.name or node.outputs[0]), _If(then, otherwise, count, len(node.outputs)))
        self.finish(node, self.graph.call_module(path, (condition, *arguments)))


def to_integers(module: GraphModule, grids: Mapping[str, QParams]) -> None:
    """Let layers and calls between a dequantize and a quantize run in integers."""
    module.graph.eliminate_dead_code()
    merge_duplicates(module)
    split_dequantize(module)
    while integer_layers(module, grids) + integer_calls(module) + pool_codes(module):
        split_dequantize(module)
    while integer_tables(module) + mean_codes(module):  # behind the layers, which take a ReLU in
        pass
    simplify(module)


class _If(nn.Module):
    """Runs one of two graphs, by a condition that is known when the model runs."""

    def __init__(self, then: GraphModule, otherwise: GraphModule, count: int, outputs: int) -> None:
        super().__init__()
        self.then, self.otherwise = then, otherwise
        self.count, self.outputs = count, outputs

    def forward(self, condition: Any, *values: Any) -> tuple[Any, ...]:
        """Return the outputs of the branch as a tuple."""
        chosen = bool(np.asarray(condition).reshape(()))
        result = self.then(*values[: self.count]) if chosen else self.otherwise(*values[self.count :])
        return result if self.outputs > 1 else (result,)


def _constant(node: Node) -> Any:
    for name, value in node.attributes.items():
        match name:
            case "value":
                return value
            case "value_float":
                return np.array(value, np.float32)
            case "value_floats":
                return np.array(value, np.float32)
            case "value_int" | "value_ints":
                return np.array(value, np.int64)
    raise ValueError(f"expected a value of numbers, got {sorted(node.attributes)}")


def _as_constants(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(_as_constants(part) for part in result)
    return result if isinstance(result, QTensor) else np.asarray(result)


def _identifier(name: str) -> str:
    word = re.sub(r"\W", "_", name, flags=re.ASCII) or "x"
    return f"x_{word}" if word[0].isdigit() or word == "self" or keyword.iskeyword(word) else word[:MOST_NAME]


def _path(name: str) -> str:
    parts = [re.sub(r"\W", "_", part, flags=re.ASCII) for part in re.split(r"[./]", name)]
    kept = [part.strip("_")[:MOST_NAME] for part in parts]
    kept = [f"{part}_" if _is_taken(part) else part for part in kept if part]
    if not kept:
        return "constant"
    if kept[-1][0].isdigit() and len(kept) == 1:
        kept[-1] = f"n{kept[-1]}"
    return ".".join(kept)


def _is_taken(name: str) -> bool:
    """Whether a name means something to Python or to modules."""
    return keyword.iskeyword(name) or hasattr(GraphModule, name) or name in vars(_PLAIN)


_PLAIN = nn.Module()
