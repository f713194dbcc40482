"""`octensor.onnx.load`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..graph.graph_module import GraphModule
from .importer import Importer
from .model import Reader

MOST_FILE_BYTES = 1 << 31


def load(source: str | Path | bytes, constants: Mapping[str, Any] | None = None) -> GraphModule:
    """Load an ONNX model.

    Parameters
    ----------
    source : path or bytes
        The model; as bytes it cannot have external data.
    constants : mapping, optional
        Values for inputs that are to be constants: parts that depend on them alone are computed once, and branches
        that they choose are taken now (a sampling rate, say).

    Returns
    -------
    GraphModule
        In eval mode. Inputs are the graph's in its order; one output comes as it is, several as a tuple. Layers are
        named after their weights.

    Raises
    ------
    ValueError
        If the file is damaged or hostile, or has operators that are not known: all of them, with where they occur.
    ImportError
        If the package onnx is not installed.

    Notes
    -----
    The operators, and what of them is read, are listed in docs/onnx.md.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        reader, data = Reader("onnx.load", None), bytes(source)
    else:
        path = Path(source)
        size = path.stat().st_size
        reader = Reader(f"onnx.load: {path.name}", path.parent)
        if size > MOST_FILE_BYTES:
            raise reader.error(f"expected at most {MOST_FILE_BYTES} bytes beside external data, got {size}")
        data = path.read_bytes()
    record = reader.read(data)
    unknown = set(constants or ()) - {v.name for v in record.inputs}
    if unknown:
        names = ", ".join(v.name for v in record.inputs)
        raise reader.error(f"constants: expected names of inputs ({names}), got {', '.join(sorted(unknown))}")
    return Importer(reader.error, reader.opset, constants or {}).run(record)
