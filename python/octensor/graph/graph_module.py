"""`GraphModule`: a module whose `forward` is generated from a `Graph`.

It holds the submodules, parameters and buffers that the graph names, and nothing else of the module it was made from.
"""

from __future__ import annotations

import linecache
import weakref
from collections.abc import Mapping
from itertools import count
from typing import Any

import numpy as np

from .._C import QTensor
from ..nn.module import Module
from ..nn.parameter import Parameter
from ..tensor import Tensor
from .graph import Graph
from .python_code import PythonCode

_numbers = count()


class GraphModule(Module):
    """A module whose `forward` is generated from a graph.

    Parameters
    ----------
    root : Module or mapping
        Where the submodules and attributes that the graph names are found: a module, or a mapping from those dotted
        names to values. Values are shared, not copied.
    graph : Graph
        What to run. It is copied if it belongs to another `GraphModule`.
    class_name : str
        Shown in the repr.

    Attributes
    ----------
    graph : Graph
        After a change to its nodes call `recompile()`; assigning a graph does so.
    code : str
        The source of `forward`.
    """

    _forward: Any

    def __init__(self, root: Module | Mapping[str, Any], graph: Graph, class_name: str = "GraphModule") -> None:
        super().__init__()
        self.__dict__["_class_name"] = class_name
        targets = sorted({n.target for n in graph.nodes if n.op in ("call_module", "get_attr")})
        if isinstance(root, Module):
            self.training = root.training
            for target in targets:
                _share(root, self, target)
        else:
            missing = [target for target in targets if target not in root]
            if missing:
                raise ValueError(f"GraphModule: root: expected a value for {', '.join(missing)}, which the graph names")
            for target in targets:
                _put(self, target, root[target])
        self.graph = graph

    # --- the graph and its code --------------------------------------------------------------------------------------
    @property
    def graph(self) -> Graph:
        """The graph that `forward` was made from."""
        graph: Graph = self.__dict__["_graph"]
        return graph

    @graph.setter
    def graph(self, graph: Graph) -> None:
        if not isinstance(graph, Graph):
            raise TypeError(f"GraphModule: graph: expected a Graph, got {type(graph).__name__}")
        if graph.owning_module is not None and graph.owning_module is not self:
            graph = graph.__deepcopy__({})
        graph.owning_module = self
        self.__dict__["_graph"] = graph
        self.recompile()

    @property
    def code(self) -> str:
        """The source of `forward`."""
        text: str = self.__dict__["_code"]
        return text

    def recompile(self) -> PythonCode:
        """Generate `forward` from the graph anew; to be called after the graph was changed."""
        code = self.graph.python_code("self")
        self.__dict__["_code"] = code.src
        self.__dict__["_forward"] = _compiled(code)
        return code

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph."""
        return self._forward(self, *args, **kwargs)

    # --- submodules --------------------------------------------------------------------------------------------------
    def add_submodule(self, target: str, m: Module) -> bool:
        """Put a module at a dotted path, making empty modules on the way; return whether that was possible."""
        owner: Any = self
        *parents, _ = target.split(".")
        for part in parents:
            if part not in owner._modules and hasattr(owner, part):
                return False
            owner = owner._modules.get(part)
            if owner is None:
                break
        _put(self, target, m)
        return True

    def delete_submodule(self, target: str) -> bool:
        """Remove the module at a dotted path; return whether there was one."""
        path, _, name = target.rpartition(".")
        try:
            owner = self.get_submodule(path)
        except AttributeError:
            return False
        if owner._modules.get(name) is None:
            return False
        delattr(owner, name)
        return True

    def delete_all_unused_submodules(self) -> None:
        """Remove every submodule that the graph does not call or read from."""
        used: set[str] = set()
        for node in self.graph.nodes:
            if node.op in ("call_module", "get_attr"):
                parts = node.target.split(".")
                used.update(".".join(parts[:i]) for i in range(1, len(parts) + 1))
                if node.op == "call_module":
                    inner = self.get_submodule(node.target)
                    used.update(f"{node.target}.{name}" for name, _ in inner.named_modules() if name)
        for name, _ in list(self.named_modules(remove_duplicate=False)):
            if name and name not in used:
                self.delete_submodule(name)

    def print_readable(self, print_output: bool = True) -> str:
        """Print the source of `forward` under the line of its class; return the text."""
        lines = self.code.strip("\n").replace("\n", "\n    ")
        text = f"class {self._get_name()}(octensor.nn.Module):\n    {lines}\n"
        if print_output:
            print(text, end="")
        return text

    # --- copies ------------------------------------------------------------------------------------------------------
    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        del state["_forward"], state["_code"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.graph = self.__dict__["_graph"]

    def shallow_copy(self) -> Any:
        """Return a module of the same class that shares parameters, buffers and children with this one."""
        other = super().shallow_copy()
        other.graph = self.graph
        return other

    # --- text --------------------------------------------------------------------------------------------------------
    def _get_name(self) -> str:
        name: str = self.__dict__.get("_class_name", "GraphModule")
        return name if type(self) is GraphModule else type(self).__name__

    def __str__(self) -> str:
        return f"{super().__repr__()}\n\n{self.code}"


def _compiled(code: PythonCode) -> Any:
    """Return the function that the source defines, with its lines where tracebacks find them."""
    name = f"<octensor.graph {next(_numbers)}>"
    namespace = dict(code.globals)
    exec(compile(code.src, name, "exec"), namespace)
    function = namespace["forward"]
    linecache.cache[name] = (len(code.src), None, code.src.splitlines(keepends=True), name)
    weakref.finalize(function, linecache.cache.pop, name, None)
    return function


def _put(module: Module, path: str, value: Any) -> None:
    """Set the attribute at a dotted path; modules that are missing on the way are made."""
    *parents, name = path.split(".")
    for part in parents:
        child = module._modules.get(part)
        if child is None:
            child = Module()
            child.training = module.training
            module.add_module(part, child)
        module = child
    if isinstance(value, (Tensor, QTensor, np.ndarray)) and not isinstance(value, Parameter):
        module.register_buffer(name, value)
    elif isinstance(value, Module):
        module.add_module(name, value)
    else:
        setattr(module, name, value)


def _share(source: Module, module: Module, path: str) -> None:
    """Let `module` have at a dotted path what `source` has there."""
    *parents, name = path.split(".")
    held: Any = source
    mine: Any = module
    for part in parents:
        held = getattr(held, part)
        mine = getattr(mine, part, None) if mine is not None else None
        if mine is held:
            return  # the whole module is there already
    value = getattr(held, name)
    buffers = held._buffers if isinstance(held, Module) else {}
    _put(module, path, value)
    if name in buffers and name in held._transient_buffers:
        owner = module.get_submodule(".".join(parents))
        owner._transient_buffers.add(name)
