"""Pickles read as data: a machine that knows the opcodes of containers and numbers and never calls anything.

A pickle is a program for a stack machine, and `pickle.load` runs whatever functions it names; that is how files of
weights have attacked those who opened them. This machine has no way to import or to call. A global becomes a `Name`,
the reduction of one to arguments a `Call`: plain records, which the reader of a format matches against the few that it
understands. Lists, tuples, dicts, sets, strings, bytes and numbers become themselves.

Work is bounded by the file's size: every opcode adds at most one object, strings are parts of the input, and the memo
and the stack hold references only. (Opcodes: Python's `pickletools`, protocols 0 to 5.)
"""

from __future__ import annotations

import pickletools
from typing import Any, NamedTuple

MOST_OPCODES = 20_000_000
DEEPEST = 100_000  # Python's pickler ends a batch of items after 1000


class Name(NamedTuple):
    """A global that the pickle names; nothing is imported."""

    module: str
    name: str


class Call(NamedTuple):
    """A global (or another call) applied to arguments; nothing is called."""

    function: Any
    args: Any


class Object:
    """An object that a pickle builds: its class, arguments, state, and what was put into it.

    It is mutable, as pickles give state and items to what already lies on the stack.
    """

    __slots__ = ("args", "function", "items", "state")

    def __init__(self, function: Any, args: Any) -> None:
        self.function = function
        self.args = args
        self.state: Any = None
        self.items: list[Any] = []


class Persistent(NamedTuple):
    """A persistent id: what lies outside the pickle."""

    key: Any


class _Mark:
    pass


_MARK = _Mark()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": set}
_VALUES = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    )
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickle(file: Any, where: str) -> Any:
    """Read one pickle; the file then stands behind it.

    Parameters
    ----------
    file : mmap or BytesIO
        Stands at the beginning of the pickle; a `read` beyond its end must not allocate what was asked for.
    where : str
        What error messages begin with.

    Returns
    -------
    object
        What the pickle holds.

    Raises
    ------
    ValueError
        If it is cut short, malformed, too long, or holds what has no place in data (extension codes, buffers).
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if count > MOST_OPCODES:
                raise ValueError(f"expected at most {MOST_OPCODES} opcodes")
            if opcode.name == "STOP":
                if len(machine.stack) != 1 or machine.stack[0] is _MARK:
                    raise ValueError(f"expected one value at the end, got a stack of {len(machine.stack)}")
                return machine.stack[0]
            machine.step(opcode.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{where}: expected a pickle of plain data: {type(error).__name__}: {error}") from None
    raise ValueError(f"{where}: expected a pickle of plain data, got one without an end")


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop_to_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise ValueError("expected a mark on the stack, got none")

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("expected a value on the stack, got none")
        return self.stack.pop()

    def top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("expected a value on the stack, got none")
        return self.stack[-1]

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if len(stack) > DEEPEST:
            raise ValueError(f"expected a stack of at most {DEEPEST}")
        if name in _VALUES:
            stack.append(argument)
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.top()
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.top()
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name in _TUPLES:
            items = [self.pop() for _ in range(_TUPLES[name])]
            stack.append(tuple(reversed(items)))
        elif name == "TUPLE":
            stack.append(tuple(self.pop_to_mark()))
        elif name == "LIST":
            stack.append(self.pop_to_mark())
        elif name == "DICT":
            stack.append(_pairs({}, self.pop_to_mark()))
        elif name == "GLOBAL":
            module, _, attribute = argument.partition(" ")
            stack.append(Name(module, attribute))
        elif name == "STACK_GLOBAL":
            attribute, module = self.pop(), self.pop()
            if not isinstance(module, str) or not isinstance(attribute, str):
                raise ValueError("expected the name of a global as two strings")
            stack.append(Name(module, attribute))
        elif name in ("REDUCE", "NEWOBJ"):
            args, function = self.pop(), self.pop()
            stack.append(_applied(function, args))
        elif name == "NEWOBJ_EX":
            keywords, args, function = self.pop(), self.pop(), self.pop()
            stack.append(_applied(function, (args, keywords)))
        elif name == "BUILD":
            state = self.pop()
            if isinstance(self.top(), Object):
                self.top().state = state
        elif name in ("APPEND", "APPENDS"):
            items = [self.pop()] if name == "APPEND" else self.pop_to_mark()
            _items(self.top(), list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            if name == "SETITEM":
                value, key = self.pop(), self.pop()
                items = [key, value]
            else:
                items = self.pop_to_mark()
            target = self.top()
            if isinstance(target, Object):
                target.items.extend(items)
            else:
                _pairs(_items(target, dict), items)
        elif name == "ADDITEMS":
            items = self.pop_to_mark()
            _items(self.top(), set).update(_plain(item) for item in items)
        elif name == "FROZENSET":
            stack.append(frozenset(_plain(item) for item in self.pop_to_mark()))
        elif name == "BINPERSID":
            stack.append(Persistent(self.pop()))
        elif name == "POP":
            if not stack:
                raise ValueError("expected a value on the stack, got none")
            stack.pop()
        elif name == "POP_MARK":
            self.pop_to_mark()
        elif name == "DUP":
            stack.append(self.top())
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"opcode {name} has no place in plain data")


def _applied(function: Any, args: Any) -> Any:
    """Return a record of a call: mutable for classes that pickles fill afterwards, plain for functions."""
    if isinstance(function, Name) and function == ("collections", "OrderedDict"):
        return {}
    if isinstance(function, Name) and function.name[:1] == "_":
        return Call(function, args)
    return Object(function, args)


def _items(target: Any, kind: type) -> Any:
    if isinstance(target, Object) and kind is list:
        return target.items
    if not isinstance(target, kind):
        raise ValueError(f"expected a {kind.__name__} to add to, got a {type(target).__name__}")
    return target


def _pairs(into: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise ValueError("expected keys and values in pairs")
    for i in range(0, len(items), 2):
        into[_plain(items[i])] = items[i + 1]
    return into


def _plain(key: Any) -> Any:
    """Return a key whose hash costs no more than its length: nested tuples may share parts 2^n times."""
    if not isinstance(key, (str, int, float, bytes, Name)):
        raise ValueError(f"expected a key that is a string or a number, got a {type(key).__name__}")
    return key
