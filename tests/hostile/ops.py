"""Models of one op each, with every number among its attributes 0, -1 or huge, made from the ops' own samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from octensor.graph.callables import find
from octensor.io.values import encode
from octensor.ops.exact import EXACT
from octensor.ops.spec import OPS

from .models import small, write

NUMBERS = (0, -1, 1 << 62)

NAMES = sorted(name for name, op in {**OPS, **EXACT}.items() if find(name) is op)


def _variants(value: Any) -> Iterator[Any]:
    """Give a value with one of its whole numbers changed."""
    if type(value) is int:
        yield from (n for n in NUMBERS if n != value)
    elif isinstance(value, (tuple, list)):
        for i, part in enumerate(value):
            for other in _variants(part):
                parts = [*value[:i], other, *value[i + 1 :]]
                yield type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)


def models(name: str) -> Iterator[tuple[str, dict[str, Any], tuple[Any, ...]]]:
    """Give descriptions of models of an op, by what was changed, with what they are given."""
    op: Any = find(name)
    content = small()[1]
    for arrays, attributes in op.samples(np.random.default_rng(0)):
        arguments: list[Any] = []
        inputs: list[Any] = []
        for value in arrays:
            value = value.astype(np.float32) if getattr(value, "dtype", None) == np.float64 else value
            arguments.append({"input": len(inputs)} if hasattr(value, "shape") else encode(value, lambda _: None))
            inputs.extend([value] if hasattr(value, "shape") else [])
        entries = [{"name": f"x{i}", "shape": None, "dtype": None, "qparams": None} for i in range(len(inputs))]
        head = {**content, "inputs": entries, "constants": {}, "output": {"node": 0}}
        for key, value in attributes.items():
            if any(hasattr(v, "shape") for v in attributes.values()):
                break
            for other in _variants(value):
                changed = {k: encode(v, lambda _: None) for k, v in {**attributes, key: other}.items()}
                node = {"op": name, "args": arguments, "kwargs": changed, "module": ""}
                yield f"{key} = {other}", {**head, "nodes": [node]}, tuple(inputs)


def save(path: Path, content: dict[str, Any]) -> Path:
    """Write a model."""
    return write(path, {}, content)
