"""`as_array`: from anything that holds numbers to the array of them; below `Tensor`, which is made of one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._C import QTensor

FLOAT = np.dtype(np.float32)


class Holder:
    """Base of `Tensor`: something with an array inside."""

    __slots__ = ()

    _array: np.ndarray


def as_array(data: Any, dtype: Any = None) -> np.ndarray:
    """Return the values of a tensor, array, number or nested list as float32, an integer dtype or bool.

    Shares memory where nothing has to change.

    Raises
    ------
    TypeError
        For a `QTensor` (it has to be dequantized first), complex numbers, objects, or a dtype other than float32 asked
        for as a float.
    """
    if isinstance(data, Holder):
        array = data._array
        if dtype is None and array.dtype is FLOAT:
            return array
    elif isinstance(data, QTensor):
        raise TypeError(
            f"expected a float Tensor or array, got QTensor of shape {tuple(data.shape)}: "
            "call .dequantize() on it first"
        )
    elif isinstance(data, (list, tuple)) and any(isinstance(item, Holder) for item in data):
        array = np.stack([as_array(item) for item in data])
    else:
        array = np.asarray(data)
    if dtype is not None:
        wanted = np.dtype(dtype)
        if wanted.kind == "f" and wanted != FLOAT:
            raise TypeError(f"dtype: expected float32, an integer dtype or bool, got {wanted.name}")
        return array.astype(wanted, copy=False)
    kind = array.dtype.kind
    if kind == "f":
        return array.astype(FLOAT, copy=False)
    if kind not in "iub":
        raise TypeError(f"expected numbers, got an array of dtype {array.dtype}")
    return array


def array_of(op: str, name: str, data: Any, dtype: Any = None) -> np.ndarray:
    """Return `as_array(data, dtype)`, or raise for the argument `name` of the function `op`."""
    try:
        return as_array(data, dtype)
    except (TypeError, ValueError) as error:
        place = op if str(error).startswith("dtype:") else f"{op}: {name}"
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"{place}: {error}") from None


def plain_index(index: Any) -> Any:
    """Return `index` with every tensor in it replaced by its array."""
    if isinstance(index, tuple):
        return tuple(plain_index(part) for part in index)
    return index._array if isinstance(index, Holder) else index
