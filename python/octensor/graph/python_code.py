"""Python source of a graph: the `forward` that it stands for."""

from __future__ import annotations

import functools
import inspect
import operator
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..ops.exact import EXACT, ExactOp
from ..ops.spec import OPS, OpSpec
from .namespace import Namespace, is_plain
from .node import Node

if TYPE_CHECKING:
    from .graph import Graph

# Where a function is looked for, in this order, to be named as users name it.
PUBLIC = ("octensor", "octensor.nn.functional", "octensor.ops.quantized", "octensor.ops", "operator", "math", "numpy")

# How operators are written.
_INFIX = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.truediv: "/",
    operator.floordiv: "//",
    operator.mod: "%",
    operator.pow: "**",
    operator.matmul: "@",
    operator.and_: "&",
    operator.or_: "|",
    operator.xor: "^",
    operator.lshift: "<<",
    operator.rshift: ">>",
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
}
_PREFIX = {operator.neg: "-", operator.pos: "+", operator.invert: "~"}


class PythonCode(NamedTuple):
    """The source of a graph and the global names that it uses."""

    src: str
    globals: dict[str, Any]


@functools.lru_cache(maxsize=4096)
def public_name(target: Any) -> str:
    """Return the dotted name under which users know a function or class; "" if it has none."""
    name = getattr(target, "__name__", None)
    if not isinstance(name, str):
        return ""
    for path in PUBLIC:
        if getattr(import_module(path), name, None) is target:
            return f"{path}.{name}"
    where = getattr(target, "__module__", None)
    if not isinstance(where, str) or where == "__main__":
        return ""
    if where == "builtins":
        return name
    dotted = f"{where}.{getattr(target, '__qualname__', name)}"
    package, *parts = dotted.split(".")
    home: Any = sys.modules.get(package)
    for part in parts:
        home = getattr(home, part, None)
    return dotted if home is target else ""


def target_text(node: Node) -> str:
    """Return a node's target as it is shown in listings."""
    if isinstance(node.target, str):
        return node.target
    if isinstance(node.target, OpSpec):
        return node.target.name
    return public_name(node.target) or getattr(node.target, "__name__", None) or repr(node.target)


class _Writer:
    """Writes expressions and collects the globals that they name."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.globals: dict[str, Any] = {}

    def name(self, hint: str, value: Any) -> str:
        """Return a global name for `value`, a new one if it has none yet."""
        for known, held in self.globals.items():
            if held is value:
                return known
        name = self.namespace.create(hint, value)
        self.globals[name] = value
        return name

    def callable(self, target: Any) -> str:
        dotted = public_name(target)
        package, _, _ = dotted.partition(".")
        if dotted and "." not in dotted:
            return dotted  # a builtin
        if dotted and is_plain(package):
            root = import_module(package)
            if self.globals.get(package) is root or package not in self.namespace._owners:
                self.name(package, root)
                return dotted
        return self.name(getattr(target, "__name__", None) or getattr(target, "name", None) or "target", target)

    def value(self, value: Any) -> str:
        """Return an expression for an argument."""
        if isinstance(value, Node):
            return value.name
        if isinstance(value, tuple):
            if hasattr(value, "_fields"):
                return f"{self.callable(type(value))}({', '.join(self.value(v) for v in value)})"
            return f"({', '.join(self.value(v) for v in value)}{',' if len(value) == 1 else ''})"
        if isinstance(value, list):
            return f"[{', '.join(self.value(v) for v in value)}]"
        if isinstance(value, dict):
            return f"{{{', '.join(f'{self.value(k)}: {self.value(v)}' for k, v in value.items())}}}"
        if isinstance(value, slice):
            return f"slice({self.value(value.start)}, {self.value(value.stop)}, {self.value(value.step)})"
        if value is Ellipsis:
            return "..."
        if isinstance(value, float) and not np.isfinite(value):
            return f"float({str(value)!r})"
        if value is None or type(value) in (bool, int, float, complex, str, bytes, range):
            return repr(value)
        if isinstance(value, type) or inspect.isroutine(value):
            return self.callable(value)
        if isinstance(value, np.dtype):
            return f"{self.callable(np.dtype)}({value.str!r})"
        return self._object(value)

    def _object(self, value: Any) -> str:
        """Return how an object prints if that reads back as the same, else a global that holds it."""
        text = repr(value)
        package = type(value).__module__.partition(".")[0]
        if package == "octensor":
            for path in ("", f"{package}."):
                try:
                    same = eval(path + text, {package: import_module(package)}) == value
                except Exception:
                    continue
                if same is True:
                    self.name(package, import_module(package))
                    return path + text
        return self.name(type(value).__name__.lower(), value)


def _index(writer: _Writer, index: Any) -> str:
    """Return an index as it stands between brackets."""

    def part(value: Any) -> str:
        if not isinstance(value, slice):
            return writer.value(value)
        ends = ["" if end is None else writer.value(end) for end in (value.start, value.stop, value.step)]
        return ":".join(ends if ends[2] else ends[:2])

    if type(index) is tuple and index:
        return ", ".join(part(value) for value in index) + ("," if len(index) == 1 else "")
    return part(index)


def _call(writer: _Writer, args: Any, kwargs: dict[str, Any]) -> str:
    parts = [writer.value(arg) for arg in args]
    named = {key: value for key, value in kwargs.items() if key.isidentifier()}
    parts += [f"{key} = {writer.value(value)}" for key, value in named.items()]
    rest = {key: value for key, value in kwargs.items() if key not in named}
    return ", ".join([*parts, *([f"**{writer.value(rest)}"] if rest else [])])


def attribute_text(base: str, path: str) -> str:
    """Return the expression for an attribute at a dotted path, whose parts may be numbers."""
    for part in path.split("."):
        base = f"{base}.{part}" if part.isidentifier() else f'getattr({base}, "{part}")'
    return base


def _operand(writer: _Writer, value: Any) -> str:
    text = writer.value(value)
    return f"({text})" if text.startswith("-") else text


def expression(writer: _Writer, node: Node, root: str) -> str:
    """Return what a node computes."""
    args, kwargs = node.args, node.kwargs
    if node.op == "get_attr":
        return attribute_text(root, node.target)
    if node.op == "call_module":
        return f"{attribute_text(root, node.target)}({_call(writer, args, kwargs)})"
    if node.op == "call_method":
        return f"{_operand(writer, args[0])}.{node.target}({_call(writer, args[1:], kwargs)})"
    target = node.target
    if not kwargs and len(args) == 2 and target in _INFIX:
        return f"{_operand(writer, args[0])} {_INFIX[target]} {_operand(writer, args[1])}"
    if not kwargs and len(args) == 1 and target in _PREFIX:
        return f"{_PREFIX[target]}{_operand(writer, args[0])}"
    if target is operator.getitem and not kwargs and len(args) == 2:
        return f"{_operand(writer, args[0])}[{_index(writer, args[1])}]"
    if target is getattr and not kwargs and len(args) == 2 and str(args[1]).isidentifier():
        return f"{_operand(writer, args[0])}.{args[1]}"
    if isinstance(target, OpSpec):
        registry = "EXACT" if isinstance(target, ExactOp) else "OPS"
        writer.name(registry, EXACT if isinstance(target, ExactOp) else OPS)
        return f'{registry}["{target.name}"]({_call(writer, args, kwargs)})'
    return f"{writer.callable(target)}({_call(writer, args, kwargs)})"


def _annotation(writer: _Writer, annotation: Any) -> str:
    if annotation is None or annotation is Any or isinstance(annotation, str):
        return ""
    return f" : {writer.callable(annotation)}" if isinstance(annotation, type) and public_name(annotation) else ""


def _last_uses(graph: Graph) -> dict[Node, list[Node]]:
    """Return, for each node, the nodes that nobody needs after it."""
    last: dict[Node, list[Node]] = {}
    seen: set[Node] = set()
    for node in reversed(graph.nodes):
        for used in node.all_input_nodes:
            if used not in seen:
                seen.add(used)
                last.setdefault(node, []).append(used)
    return last


def write(graph: Graph, root: str) -> PythonCode:
    """Return the source of `forward`; values are dropped after their last use."""
    writer = _Writer(graph._namespace.copy())
    parameters, lines = [], []
    last = _last_uses(graph)
    for node in graph.nodes:
        if node.op == "placeholder":
            default = f" = {writer.value(node.args[0])}" if node.args else ""
            parameters.append(f"{node.target}{_annotation(writer, node.type)}{default}")
            plain = node.target.lstrip("*")
            if plain != node.name:
                lines.append(f"{node.name} = {plain}")
            continue
        if node.op == "output":
            lines.append(f"return {writer.value(node.args[0])}")
            continue
        done = last.get(node, [])
        text = expression(writer, node, root)
        if not node.users:
            lines.append(text)
        else:
            lines.append(f"{node.name} = {text}")
        if done:
            lines[-1] += ";  " + " = ".join([used.name for used in done] + ["None"])
    body = "".join(f"\n    {line}" for line in lines or ["pass"])
    return PythonCode(f"def forward({', '.join([root, *parameters])}):{body}\n", writer.globals)
