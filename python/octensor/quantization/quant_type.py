"""`QuantType`: the kinds of quantization, and which of them a qconfig asks for."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np

from octensor import _C


class QuantType(enum.IntEnum):
    """What is quantized, and when."""

    DYNAMIC = 0
    STATIC = 1
    QAT = 2
    WEIGHT_ONLY = 3


def quant_type_to_str(quant_type: QuantType) -> str:
    """Return "dynamic", "static", "qat" or "weight_only"."""
    if quant_type not in tuple(QuantType):
        raise ValueError(f"quant_type_to_str: quant_type: expected a QuantType, got {quant_type!r}")
    return QuantType(quant_type).name.lower()


def get_quant_type(qconfig: Any) -> QuantType:
    """Return what a qconfig asks for, by the dtypes of what its factories make.

    =========================== ============================ ===========
    weight                      activation                   type
    =========================== ============================ ===========
    fake quantize               any                          QAT
    integer                     integer                      STATIC
    integer                     integer ``compute_dtype``    DYNAMIC
    integer                     float                        WEIGHT_ONLY
    float16                     float32                      DYNAMIC
    float16                     float16                      STATIC
    =========================== ============================ ===========

    Raises
    ------
    ValueError
        For any other pair.
    """
    if not (hasattr(qconfig, "activation") and hasattr(qconfig, "weight")):
        raise TypeError(f"get_quant_type: qconfig: expected a QConfig, got {type(qconfig).__name__}")
    activation, weight = qconfig.activation(), qconfig.weight()
    if "qat" in (getattr(weight, "slot_stage", None), getattr(activation, "slot_stage", None)):
        return QuantType.QAT
    of_weight, of_activation = getattr(weight, "dtype", None), getattr(activation, "dtype", None)
    if isinstance(of_weight, _C.dtype):
        if isinstance(of_activation, _C.dtype):
            return QuantType.STATIC
        compute = getattr(activation, "compute_dtype", None)
        return QuantType.DYNAMIC if isinstance(compute, _C.dtype) else QuantType.WEIGHT_ONLY
    if of_weight is np.float16 and of_activation in (np.float32, np.float16):
        return QuantType.DYNAMIC if of_activation is np.float32 else QuantType.STATIC
    raise ValueError(
        f"get_quant_type: qconfig: expected factories of observers with dtypes that belong together, got "
        f"{of_activation} for activations and {of_weight} for weights"
    )
