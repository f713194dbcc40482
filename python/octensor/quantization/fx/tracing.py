"""`QuantizationTracer`: a graph of a model with the layers that quantization knows as its leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import octensor
from octensor.graph.errors import TraceError, located
from octensor.graph.graph_module import GraphModule
from octensor.graph.node import Node
from octensor.graph.tracer import Tracer
from octensor.nn.container import Sequential
from octensor.nn.module import Module
from octensor.nn.observed import ObservedLayer
from octensor.nn.weighted import WeightedLayer
from octensor.quantization.functional import FloatFunctional
from octensor.quantization.fx.graph_modules import Prepared
from octensor.quantization.stubs import QuantWrapper
from octensor.tensor import Tensor


class QuantizationTracer(Tracer):
    """Traces through containers and the user's modules; layers, and what is named here, are leaves.

    Parameters
    ----------
    skipped_module_names : iterable of str
        Paths of modules that are not to be traced.
    skipped_module_classes : iterable of type
        Classes of such modules.
    """

    def __init__(
        self, skipped_module_names: Iterable[str] = (), skipped_module_classes: Iterable[type[Module]] = ()
    ) -> None:
        super().__init__()
        self.skipped_module_names = frozenset(skipped_module_names)
        self.skipped_module_classes = tuple(skipped_module_classes)

    def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
        """Whether calls of a module are one node."""
        if module_qualified_name in self.skipped_module_names or type(m) in self.skipped_module_classes:
            return True
        if isinstance(m, (WeightedLayer, ObservedLayer, Prepared)):  # also classes that the user derives
            return True
        if isinstance(m, (Sequential, QuantWrapper, GraphModule, _Calls)):
            return False
        return super().is_leaf_module(m, module_qualified_name)

    def _attribute(self, value: Any) -> Node:
        """Return a get_attr node; what was computed of parameters alone is a constant, outside of training."""
        if isinstance(value, Tensor) and value.grad_fn is not None:
            if self.root.training:
                raise TraceError(
                    located(
                        "a tensor is computed of parameters alone, which tracing cannot follow: training would not "
                        "reach them: compute it in a module that is kept as a leaf (non_traceable_module_name)"
                    )
                )
            value = value.detach()
        return super()._attribute(value)


class _Calls(Module):
    """Takes the place of a `FloatFunctional` while tracing: its operations become calls of functions.

    What observes these is decided with all other functions.
    """

    def add(self, x: Any, y: Any) -> Any:
        """Return x + y."""
        return octensor.add(x, y)

    def add_relu(self, x: Any, y: Any) -> Any:
        """Return relu(x + y)."""
        return octensor.relu(octensor.add(x, y))

    def mul(self, x: Any, y: Any) -> Any:
        """Return x · y."""
        return octensor.mul(x, y)

    def cat(self, tensors: Any, dim: int = 0) -> Any:
        """Join tensors."""
        return octensor.cat(tensors, dim)

    add_scalar = add
    mul_scalar = mul


def trace(model: Module, tracer: Tracer, class_: Callable[..., GraphModule] = GraphModule) -> GraphModule:
    """Return a graph module of a model, whose `FloatFunctional`s become functions; the model's modules are shared."""
    _swap_functionals(model, tracer, "")
    graph = tracer.trace(model)
    return class_(model, graph, type(model).__name__)


def _swap_functionals(module: Module, tracer: Tracer, path: str) -> None:
    """Replace the `FloatFunctional`s outside of leaves."""
    for name, child in list(module._modules.items()):
        below = f"{path}.{name}" if path else name
        if type(child) is FloatFunctional:
            setattr(module, name, _Calls().train(child.training))
        elif child is not None and not tracer.is_leaf_module(child, below):
            _swap_functionals(child, tracer, below)


def preserve(source: Module, target: Module, names: Iterable[str]) -> None:
    """Keep attributes of a model that its graph does not name."""
    for name in names:
        if not hasattr(source, name):
            raise ValueError(f"preserved_attributes: expected attributes of {type(source).__name__}, got {name!r}")
        if not hasattr(target, name):
            setattr(target, name, getattr(source, name))
