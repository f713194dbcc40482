"""Sums, means, extremes and products over axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..draft import Site, Value
from ..exporter import row


def _reduce(operator: str) -> Callable[..., Value]:
    def write(site: Site, x: Value, *, dim: Any, keepdim: bool) -> Value:
        axes = (dim,) if isinstance(dim, int) else tuple(dim)
        if operator == "ReduceSum" or site.opset >= 18:  # what used to be an attribute is an input
            return site.result(site.add(operator, site.real(x), site.ints(axes), keepdims=int(keepdim)))
        return site.result(site.add(operator, site.real(x), axes=axes, keepdims=int(keepdim)))

    return write


for _name, _operator in (("sum", "Sum"), ("mean", "Mean"), ("amax", "Max"), ("amin", "Min"), ("prod", "Prod")):
    row(_name)(_reduce(f"Reduce{_operator}"))


@row("cumsum")
def cumsum(site: Site, x: Value, *, dim: int) -> Value:
    """Add up along an axis."""
    return site.result(site.add("CumSum", site.real(x), site.ints(dim)))
