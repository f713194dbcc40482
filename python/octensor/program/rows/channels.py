"""Ops with parameters for each channel: batch norm, PReLU; of codes a table for each."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._C import QParams, QTensor
from ...graph.rows import Unsupported
from ..ir import Value
from ..lower import Site, constant_of, row
from ..tables import all_codes
from .codes import quantized
from .places import movable


def tables(site: Site, x: Value, channels: int, function: Any) -> Value:
    """Add an op from 8-bit codes to codes, another one for each channel, as tables of its results."""
    qparams: QParams | None = movable(x).qparams
    assert qparams is not None
    if qparams.dtype.itemsize != 1:
        raise Unsupported("it works on an 8-bit tensor here: requantize it first")
    result: QTensor = function(all_codes(qparams, (256, channels, *(1,) * (x.ndim - 2))))
    table = np.asarray(result.int_repr()).reshape(256, channels).T
    return site.add(
        "lookup_channels", [x], site.meta, tables=np.ascontiguousarray(table).view(np.uint8), qparams=result.qparams
    )


@row("prelu")
def prelu(site: Site, x: Value, weight: Value) -> Value:
    """Multiply by a channel's slope below 0."""
    if quantized(x):
        raise Unsupported("there is no quantized form of it")
    slopes = np.asarray(constant_of(weight, "weight"), np.float32)
    across = slopes.reshape((-1,) + (1,) * max(x.ndim - 2, 0))
    return site.add("pair", [x, site.constant(across)], site.meta, name="prelu")


@row("batch_norm")
def batch_norm(
    site: Site, x: Value, weight: Any, bias: Any, mean: Value, var: Value, *, training: bool, eps: float, **given: Any
) -> Value:
    """Add a batch norm in eval mode: a factor and a summand for each channel; of codes their table."""
    if training:
        raise Unsupported("programs have batch norms in eval mode alone: call .eval()")
    parameters = tuple(
        None if p is None else np.asarray(constant_of(p, "parameter")) for p in (weight, bias, mean, var)
    )
    gamma, beta, m, v = parameters
    assert m is not None
    assert v is not None
    if x.qparams is not None:
        return tables(site, x, len(m), lambda codes: site.spec(codes, *parameters, training=False, eps=eps, **given))
    scale = 1 / np.sqrt(v + eps)
    scale = scale if gamma is None else scale * gamma
    shift = -m * scale if beta is None else -m * scale + beta
    across = (-1,) + (1,) * (x.ndim - 2)
    y = site.add("float_mul", [x, site.constant(scale.reshape(across).astype(np.float32))], site.meta)
    return site.add("float_add", [y, site.constant(shift.reshape(across).astype(np.float32))], site.meta)
