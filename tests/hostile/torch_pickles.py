"""Pickles that would run something, are malformed, or ask for memory and time."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from torch_files import Global, Reduce, write_zip

from .case import Case

CALLS: list[tuple[Global, tuple[Any, ...]]] = [
    (Global("os", "system"), ("touch made",)),
    (Global("builtins", "eval"), ("open('made', 'w')",)),
    (Global("builtins", "getattr"), (Global("os", "path"), "join")),
    (Global("torch._utils", "_rebuild_other"), (1,)),
    (Global("torch.serialization", "_load"), ("made",)),
    (Global("_posixsubprocess", "fork_exec"), ("touch", "made")),
    (Global("torch._tensor", "_rebuild_from_type_v2"), (Global("os", "system"), Global("os", "system"), ("x",), {})),
    (Global("torch._utils", "_rebuild_tensor_v2"), ()),
    (Global("torch._utils", "_rebuild_tensor_v2"), (1, 2, 3, 4)),
    (Global("torch._utils", "_rebuild_parameter"), (Global("os", "system"),)),
]

PROGRAMS: dict[str, bytes] = {
    "empty": b"",
    "nothing at the end": b"\x80\x02.",
    "a mark at the end": b"\x80\x02(.",
    "append without a list": b"\x80\x02a.",
    "items of a list": b"\x80\x02]K\x01K\x02s.",
    "unknown memo": b"\x80\x02h\x05.",
    "extension code": b"\x80\x02\x82\x01.",
    "out of band buffer": b"\x80\x05\x97.",
    "two values": b"\x80\x02K\x01K\x02.",
    "lists": b"\x80\x02" + b"]" * 100 + b".",
    "two million marks": b"\x80\x02" + b"(" * 2_000_000 + b".",
    "bytes past the end": b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "text of 4 GB": b"\x80\x02X\xff\xff\xff\xff.",
    "number of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "negative length": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "frame past the end": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "memo far away": b"\x80\x02]r\xff\xff\xff\xff" + b"h\x00.",
    "tuples as key, whose hash takes 2^70 steps": b"\x80\x02})" + b"2\x86" * 70 + b"K\x01s.",
    "tuples, 2^70 values": b"\x80\x02)" + b"2\x86" * 70 + b".",
    "lists, 2^70 values": b"\x80\x02]" + b"".join(b"q%c]h%ch%c\x86" % (i, i, i) for i in range(70)) + b".",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "a dict in itself": b"\x80\x02}q\x00K\x01h\x00s.",
    "a hundred thousand tuples in each other": b"\x80\x02)" + b"\x85" * 100_000 + b".",
    "number of 100,000 digits": b"\x80\x02I" + b"9" * 100_000 + b"\n.",
    "half a text": b"\x80\x02X\x01\0\0\0\xff.",
}


def _program(folder: Path, program: bytes) -> Path:
    with zipfile.ZipFile(folder / "x.pt", "w") as archive:
        archive.writestr("model/data.pkl", program)
    return folder / "x.pt"


def cases() -> Iterator[Case]:
    """Give them all."""
    refused = r"expected tensors in plain containers|expected a tensor|which is not made|reference to a storage"
    for function, args in CALLS:
        name = f"pickle calls {function.module}.{function.name}{args!r:.20}"
        saved = {"a": Reduce(function, *args)}
        yield Case("torch", name, lambda folder, saved=saved: write_zip(folder / "x.pt", saved, {}), refused)
    named = {"a": [Global("os", "system")]}
    yield Case("torch", "pickle holds a global", lambda folder: write_zip(folder / "x.pt", named, {}), refused)
    for name, program in PROGRAMS.items():
        yield Case("torch", f"pickle: {name}", partial(_program, program=program))
