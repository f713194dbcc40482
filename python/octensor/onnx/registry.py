"""`OPERATORS`: what each ONNX operator does, as a Python function on tensors and arrays.

An operator is written once, with its newest signature:

    @operator("Squeeze")
    def squeeze(data, axes=None): ...

*Parameters* before a ``*`` are inputs, in ONNX's order; those after it attributes. What used to be an attribute and
became an input has one name, so older models bind to the same parameter (`axes` above). A parameter named ``opset``
receives the version of the operator set, for operators whose meaning changed.

*Results.* A function returns one value, or a tuple for an operator with several outputs.

*Where it runs.* On constants while the model is loaded, so that what depends on constants alone is computed once;
otherwise as a node of the graph, each time the model runs. The same function serves both.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..graph.intercept import keep_whole


@dataclass(frozen=True)
class Operator:
    """One operator.

    Attributes
    ----------
    name : str
    function : callable
    inputs : tuple of str
        Names of its inputs; variadic ones are not among them.
    variadic : bool
        Whether any number of inputs follows.
    attributes : frozenset of str
    needs_opset : bool
    ignored : frozenset of str
        Attributes that make no difference to the results here.
    """

    name: str
    function: Callable[..., Any]
    inputs: tuple[str, ...]
    variadic: bool
    attributes: frozenset[str]
    needs_opset: bool
    ignored: frozenset[str]


OPERATORS: dict[str, Operator] = {}


def operator(*names: str, ignored: tuple[str, ...] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as the operator of these names."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        keep_whole(function)
        parameters = inspect.signature(function).parameters.values()
        inputs = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        keywords = frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        for name in names:
            OPERATORS[name] = Operator(
                name, function, inputs, variadic, keywords - {"opset"}, "opset" in keywords, frozenset(ignored)
            )
        return function

    return register
