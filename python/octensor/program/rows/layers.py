"""Layers on codes: convolutions, linear layers, pools."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._C import QParams
from ...graph.rows import Unsupported
from ...ops.packing import pack_conv, pack_conv_transpose, pack_linear
from ..ir import WHOLE, Value
from ..lower import Site, constant_of, row
from . import floats as float_layers
from .codes import quantized


def floats(value: Value | None) -> Any:
    """Return a bias, which may be missing, as an array."""
    array = constant_of(value, "bias")
    return None if array is None else np.asarray(array)


def _conv(transposed: bool) -> Any:
    pack = pack_conv_transpose if transposed else pack_conv

    def lowered(
        site: Site,
        x: Value,
        weight: Value,
        bias: Value | None = None,
        *,
        qparams: QParams | None = None,
        relu: bool = False,
        **attrs: Any,
    ) -> Value:
        if qparams is None or not quantized(x):
            return float_layers.conv(site, x, weight, bias, **attrs)
        ready = pack(constant_of(weight, "weight"), floats(bias), **attrs)
        return site.add("conv", [x], site.meta, packed=ready, qparams=qparams, relu=relu)

    return lowered


for _axes in (1, 2, 3):
    row(f"conv{_axes}d")(_conv(False))
    row(f"conv_transpose{_axes}d")(_conv(True))


@row("linear")
def linear(
    site: Site,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    *,
    qparams: QParams | None = None,
    relu: bool = False,
) -> Value:
    """Linear layers."""
    if qparams is None or not quantized(x):
        return float_layers.linear(site, x, weight, bias)
    ready = pack_linear(constant_of(weight, "weight"), floats(bias))
    return site.add("linear", [x], site.meta, packed=ready, qparams=qparams, relu=relu)


_POOLS = {
    "max_pool": ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    "avg_pool": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    "adaptive_avg_pool": ("output_size",),
}


def _pool(name: str) -> Any:
    def lowered(site: Site, x: Value, **attrs: Any) -> Value:
        if "kernel" in attrs:
            attrs["kernel_size"] = attrs.pop("kernel")
        given = {key: list(v) if isinstance(v, tuple) else v for key, v in attrs.items()}
        step = name if quantized(x) else f"float_{name}"
        return site.add(step, [x], site.meta, **{key: given[key] for key in _POOLS[name]})

    return lowered


for _name in _POOLS:
    for _axes in (1, 2, 3):
        row(f"{_name}{_axes}d")(_pool(_name))


@row("mean")
def mean(site: Site, x: Value, *, dim: tuple[int, ...], keepdim: bool) -> Value:
    """Add a mean; of codes one over all spatial axes, which is a pool."""
    if not quantized(x):
        return float_layers.reduce(site, x, dim, keepdim, mean=True)
    if x.ndim not in (3, 4, 5) or sorted(dim) != list(range(2, x.ndim)):
        raise Unsupported("programs have means over all spatial axes of quantized images alone")
    pooled = site.meta._replace(shape=(*x.meta.shape[:2], *[1] * (x.ndim - 2)))
    y = site.add("adaptive_avg_pool", [x], pooled, output_size=[1] * (x.ndim - 2))
    if keepdim:
        return y
    return site.add("cut", [y], site.meta, index=(WHOLE, WHOLE, *[0] * (x.ndim - 2)))
