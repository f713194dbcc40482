"""`TensorMeta`: what is known of a node's value: shape, dtype, and how it is quantized."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._C import QParams, QTensor
from ..tensor import Tensor


class TensorMeta(NamedTuple):
    """What is known of a tensor.

    Attributes
    ----------
    shape : tuple of int
    dtype : str
        "float32", "int64", "quint8", ….
    qparams : QParams or None
        None for tensors that are not quantized.
    """

    shape: tuple[int, ...]
    dtype: str
    qparams: QParams | None = None


def meta_of(value: Any) -> Any:
    """Return the `TensorMeta` of a tensor; of a list, tuple or dict those of its parts; None for anything else."""
    if isinstance(value, QTensor):
        return TensorMeta(tuple(value.shape), str(value.dtype).rpartition(".")[2], value.qparams)
    if isinstance(value, (Tensor, np.ndarray)):
        return TensorMeta(tuple(value.shape), str(value.dtype))
    if isinstance(value, (list, tuple)):
        parts = tuple(meta_of(part) for part in value)
        return parts if any(part is not None for part in parts) else None
    if isinstance(value, dict):
        return {key: meta_of(part) for key, part in value.items()}
    return None
