"""`Interpreter`: runs a graph node by node; derive from it to look at values or to do something else for some nodes.

`ShapeProp` notes shapes, dtypes and quantization; `Transformer` makes a new graph.
"""

from __future__ import annotations

from typing import Any

from .graph import Graph
from .graph_module import GraphModule
from .intercept import intercepted
from .meta import meta_of
from .node import Node, map_arg
from .proxy import Proxy
from .tracer import Tracer


class Interpreter:
    """Runs the graph of a `GraphModule`, one node after the other.

    Every kind of node has a method, named like its op, that gets target, args and kwargs with the values in place of
    the nodes. `run_node` calls them.

    Parameters
    ----------
    module : GraphModule
    garbage_collect_values : bool
        Whether values are dropped after their last use.

    Attributes
    ----------
    env : dict from Node to value
        Values computed so far.

    Examples
    --------
    >>> import octensor as ot
    >>> class CountsCalls(ot.fx.Interpreter):
    ...     calls = 0
    ...
    ...     def call_function(self, target, args, kwargs):
    ...         self.calls += 1
    ...         return super().call_function(target, args, kwargs)
    >>> counting = CountsCalls(ot.fx.symbolic_trace(lambda x: ot.relu(x + 1)))
    >>> counting.run(ot.tensor([-3.0, 1.0])), counting.calls
    (tensor([0., 2.]), 2)
    """

    def __init__(self, module: GraphModule, garbage_collect_values: bool = True) -> None:
        self.module = module
        self.garbage_collect_values = garbage_collect_values
        self.env: dict[Node, Any] = {}
        self._inputs: list[Any] = []
        self._named: dict[str, Any] = {}

    def run(self, *args: Any, initial_env: dict[Node, Any] | None = None, **kwargs: Any) -> Any:
        """Run the graph on inputs; return what it returns.

        Parameters
        ----------
        initial_env : dict from Node to value, optional
            Values of nodes that are not to be run.
        """
        self.env = dict(initial_env or {})
        self._inputs, self._named = list(args), dict(kwargs)
        waiting = {node: len(node.users) for node in self.module.graph.nodes}
        result = None
        for node in self.module.graph.nodes:
            if node not in self.env:
                self.env[node] = self.run_node(node)
            if node.op == "output":
                result = self.env[node]
            if self.garbage_collect_values:
                for used in node.all_input_nodes:
                    waiting[used] -= 1
                    if not waiting[used]:
                        self.env.pop(used, None)
        return result

    def run_node(self, n: Node) -> Any:
        """Run one node on values in `env`."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        return getattr(self, n.op)(n.target, args, kwargs)

    def fetch_args_kwargs_from_env(self, n: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return a node's arguments with values in place of nodes."""
        return map_arg(n.args, self.env.__getitem__), dict(map_arg(n.kwargs, self.env.__getitem__))

    def fetch_attr(self, target: str) -> Any:
        """Return the attribute of the module at a dotted path."""
        held: Any = self.module
        for part in target.split("."):
            held = getattr(held, part)
        return held

    def placeholder(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the next input."""
        if target.startswith("**"):
            return self._named
        if target.startswith("*"):
            rest, self._inputs = self._inputs, []
            return rest
        if self._inputs:
            return self._inputs.pop(0)
        if target in self._named:
            return self._named.pop(target)
        if not args:
            raise TypeError(f"run: expected a value for input {target!r}")
        return args[0]

    def get_attr(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return an attribute of the module."""
        return self.fetch_attr(target)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function."""
        return target(*args, **kwargs)

    def call_method(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method of the first argument."""
        return getattr(args[0], target)(*args[1:], **kwargs)

    def call_module(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a submodule."""
        return self.fetch_attr(target)(*args, **kwargs)

    def output(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what the graph returns."""
        return args[0]


class ShapeProp(Interpreter):
    """Runs a graph on inputs and notes of every value what it is, in `node.meta["tensor"]` (a `TensorMeta`).

    Examples
    --------
    >>> import octensor as ot
    >>> traced = ot.fx.symbolic_trace(ot.nn.Sequential(ot.nn.Linear(3, 2)))
    >>> _ = ot.fx.ShapeProp(traced).propagate(ot.zeros(4, 3))
    >>> traced.graph.print_tabular()
    name     op           target  args      result          module
    -------  -----------  ------  --------  --------------  ------
    input_1  placeholder  input             float32 (4, 3)
    _0       call_module  0       %input_1  float32 (4, 2)  0
    output   output       output  %_0       float32 (4, 2)
    """

    def run_node(self, n: Node) -> Any:
        """Run one node and note what its value is."""
        value = super().run_node(n)
        n.meta["tensor"] = meta_of(value)
        n.meta["type"] = type(value)
        return value

    def propagate(self, *args: Any) -> Any:
        """Run the graph on inputs; return what it returns."""
        return self.run(*args)


class Transformer(Interpreter):
    """Makes a new `GraphModule` by running a graph on proxies: what the methods return takes the nodes' places.

    Examples
    --------
    >>> import octensor as ot
    >>> class ReluIsRelu6(ot.fx.Transformer):
    ...     def call_function(self, target, args, kwargs):
    ...         target = ot.nn.functional.relu6 if target is ot.relu else target
    ...         return super().call_function(target, args, kwargs)
    >>> ReluIsRelu6(ot.fx.symbolic_trace(lambda x: ot.relu(x))).transform()(ot.tensor([9.0]))
    tensor([6.])
    """

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.new_graph = Graph()
        self.tracer = Tracer()
        self.tracer.begin(module, self.new_graph)

    def placeholder(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Proxy:
        """Return a proxy for an input of the new graph."""
        return self._proxy("placeholder", target, args, {})

    def get_attr(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Proxy:
        """Return a proxy for an attribute."""
        return self._proxy("get_attr", target, (), {})

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a proxy for the result of a function."""
        return self._proxy("call_function", target, args, kwargs)

    def call_method(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a proxy for the result of a method."""
        return self._proxy("call_method", target, args, kwargs)

    def call_module(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a proxy for the result of a submodule."""
        return self._proxy("call_module", target, args, kwargs)

    def _proxy(self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Proxy:
        proxy: Proxy = self.tracer.create_proxy(kind, target, args, kwargs)
        return proxy

    def transform(self) -> GraphModule:
        """Return the new module; it shares parameters and submodules with the old one."""
        with intercepted(None):  # functions called in methods see proxies
            result = self.run()
        self.new_graph.output(self.tracer.create_arg(result))
        return GraphModule(self.module, self.new_graph)
