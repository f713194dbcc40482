"""The masks of attention layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph.meta import TensorMeta
from ...graph.rows import Unsupported
from ..ir import WHOLE, BatchSize, Value, pairs
from ..lower import Site, row


def _additive(site: Site, mask: Value) -> Value:
    """Return what is added to scores: -inf where a boolean mask is true."""
    if mask.meta.dtype == "float32":
        return mask
    if mask.meta.dtype != "bool":
        raise Unsupported(f"its mask is {mask.meta.dtype}: programs take booleans and float32")
    numbers = [site.constant(np.asarray(v, np.float32)) for v in (-np.inf, 0.0)]
    return site.add("select", [mask, *numbers], TensorMeta(mask.meta.shape, "float32"))


@row("additive_mask", batched=True)
def additive_mask(
    site: Site, attn_mask: Value | None, key_padding_mask: Value | None, *, heads: int, n: Any, steps: tuple[int, int]
) -> Value | None:
    """Both masks as one."""
    total = None
    length, keys = steps
    if attn_mask is not None:
        shape = (attn_mask.meta.shape[0] if attn_mask.ndim == 3 else 1, *attn_mask.meta.shape[-2:])
        sizes = [(-1, 0), *pairs((length, keys))]
        total = site.add("reshape", [_additive(site, attn_mask)], TensorMeta(shape, "float32"), sizes=sizes)
    if key_padding_mask is not None:
        batch, width = key_padding_mask.meta.shape
        rows = n * heads if not isinstance(n, BatchSize) else BatchSize(n.fixed * heads, n.per_batch * heads)
        mask = site.add(
            "cut",
            [_additive(site, key_padding_mask)],
            TensorMeta((batch, 1, width), "float32"),
            index=(WHOLE, None, WHOLE),
        )
        each = TensorMeta((batch, heads, width), "float32")
        mask = site.add("expand", [mask], each, sizes=pairs((n, heads, keys)))
        mask = site.add(
            "reshape", [mask], TensorMeta((batch * heads, 1, width), "float32"), sizes=pairs((rows, 1, keys))
        )
        total = mask if total is None else site.add("float_add", [total, mask], site.meta)
    return total


@row("open_key")
def open_key(site: Site, mask: Value) -> Value:
    """One more key, which everything may see."""
    return site.add("pick", [mask], site.meta, axes=[None, None, ("pad", 0, 1, "constant")])
