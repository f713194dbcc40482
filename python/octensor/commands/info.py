"""`octensor info FILE`: what a file holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import octensor as ot

from ..graph.graph_module import GraphModule
from ..graph.meta import TensorMeta
from ..program.batch import batch_size
from . import console, models

MOST_ROWS = 40


def describe(path: Path) -> str:
    """Return what a model file, or a file of tensors, holds."""
    value = models.read(path) if path.suffix in (".onnx", ".oct") or not path.is_file() else ot.load(path)
    lines = [f"{path}: {console.size(path.stat().st_size)}"]
    if not isinstance(value, GraphModule):
        return "\n".join([*lines, _tensors(value)])
    for name, meta in models.inputs_of(value).items():
        known = "of any type and shape" if meta is None else f"{meta.dtype} {meta.shape}{_grid(meta)}"
        lines.append(f"input   {name}: {known}")
    bound = models.output_of(value).meta.get("batch_bound")
    if bound:
        lines.append(f"batch   that of the inputs above alone: {bound}")
    steps = [n for n in value.graph.nodes if n.op.startswith("call") and n.target is not batch_size]
    lines.append(f"steps   {len(steps)}: {_counts(value, steps)}")
    held = [t for _, t in value.state_dict().items()] + [
        t for n in value.graph.nodes if n.op == "get_attr" and _is_buffer(t := _attribute(value, n.target))
    ]
    kinds: Counter[str] = Counter()
    seen: set[int] = set()
    for tensor in held:
        if id(tensor) not in seen and hasattr(tensor, "shape"):
            seen.add(id(tensor))
            kinds[str(tensor.dtype).rpartition(".")[2]] += int(np.prod(tensor.shape, dtype=np.int64))
    numbers = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common()) or "none"
    lines.append(f"values  {numbers}")
    return "\n".join(lines)


def _grid(meta: TensorMeta) -> str:
    return "" if meta.qparams is None or meta.qparams.is_per_channel else f" scale={meta.qparams.scale:.6g}"


def _attribute(model: Any, target: str) -> Any:
    for part in target.split("."):
        model = getattr(model, part)
    return model


def _is_buffer(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _counts(model: GraphModule, steps: list[Any]) -> str:
    def name(node: Any) -> str:
        if node.op == "call_module":
            return type(model.get_submodule(node.target)).__name__
        return str(getattr(node.target, "name", None) or getattr(node.target, "__name__", node.target))

    return ", ".join(f"{count} {kind}" for kind, count in Counter(map(name, steps)).most_common())


def _tensors(value: Any) -> str:
    rows = []

    def look(path: str, part: Any) -> None:
        if isinstance(part, dict):
            for key, inner in part.items():
                look(f"{path}.{key}" if path else str(key), inner)
        elif hasattr(part, "shape"):
            rows.append((path, str(part.dtype).rpartition(".")[2], str(tuple(part.shape))))

    look("", value)
    more = f"\n… and {len(rows) - MOST_ROWS} more" if len(rows) > MOST_ROWS else ""
    return console.table(("tensor", "dtype", "shape"), rows[:MOST_ROWS]) + more
