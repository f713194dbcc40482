"""Layers on floats with quantized weights: dynamic, weight-only and 4-bit linear layers."""

from __future__ import annotations

from ..._C import PackedInt4Linear, PackedWeightOnly
from ...ops.packing import pack_linear, pack_weight_only
from ..ir import Value
from ..lower import Site, constant_of, row
from .layers import floats


@row("linear_dynamic")
def linear_dynamic(
    site: Site,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    *,
    reduce_range: bool = False,
    relu: bool = False,
    per_row: bool = False,
) -> Value:
    """Quantized over the range of each call's input."""
    packed = pack_linear(constant_of(weight, "weight"), floats(bias))
    return site.add(
        "linear_dynamic", [x], site.meta, packed=packed, reduce_range=reduce_range, relu=relu, per_row=per_row
    )


@row("linear_weight_only")
def linear_weight_only(site: Site, x: Value, weight: Value, bias: Value | None = None, *, relu: bool = False) -> Value:
    """In float, with the weight's real values."""
    packed = pack_weight_only(constant_of(weight, "weight"), floats(bias))
    return site.add("linear_weight_only", [x], site.meta, packed=packed, relu=relu)


@row("linear_int4")
def linear_int4(site: Site, x: Value, packed: PackedInt4Linear, *, relu: bool = False) -> Value:
    """With 4-bit weights; each row is quantized over its own range."""
    return site.add("linear_int4", [x], site.meta, packed=packed, relu=relu)


@row("linear_packed_weight_only")
def linear_packed_weight_only(
    site: Site, x: Value, packed: PackedWeightOnly | PackedInt4Linear, *, relu: bool = False
) -> Value:
    """In float, with the real values of a weight that was packed before."""
    return site.add("linear_weight_only", [x], site.meta, packed=packed, relu=relu)
