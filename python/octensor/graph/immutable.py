"""The containers that a node's arguments are kept in: they cannot be changed behind the node's back.

A node knows its users, so its arguments change only by assigning `node.args` or `node.kwargs`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn


def _refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError(
        f"{type(self).__name__}: a node's arguments are not changed in place: assign node.args or node.kwargs, "
        "or call node.update_arg(i, value)"
    )


class ImmutableList(list[Any]):
    """A list that refuses to change."""

    append = extend = insert = clear = pop = remove = reverse = sort = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse

    def __reduce__(self) -> Any:
        return ImmutableList, (list(self),)


class ImmutableDict(dict[Any, Any]):
    """A dictionary that refuses to change."""

    clear = pop = popitem = setdefault = update = _refuse
    __setitem__ = __delitem__ = __ior__ = _refuse

    def __reduce__(self) -> Any:
        return ImmutableDict, (dict(self),)


def map_aggregate(value: Any, fn: Callable[[Any], Any]) -> Any:
    """Return `value` with `fn` applied to everything in it that is no tuple, list, dict or slice.

    The result is immutable; named tuples keep their class.
    """
    if isinstance(value, tuple):
        parts = [map_aggregate(part, fn) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return ImmutableList([map_aggregate(part, fn) for part in value])
    if isinstance(value, dict):
        return ImmutableDict({key: map_aggregate(part, fn) for key, part in value.items()})
    if isinstance(value, slice):
        return slice(map_aggregate(value.start, fn), map_aggregate(value.stop, fn), map_aggregate(value.step, fn))
    return fn(value)
