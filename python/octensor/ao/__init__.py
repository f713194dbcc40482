"""`octensor.ao`: the names that PyTorch moved to `torch.ao`, as aliases.

``octensor.ao.quantization`` is `octensor.quantization`, ``octensor.ao.nn`` is `octensor.nn`, and so on for everything
below them; ``octensor.ao.ns`` holds the numeric suite. They are the same modules, not copies, and are loaded on first
use, by attribute or by import:

>>> from octensor.ao.nn import quantized
>>> import octensor
>>> quantized is octensor.nn.quantized
True
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["nn", "ns", "quantization"]

_ALIASES = {"nn": "octensor.nn", "ns": "octensor.quantization", "quantization": "octensor.quantization"}


class _AliasFinder(MetaPathFinder, Loader):
    """Answers ``import octensor.ao.nn.quantized`` with the module `octensor.nn.quantized`."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Take what stands below one of the aliases."""
        if not name.startswith(f"{__name__}."):
            return None
        first, _, rest = name[len(__name__) + 1 :].partition(".")
        if first not in _ALIASES:
            return None
        real = f"{_ALIASES[first]}.{rest}" if rest else _ALIASES[first]
        return ModuleSpec(name, self, origin=real)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module that the alias stands for."""
        module = import_module(str(spec.origin))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as it is; only take back the spec that the import system just gave it."""
        alias = module.__spec__
        if alias is not None and isinstance(alias.loader, _AliasFinder):
            module.__spec__ = alias.loader_state


# First: the path finder would load the files once more, as modules of their own.
sys.meta_path.insert(0, _AliasFinder())


def __getattr__(name: str) -> Any:
    if name in _ALIASES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ALIASES})
