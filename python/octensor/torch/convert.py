"""`from_torch`: the graph that torch.fx traces, node by node."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import no_grad
from ..graph.graph import Graph
from ..graph.graph_module import GraphModule
from ..graph.interpreter import ShapeProp
from ..tensor import Tensor
from . import functions, layers
from .layers import Unknown, array_of

RELATIVE = 1e-3


def from_torch(module: Any, example_inputs: Any, *, check: bool = True) -> GraphModule:
    """Return a graph model that does what a `torch.nn.Module` does in eval mode, on the same weights.

    The module is traced by torch.fx. Its layers become layers of `octensor.nn` under the same paths and share their
    memory with torch's; functions and methods become octensor's. The result runs in float, and `prepare_fx`,
    `quantize_dynamic` and `compile` take it.

    Parameters
    ----------
    module : torch.nn.Module
        It is switched to eval mode while this runs.
    example_inputs : tuple, or one torch.Tensor
        What both models are run on: shapes become known, and outputs are compared.
    check : bool
        Whether to compare the outputs (to 1e-3 of their largest value).

    Raises
    ------
    ValueError
        If there are parts that octensor has not: all are named with their paths; if torch.fx cannot trace the module;
        if the outputs differ.
    """
    import torch
    import torch.fx

    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"from_torch: module: expected a torch.nn.Module, got {type(module).__name__}")
    example = tuple(example_inputs) if isinstance(example_inputs, (tuple, list)) else (example_inputs,)
    if not all(isinstance(x, torch.Tensor) for x in example):
        raise TypeError("from_torch: example_inputs: expected torch tensors")
    training = {m: m.training for m in module.modules()}
    module.eval()
    try:
        try:
            traced = _trace(module)
        except Exception as error:
            raise ValueError(
                f"from_torch: torch.fx cannot trace {type(module).__name__}: {error!s:.300}: export it to ONNX "
                "(torch.onnx.export) and use octensor.onnx.load"
            ) from error
        made = _converted(module, traced, type(module).__name__)
        inputs = tuple(_input(x) for x in example)
        with no_grad():
            ShapeProp(made).propagate(*inputs)
        if check:
            with torch.no_grad():
                _check(made, inputs, module(*example))
    finally:
        for inner, was in training.items():
            inner.training = was
    return made


def _trace(module: Any) -> Any:
    import torch.fx

    class Tracer(torch.fx.Tracer):  # type: ignore[misc]
        def is_leaf_module(self, m: Any, path: str) -> bool:
            kind = type(m).__name__
            inside = ("Sequential", "TransformerEncoder")
            return type(m).__module__.startswith("torch.nn.") and kind not in inside

    return Tracer().trace(module)


def _converted(module: Any, traced: Any, name: str) -> GraphModule:
    graph = Graph()
    root: dict[str, Any] = {}
    places: dict[Any, Any] = {}
    faults: list[str] = []

    def argument(value: Any) -> Any:
        if hasattr(value, "graph") and value in places:
            return places[value]
        if isinstance(value, (tuple, list)):
            return (
                type(value)(argument(v) for v in value) if type(value) in (tuple, list) else tuple(map(argument, value))
            )
        if isinstance(value, dict):
            return {k: argument(v) for k, v in value.items()}
        if isinstance(value, slice):
            return slice(*(argument(v) for v in (value.start, value.stop, value.step)))
        if value is None or value is Ellipsis or isinstance(value, (bool, int, float, str)):
            return value
        raise Unknown(f"an argument {value!r:.60}")

    for node in traced.nodes:
        try:
            places[node] = _node(node, module, graph, root, argument)
        except Unknown as fault:
            path = node.target if node.op in ("call_module", "get_attr") else _path(node)
            faults.append(f"  {path}: {fault}")
            places[node] = graph.placeholder(f"unknown_{len(faults)}")
    if faults:
        raise ValueError(f"from_torch: {name} has parts that octensor has not:\n" + "\n".join(dict.fromkeys(faults)))
    result = GraphModule(root, graph, name)
    result.eval()
    return result


def _node(node: Any, module: Any, graph: Graph, root: dict[str, Any], argument: Any) -> Any:
    if node.op == "placeholder":
        if node.args and not node.users:
            return None
        return graph.placeholder(node.target)
    if node.op == "get_attr":
        value: Any = module
        for part in node.target.split("."):
            value = getattr(value, part)
        root[node.target] = _input(value)
        return graph.get_attr(node.target)
    args, kwargs = argument(node.args), argument(node.kwargs)
    if node.op == "output":
        return graph.output(args[0])
    if node.op == "call_module":
        if node.target not in root:
            root[node.target] = layers.convert(module.get_submodule(node.target))
        return graph.call_module(node.target, args, kwargs)
    if node.op == "call_function":
        target, kwargs = functions.convert(node.target, kwargs)
        return graph.call_function(target, args, kwargs)
    called, kwargs = functions.method(node.target, kwargs)
    if isinstance(called, str):
        return graph.call_method(called, args, kwargs)
    return graph.call_function(called, args, kwargs)


def _path(node: Any) -> str:
    """Return where in the module a node is, as far as torch tells."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values()] if stack else []
    return f"{paths[-1]}: {node.name}" if paths and paths[-1] else str(node.name)


def _input(x: Any) -> Any:
    array = array_of(x)
    return Tensor(array) if array.dtype == np.float32 else array


def _check(made: GraphModule, inputs: tuple[Any, ...], expected: Any) -> None:
    with no_grad():
        got = made(*inputs)

    def look(path: str, a: Any, b: Any) -> None:
        if isinstance(b, dict):
            for key, part in b.items():
                look(f"{path}[{key!r}]", a[key], part)
        elif isinstance(b, (tuple, list)):
            for i, part in enumerate(b):
                look(f"{path}[{i}]", a[i], part)
        elif b is not None:
            x, y = np.asarray(a), array_of(b)
            if x.shape != y.shape:
                raise ValueError(f"from_torch: {path}: expected shape {y.shape} as torch gives, got {x.shape}")
            error, reach = np.abs(x.astype(np.float64) - y).max(initial=0), np.abs(y).max(initial=0)
            if not error <= RELATIVE * max(float(reach), 1e-6):
                raise ValueError(
                    f"from_torch: {path}: the outputs differ by {error:.3g} of {reach:.3g}: a layer that writes "
                    "into its input, which something else reads, may be the reason"
                )

    look("output", got, expected)
