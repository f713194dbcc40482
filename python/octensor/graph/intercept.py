"""How calls are seen while a model is traced or recorded; at other times nothing of this is in the way.

*Functions.* Every public function of octensor must accept a `Proxy`, however it is held: `F.relu`, an imported `relu`,
`self.act = F.relu`. A wrapper around each would slow all calls of all users; so while somebody traces, and only then,
the functions' code objects are exchanged for one that looks for a proxy among the arguments. Without one it runs the
original, so that other threads compute on.

*Modules.* In the same way `Module.__call__` asks the tracer or recorder of its thread, if there is one.

*Wrapped names.* `wrap("f")` names a function of a user's module that is not to be traced into; its global is exchanged.
"""

from __future__ import annotations

import builtins
import inspect
import math
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import CodeType, FunctionType
from typing import Any

from ..nn.module import Module
from ..ops.embedding import embedding_bag
from ..ops.library import cells, rows
from ..ops.moving import order
from ..ops.reduce import _place, argmax, argmin
from ..ops.spec import OPS
from ..tensor import Tensor
from .immutable import map_aggregate
from .proxy import Proxy

NAMESPACES = ("octensor", "octensor.nn.functional", "octensor.nn.quantized.functional", "octensor.ops.quantized")

Caller = Callable[[Module, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


class _Current(threading.local):
    """What is asked about calls in this thread: the innermost tracer or recorder, or None."""

    # About module calls.
    caller: Caller | None = None
    # Asked, while recording, about functions that stay one step.
    function: Callable[..., Any] | None = None


_current = _Current()
_lock = threading.RLock()
_depth = 0
_original: dict[FunctionType, CodeType] = {}
_wrapped: list[tuple[dict[str, Any], str]] = []
_undo: list[Callable[[], None]] = []


def first_proxy(*values: Any) -> Proxy | None:
    """Return the first proxy in nested arguments, or None."""
    found: list[Proxy] = []

    def look(part: Any) -> Any:
        if isinstance(part, Proxy):
            found.append(part)
        return part

    map_aggregate(values, look)
    return found[0] if found else None


def dispatcher(target: Callable[..., Any], original: Callable[..., Any], whole: bool) -> Callable[..., Any]:
    """Return a function that makes a call_function node of `target` for proxies, and else runs `original`.

    With `whole` it is one step for recorders too.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        proxy = first_proxy(args, kwargs)
        if proxy is not None:
            return proxy.tracer.create_proxy("call_function", target, args, kwargs)
        if whole and _current.function is not None:
            return _current.function(target, original, args, kwargs)
        return original(*args, **kwargs)

    return call


_steps: list[FunctionType] = []


def keep_whole(function: Any) -> Any:
    """Keep a function as one step when a model that calls it is traced, as the public functions are."""
    if isinstance(function, FunctionType):
        _steps.append(function)
    return function


def public_functions() -> Iterator[FunctionType]:
    """Yield, once each, the functions that take tensors: public ones, those of all ops, and those to `keep_whole`."""
    namespaces = map(import_module, NAMESPACES)
    named = (getattr(n, name) for n in namespaces for name in getattr(n, "__all__", vars(n)))
    found = [*named, *(spec.function for spec in OPS.values()), *_steps]
    yield from {id(f): f for f in found if isinstance(f, FunctionType)}.values()


def whole_functions() -> Iterator[FunctionType]:
    """Yield the functions that a recorder takes as one step: they compute with arrays, not by ops."""
    for module in (rows, cells):
        for name in module.__all__:
            function = getattr(module, name)
            if isinstance(function, FunctionType) and not re.search("pack|make_", name):
                yield function
    yield from (embedding_bag, order, argmax, argmin, _place)  # type: ignore[misc]
    for name in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__invert__", "any", "all", "to"):
        yield vars(Tensor)[name]


def _exchange(function: FunctionType, whole: bool) -> None:
    """Give `function` the code of a dispatcher that runs what it was.

    The code takes any arguments, so defaults do not matter to it; what it calls is among its constants. A closure's
    variables are named but not touched, since a function must have as many as its code.
    """
    code = function.__code__
    twin = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    twin.__kwdefaults__ = function.__kwdefaults__
    dispatch = dispatcher(function, twin, whole)

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        target: Any = "target"
        return target(*args, **kwargs)

    plain = stand_in.__code__
    constants = tuple(dispatch if c == "target" else c for c in plain.co_consts)
    _original[function] = code
    function.__code__ = plain.replace(co_consts=constants, co_name=code.co_name, co_freevars=code.co_freevars)


def _seen_call(self: Module, *args: Any, **kwargs: Any) -> Any:
    caller = _current.caller
    if caller is None:
        return _plain_call(self, *args, **kwargs)
    return caller(self, _plain_call, args, kwargs)


_plain_call = Module.__call__


def _install() -> None:
    whole = list(whole_functions())
    for function in whole:
        _exchange(function, True)
    for function in public_functions():
        if function not in _original:
            _exchange(function, False)
    Module.__call__ = _seen_call  # type: ignore[method-assign]
    places = [(vars(math), name) for name, f in vars(math).items() if inspect.isbuiltin(f)]
    for names, name in [*places, *_wrapped]:
        missing = name not in names
        held = getattr(builtins, name, None) if missing else names[name]
        if held is None or held in _original:
            continue
        if isinstance(held, FunctionType):
            _exchange(held, True)
            continue
        names[name] = dispatcher(held, held, names is not vars(math))

        def put_back(names: Any = names, name: str = name, held: Any = held, missing: bool = missing) -> None:
            if missing:
                del names[name]
            else:
                names[name] = held

        _undo.append(put_back)


def _remove() -> None:
    for function, code in _original.items():
        function.__code__ = code
    _original.clear()
    Module.__call__ = _plain_call  # type: ignore[method-assign]
    while _undo:
        _undo.pop()()


@contextmanager
def intercepted(caller: Caller | None, function: Callable[..., Any] | None = None) -> Iterator[None]:
    """While this is open calls are seen; those of modules in this thread go to `caller`.

    A recorder gets the calls of functions that stay one step as `function(target, original, args, kwargs)`.
    """
    global _depth
    with _lock:
        if _depth == 0:
            _install()
        _depth += 1
    before = _current.caller, _current.function
    _current.caller, _current.function = caller, function
    try:
        yield
    finally:
        _current.caller, _current.function = before
        with _lock:
            _depth -= 1
            if _depth == 0:
                _remove()


def wrap(fn_or_name: Any) -> Any:
    """Keep a function of the calling module as one step of the graph: it is called, not traced into.

    Parameters
    ----------
    fn_or_name : str or callable
        A global function of the module that calls `wrap`, or its name; a builtin such as "len" by its name. As a
        decorator it returns the function.

    Examples
    --------
    >>> import octensor as ot
    >>> @ot.fx.wrap
    ... def halves(x):
    ...     return x[: len(x) // 2]
    >>> def model(x):
    ...     return ot.relu(halves(x))
    >>> [node.name for node in ot.fx.symbolic_trace(model).graph.nodes]
    ['x', 'halves', 'relu', 'output']
    """
    name = fn_or_name if isinstance(fn_or_name, str) else getattr(fn_or_name, "__name__", None)
    if not isinstance(name, str):
        raise TypeError(f"wrap: fn_or_name: expected a function or its name, got {fn_or_name!r}")
    frame = sys._getframe(1)
    if frame.f_code.co_name != "<module>":
        raise NotImplementedError("wrap: expected a call at the top level of a module")
    if all(names is not frame.f_globals or known != name for names, known in _wrapped):
        _wrapped.append((frame.f_globals, name))
    return fn_or_name
