"""`Graph`: the nodes of a computation, in the order they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .namespace import Namespace, snake_case
from .node import OPS, Node, map_arg
from .python_code import PythonCode, write

if TYPE_CHECKING:
    from ..nn.module import Module


class NodeList:
    """The nodes of a graph in order; iterating allows erasing and inserting on the way."""

    def __init__(self, graph: Graph, backwards: bool = False) -> None:
        self._graph = graph
        self._backwards = backwards

    def __len__(self) -> int:
        return self._graph._count

    def __iter__(self) -> Iterator[Node]:
        node = self._step(self._graph._root)
        while node is not self._graph._root:
            if not node._erased:
                yield node
            node = self._step(node)

    def _step(self, node: Node) -> Node:
        return node._prev if self._backwards else node._next

    def __reversed__(self) -> NodeList:
        return NodeList(self._graph, not self._backwards)


class _InsertPoint:
    """Where new nodes go; as a context manager it puts the old place back at its end."""

    def __init__(self, graph: Graph, insert: Callable[[Node], None]) -> None:
        self._graph, self._old = graph, graph._insert
        graph._insert = insert

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        self._graph._insert = self._old


class Graph:
    """A computation: nodes in the order they run.

    Parameters
    ----------
    owning_module : Module, optional
        The `GraphModule` it belongs to.

    Examples
    --------
    >>> import octensor as ot
    >>> graph = ot.fx.Graph()
    >>> x = graph.placeholder("x")
    >>> y = graph.call_function(ot.relu, (x,))
    >>> out = graph.output(y)
    >>> print(graph.python_code("self").src)
    def forward(self, x):
        relu = octensor.relu(x);  x = None
        return relu
    <BLANKLINE>
    """

    def __init__(self, owning_module: Module | None = None) -> None:
        self.owning_module = owning_module
        self._namespace = Namespace()
        self._count = 0
        self._root = Node(self, "", "root", "", (), {})
        self._insert: Callable[[Node], None] = self._root.prepend

    @property
    def nodes(self) -> NodeList:
        """The nodes in order."""
        return NodeList(self)

    def find_nodes(self, *, op: str, target: Any = None) -> list[Node]:
        """Return the nodes of one kind, and of one target if it is given."""
        return [n for n in self.nodes if n.op == op and (target is None or n.target == target)]

    # --- making nodes ------------------------------------------------------------------------------------------------
    def create_node(
        self,
        op: str,
        target: Any,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        name: str | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Add a node at the insertion point.

        Parameters
        ----------
        op, target, args, kwargs
            As in the table at the head of `octensor.graph.node`.
        name : str, optional
            Its name, made unique; by default one that follows from the target.
        type_expr : object
            Annotation of the value.
        """
        if op not in OPS:
            raise ValueError(f"create_node: op: expected one of {', '.join(OPS)}, got {op!r}")
        args = () if args is None else args
        kwargs = {} if kwargs is None else kwargs
        if not isinstance(args, tuple) or not isinstance(kwargs, dict):
            raise TypeError(f"create_node: args, kwargs: expected a tuple and a dict, got {args!r} and {kwargs!r}")
        for used in _nodes_in((args, kwargs)):
            if used.graph is not self:
                raise ValueError(f"create_node: args: node {used.name} belongs to another graph: use node_copy")
        unique = self._namespace.create(_name_of(target) if name is None else name, None)
        node = Node(self, unique, op, target, args, kwargs, type_expr)
        self._insert(node)
        self._count += 1
        return node

    def placeholder(self, name: str, type_expr: Any = None, default_value: Any = ...) -> Node:
        """Add an input."""
        args = () if default_value is ... else (default_value,)
        return self.create_node("placeholder", name, args, type_expr=type_expr)

    def get_attr(self, qualified_name: str, type_expr: Any = None) -> Node:
        """Add the reading of a parameter, buffer or module."""
        if self.owning_module is not None and not _has(self.owning_module, qualified_name):
            raise ValueError(
                f"get_attr: qualified_name: the module that owns the graph has no {qualified_name!r}: "
                "register it there first"
            )
        return self.create_node("get_attr", qualified_name, type_expr=type_expr)

    def call_module(
        self,
        module_name: str,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Add the call of a submodule."""
        if self.owning_module is not None and not _has(self.owning_module, module_name):
            raise ValueError(
                f"call_module: module_name: the module that owns the graph has no {module_name!r}: "
                "add it there first (add_submodule)"
            )
        return self.create_node("call_module", module_name, args, kwargs, type_expr=type_expr)

    def call_method(
        self,
        method_name: str,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Add the call of a method of `args[0]`."""
        return self.create_node("call_method", method_name, args, kwargs, type_expr=type_expr)

    def call_function(
        self,
        the_function: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Add the call of a function."""
        return self.create_node("call_function", the_function, args, kwargs, type_expr=type_expr)

    def output(self, result: Any, type_expr: Any = None) -> Node:
        """Add the return of a value."""
        return self.create_node("output", "output", (result,), type_expr=type_expr)

    def node_copy(self, node: Node, arg_transform: Callable[[Node], Any] = lambda node: node) -> Node:
        """Add a copy of a node, of this or another graph, whose input nodes `arg_transform` translates."""
        args, kwargs = map_arg(node.args, arg_transform), map_arg(node.kwargs, arg_transform)
        copied = self.create_node(node.op, node.target, args, kwargs, node.name, node.type)
        copied.meta = dict(node.meta)
        return copied

    def graph_copy(self, g: Graph, val_map: dict[Node, Any], return_output_node: bool = False) -> Any:
        """Add copies of all nodes of `g` but its output.

        Parameters
        ----------
        val_map : dict from Node to Node
            What nodes of `g` are here; nodes in it are not copied. It is filled.
        return_output_node : bool
            Whether to return (value, output node) instead of the value.

        Returns
        -------
        The value that `g` returns, in nodes of this graph; None if `g` has no output.
        """
        for node in g.nodes:
            if node in val_map:
                continue
            if node.op == "output":
                value = map_arg(node.args[0], val_map.__getitem__)
                return (value, node) if return_output_node else value
            val_map[node] = self.node_copy(node, val_map.__getitem__)
        return None

    # --- places ------------------------------------------------------------------------------------------------------
    def inserting_before(self, n: Node | None = None) -> _InsertPoint:
        """Let new nodes go before `n` (None: at the beginning); a context manager puts the old place back."""
        if n is None:
            return self.inserting_after(self._root)
        self._check_mine("inserting_before", n)
        return _InsertPoint(self, n.prepend)

    def inserting_after(self, n: Node | None = None) -> _InsertPoint:
        """Let new nodes go after `n`, the newest last (None: at the end); a context manager puts the old place back."""
        if n is None:
            return self.inserting_before(self._root)
        self._check_mine("inserting_after", n)
        return _InsertPoint(self, _after(n))

    def _check_mine(self, what: str, n: Node) -> None:
        if n.graph is not self or n._erased:
            raise ValueError(f"{what}: n: expected a node of this graph, got {n!r}")

    # --- removing ----------------------------------------------------------------------------------------------------
    def erase_node(self, to_erase: Node) -> None:
        """Remove a node that nobody uses.

        Raises
        ------
        RuntimeError
            If it still has users.
        """
        if to_erase.users:
            raise RuntimeError(
                f"erase_node: {to_erase.name} is still used by {', '.join(n.name for n in to_erase.users)}: "
                "call replace_all_uses_with first"
            )
        if to_erase.graph is not self:
            raise RuntimeError(f"erase_node: {to_erase.name} belongs to another graph")
        if to_erase._erased:
            return
        to_erase.args, to_erase.kwargs = (), {}
        to_erase._unlink()
        to_erase._erased = True
        self._count -= 1

    def eliminate_dead_code(self, is_impure_node: Callable[[Node], bool] | None = None) -> bool:
        """Remove nodes that nobody uses and that have no effect; return whether there were any."""
        self.lint()
        impure = Node.is_impure if is_impure_node is None else is_impure_node
        before = self._count
        for node in reversed(self.nodes):
            if not node.users and not impure(node):
                self.erase_node(node)
        return self._count != before

    # --- checking and showing ----------------------------------------------------------------------------------------
    def lint(self) -> None:
        """Check that the graph is well formed.

        Raises
        ------
        RuntimeError
            If names repeat, a node is used before it runs, users and arguments disagree, a node is of an unknown kind,
            something follows the output, or a target is missing in the owning module.
        """
        seen: set[Node] = set()
        names: set[str] = set()
        ended = False
        for node in self.nodes:
            if node.op not in OPS:
                raise RuntimeError(f"lint: {node.name}: unknown op {node.op!r}")
            if node.graph is not self:
                raise RuntimeError(f"lint: {node.name} belongs to another graph")
            if node.name in names:
                raise RuntimeError(f"lint: the name {node.name} is there twice")
            if ended:
                raise RuntimeError(f"lint: {node.name} comes after the output")
            for used in _nodes_in((node.args, node.kwargs)):
                if used not in seen:
                    raise RuntimeError(f"lint: {node.name} uses {used.name} before it runs")
                if node not in used.users:
                    raise RuntimeError(f"lint: {used.name} does not know its user {node.name}")
            if node.op in ("call_module", "get_attr") and self.owning_module is not None:
                self._lint_target(node)
            seen.add(node)
            names.add(node.name)
            ended = node.op == "output"
        for node in seen:
            if not set(node.users) <= seen:
                raise RuntimeError(f"lint: {node.name} has users that are not in the graph")

    def _lint_target(self, node: Node) -> None:
        from ..nn.module import Module

        held: Any = self.owning_module
        for part in node.target.split("."):
            if not hasattr(held, part):
                raise RuntimeError(f"lint: {node.name}: the owning module has no {node.target!r}")
            held = getattr(held, part)
        if node.op == "call_module" and not isinstance(held, Module):
            raise RuntimeError(f"lint: {node.name}: {node.target!r} is no module but {type(held).__name__}")

    def python_code(self, root_module: str = "self") -> PythonCode:
        """Return the source of the graph as a method `forward`, and the globals it uses."""
        return write(self, root_module)

    def print_tabular(self) -> None:
        """Print the nodes as a table; with shapes, dtypes and quantization after `record` or `ShapeProp`."""
        from .table import table

        print(table(self))

    def __str__(self) -> str:
        inputs = ", ".join(f"%{n.name}" for n in self.nodes if n.op == "placeholder")
        lines = [n.format_node() for n in self.nodes]
        return f"graph({inputs}):" + "".join(f"\n    {line}" for line in lines)

    # --- copies ------------------------------------------------------------------------------------------------------
    def __deepcopy__(self, memo: dict[int, Any]) -> Graph:
        other = Graph()
        memo[id(self)] = other
        translated: dict[Node, Node] = {}
        for node in self.nodes:
            copied = other.node_copy(node, translated.__getitem__)
            translated[node] = memo[id(node)] = copied
        return other


def _after(node: Node) -> Callable[[Node], None]:
    """Return what puts nodes after `node`, one behind the other."""
    last = node

    def insert(new: Node) -> None:
        nonlocal last
        (node if last._erased else last).append(new)
        last = new

    return insert


def _nodes_in(value: Any) -> Iterable[Node]:
    found: dict[Node, None] = {}
    map_arg(value, lambda node: found.setdefault(node, None))
    return found


def _name_of(target: Any) -> str:
    """Return a name for the value of a node from what it calls."""
    name = target if isinstance(target, str) else getattr(target, "__name__", None) or getattr(target, "name", "call")
    name = str(name)
    if name.startswith("__") and name.endswith("__"):
        name = name[2:-2]
    return snake_case(name.lstrip("*"))


def _has(module: Any, path: str) -> bool:
    for part in path.split("."):
        if not hasattr(module, part):
            return False
        module = getattr(module, part)
    return True
