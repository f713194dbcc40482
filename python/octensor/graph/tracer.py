"""`Tracer` and `symbolic_trace`: a graph of a model from running it once on proxies.

The model's own `forward`s run with a `Proxy` for each input. Layers of octensor are leaves: one call_module node each.
Containers and the user's modules are traced through. Each node remembers which module was running.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import numpy as np

from .._C import QParams, QTensor
from .._C import dtype as QDtype
from .._C import qscheme as QScheme
from ..nn.container import Sequential
from ..nn.module import Module
from ..tensor import Tensor
from .errors import TraceError, located, user_line
from .graph import Graph
from .graph_module import GraphModule
from .immutable import map_aggregate
from .intercept import intercepted
from .node import Node
from .proxy import Proxy, refuse_bool, unpacked

CONSTANTS = (
    int, float, bool, str, bytes, complex, type(None), type(Ellipsis), range, type, np.dtype, np.generic, Enum,
    QParams, QDtype, QScheme,
)  # fmt: skip


class TracerBase:
    """What a proxy needs of whoever traces: a graph, and how arguments and nodes are made."""

    graph: Graph
    proxy_class: type[Proxy] = Proxy

    def create_node(
        self,
        kind: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Add a node to the graph."""
        return self.graph.create_node(kind, target, args, kwargs, name, type_expr)

    def proxy(self, node: Node) -> Proxy:
        """Return a proxy for a node."""
        return self.proxy_class(node, self)

    def create_proxy(
        self,
        kind: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None = None,
        type_expr: Any = None,
        proxy_factory_fn: Callable[[Node], Any] | None = None,
    ) -> Any:
        """Add a node for a call whose arguments may hold proxies; return a proxy for its value."""
        node = self.create_node(kind, target, self.create_arg(args), self.create_arg(kwargs), name, type_expr)
        return self.proxy(node) if proxy_factory_fn is None else proxy_factory_fn(node)

    def create_arg(self, a: Any) -> Any:
        """Return an argument as nodes keep it: nodes for proxies.

        Raises
        ------
        NotImplementedError
            If it is of a kind that a graph cannot hold.
        """
        return map_aggregate(a, self._create_one)

    def _create_one(self, a: Any) -> Any:
        if isinstance(a, Proxy):
            return a.node
        if isinstance(a, (*CONSTANTS, Node)) or inspect.isroutine(a):
            return a
        raise NotImplementedError(
            located(
                f"argument: expected a tensor, number, string, dtype or a tuple, list, dict or slice of them, got "
                f"{type(a).__name__}: a graph cannot hold it: keep the module that passes it as a leaf"
            )
        )

    def to_bool(self, obj: Proxy) -> bool:
        """Answer a condition on a traced value; the default refuses."""
        refuse_bool(obj)

    def iter(self, obj: Proxy) -> Iterator[Any]:
        """Take a traced value apart, where the number of parts is in the code."""
        return unpacked(obj)

    def keys(self, obj: Proxy) -> Any:
        """Answer what `**x` unpacks; the default makes a node."""
        return self.create_proxy("call_method", "keys", (obj,), {})


class GraphAppendingTracer(TracerBase):
    """Makes proxies of the nodes of a graph that exists, so that it can be extended by computing with them."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph


class Tracer(TracerBase):
    """Makes the graph of a module by running it on proxies; derive from it to choose leaves.

    Attributes
    ----------
    graph : Graph
        The graph being made.
    root : Module
        What is traced.
    scope : tuple of (str, type or None)
        Path and class of the module that is running.
    node_name_to_scope : dict
        The scope in which each node was made, by its name.
    leaves : tuple of module classes
        Classes that are leaves besides octensor's own.

    Examples
    --------
    >>> import octensor as ot
    >>> class Block(ot.nn.Module):
    ...     def forward(self, x):
    ...         return x * 2 if x.sum() > 0 else x
    >>> class BlocksAreLeaves(ot.fx.Tracer):
    ...     leaves = (Block,)
    >>> model = ot.nn.Sequential(ot.nn.ReLU(), Block())
    >>> [(n.op, n.target) for n in BlocksAreLeaves().trace(model).nodes]
    [('placeholder', 'input'), ('call_module', '0'), ('call_module', '1'), ('output', 'output')]
    """

    leaves: tuple[type[Module], ...] = ()

    root: Module
    scope: tuple[str, type[Module] | None]

    def __init__(self) -> None:
        self.node_name_to_scope: dict[str, tuple[str, type[Module] | None]] = {}

    # --- what to trace through ---------------------------------------------------------------------------------------
    def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
        """Whether calls of a module are one node; otherwise its `forward` is traced.

        By default the layers of octensor are leaves, and those in `leaves`; containers and graph modules are not.
        """
        if isinstance(m, self.leaves):
            return True
        return type(m).__module__.startswith("octensor.") and not isinstance(m, (Sequential, GraphModule))

    def path_of_module(self, mod: Module) -> str:
        """Return the dotted path of a module in the root.

        Raises
        ------
        NameError
            If it is none of the root's modules.
        """
        path = self._paths.get(id(mod))
        if path is None:
            raise NameError(
                located(
                    f"a {type(mod).__name__} is called that is no submodule of the traced {type(self.root).__name__}: "
                    "assign it to an attribute of its module in __init__"
                )
            )
        return path

    def call_module(self, m: Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Follow the call of a module: a node for a leaf, else what its `forward` does.

        Parameters
        ----------
        m : Module
        forward : callable
            `forward(*args, **kwargs)` runs the module.
        """
        path = self.path_of_module(m)
        before, self.scope = self.scope, (path, type(m))
        try:
            if self.is_leaf_module(m, path):
                return self.create_proxy("call_module", path, args, kwargs)
            return forward(*args, **kwargs)
        finally:
            self.scope = before

    # --- nodes and arguments -----------------------------------------------------------------------------------------
    def create_node(
        self,
        kind: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Add a node, with notes of the module that is running and the line of the user's code."""
        node = super().create_node(kind, target, args, kwargs, name, type_expr)
        node.meta["scope"] = self.node_name_to_scope[node.name] = self.scope
        node.meta["module"] = self.scope[0]
        line = user_line()
        if line is not None:
            node.meta["line"] = line
        return node

    def _create_one(self, a: Any) -> Any:
        if isinstance(a, (Tensor, QTensor, np.ndarray, Module)) or is_packed(a):
            return self._attribute(a)
        return super()._create_one(a)

    def _attribute(self, value: Any) -> Node:
        """Return a get_attr node for a tensor or module: where the root holds it, or a new constant of the root."""
        path = self._paths.get(id(value))
        if path is None:
            if isinstance(value, Module):
                self.path_of_module(value)  # raises
            count = 0
            while hasattr(self.root, f"_tensor_constant{count}"):
                count += 1
            path = f"_tensor_constant{count}"
            setattr(self.root, path, value)
            self._paths[id(value)] = path
        return self.create_node("get_attr", path, (), {})

    # --- tracing -----------------------------------------------------------------------------------------------------
    def trace(self, root: Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None) -> Graph:
        """Return the graph of a module or function.

        Parameters
        ----------
        root : Module or callable
        concrete_args : dict, optional
            Values for parameters of `forward` that are not to be traced: the graph is the one for these values, and
            has no such inputs.
        """
        function: Callable[..., Any]
        if isinstance(root, Module):
            self.root, function = root, root.forward
            signature = inspect.signature(type(root).forward).replace()
            parameters = list(signature.parameters.values())[1:]
            if isinstance(root, GraphModule):
                parameters = list(inspect.signature(root._forward).parameters.values())[1:]
        elif callable(root):
            self.root, function = Module(), root
            parameters = list(inspect.signature(root).parameters.values())
        else:
            raise TypeError(f"trace: root: expected a module or function, got {type(root).__name__}")
        self.graph = Graph()
        self.scope = ("", None if not isinstance(root, Module) else type(root))
        self.node_name_to_scope = {}
        self._paths = paths_of(self.root)
        args, kwargs = self._placeholders(parameters, dict(concrete_args or {}))
        with intercepted(self._seen_call):
            result = function(*args, **kwargs)
            self.create_node("output", "output", (self.create_arg(result),), {})
        return self.graph

    def _seen_call(self, m: Module, plain: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.call_module(m, functools.partial(plain, m), args, kwargs)

    def _placeholders(self, parameters: list[inspect.Parameter], concrete: dict[str, Any]) -> Any:
        """Make the inputs of the graph; return the arguments to call the function with."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        unknown = concrete.keys() - {p.name for p in parameters}
        if unknown:
            names = ", ".join(p.name for p in parameters)
            raise ValueError(f"trace: concrete_args: expected names among ({names}), got {', '.join(sorted(unknown))}")
        for p in parameters:
            if p.name in concrete:
                value = concrete[p.name]
            else:
                stars = "*" if p.kind is p.VAR_POSITIONAL else "**" if p.kind is p.VAR_KEYWORD else ""
                default = () if p.default is p.empty else (p.default,)
                annotation = None if p.annotation is p.empty else p.annotation
                node = self.create_node("placeholder", stars + p.name, default, {}, p.name, annotation)
                value = self.proxy(node)
            if p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD):
                kwargs[p.name] = value
            else:
                args.append(value)
        return args, kwargs


def paths_of(root: Module) -> dict[int, str]:
    """Return the dotted path of every module, parameter, buffer and tensor attribute below `root`, by its id."""
    paths: dict[int, str] = {}
    for path, module in root.named_modules():
        paths.setdefault(id(module), path)
        prefix = f"{path}." if path else ""
        for held in (module._parameters, module._buffers, vars(module)):
            for name, value in held.items():
                if name == "_cache":
                    continue
                if isinstance(value, (Tensor, QTensor, np.ndarray)) or is_packed(value):
                    paths.setdefault(id(value), prefix + name)
                if isinstance(value, Tensor):
                    paths.setdefault(id(value._array), prefix + name)
    return paths


def is_packed(value: Any) -> bool:
    """Whether it is weights in the form the kernels read."""
    return type(value).__module__ == "octensor._C" and type(value).__name__.startswith("Packed")


def symbolic_trace(root: Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None) -> GraphModule:
    """Return a `GraphModule` that does what a module or function does, found by running it on proxies.

    Parameters
    ----------
    root : Module or callable
        Its layers stay call_module nodes; what its own code does becomes functions and methods.
    concrete_args : dict, optional
        Values for parameters of `forward` that decide which way it goes; the graph has no such inputs.

    Raises
    ------
    TraceError
        Where the model needs a value that is not known while tracing; the message names the line and what to do.

    Examples
    --------
    >>> import octensor as ot
    >>> class Net(ot.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.fc = ot.nn.Linear(4, 4)
    ...
    ...     def forward(self, x):
    ...         return ot.relu(self.fc(x) + x).flatten(1)
    >>> print(ot.fx.symbolic_trace(Net()).code)
    def forward(self, x):
        fc = self.fc(x)
        add = fc + x;  fc = x = None
        relu = octensor.relu(add);  add = None
        flatten = relu.flatten(1);  relu = None
        return flatten
    <BLANKLINE>
    """
    tracer = Tracer()
    graph = tracer.trace(root, concrete_args)
    return GraphModule(tracer.root, graph, type(root).__name__ if isinstance(root, Module) else _function_name(root))


def _function_name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


__all__ = ["GraphAppendingTracer", "TraceError", "Tracer", "TracerBase", "paths_of", "symbolic_trace"]
