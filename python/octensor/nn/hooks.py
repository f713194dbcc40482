"""Hooks of a module: an ordered table of callables and the handle that removes one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

_next_id = count()


class HookTable(dict[int, Callable[..., Any]]):
    """Hooks by number, run in the order they were added."""

    def add(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Add a hook and return the handle that removes it."""
        if not callable(hook):
            raise TypeError(f"hook: expected a callable, got {type(hook).__name__}")
        key = next(_next_id)
        self[key] = hook
        return RemovableHandle(self, key)

    def copy(self) -> HookTable:
        """Return a table with the same hooks."""
        return HookTable(self)

    def before(self, module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Run pre-hooks; return the arguments for forward."""
        for hook in tuple(self.values()):
            result = hook(module, args)
            if result is not None:
                args = result if isinstance(result, tuple) else (result,)
        return args

    def after(self, module: Any, args: tuple[Any, ...], output: Any) -> Any:
        """Run forward hooks; return the output."""
        for hook in tuple(self.values()):
            result = hook(module, args, output)
            if result is not None:
                output = result
        return output


class RemovableHandle:
    """Removes the hook it was returned for; also a context manager that does so at its end."""

    def __init__(self, table: HookTable, key: int) -> None:
        self.id = key
        self._table = table

    def remove(self) -> None:
        """Remove the hook; removing twice does nothing."""
        self._table.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()
