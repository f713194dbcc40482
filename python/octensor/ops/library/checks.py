"""What the ops by hand check of their arguments."""

from __future__ import annotations

from typing import Any

from ..._C import QParams, QTensor
from ..recording import RECORDING
from ..spec import OPS


def quantized(op: str, x: Any, name: str = "input") -> QTensor:
    """Return x, or raise TypeError unless it is a QTensor."""
    if not isinstance(x, QTensor):
        raise TypeError(
            f"quantized.{op}: {name}: expected a QTensor, got {type(x).__name__}: "
            "quantize it first (octensor.quantize_per_tensor)"
        )
    return x


def given(op: str, x: Any, scale: float, zero_point: int) -> QParams:
    """Return the result's qparams, after checking that x is quantized."""
    return QParams(float(scale), int(zero_point), quantized(op, x).dtype)


def run(op: str, *tensors: Any, **attrs: Any) -> QTensor:
    """Call the quantized form of an op of the registry."""
    spec = OPS[op]
    assert spec.quantized is not None
    result: QTensor = spec.quantized(*tensors, **attrs)
    if RECORDING.recorder is not None:
        RECORDING.recorder.note(spec, tensors, attrs, result)
    return result
