"""Graphs as drawings: Graphviz dot, and PNG or SVG where Graphviz is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ..nn.module import Module
from .graph import Graph
from .graph_module import GraphModule
from .node import Node
from .python_code import target_text
from .table import result_text

_FILL = {
    "placeholder": "#d9ead3",
    "output": "#d9ead3",
    "get_attr": "#eeeeee",
    "call_module": "#cfe2f3",
    "call_function": "#fff2cc",
    "call_method": "#fff2cc",
}


def to_dot(graph: Graph | GraphModule, name: str = "graph", attributes: bool = False) -> str:
    """Return a graph as text in the dot language of Graphviz.

    Parameters
    ----------
    graph : Graph or GraphModule
    name : str
        Title of the drawing.
    attributes : bool
        Whether parameters and constants are drawn too.

    Examples
    --------
    >>> import octensor as ot
    >>> print(ot.fx.to_dot(ot.fx.symbolic_trace(lambda x: ot.relu(x))))
    digraph "graph" {
      ...
      "x" -> "relu";
      "relu" -> "output";
    }
    """
    root = graph if isinstance(graph, GraphModule) else graph.owning_module
    nodes = list((graph.graph if isinstance(graph, GraphModule) else graph).nodes)
    shown = {node for node in nodes if attributes or node.op != "get_attr"}
    lines = [
        f"digraph {_quoted(name)} {{",
        "  rankdir=TB;",
        '  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=10];',
        '  edge [fontname="Helvetica", fontsize=8];',
    ]
    for node in nodes:
        if node in shown:
            lines.append(f"  {_quoted(node.name)} [label={_label(node, root)}, fillcolor={_quoted(_FILL[node.op])}];")
    for node in nodes:
        for used in node.all_input_nodes:
            if used in shown and node in shown:
                text = result_text(used.meta.get("tensor"))
                label = f" [label={_quoted(text)}]" if text and used.op != "get_attr" else ""
                lines.append(f"  {_quoted(used.name)} -> {_quoted(node.name)}{label};")
    return "\n".join([*lines, "}"])


def draw(graph: Graph | GraphModule, path: str | Path, name: str = "graph", attributes: bool = False) -> Path:
    """Write a drawing of a graph; return its path.

    Parameters
    ----------
    graph : Graph or GraphModule
    path : path
        Its ending says the format: ".dot" always works, ".png", ".svg" and ".pdf" where Graphviz is installed.
    name, attributes
        As for `to_dot`.

    Raises
    ------
    RuntimeError
        If the format needs Graphviz and its program `dot` is not found, or fails.
    """
    target = Path(path)
    kind = target.suffix[1:].lower()
    text = to_dot(graph, name, attributes)
    if kind in ("dot", "gv"):
        target.write_text(text + "\n", encoding="utf-8")
        return target
    if kind not in ("png", "svg", "pdf"):
        raise ValueError(f"draw: path: expected a name that ends in .dot, .png, .svg or .pdf, got {str(path)!r}")
    program = shutil.which("dot")
    if program is None:
        raise RuntimeError(
            f"draw: {kind} needs the program `dot` of Graphviz, which is not installed: install it (apt install "
            f"graphviz, brew install graphviz), or write {target.with_suffix('.dot')} instead"
        )
    done = subprocess.run([program, f"-T{kind}", "-o", str(target)], input=text.encode(), capture_output=True)
    if done.returncode:
        raise RuntimeError(f"draw: dot failed: {done.stderr.decode(errors='replace').strip()}")
    return target


def _label(node: Node, root: Module | None) -> str:
    lines = [node.name] if node.op in ("placeholder", "output") else [f"{node.name} = {target_text(node)}"]
    if node.op == "call_module" and root is not None:
        lines.append(_short(repr(root.get_submodule(node.target)).partition("\n")[0]))
    shown = [f"{key}={value!r}" for key, value in node.kwargs.items() if not isinstance(value, Node)]
    lines += [_short(text) for text in shown if "qparams" not in text]
    if node.op in ("call_module", "call_function", "call_method", "get_attr"):
        result = result_text(node.meta.get("tensor"))
        lines += [_short(result)] if result else []
    return _quoted("\n".join(lines))


def _short(text: str, most: int = 70) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
