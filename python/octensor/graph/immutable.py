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


def map_aggregate(value: Any, fn: Callable[[Any], Any], *, frozen: bool = True) -> Any:
    """Return `value` with `fn` applied to everything in it that is no tuple, list, dict or slice.

    Named tuples keep their class. Lists and dictionaries of the result are immutable, unless not `frozen`.
    """

    def within(part: Any) -> Any:
        return map_aggregate(part, fn, frozen=frozen)

    if isinstance(value, tuple):
        parts = [within(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return (ImmutableList if frozen else list)([within(part) for part in value])
    if isinstance(value, dict):
        return (ImmutableDict if frozen else dict)({key: within(part) for key, part in value.items()})
    if isinstance(value, slice):
        return slice(within(value.start), within(value.stop), within(value.step))
    return fn(value)
