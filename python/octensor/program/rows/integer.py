"""Codes that are plain arrays, with scales and zero points that are computed (ONNX's dynamic operators).

In a program they are codes with scale 1 and zero point 0: so movement and gathers take them as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._C import QParams
from ...graph.meta import TensorMeta
from ...graph.rows import Unsupported
from ..ir import Value, is_plain
from ..lower import Site, row
from .codes import quantized


def _bytes(x: Any) -> Value:
    if not isinstance(x, Value) or not quantized(x):
        raise Unsupported("it works on 8-bit codes here")
    return x


@row("as_codes")
def as_codes(site: Site, x: Value, *, qparams: QParams) -> Value:
    """Give codes their parameters."""
    return site.add("with_qparams", [_bytes(x)], site.meta, qparams=qparams)


@row("int_repr")
def int_repr(site: Site, x: Value) -> Value:
    """Take the parameters from codes."""
    if not is_plain(site.meta.qparams):
        raise Unsupported(f"programs have no arrays of {site.meta.dtype}")
    return site.add("with_qparams", [_bytes(x)], site.meta, qparams=site.meta.qparams)


@row("dynamic_quantize")
def dynamic_quantize(site: Site, x: Value) -> tuple[Value, ...]:
    """Codes over the input's own range, their scale and zero point."""
    return tuple(site.add_many("dynamic_quantize", [x], list(site.meta)))


@row("matmul_integer")
def matmul_integer(site: Site, a: Value, b: Value, a_zero: Value | None = None, b_zero: Value | None = None) -> Value:
    """Exact sums of products of codes."""
    if a.ndim < 2 or b.ndim < 2 or (a_zero is not None and np.prod(a_zero.meta.shape) != 1):
        raise Unsupported("programs have products of matrices alone, with one zero point for the first")
    zeros = [_bytes(z) for z in (a_zero, b_zero) if z is not None]
    given = {"a_zeros": a_zero is not None, "b_zeros": b_zero is not None}
    return site.add("matmul_integer", [_bytes(a), _bytes(b), *zeros], site.meta, **given)


@row("dequantize_by")
def dequantize_by(site: Site, x: Value, scale: Value, zero_point: Value | None = None, *, axis: int = 0) -> Value:
    """Subtract the zero point and multiply by the scale, in float: both are exact but the product."""
    if any(v is not None and np.prod(v.meta.shape) != 1 for v in (scale, zero_point)):
        raise Unsupported("programs have it with one scale alone")
    real = site.add("dequantize", [_bytes(x)], site.meta)
    if zero_point is not None:
        zero = site.add("dequantize", [_bytes(zero_point)], TensorMeta(zero_point.meta.shape, "float32"))
        real = site.add("float_sub", [real, zero], site.meta)
    return site.add("float_mul", [real, scale], site.meta)
