"""Scales to write a layer with, under which another runtime's arithmetic gives octensor's codes.

An integer kernel multiplies a sum of products of codes by ``m = sx * sw / sy``. octensor rounds m once. ONNX Runtime
forms ``f32(f32(sx * sw) / sy)``, whose last bit differs for every fourth channel, and with it one code in a million: a
network that amplifies its own rounding, as MobileNetV2 does, makes of one such code another result. So layers are
written in units in which every order of operations is exact::

    sx → 2^a,    sy → 2^b,    sw → m * 2^(b - a)        a, b: of the powers of two next to sx and sy

Means of codes, whose input and output share a scale, are written with the power of two next to it: sums are exact then,
and one in the middle between two codes stays there.

Codes do not change: scales enter them through m alone. Reals between QuantizeLinear and DequantizeLinear are counted in
the unit of the operator that stands there. Where a reader has another unit, its DequantizeLinear has another scale than
the QuantizeLinear before; what leaves a network, and what float operators read, has the tensor's own scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._C import QParams


def _like(q: QParams, scale: Any) -> QParams:
    zero = np.asarray(q.zero_point) if q.is_per_channel else q.zero_point
    return QParams(scale, zero, q.dtype, q.axis) if q.is_per_channel else QParams(float(scale), zero, q.dtype)


def unit(q: QParams) -> QParams:
    """Return the parameters with the power of two next to the scale in its place."""
    return q if q.is_per_channel else _like(q, 2.0 ** np.rint(np.log2(np.float64(q.scale))))


def of_product(x: QParams, w: QParams, y: QParams) -> tuple[QParams, QParams, QParams]:
    """Return parameters of input, weight and output that differ in their scales; those given where that cannot be."""
    if x.is_per_channel or y.is_per_channel:
        return x, w, y
    m = (np.float64(x.scale) * np.asarray(w.scale, np.float64) / np.float64(y.scale)).astype(np.float32)
    unit_x, unit_y = (np.float64(unit(q).scale) for q in (x, y))
    scale = (m.astype(np.float64) * (unit_y / unit_x)).astype(np.float32)
    limits = np.finfo(np.float32)
    for value in (m, scale, scale * np.float32(unit_x), np.float32(unit_x), np.float32(unit_y)):
        if not ((limits.tiny <= value) & (value <= limits.max)).all():
            return x, w, y
    return unit(x), _like(w, scale.astype(np.float64)), unit(y)
