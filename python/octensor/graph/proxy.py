"""`Proxy`: what a traced model computes with; everything done to it becomes a node.

Operators, methods, attributes (`x.shape`) and indices are followed. What needs a value now, where there is none, is an
error that names the line in the user's code and what to do.
"""

from __future__ import annotations

import dis
import operator
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import TraceError, located
from .node import Node

if TYPE_CHECKING:
    from .tracer import TracerBase

_REMEDY = (
    "keep the module that does this as a leaf (Tracer.is_leaf_module), move the lines into a function and fx.wrap it, "
    "fix an argument with concrete_args, or use fx.record, which runs the model on example inputs"
)

_BINARY = (
    "add sub mul truediv floordiv mod pow matmul lshift rshift and_ or_ xor eq ne lt le gt ge getitem".split()  # noqa: SIM905
)
_REFLECTED = "add sub mul truediv floordiv mod pow matmul lshift rshift and_ or_ xor".split()  # noqa: SIM905
_UNARY = "neg pos invert abs".split()  # noqa: SIM905


class Proxy:
    """Stands for the value of a node while a model is traced.

    Parameters
    ----------
    node : Node
    tracer : TracerBase
        Who makes the nodes.
    """

    __slots__ = ("_node", "tracer")
    __array_priority__ = 2000.0

    def __init__(self, node: Node | None, tracer: TracerBase) -> None:
        self._node = node
        self.tracer = tracer

    @property
    def node(self) -> Node:
        """The node that this stands for."""
        assert self._node is not None
        return self._node

    def __repr__(self) -> str:
        return f"Proxy({self.node.name})"

    # --- followed ----------------------------------------------------------------------------------------------------
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(f"Proxy has no attribute {name!r}")
        return Attribute(self, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Follow the call."""
        return self.tracer.create_proxy("call_method", "__call__", (self, *args), kwargs)

    def __octensor_function__(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make a node of a call of one of octensor's functions."""
        return self.tracer.create_proxy("call_function", target, args, kwargs)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Follow the operators of an array on the left; other NumPy functions are refused."""
        follow = _UFUNCS.get(ufunc.__name__)
        if method == "__call__" and follow is not None and not kwargs:
            return self.tracer.create_proxy("call_function", follow, inputs, {})
        _no_numpy(ufunc.__name__)

    # --- refused -----------------------------------------------------------------------------------------------------
    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> NoReturn:
        _no_numpy(function.__name__)

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        _no_numpy("asarray")

    def __bool__(self) -> bool:
        return self.tracer.to_bool(self)

    def __iter__(self) -> Iterator[Any]:
        return self.tracer.iter(self)

    def __len__(self) -> int:
        raise TraceError(
            located(f"len() of a traced value ({self.node.name}): it must be a number, which is not known: {_REMEDY}")
        )

    def __contains__(self, item: Any) -> bool:
        raise TraceError(located(f"`in` a traced value ({self.node.name}) is not known while tracing: {_REMEDY}"))

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TraceError(
            located(
                f"assignment to an item of a traced value ({self.node.name}): a graph has no writes: compute a new "
                f"tensor (where, cat, masked_fill), or {_REMEDY}"
            )
        )

    def __int__(self) -> int:
        _no_number(self, "int")

    def __float__(self) -> float:
        _no_number(self, "float")

    def __index__(self) -> int:
        _no_number(self, "an index or range")


class Attribute(Proxy):
    """An attribute of a proxy: a node of its own only if it is used otherwise than by calling it."""

    __slots__ = ("_attribute", "_owner")

    def __init__(self, owner: Proxy, attribute: str) -> None:
        super().__init__(None, owner.tracer)
        self._owner = owner
        self._attribute = attribute

    @property
    def node(self) -> Node:
        """The node that reads the attribute, made on first use."""
        if self._node is None:
            self._node = self.tracer.create_proxy("call_function", getattr, (self._owner, self._attribute), {}).node
        return self._node

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Follow the call."""
        return self.tracer.create_proxy("call_method", self._attribute, (self._owner, *args), kwargs)


def _no_numpy(name: str) -> NoReturn:
    raise TraceError(
        located(
            f"numpy.{name} is called on a traced value, which has no array yet: use octensor's function of that kind, "
            f"or {_REMEDY}"
        )
    )


def _no_number(proxy: Proxy, what: str) -> NoReturn:
    raise TraceError(located(f"{what} of a traced value ({proxy.node.name}) is not known while tracing: {_REMEDY}"))


def refuse_bool(proxy: Proxy) -> NoReturn:
    """Say that a branch depends on a traced value."""
    raise TraceError(
        located(
            f"a condition depends on a traced value ({proxy.node.name}), so which way the model goes is not known: "
            f"{_REMEDY}"
        )
    )


def unpacked(proxy: Proxy) -> Iterator[Any]:
    """Return the parts of a proxy where the running code takes apart a known number of them (`a, b = x`)."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("octensor.graph"):
        frame = frame.f_back
    here = next((i for i in dis.get_instructions(frame.f_code) if i.offset == frame.f_lasti), None)
    if here is not None and here.opname == "UNPACK_SEQUENCE":
        return iter([operator.getitem(proxy, i) for i in range(here.arg or 0)])
    raise TraceError(
        located(f"a loop or * over a traced value ({proxy.node.name}): how often is not known while tracing: {_REMEDY}")
    )


def _attach() -> None:
    def forward(function: Any) -> Any:
        def call(self: Proxy, *args: Any) -> Any:
            return self.tracer.create_proxy("call_function", function, (self, *args), {})

        return call

    def backward(function: Any) -> Any:
        def call(self: Proxy, other: Any) -> Any:
            return self.tracer.create_proxy("call_function", function, (other, self), {})

        return call

    for name in (*_BINARY, *_UNARY):
        setattr(Proxy, f"__{name.rstrip('_')}__", forward(getattr(operator, name)))
    for name in _REFLECTED:
        setattr(Proxy, f"__r{name.rstrip('_')}__", backward(getattr(operator, name)))


_attach()

# The operators under the names of NumPy's ufuncs, which an array on the left calls.
_UFUNCS = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "true_divide": operator.truediv,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "power": operator.pow,
    "matmul": operator.matmul,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}
