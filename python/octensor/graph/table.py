"""The nodes of a graph as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .meta import TensorMeta
from .node import Node, _text
from .python_code import target_text

if TYPE_CHECKING:
    from .graph import Graph

_WIDEST = 60


def table(graph: Graph) -> str:
    """Return one line per node; columns of what no node knows (shapes, modules) are left out."""
    columns: dict[str, list[str]] = {
        "name": [n.name for n in graph.nodes],
        "op": [n.op for n in graph.nodes],
        "target": [target_text(n) for n in graph.nodes],
        "args": [_arguments(n) for n in graph.nodes],
        "result": [result_text(n.meta.get("tensor")) for n in graph.nodes],
        "module": [n.meta.get("module", "") for n in graph.nodes],
    }
    kept = {name: [_cut(v) for v in values] for name, values in columns.items() if any(values)}
    widths = {name: max(len(name), *map(len, values)) for name, values in kept.items()}
    rows = [list(kept), ["-" * width for width in widths.values()], *zip(*kept.values(), strict=True)]
    return "\n".join("  ".join(v.ljust(w) for v, w in zip(row, widths.values(), strict=True)).rstrip() for row in rows)


def _arguments(node: Node) -> str:
    parts = [_text(arg) for arg in node.args] + [f"{key}={_text(value)}" for key, value in node.kwargs.items()]
    return ", ".join(parts)


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def result_text(meta: Any) -> str:
    """Return a value's notes: "quint8 (1, 16, 8, 8) scale=0.1 zero_point=3"; of several, one after the other."""
    if isinstance(meta, TensorMeta):
        text = f"{meta.dtype} {tuple(meta.shape)}"
        q = meta.qparams
        if q is None:
            return text
        if q.is_per_channel:
            return f"{text} per channel, axis {q.axis}"
        return f"{text} scale={q.scale:.6g} zero_point={q.zero_point}"
    if isinstance(meta, (list, tuple)):
        return f"({', '.join(result_text(part) for part in meta)})"
    if isinstance(meta, dict):
        return f"{{{', '.join(f'{key}: {result_text(part)}' for key, part in meta.items())}}}"
    return "" if meta is None else repr(meta)
