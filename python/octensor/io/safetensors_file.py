"""Files of safetensors: a header of JSON, then the tensors' bytes, mapped into memory.

The format (https://github.com/huggingface/safetensors): eight bytes with the header's length N, N bytes of JSON
`{name: {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {str: str}}`, then the data. Offsets count
from the end of the header; tensors fill the data without holes.

The `safetensors` package checks the file as a whole and writes new ones; what stands here adds what it leaves open:
duplicate keys, which two readers may read as two different files, headers whose parsing alone would take long, and
tensors that are views of the map instead of copies.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..mapped import map_file
from .limits import MOST_AXES, empty_array

MOST_HEADER_BYTES = 16 << 20
MOST_TENSORS = 100_000
MOST_CONTAINERS = 500_000  # parsed, each takes many times the memory of its text

_DTYPES = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "BF16": "<u2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
}


def recognises(start: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins so may be one."""
    return len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8


def read_safetensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Map a file; return its arrays, which cannot be written to, and its metadata.

    Values of bfloat16, which NumPy does not have, come as float32 copies.

    Raises
    ------
    ValueError
        If the file is not whole, or says anything that contradicts itself.
    """
    path = Path(path)
    where = f"load: {path.name}"
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > size - 8:
            raise ValueError(f"{where}: expected a header of safetensors, got a file of {size} bytes")
        if length > MOST_HEADER_BYTES:
            raise ValueError(f"{where}: expected a header of at most {MOST_HEADER_BYTES} bytes, got one of {length}")
        header = file.read(length)
    # Counted before they are parsed; in the text of metadata a backslash stands before the second quote.
    if header.count(b'"data_offsets"') > MOST_TENSORS or header.count(b"{") + header.count(b"[") > MOST_CONTAINERS:
        raise ValueError(f"{where}: expected a header that names at most {MOST_TENSORS} tensors")
    try:
        entries = json.loads(header, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: expected a header of JSON: {error!s:.200}") from None
    if not isinstance(entries, dict) or len(entries) > MOST_TENSORS:
        raise ValueError(f"{where}: expected a header that names at most {MOST_TENSORS} tensors")
    try:
        with safe_open(os.fspath(path), framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{where}: expected a file of safetensors: {error!s:.200}") from None
    metadata = entries.pop("__metadata__", None) or {}
    data = np.frombuffer(map_file(path), np.uint8)[8 + length :]
    return {name: _array(f"{where}: {name!r:.80}", entry, data) for name, entry in entries.items()}, metadata


def write_safetensors(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays and metadata; the file appears whole or not at all."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.touch()
        mode = part.stat().st_mode  # as the user's umask has it; save_file makes a new file that only its owner reads
        save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, part, dict(metadata))
        part.chmod(mode)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _array(where: str, entry: Any, data: np.ndarray) -> np.ndarray:
    """Return the view that a header's entry describes; checked here as well, where it is used."""
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if kind not in _DTYPES:
        raise ValueError(f"{where}: expected a dtype of {', '.join(_DTYPES)}, got {kind!r:.40}")
    dtype = np.dtype(_DTYPES[kind])
    begin, end = offsets
    if len(shape) > MOST_AXES or math.prod(shape) * dtype.itemsize != end - begin or not 0 <= begin <= end <= data.size:
        raise ValueError(
            f"{where}: expected bytes for shape {shape!r:.80} of {kind} inside the file, got the range {begin} to {end}"
        )
    run = data[begin:end]
    if begin == end:
        values = empty_array(where, shape, dtype)
    else:
        aligned = run if run.ctypes.data % dtype.itemsize == 0 else run.copy()
        values = aligned.view(dtype).reshape(shape)
    return (values.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else values


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"{twice!r:.80} stands there twice")
    return made


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
