"""Linear layers with 4-bit weights, and with quantized weights on float activations.

`linear_dynamic_int4` quantizes each row of its float input to 8 bits; the `weight_only` functions compute in float. All
give the same bits on every CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _C
from ..._C import PackedInt4Linear, PackedWeightOnly, QTensor
from ...arrays import as_array
from ...tensor import Tensor
from ..exact import exact
from ..int4 import Int4Weight
from .checks import quantized

__all__ = [
    "Int4Weight",
    "linear_prepack_int4",
    "linear_dynamic_int4",
    "linear_relu_dynamic_int4",
    "linear_prepack_weight_only",
    "linear_weight_only",
    "linear_relu_weight_only",
]


@exact("linear_int4")
def LINEAR_INT4(x: Any, packed: PackedInt4Linear, *, relu: bool = False) -> Tensor:
    """Return x Wᵀ + b of floats, each row quantized over its own range, with a 4-bit weight."""
    return Tensor._wrap(_C.linear_int4(as_array(x), packed, relu=relu))


@exact("linear_packed_weight_only")
def LINEAR_PACKED_WEIGHT_ONLY(x: Any, packed: PackedWeightOnly | PackedInt4Linear, *, relu: bool = False) -> Tensor:
    """Return x Wᵀ + b in float, with the real values of a packed weight, in the kernels' order of sums."""
    return Tensor._wrap(_C.linear_weight_only(as_array(x), packed, relu=relu))


def _input(op: str, x: Any) -> np.ndarray:
    if isinstance(x, QTensor):
        raise TypeError(f"quantized.{op}: input: expected a float Tensor, got QTensor: call .dequantize() on it first")
    return as_array(x, np.float32)


def linear_prepack_int4(weight: Int4Weight, bias: Any = None) -> PackedInt4Linear:
    """Return 4-bit weights (N, K) and a float bias (N,) in the form the kernels read."""
    if not isinstance(weight, Int4Weight):
        raise TypeError(
            f"quantized.linear_prepack_int4: weight: expected an Int4Weight (Int4Weight.quantize makes one of floats), "
            f"got {type(weight).__name__}"
        )
    return weight.pack(bias)


def _dynamic(op: str, x: Any, packed: Any, relu: bool) -> Tensor:
    if not isinstance(packed, PackedInt4Linear):
        raise TypeError(
            f"quantized.{op}: packed: expected what linear_prepack_int4 returns, got {type(packed).__name__}"
        )
    result: Tensor = LINEAR_INT4(_input(op, x), packed, relu=relu)
    return result


def linear_dynamic_int4(x: Any, packed: PackedInt4Linear) -> Tensor:
    """Return `x @ weight.T + bias` for a float x, each row of which is quantized over its own range."""
    return _dynamic("linear_dynamic_int4", x, packed, False)


def linear_relu_dynamic_int4(x: Any, packed: PackedInt4Linear) -> Tensor:
    """Return `relu(x @ weight.T + bias)` for a float x, each row of which is quantized over its own range."""
    return _dynamic("linear_relu_dynamic_int4", x, packed, True)


def linear_prepack_weight_only(weight: QTensor, bias: Any = None) -> PackedWeightOnly:
    """Return 8-bit weights (N, K) and a float bias (N,) in the form that kernels on float activations read."""
    bias = None if bias is None else as_array(bias, np.float32)
    return PackedWeightOnly(quantized("linear_prepack_weight_only", weight, "weight"), bias)


def _weight_only(op: str, x: Any, packed: Any, relu: bool) -> Tensor:
    if not isinstance(packed, (PackedWeightOnly, PackedInt4Linear)):
        raise TypeError(
            f"quantized.{op}: packed: expected what linear_prepack_weight_only or linear_prepack_int4 returns, got "
            f"{type(packed).__name__}"
        )
    result: Tensor = LINEAR_PACKED_WEIGHT_ONLY(_input(op, x), packed, relu=relu)
    return result


def linear_weight_only(x: Any, packed: PackedWeightOnly | PackedInt4Linear) -> Tensor:
    """Return `x @ weight.T + bias` in float, with the real values of an 8-bit or 4-bit weight."""
    return _weight_only("linear_weight_only", x, packed, False)


def linear_relu_weight_only(x: Any, packed: PackedWeightOnly | PackedInt4Linear) -> Tensor:
    """Return `relu(x @ weight.T + bias)` in float, with the real values of an 8-bit or 4-bit weight."""
    return _weight_only("linear_relu_weight_only", x, packed, True)
