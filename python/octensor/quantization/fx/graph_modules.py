"""The graph modules that the steps of graph mode return, so that each step can see where it stands."""

from __future__ import annotations

from typing import Any

from octensor.graph.graph_module import GraphModule


class FusedGraphModule(GraphModule):
    """What `fuse_fx` returns."""


class ObservedGraphModule(GraphModule):
    """What `prepare_fx` and `prepare_qat_fx` return: run data through it, or train it, then `convert_fx` it.

    Attributes
    ----------
    preserved : tuple of str
        Attributes of the model that are not of the graph, and are kept.
    """

    preserved: tuple[str, ...] = ()


class Prepared(ObservedGraphModule):
    """A standalone module that was prepared inside of another model.

    Attributes
    ----------
    input_quantized_idxs, output_quantized_idxs : tuple of int
        Which of its arguments come quantized, and whether its result stays so.
    """

    input_quantized_idxs: tuple[int, ...] = ()
    output_quantized_idxs: tuple[int, ...] = ()


class QuantizedGraphModule(GraphModule):
    """What `convert_fx` returns: a graph of quantized layers and functions."""

    preserved: tuple[str, ...] = ()


def as_class(module: GraphModule, kind: type[GraphModule]) -> Any:
    """Return the graph module as one of another of these classes, in place."""
    module.__class__ = kind
    return module
