"""`QConfigMapping`: which qconfig each part of a model gets; the form behind every ``qconfig_dict``.

Entries, the later ones stronger:

====================== ============================================ ==========================================
key                    value                                        holds for
====================== ============================================ ==========================================
``""``                 qconfig                                      everything
``object_type``        list of (class, function or method, qconfig) layers of exactly this class, calls of the
                                                                    function, calls of the method of this name
``module_name_regex``  list of (pattern, qconfig), first hit wins   modules whose path ``re.match`` finds
``module_name``        list of (path, qconfig)                      the module, else the nearest module above it
====================== ============================================ ==========================================

A qconfig of None keeps in float what it holds for. A function or method call has no path of its own: it takes what
holds for the module whose `forward` makes the call, and before that an ``object_type`` entry of the function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from octensor.quantization.qconfig import QConfig, assert_valid_qconfig

GLOBAL, OBJECT_TYPE, REGEX, NAME = range(4)
_KEYS = ("", "object_type", "module_name_regex", "module_name")


class Found(NamedTuple):
    """What holds for one part of a model, and how strong the entry is that says so."""

    qconfig: QConfig | None
    level: int


class QConfigMapping:
    """Which qconfig each part of a model gets (see the head of this file).

    >>> from octensor import nn
    >>> from octensor.quantization import default_qconfig
    >>> mapping = QConfigMapping().set_global(default_qconfig).set_module_name("head", None)
    >>> mapping.of_module("head.fc", nn.Linear).qconfig is None
    True
    """

    def __init__(self) -> None:
        self.global_qconfig: QConfig | None = None
        self.object_type_qconfigs: dict[Any, QConfig | None] = {}
        self.module_name_regex_qconfigs: dict[str, QConfig | None] = {}
        self.module_name_qconfigs: dict[str, QConfig | None] = {}

    def set_global(self, global_qconfig: QConfig | None) -> QConfigMapping:
        """Set what holds for everything."""
        self.global_qconfig = _valid('""', global_qconfig)
        return self

    def set_object_type(self, object_type: type | Callable[..., Any] | str, qconfig: QConfig | None) -> QConfigMapping:
        """Set what holds for a class of layers, a function, or a method by its name."""
        if not (isinstance(object_type, str) or callable(object_type)):
            raise TypeError(
                "qconfig_dict: object_type: expected a class, a function or the name of a method, got "
                f"{type(object_type).__name__} {object_type!r}"
            )
        self.object_type_qconfigs[object_type] = _valid(f"object_type: {object_type!r}", qconfig)
        return self

    def set_module_name_regex(self, module_name_regex: str, qconfig: QConfig | None) -> QConfigMapping:
        """Set what holds for modules whose path a pattern matches; of several, the one that was set first."""
        try:
            re.compile(module_name_regex)
        except (re.error, TypeError) as error:
            raise ValueError(
                f"qconfig_dict: module_name_regex: expected a regular expression, got {module_name_regex!r}: {error}"
            ) from None
        self.module_name_regex_qconfigs.setdefault(
            module_name_regex, _valid(f"module_name_regex: {module_name_regex!r}", qconfig)
        )
        return self

    def set_module_name(self, module_name: str, qconfig: QConfig | None) -> QConfigMapping:
        """Set what holds for one module and what is below it."""
        self.module_name_qconfigs[module_name] = _valid(f"module_name: {module_name!r}", qconfig)
        return self

    @classmethod
    def from_dict(cls, qconfig_dict: Any) -> QConfigMapping:
        """Read a ``qconfig_dict``; a mapping is returned as it is.

        Raises
        ------
        TypeError, ValueError
            If it has other keys than those above, or other values; the message names the entry.
        """
        if isinstance(qconfig_dict, cls):
            return qconfig_dict
        if not isinstance(qconfig_dict, Mapping):
            raise TypeError(
                f"qconfig_dict: expected a dict or a QConfigMapping, got {type(qconfig_dict).__name__}: "
                'write {"": get_default_qconfig()}'
            )
        unknown = [key for key in qconfig_dict if key not in _KEYS]
        if unknown:
            raise ValueError(
                f"qconfig_dict: expected keys out of {', '.join(map(repr, _KEYS))}, got "
                f"{', '.join(map(repr, unknown))}: names of modules stand under 'module_name', classes and functions "
                "under 'object_type'"
            )
        mapping = cls().set_global(qconfig_dict.get(""))
        for key in _KEYS[1:]:
            for entry in _pairs(key, qconfig_dict.get(key, ())):
                getattr(mapping, f"set_{key}")(*entry)
        return mapping

    def to_dict(self) -> dict[str, Any]:
        """Return the ``qconfig_dict`` that `from_dict` reads back."""
        return {
            "": self.global_qconfig,
            "object_type": list(self.object_type_qconfigs.items()),
            "module_name_regex": list(self.module_name_regex_qconfigs.items()),
            "module_name": list(self.module_name_qconfigs.items()),
        }

    def check_names(self, paths: Iterable[str]) -> None:
        """Raise ValueError if an entry names a module that is not among these."""
        known = set(paths)
        unknown = [name for name in self.module_name_qconfigs if name not in known]
        if unknown:
            raise ValueError(
                f"qconfig_dict: module_name: expected names of modules, got {', '.join(map(repr, unknown))}; "
                f"the model has {', '.join(sorted(known - {''}))}"
            )

    # --- looking up ------------------------------------------------------------------------------------------------
    def of_module(self, path: str, kind: type) -> Found:
        """Return what holds for the module of this class at this path."""
        return self._by_path(path, self._by_type(kind, Found(self.global_qconfig, GLOBAL)))

    def of_call(self, target: Callable[..., Any] | str, scope: str, kind: type | None) -> Found:
        """Return what holds for a function, or a method by its name, called in the module at ``scope``.

        ``kind`` is the class of that module; None where it is the model itself.
        """
        found = self._by_type(target, Found(self.global_qconfig, GLOBAL))
        return self._by_path(scope, found if kind is None else self._by_type(kind, found))

    def _by_type(self, kind: Any, default: Found) -> Found:
        if kind in self.object_type_qconfigs:
            return Found(self.object_type_qconfigs[kind], OBJECT_TYPE)
        return default

    def _by_path(self, path: str, default: Found) -> Found:
        above = path
        while above:
            if above in self.module_name_qconfigs:
                return Found(self.module_name_qconfigs[above], NAME)
            above = above.rpartition(".")[0]
        for pattern, qconfig in self.module_name_regex_qconfigs.items():
            if re.match(pattern, path):
                return Found(qconfig, REGEX)
        return default

    def __repr__(self) -> str:
        lines = [f"    {key!r}: {value!r}," for key, value in self.to_dict().items() if value]
        return "\n".join(["QConfigMapping({", *lines, "})"])


def get_default_qconfig_mapping(backend: str | None = None) -> QConfigMapping:
    """Return a mapping that quantizes everything with `get_default_qconfig`."""
    from octensor.quantization.qconfig import get_default_qconfig

    return QConfigMapping().set_global(get_default_qconfig(backend))


def get_default_qat_qconfig_mapping(backend: str | None = None) -> QConfigMapping:
    """Return a mapping that trains everything with `get_default_qat_qconfig`."""
    from octensor.quantization.qconfig import get_default_qat_qconfig

    return QConfigMapping().set_global(get_default_qat_qconfig(backend))


def _valid(place: str, qconfig: Any) -> QConfig | None:
    try:
        assert_valid_qconfig(qconfig)
    except TypeError as error:
        raise TypeError(f"qconfig_dict: {place}: {error}") from None
    return qconfig  # type: ignore[no-any-return]


def _pairs(key: str, entries: Any) -> list[tuple[Any, Any]]:
    if isinstance(entries, Mapping):
        return list(entries.items())
    if isinstance(entries, (list, tuple)) and all(
        isinstance(e, (list, tuple)) and len(e) == 2 and not isinstance(e, QConfig) for e in entries
    ):
        return [tuple(entry) for entry in entries]
    raise TypeError(f"qconfig_dict: {key}: expected a list of (key, qconfig) pairs, got {entries!r}")
