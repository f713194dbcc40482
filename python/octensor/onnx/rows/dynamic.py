"""Linear layers that quantize their float input over its own range."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._C import QTensor
from ...graph.rows import Unsupported
from ..draft import TYPES, Site, Value, constant_of
from ..exporter import row


@row("linear_dynamic")
def linear_dynamic(
    site: Site,
    x: Value,
    weight: Value,
    bias: Any = None,
    *,
    reduce_range: bool = False,
    relu: bool = False,
    per_row: bool = False,
) -> Value:
    """DynamicQuantizeLinear, MatMulInteger, then float32(sum) · (s_x · s_w) + b, as octensor has it."""
    if per_row:
        raise Unsupported("an input quantized row by row: ONNX has one range for the whole input (per_row=False)")
    w: QTensor = constant_of(weight, "weight")
    codes = np.ascontiguousarray(w.int_repr().T)
    if reduce_range:
        quantized, scale, zero = _seven_bits(site, x)
    else:
        quantized, scale, zero = site.add_many("DynamicQuantizeLinear", site.real(x), outputs=3)
    inputs = [quantized, site.draft.constant(codes, f"{weight.name}.t"), zero]
    zeros = np.asarray(w.qparams.zero_point)
    if zeros.any():
        inputs.append(site.constant(zeros.astype(codes.dtype), "weight.zero_point"))
    sums = site.add("Cast", site.add("MatMulInteger", *inputs), to=TYPES["float32"])
    step = site.add("Mul", scale, site.floats(w.qparams.scale, "weight.scale"))
    y = site.add("Mul", sums, step)
    if bias is not None:
        y = site.add("Add", y, site.real(bias))
    return site.result(site.add("Relu", y) if relu else y)


def _seven_bits(site: Site, x: Value) -> tuple[str, str, str]:
    """Quantize over the range of a tensor to codes 0 … 127; return codes, scale and zero point."""
    real, zero = site.real(x), site.floats(0.0)
    low = site.add("Min", site.add("ReduceMin", real, keepdims=0), zero)
    high = site.add("Max", site.add("ReduceMax", real, keepdims=0), zero)
    scale = site.add("Div", site.add("Sub", high, low), site.floats(127.0))
    scale = site.add("Where", site.add("Greater", scale, zero), scale, site.floats(0.1))
    point = site.add("Cast", site.add("Round", site.add("Neg", site.add("Div", low, scale))), to=TYPES["uint8"])
    return site.add("QuantizeLinear", real, scale, point), scale, point
