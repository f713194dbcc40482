"""Unary 8-bit ops by table: any function of one number, exactly, at the speed of a lookup.

For each of the 256 codes q of the input: dequantize, apply the op's float `forward`, quantize to the result's qparams,

    table[q & 0xFF] = clamp(round_half_even(float32(f((q - z) * s)) / s') + z')

f runs in float64: the last bit of a float32 `exp` differs between instruction sets, that of a float64 one is far below
what survives rounding to float32. The kernel indexes the table with the raw byte. Tables are kept for calls with the
same function and qparams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _C
from .._C import QParams, QTensor

if TYPE_CHECKING:
    from .spec import OpSpec

_MOST_KEPT = 1024
_kept: dict[tuple[Any, ...], np.ndarray] = {}


def build(function: Callable[..., Any], attrs: dict[str, Any], source: QParams, result: QParams) -> np.ndarray:
    """Return the table of 256 integers for `function`, indexed by the raw byte of the input code."""
    codes = np.arange(256, dtype=np.uint8).view(source.dtype.numpy)
    values = _C.dequantize(QTensor.from_numpy(codes, source))
    with np.errstate(all="ignore"):  # the ends of a wide range may overflow; quantizing clamps them
        outputs = np.asarray(function(values.astype(np.float64), **attrs), dtype=np.float32)
    return np.ascontiguousarray(_C.quantize(outputs, result).int_repr())


def by_table(spec: OpSpec) -> Callable[..., QTensor]:
    """Return the quantized form of a unary op: `run(x, qparams=None, **attrs)`.

    Without `qparams` the result has those the op's rule says: the input's, or the fixed ones of its dtype.
    """

    def run(x: QTensor, *, qparams: QParams | None = None, **attrs: Any) -> QTensor:
        source = x.qparams
        if source.is_per_channel or source.dtype.itemsize != 1:
            raise TypeError(
                f"{spec.name}: input: expected an 8-bit per-tensor quantized tensor, got {source!r}: "
                "requantize it, or call .dequantize() first"
            )
        if qparams is None:
            qparams = source if spec.fixed is None else spec.fixed(source.dtype)
        ends = (source.scale, source.zero_point, source.dtype.name, qparams.scale, qparams.zero_point)
        key = (spec.name, *ends, qparams.dtype.name, *attrs.items())
        table = _kept.get(key)
        if table is None:
            table = build(spec.forward, attrs, source, qparams)
            if len(_kept) >= _MOST_KEPT:
                _kept.clear()
            _kept[key] = table
        return _C.lookup(x, table, qparams)

    return run
