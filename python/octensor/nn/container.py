"""Containers: `Sequential`, `ModuleList`, `ModuleDict`."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from .module import Module


class _Numbered(Module):
    """Children under the names "0", "1", ...; indexed, sliced and extended like a list."""

    def _names(self) -> list[str]:
        """Names of the children that are entries; a module in a slot is not one."""
        return [name for name in self._modules if name not in self.slots]

    def _append(self, module: Module) -> None:
        self.add_module(str(len(self)), module)

    def _key(self, index: int) -> str:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index: expected one in [{-len(self)}, {len(self) - 1}], got {index}")
        return self._names()[index]

    def _replace(self, modules: Iterable[Module]) -> None:
        for name in self._names():
            del self._modules[name]
        self.extend(modules)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._rebuilt(list(self)[index])
        return self._modules[self._key(index)]

    def _rebuilt(self, modules: list[Module]) -> Module:
        raise NotImplementedError

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._key(index), module)

    def __delitem__(self, index: int) -> None:
        kept = list(self)
        del kept[index]
        self._replace(kept)

    def __len__(self) -> int:
        return len(self._names())

    def __iter__(self) -> Iterator[Any]:
        return iter([self._modules[name] for name in self._names()])

    def append(self, module: Module) -> Any:
        """Add a module at the end; return self."""
        self._append(module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end; return self."""
        for module in modules:
            self._append(module)
        return self


class Sequential(_Numbered):
    """Modules run one after the other.

    Parameters
    ----------
    *modules : Module, or one mapping from names to modules
        Without names they are called "0", "1", ....

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.Sequential(ot.nn.Linear(4, 3), ot.nn.ReLU())(ot.zeros(2, 4)).shape
    (2, 3)
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            for module in modules:
                self._append(module)

    def _rebuilt(self, modules: list[Module]) -> Module:
        return Sequential(*modules)

    def forward(self, input: Any) -> Any:
        """Run all modules, each on the output of the one before."""
        for name, module in self._modules.items():
            if module is not None and name not in self.slots:
                input = module(input)
        return input


class ModuleList(_Numbered):
    """A list of modules that the module it is in knows of.

    Parameters
    ----------
    modules : iterable of Module
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def _rebuilt(self, modules: list[Module]) -> Module:
        return ModuleList(modules)

    def insert(self, index: int, module: Module) -> None:
        """Insert a module before `index`."""
        modules = list(self)
        modules.insert(index, module)
        self._replace(modules)


class ModuleDict(Module):
    """Modules by name that the module it is in knows of.

    Parameters
    ----------
    modules : mapping from str to Module
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module]) -> None:
        """Add or replace modules."""
        for name, module in modules.items():
            self[name] = module

    def __getitem__(self, name: str) -> Any:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        del self._modules[name]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def keys(self) -> KeysView[str]:
        """Return the names."""
        return self._modules.keys()

    def values(self) -> ValuesView[Any]:
        """Return the modules."""
        return self._modules.values()

    def items(self) -> ItemsView[str, Any]:
        """Return (name, module) pairs."""
        return self._modules.items()
