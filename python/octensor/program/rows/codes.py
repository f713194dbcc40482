"""Element-wise ops on codes. Every op of one 8-bit tensor is a table, read off from the op itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._C import QParams, QTensor
from ...graph.meta import TensorMeta
from ...graph.rows import Unsupported
from ...ops.spec import OPS
from ..ir import Value
from ..lower import Site, constant_of, row
from . import floats


def quantized(value: Any) -> bool:
    """Whether a value is quantized."""
    return isinstance(value, Value) and value.qparams is not None


def tabulate(site: Site, x: Value, function: Any) -> Value:
    """Add `function`, an op from one 8-bit tensor to another, as a table of its results for all 256 codes."""
    qparams = x.qparams
    assert qparams is not None
    if qparams.is_per_channel or qparams.dtype.itemsize != 1:
        raise Unsupported("it works on an 8-bit tensor with one scale here: requantize it first")
    codes = np.arange(256, dtype=np.uint8).view(qparams.dtype.numpy)
    result: QTensor = function(QTensor.from_numpy(codes, qparams))
    meta = TensorMeta(x.meta.shape, result.qparams.dtype.name, result.qparams)
    table = np.ascontiguousarray(result.int_repr()).view(np.uint8)
    return site.add("lookup", [x], meta, table=table, qparams=result.qparams)


@row("quantize")
def quantize(site: Site, x: Value, *, qparams: QParams, channels_last: bool = False) -> Value:
    """Floats to codes."""
    return site.add("quantize", [x], site.meta, qparams=qparams, channels_last=channels_last)


@row("dequantize")
def dequantize(site: Site, x: Value) -> Value:
    """Codes to floats."""
    return site.add("dequantize", [x], site.meta) if quantized(x) else x


def _binary(name: str, relu: bool) -> Any:
    def lowered(site: Site, a: Value, b: Any, **attrs: Any) -> Value:
        if not quantized(a):
            return floats.binary(site, name, a, b, relu)
        if not quantized(b) or "qparams" not in attrs:
            raise Unsupported("its second operand is not quantized")
        return site.add(name, [a, b], site.meta, qparams=attrs["qparams"], relu=relu)

    return lowered


for _name in ("add", "mul"):
    row(_name)(_binary(_name, False))
    row(f"{_name}_relu")(_binary(_name, True))


def _unary(name: str) -> Any:
    def lowered(site: Site, x: Value, *rest: Any, **attrs: Any) -> Value:
        if not quantized(x):
            return floats.unary(site, name, x, **attrs)
        fixed = [constant_of(r, "parameter") if isinstance(r, Value) else r for r in rest]
        return tabulate(site, x, lambda codes: site.spec(codes, *fixed, **attrs))

    return lowered


# Ops that are tables by themselves, and those that add and multiply numbers.
for _spec in list(OPS.values()):
    if _spec.table:
        row(_spec.name)(_unary(_spec.name))
for _name in ("add_scalar", "mul_scalar"):
    row(_name)(_unary(_name))
