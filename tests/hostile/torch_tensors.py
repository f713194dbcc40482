"""Files of torch.save whose tensors, storages or archives say more than they hold."""

from __future__ import annotations

import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from torch_files import Global, Reduce, Storage, pickled, tensor, write_legacy, write_zip

from .case import Case

VALUES = np.arange(12, dtype=np.float32)
CODES = np.arange(12, dtype=np.uint8)
FLOATS = Storage("FloatStorage", "0", VALUES)

VIEWS: list[tuple[Any, Any, Any]] = [  # offset, size, stride
    (0, (4, 4), (4, 1)),
    (1, (12,), (1,)),
    (0, (2, 2), (11, 1)),
    (-1, (2,), (1,)),
    (0, (2,), (-1,)),
    (0, (-2,), (1,)),
    (0, (2, 2), (1,)),
    (0, (1 << 31, 1 << 31), (0, 0)),
    (0, (1 << 40,), (0,)),
    (0, (1 << 62,), (1,)),  # 0 bytes, if their number wraps
    (0, (2, 2), (1 << 62, 1)),
    (0, (4194305, 211106198978564), (1, 1)),  # 4 values, if their number wraps
    (1 << 62, (1,), (1,)),
    (0, (0, 1 << 61), (1, 1)),
    (True, (2,), (1,)),
    (0, [2], (1,)),
    (0, ("2",), (1,)),
    (0, (1,) * 33, (1,) * 33),
]

STORAGES: list[tuple[Storage, str]] = [
    (Storage("FloatStorage", "2", VALUES), "has no such entry"),
    (Storage("FloatStorage", "1", VALUES), "expected 12 values, got 3"),
    (Storage("DoubleStorage", "0", VALUES), "expected 12 values, got 6"),
    (Storage("FloatStorage", "0", VALUES, count=1 << 60), "values, got 12"),
    (Storage("FloatStorage", "0", VALUES, count=(1 << 62) + 12), "values, got 12"),
    (Storage("FloatStorage", "0", VALUES, count=-1), "values, got 12"),
    (Storage("EvilStorage", "0", VALUES), "known type"),
    (Storage("FloatStorage", "../../etc/passwd", VALUES), "has no such entry"),
]


def _quantized(parameters: Any, view: tuple[Any, Any, Any] = (0, (3, 4), (4, 1))) -> Reduce:
    rebuild = Global("torch._utils", "_rebuild_qtensor")
    return Reduce(rebuild, Storage("QUInt8Storage", "1", CODES), *view, parameters, False, OrderedDict())


def _affine(scale: Any, zero_point: Any) -> tuple[Any, ...]:
    return Global("torch", "per_tensor_affine"), scale, zero_point


def _channels(scales: int, zeros: int, axis: Any) -> tuple[Any, ...]:
    scale = tensor(FLOATS, 1, (scales,), (1,))
    zero = tensor(Storage("ByteStorage", "1", CODES), 0, (zeros,), (1,))
    return Global("torch", "per_channel_affine"), scale, zero, axis


PARAMETERS: dict[str, Any] = {
    "scale 0": _affine(0.0, 0),
    "scale nan": _affine(float("nan"), 0),
    "scale inf": _affine(float("inf"), 0),
    "scale -1": _affine(-1.0, 0),
    "zero point 256": _affine(0.5, 256),
    "zero point 1 << 62": _affine(0.5, 1 << 62),
    "zero point a text": _affine(0.5, "0"),
    "scale a tuple": _affine((0.5,), 0),
    "2 scales for 3 channels": _channels(2, 2, 0),
    "3 scales, 2 zero points": _channels(3, 2, 0),
    "no scale": _channels(0, 0, 0),
    "axis 2 of 2": _channels(3, 3, 2),
    "axis -1": _channels(3, 3, -1),
    "axis 1 << 62": _channels(3, 3, 1 << 62),
    "unknown parameters": (Global("torch", "per_evil_affine"), 0.5, 0),
}


def _saved(folder: Path, value: Any) -> Path:
    return write_zip(folder / "x.pt", {"a": value}, {"0": VALUES.tobytes(), "1": CODES.tobytes()})


def _entries(folder: Path, *entries: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """Write an archive of a tensor with more entries, which may have the names of others."""
    content = pickled({"a": tensor(FLOATS, 0, (12,), (1,))})
    with warnings.catch_warnings(), zipfile.ZipFile(folder / "x.pt", "w", compression) as archive:
        warnings.simplefilter("ignore")  # that a name stands twice
        for name, data in (("model/data.pkl", content), ("model/data/0", VALUES.tobytes()), *entries):
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=compression)
    return folder / "x.pt"


def _changed(folder: Path, change: Callable[[bytearray], Any]) -> Path:
    """Write an archive, then change its bytes."""
    path = _entries(folder)
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    return path


def _at(marker: bytes, place: int, field: bytes) -> Callable[[bytearray], Any]:
    """Return a change of a field in the last record that begins with a marker."""

    def change(data: bytearray) -> None:
        begin = data.rindex(marker) + place
        data[begin : begin + len(field)] = field

    return change


_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
ARCHIVES: dict[str, Callable[[bytearray], Any]] = {
    "local name of another length": _at(_LOCAL, 26, struct.pack("<H", 0xFFFF)),
    "local extra field past the end": _at(_LOCAL, 28, struct.pack("<H", 0xFFFF)),
    "another name in the local header": _at(_LOCAL, 30, b"m0del"),
    "entry of 4 GB": _at(_CENTRAL, 20, struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0)),
    "entry past the end": _at(_CENTRAL, 42, struct.pack("<I", 0x7FFFFFFF)),
    "encrypted entry": _at(_CENTRAL, 8, struct.pack("<H", 1)),
    "directory of 4 GB": _at(_END, 12, struct.pack("<I", 0xFFFFFFFE)),
    "directory past the end": _at(_END, 16, struct.pack("<I", 0x7FFFFFFF)),
}


def _legacy_length(folder: Path, length: int) -> Path:
    """Write an old file whose storage has a length of its own."""
    storage = Storage("FloatStorage", "0", VALUES, legacy=True)
    path = write_legacy(folder / "x.pt", {"a": tensor(storage, 0, (12,), (1,))}, {"0": VALUES})
    data = path.read_bytes()
    path.write_bytes(data[: -8 - VALUES.nbytes] + struct.pack("<q", length) + VALUES.tobytes())
    return path


def cases() -> Iterator[Case]:
    """Give them all."""
    for view in VIEWS:
        yield Case("torch", f"view {view!r:.60}", partial(_saved, value=tensor(FLOATS, *view)), "tensor: expected")
        codes = _quantized(_affine(0.5, 7), view)
        yield Case("torch", f"view of codes {view!r:.60}", partial(_saved, value=codes), "tensor: expected")
    for name, parameters in PARAMETERS.items():
        yield Case("torch", f"codes with {name}", partial(_saved, value=_quantized(parameters)))
    for storage, match in STORAGES:
        name = f"storage {storage.id[1].name} {storage.id[2]!r} of {storage.id[4]}"
        yield Case("torch", name, partial(_saved, value=tensor(storage, 0, (1,), (1,))), match)
    both = [tensor(FLOATS, 0, (1,), (1,)), tensor(Storage("IntStorage", "0", VALUES), 0, (1,), (1,))]
    yield Case("torch", "storage of two types", partial(_saved, value=both), "different types")
    for name, change in ARCHIVES.items():
        yield Case("torch", f"archive: {name}", partial(_changed, change=change))
    more = partial(_changed, change=_at(_END, 8, struct.pack("<HH", 0xFFFF, 0xFFFF)))
    yield Case("torch", "archive: more entries than there are", more, None)
    data = b"\0" * 48
    for name, entries in {
        "two data.pkl": [("other/data.pkl", b"\x80\x02}.")],
        "the same name twice": [("model/data/0", data)],
        "the pickle twice": [("model/data.pkl", b"\x80\x02}.")],
    }.items():
        yield Case("torch", f"archive: {name}", lambda folder, entries=entries: _entries(folder, *entries))
    bomb = partial(_entries, compression=zipfile.ZIP_DEFLATED)
    yield Case(
        "torch", "archive: 16 MB of zeros deflated", lambda f: bomb(f, ("model/data/1", b"\0" * (1 << 24))), "stored"
    )
    for length in (-1, 13, 1 << 61, 1 << 62, (1 << 62) + 12):
        yield Case("torch", f"old format: storage of {length}", partial(_legacy_length, length=length), "storage '0'")
