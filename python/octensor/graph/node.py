"""`Node`: one step of a `Graph`.

=============== =========================================== =====================================================
op              target                                      args, kwargs
=============== =========================================== =====================================================
placeholder     name of the parameter of `forward`          () or (default,)
get_attr        dotted path of a parameter, buffer, module  ()
call_function   a callable                                  those of the call
call_method     name of the method                          the object first
call_module     dotted path of the module                   those of the call
output          "output"                                    (the value returned,)
=============== =========================================== =====================================================

Arguments hold nodes, numbers, strings, None, dtypes, and tuples, lists, dicts and slices of them. `users` is kept in
step with them: it has every node in whose arguments this one occurs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from .immutable import map_aggregate

if TYPE_CHECKING:
    from .graph import Graph

Op = Literal["placeholder", "get_attr", "call_function", "call_method", "call_module", "output", "root"]
OPS: tuple[str, ...] = ("placeholder", "get_attr", "call_function", "call_method", "call_module", "output")
# Functions whose effect is not their result.
IMPURE: set[Any] = set()


class Node:
    """One step of a graph; made by `Graph.create_node` and its short forms.

    Attributes
    ----------
    op, target, args, kwargs
        What the node does: see the table at the head of `octensor.graph.node`.
    name : str
        Unique in the graph; the variable in `Graph.python_code`.
    users : dict from Node to None
        The nodes that use this one's value, in the order they began to.
    meta : dict
        Notes that passes keep: "tensor" (a `TensorMeta`, after `record` or `ShapeProp`), "module" (path of the module
        that was running), "scope" (that path and the module's class), "line" (where in the user's code).
    type : object
        Annotation of the value, or None.
    """

    def __init__(
        self,
        graph: Graph,
        name: str,
        op: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        type_expr: Any = None,
    ) -> None:
        if op == "call_function" and not callable(target):
            raise ValueError(f"Node: target: expected a callable for call_function, got {target!r}")
        if op not in ("call_function", "root") and not isinstance(target, str):
            raise ValueError(f"Node: target: expected a name for {op}, got {target!r}")
        self.graph = graph
        self.name = name
        self.op = op
        self.target = target
        self.type = type_expr
        self.meta: dict[str, Any] = {}
        self.users: dict[Node, None] = {}
        self._inputs: dict[Node, None] = {}
        self._args: tuple[Any, ...] = ()
        self._kwargs: dict[str, Any] = {}
        self._prev = self._next = self
        self._erased = False
        self._assign(args, kwargs)

    # --- arguments ---------------------------------------------------------------------------------------------------
    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments; assign to change them."""
        return self._args

    @args.setter
    def args(self, args: tuple[Any, ...]) -> None:
        self._assign(args, self._kwargs)

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments; assign to change them."""
        return self._kwargs

    @kwargs.setter
    def kwargs(self, kwargs: dict[str, Any]) -> None:
        self._assign(self._args, kwargs)

    def _assign(self, args: Any, kwargs: Any) -> None:
        for old in self._inputs:
            old.users.pop(self, None)
        self._inputs = {}
        self._args = map_arg(tuple(args), self._use)
        self._kwargs = map_arg(dict(kwargs), self._use)

    def _use(self, node: Node) -> Node:
        self._inputs.setdefault(node)
        node.users.setdefault(self)
        return node

    @property
    def all_input_nodes(self) -> list[Node]:
        """The nodes in the arguments, each once, in order of appearance."""
        return list(self._inputs)

    def update_arg(self, idx: int, arg: Any) -> None:
        """Replace the positional argument at `idx`."""
        args = list(self._args)
        args[idx] = arg
        self.args = tuple(args)

    def insert_arg(self, idx: int, arg: Any) -> None:
        """Insert a positional argument before `idx`."""
        if not 0 <= idx <= len(self._args):
            raise IndexError(f"insert_arg: idx: expected one in [0, {len(self._args)}], got {idx}")
        self.args = (*self._args[:idx], arg, *self._args[idx:])

    def update_kwarg(self, key: str, arg: Any) -> None:
        """Replace or add a keyword argument."""
        self.kwargs = {**self._kwargs, key: arg}

    def replace_input_with(self, old_input: Node, new_input: Any) -> None:
        """Use `new_input` wherever `old_input` stands in the arguments."""

        def exchange(node: Node) -> Any:
            return new_input if node is old_input else node

        self._assign(map_arg(self._args, exchange), map_arg(self._kwargs, exchange))

    def replace_all_uses_with(
        self,
        replace_with: Node,
        delete_user_cb: Callable[[Node], bool] = lambda user: True,
        *,
        propagate_meta: bool = False,
    ) -> list[Node]:
        """Let every user of this node use `replace_with`; return the users that were changed.

        Parameters
        ----------
        delete_user_cb : callable
            Asked for each user; one for which it returns False keeps this node.
        propagate_meta : bool
            Whether `replace_with`, which must have no notes yet, takes over this node's.
        """
        if propagate_meta:
            if replace_with.meta:
                raise ValueError("replace_all_uses_with: propagate_meta: the new node has notes of its own")
            replace_with.meta.update(self.meta)
        changed = [user for user in self.users if delete_user_cb(user)]
        for user in changed:
            user.replace_input_with(self, replace_with)
        return changed

    # --- place in the graph ------------------------------------------------------------------------------------------
    @property
    def next(self) -> Node:
        """The node after this one; the graph's root node after the last."""
        return self._next

    @property
    def prev(self) -> Node:
        """The node before this one."""
        return self._prev

    def prepend(self, x: Node) -> None:
        """Move or put `x` before this node."""
        if self.graph is not x.graph:
            raise ValueError("prepend: x: expected a node of the same graph")
        if x is self:
            return
        x._unlink()
        before = self._prev
        before._next, x._prev = x, before
        x._next, self._prev = self, x

    def append(self, x: Node) -> None:
        """Move or put `x` after this node."""
        if x is not self._next:
            self._next.prepend(x)

    def _unlink(self) -> None:
        self._prev._next, self._next._prev = self._next, self._prev

    # --- questions ---------------------------------------------------------------------------------------------------
    def is_impure(self) -> bool:
        """Whether the node may not be dropped though nobody uses its value."""
        if self.op in ("placeholder", "output"):
            return True
        if self.op == "call_function":
            return self.target in IMPURE
        if self.op == "call_module":
            # Observers and fake quantizers collect what they see.
            owner = self.graph.owning_module
            module = None if owner is None else owner.get_submodule(self.target)
            return module is None or hasattr(module, "calculate_qparams")
        return self.op == "call_method" and self.target.endswith("_") and not self.target.endswith("__")

    @property
    def stack_trace(self) -> str | None:
        """Where in the user's code this node was made: "file:line"."""
        return self.meta.get("line")

    def format_node(self) -> str:
        """Return the node as one line of `print(graph)`."""
        from .python_code import target_text

        if self.op == "placeholder":
            default = f" = {self.args[0]!r}" if self.args else ""
            return f"%{self.name} : [num_users={len(self.users)}] = placeholder[target={self.target}]{default}"
        if self.op == "get_attr":
            return f"%{self.name} : [num_users={len(self.users)}] = get_attr[target={self.target}]"
        if self.op == "output":
            return f"return {_text(self.args[0])}"
        return (
            f"%{self.name} : [num_users={len(self.users)}] = {self.op}[target={target_text(self)}]"
            f"(args = {_text(self.args)}, kwargs = {_text(self.kwargs)})"
        )

    def __repr__(self) -> str:
        return self.name


def _text(value: Any) -> str:
    return repr(map_arg(value, lambda node: _Shown(f"%{node.name}")))


class _Shown(str):
    """Text whose repr has no quotes."""

    def __repr__(self) -> str:
        return str(self)


def map_arg(value: Any, fn: Callable[[Node], Any]) -> Any:
    """Return `value` with `fn` applied to every node in it."""
    return map_aggregate(value, lambda part: fn(part) if isinstance(part, Node) else part)
