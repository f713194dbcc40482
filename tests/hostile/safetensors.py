"""Files of safetensors that contradict themselves."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .case import Case


def write(path: Path, header: Any, data: bytes = b"") -> Path:
    """Write a file; the header is JSON, or its bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def _tensor(shape: Any, begin: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


HEADERS: dict[str, tuple[Any, bytes]] = {
    "shape longer than its bytes": ({"a": _tensor([2], 0, 4)}, b"\0" * 4),
    "bytes behind the last tensor": ({"a": _tensor([1], 0, 4)}, b"\0" * 8),
    "bytes before the first tensor": ({"a": _tensor([1], 4, 8)}, b"\0" * 8),
    "two tensors in the same bytes": ({"a": _tensor([1], 0, 4), "b": _tensor([1], 0, 4)}, b"\0" * 4),
    "two tensors that overlap": ({"a": _tensor([2], 0, 8), "b": _tensor([2], 4, 12)}, b"\0" * 12),
    "offsets past the end": ({"a": _tensor([2], 0, 8)}, b"\0" * 4),
    "offsets that go back": ({"a": _tensor([1], 4, 0)}, b"\0" * 4),
    "offset 1 << 64": ({"a": _tensor([1], 1 << 64, (1 << 64) + 4)}, b"\0" * 4),
    "offset -4": ({"a": _tensor([1], -4, 0)}, b"\0" * 4),
    "shape whose product wraps": ({"a": _tensor([4194305, 211106198978564], 0, 16)}, b"\0" * 16),
    "shape whose bytes wrap": ({"a": _tensor([1 << 62], 0, 0)}, b""),
    "empty tensor of 2^80 rows": ({"a": _tensor([0, 1 << 40, 1 << 40], 0, 0)}, b""),
    "33 axes": ({"a": _tensor([1] * 33, 0, 4)}, b"\0" * 4),
    "size -1": ({"a": _tensor([-1], 0, 4)}, b"\0" * 4),
    "size 1.0": ({"a": _tensor([1.0], 0, 4)}, b"\0" * 4),
    "unknown dtype": ({"a": _tensor([1], 0, 4, "F99")}, b"\0" * 4),
    "dtype a list": ({"a": _tensor([1], 0, 4, [])}, b"\0" * 4),
    "no offsets": ({"a": {"dtype": "F32", "shape": [1]}}, b"\0" * 4),
    "a tensor that is a number": ({"a": 3}, b""),
    "a list": ([], b""),
    "no JSON": (b'{"a": NaN}', b""),
    "JSON of 100,000 levels": (b"{" + b'"a": {' * 100_000, b""),
    "no text": (b"{\xff\xfe", b""),
    "a name twice": (
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},'
        b' "a": {"dtype": "I32", "shape": [1], "data_offsets": [0, 4]}}',
        b"\0" * 4,
    ),
    "an offset twice": (
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8], "data_offsets": [0, 4]}}',
        b"\0" * 4,
    ),
    "metadata of numbers": ({"__metadata__": {"a": 3}}, b""),
    "metadata a number": ({"__metadata__": 3}, b""),
}


def _sparse(folder: Path, length: int) -> Path:
    """Write a header's length, and a file that is long enough for it and takes no room."""
    with (folder / "x").open("wb") as file:
        file.write(struct.pack("<Q", length) + b"{")
        file.truncate(min(length, 1 << 30) + 100)
    return folder / "x"


def _many(folder: Path, count: int) -> Path:
    """Write a header of empty tensors that share their place."""
    return write(folder / "x", {str(i): _tensor([0], 0, 0) for i in range(count)})


def cases() -> Iterator[Case]:
    """Give them all."""
    for name, (header, data) in HEADERS.items():
        yield Case(
            "safetensors", name, lambda folder, header=header, data=data: write(folder / "x", header, data), "load: x: "
        )
    for length in (1 << 30, 1 << 63, (1 << 64) - 8, (1 << 64) - 1):
        yield Case("safetensors", f"header of {length} bytes", partial(_sparse, length=length))
    yield Case("safetensors", "header of 17 MB", lambda folder: write(folder / "x", b"{" + b" " * (17 << 20)), "header")
    yield Case("safetensors", "100,001 tensors", partial(_many, count=100_001), "names at most")
    yield Case("safetensors", "1,000,000 lists", lambda f: write(f / "x", b'{"a":' + b"[" * 1_000_000), "names at most")
