"""Fusing in a graph: the sequences of `quantization.fuse`, found instead of named.

The table of patterns is made of `fuse.FUSERS`, the table behind `fuse_modules`, and the fusing itself is
`fuse_known_modules`; a ReLU or ReLU6 may also be a function or a method. Longer patterns come first. A pattern fires
only where

* everything but its last value is used inside of it only, and none of its layers is called elsewhere too;
* its layers are all in train mode or all in eval mode, and the norm can be folded (eval) or attached (train);
* no entry of the qconfig_dict gives a part of it another qconfig than the first layer has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from octensor import nn
from octensor.graph.graph_module import GraphModule
from octensor.graph.node import Node
from octensor.graph.patterns import Match, Pattern, called, find, layer_of, layered, put_first
from octensor.graph.python_code import target_text
from octensor.nn.batchnorm import BatchNormLayer
from octensor.nn.module import Module
from octensor.ops.activation import relu, relu6
from octensor.quantization.fuse import FUSERS, fuse_known_modules

Accepts = Callable[[Match], bool]

# The functions that stand in patterns, and the layers that they are.
_LAYERS: dict[Any, type[Module]] = {relu: nn.ReLU, relu6: nn.ReLU6}


class FuseHandler:
    """Fuses what a pattern matched; a subclass registered for a pattern of its own overrides `fuse`.

    Parameters
    ----------
    match : Match
        The nodes.
    modules : GraphModule
        The graph module they are in.
    """

    def __init__(self, match: Match, modules: GraphModule) -> None:
        self.match = match
        self.modules = modules

    def layers(self) -> list[Module | None]:
        """Return the layers in the order they run; a function that has a layer is replaced by one."""
        return [self._layer(node) for node in reversed(self.match.nodes)]

    def _layer(self, node: Node) -> Module | None:
        layer = layer_of(node, self.modules)
        if layer is None:  # a function or a method
            layer = _LAYERS[called(node)]().train(self.modules.training)
        return layer

    def fuse(self, fuser_methods: Mapping[tuple[type[Module], ...], Any]) -> Node:
        """Fuse; return the node that has the value of the last one now."""
        first = self.match.first
        names = [target_text(node) for node in reversed(self.match.nodes)]
        try:
            fused = fuse_known_modules(self.layers(), fuser_methods)[0]  # type: ignore[arg-type]
        except ValueError as error:
            raise ValueError(f"fuse_fx: {names}: {error}") from None
        fused.fused_from = tuple(names)
        self.modules.add_submodule(str(first.target), fused)
        self.match.last.replace_all_uses_with(first)
        for node in self.match.nodes[:-1]:
            self.modules.graph.erase_node(node)
        return first


def _patterns_of(fusers: Mapping[tuple[type[Module], ...], Any]) -> dict[Pattern, type[FuseHandler]]:
    """Return the patterns for sequences of layers, the longest first."""
    found: dict[Pattern, type[FuseHandler]] = {}
    for types in sorted(fusers, key=len, reverse=True):
        for last in (types[-1], *(f for f, kind in _LAYERS.items() if kind is types[-1])):
            pattern: Any = types[0]
            for kind in (*types[1:-1], last):
                pattern = (kind, pattern)
            found[pattern] = FuseHandler
    return found


_DEFAULT = _patterns_of(FUSERS)
_REGISTERED: dict[Pattern, type[FuseHandler]] = {}


def register_fusion_pattern(pattern: Pattern) -> Callable[[type[FuseHandler]], type[FuseHandler]]:
    """Return a decorator that makes a class the handler of a pattern, before all that is there already.

    >>> from octensor import nn
    >>> @register_fusion_pattern((nn.Hardtanh, nn.Linear))
    ... class Mine(FuseHandler):
    ...     pass
    >>> get_default_fusion_patterns()[nn.Hardtanh, nn.Linear] is Mine
    True
    >>> del _REGISTERED[nn.Hardtanh, nn.Linear]
    """

    def register(handler: type[FuseHandler]) -> type[FuseHandler]:
        put_first(_REGISTERED, pattern, handler)
        return handler

    return register


def get_default_fusion_patterns() -> dict[Pattern, type[FuseHandler]]:
    """Return {pattern: handler}, in the order in which they are tried."""
    return layered(_REGISTERED, _DEFAULT)


def fuse_graph(
    modules: GraphModule,
    fuser_methods: Mapping[Any, Any],
    patterns: Mapping[Pattern, Any],
    accepts: Accepts = lambda match: True,
) -> list[Node]:
    """Fuse what can be fused, in place.

    Parameters
    ----------
    fuser_methods, patterns
        What there is besides the default tables: ``additional_fuser_method_mapping``, ``additional_fusion_pattern``.
    accepts
        Asked for every match.

    Returns
    -------
    The nodes of the fused layers.
    """
    extra = _patterns_of(fuser_methods)
    table = layered(patterns, extra, get_default_fusion_patterns())

    def fits(match: Match, handler: type[FuseHandler]) -> bool:
        plain = handler is FuseHandler and match.pattern in _DEFAULT and match.pattern not in extra
        return accepts(match) and (not plain or _is_fusable(handler(match, modules)))

    found = list(find(modules, table, fits))
    return [handler(match, modules).fuse(fuser_methods) for match, handler in found]


def _is_fusable(handler: FuseHandler) -> bool:
    """Whether the layers are as the default fusers want them."""
    first, *rest = handler.layers()
    if first is None or first.stage != "float" or any(getattr(first, a, None) is not None for a in _CARRIED):
        return False
    if any(layer is None or layer.training != first.training for layer in rest):
        return False
    norms = [layer for layer in rest if isinstance(layer, BatchNormLayer)]
    if first.training:
        return all(getattr(first, "channel_axis", 1) == 0 and n.affine and n.track_running_stats for n in norms)
    return all(n.running_mean is not None for n in norms)


_CARRIED = ("activation", "norm")
