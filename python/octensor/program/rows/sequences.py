"""Recurrent layers with integer weights, and rows of tables."""

from __future__ import annotations

from typing import Any

from ...graph.rows import Unsupported
from ...ops.packing import pack_linear
from ..ir import Value, pairs
from ..lower import Site, constant_of, row
from .layers import floats


@row("recurrent", batched=True)
def recurrent(
    site: Site,
    x: Value,
    *state_and_weights: Any,
    kernel: str,
    sizes: Any,
    backward: bool = False,
    reduce_range: bool = False,
) -> tuple[Value, ...]:
    """All steps of one direction."""
    *state, w_ih, b_ih, w_hh, b_hh = state_and_weights
    packed = [pack_linear(constant_of(w, "weight"), floats(b)) for w, b in ((w_ih, b_ih), (w_hh, b_hh))]
    metas = site.meta
    if metas[0] is None:  # a cell: h after every step is the state after the one step
        metas = (metas[1], *metas[1:])
    given = {"kernel": kernel, "sizes": pairs(sizes), "backward": backward, "reduce_range": reduce_range}
    return tuple(site.add_many("recurrent", [x, *state], list(metas), w_ih=packed[0], w_hh=packed[1], **given))


@row("embedding")
def embedding(site: Site, table: Value, *, indices: Any, padding_idx: int | None = None) -> Value:
    """Rows of a table of floats or codes."""
    if not isinstance(indices, Value) or indices.meta.dtype != "int64":
        raise Unsupported("its indices are not an int64 tensor")
    return site.add("embedding", [table, indices], site.meta)
