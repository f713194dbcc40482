"""`to_float16`: values rounded to the precision of float16, kept as float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from .spec import OpSpec, Sample, apply


def _forward(x: np.ndarray) -> np.ndarray:
    largest = np.finfo(np.float16).max
    return np.asarray(np.clip(x, -largest, largest).astype(np.float16).astype(x.dtype))


def _samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.standard_normal((2, 3)),), {})]


TO_FLOAT16 = OpSpec("to_float16", forward=_forward, samples=_samples)


@TO_FLOAT16.public
def to_float16(input: Any) -> Any:
    """Round to float16 and back; values beyond its range are clamped to it.

    It is what a float16 model does to an activation. Tensors hold float32, so only the values change.

    >>> import octensor as ot
    >>> to_float16(ot.tensor([1.0001, 1e9])).tolist()
    [1.0, 65504.0]
    """
    return apply(TO_FLOAT16, input)
