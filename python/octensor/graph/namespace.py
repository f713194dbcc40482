"""`Namespace`: unique names for the variables of generated code."""

from __future__ import annotations

import builtins
import keyword
import re
from typing import Any

_ILLEGAL = re.compile(r"\W")
_NUMBERED = re.compile(r"(.*)_(\d+)$")


def is_plain(name: str) -> bool:
    """Whether a variable may have this name without hiding something of Python's."""
    return name.isidentifier() and not keyword.iskeyword(name) and not hasattr(builtins, name)


class Namespace:
    """Names given so far, and what they are names of."""

    def __init__(self) -> None:
        self._owners: dict[str, Any] = {}
        self._counts: dict[str, int] = {}

    def create(self, candidate: str, owner: Any) -> str:
        """Return `candidate`, or it with the next free number: relu, relu_1, relu_2."""
        candidate = _ILLEGAL.sub("_", candidate) or "_"
        if candidate[0].isdigit():
            candidate = f"_{candidate}"
        match = _NUMBERED.match(candidate)
        base = match[1] if match else candidate
        number = max(int(match[2]) if match else 0, self._counts.get(base, 0) if candidate in self._owners else 0)
        while candidate in self._owners or not is_plain(candidate):
            number += 1
            candidate = f"{base}_{number}"
        self._owners[candidate] = owner
        self._counts[base] = max(number, self._counts.get(base, 0))
        return candidate

    def copy(self) -> Namespace:
        """Return a namespace with the same names taken."""
        other = Namespace()
        other._owners, other._counts = dict(self._owners), dict(self._counts)
        return other


def snake_case(text: str) -> str:
    """Return "LayerNorm" as "layer_norm"."""
    text = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", text)
    return re.sub(r"([a-z\d])([A-Z])", r"\1_\2", text).lower()
