"""What is computed while a model loads: operators on constants, as far as that costs no more memory than it should.

A few bytes of a file can ask for gigabytes: a shape, arithmetic on what has it, an outer product. What would not fit
into the budget is left in the graph, where it is computed when the model runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from .._C import QTensor
from .operators.values import TooLarge, array, at_most

FREE_BYTES = 32 << 20
PER_BYTE = 8  # for each that the file holds


class Budget:
    """Memory that constants may take.

    Parameters
    ----------
    held : int
        Bytes of the constants that the file itself holds.
    """

    def __init__(self, held: int) -> None:
        self.room = FREE_BYTES + PER_BYTE * held

    def compute(
        self, name: str, function: Callable[..., Any], arguments: Sequence[Any], keywords: Mapping[str, Any]
    ) -> Any:
        """Return an operator's result on constants; None, if there is no room for it."""
        if _needed(name, [array(a) for a in arguments if hasattr(a, "shape")]) > self.room:
            return None
        try:
            with at_most(self.room // 8):
                result = function(*arguments, **keywords)
        except TooLarge:
            return None
        self.room -= _taken(result)
        return result

    def copies(self, arguments: Sequence[Any]) -> bool:
        """Whether there is room for a copy of constants with a value of its own for each, and take it."""
        arrays = [array(a) for a in arguments if isinstance(a, (np.ndarray, QTensor))]
        more = sum(a.nbytes - _taken(a) for a in arrays)
        if more > self.room:
            return False
        self.room -= more
        return True


def _needed(name: str, arrays: Sequence[np.ndarray]) -> int:
    """Return the bytes of the arguments, each value a value of its own, and of results that are larger than those."""
    values = sum(a.size for a in arrays)
    if len(arrays) > 1:
        first, second = arrays[:2]
        if name == "Gather":  # at the worst, everything for each index
            values += first.size * second.size
        elif name in ("MatMul", "Gemm"):  # at the worst, an outer product
            values += max(first.shape, default=1) * max(second.shape, default=1)
        else:
            with suppress(ValueError):  # of what is not done value by value
                values += math.prod(np.broadcast_shapes(*[a.shape for a in arrays]))
    return values * max((a.itemsize for a in arrays), default=0)


def _taken(result: Any) -> int:
    """Return the bytes of memory of a result, or of several: one for all values that are the same one."""
    if isinstance(result, (tuple, list)):
        return sum(_taken(part) for part in result)
    if not hasattr(result, "shape"):
        return 0
    values = array(result)
    own = [n for n, step in zip(values.shape, values.strides, strict=True) if step]
    return int(values.itemsize * math.prod(own))
