"""Seeded mutations of torch's files: entries of archives, whose checksums fit, and opcodes of pickles."""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import struct
import zipfile
from collections.abc import Callable

Bytes = Callable[[bytes], bytes]
NUMBERS = [0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 255, 1 << 20, (1 << 31) - 1, -1, 1 << 32, 1 << 61, 1 << 62, 1 << 63, 1 << 70]


def archive(data: bytes, rng: random.Random, mutated: Bytes) -> bytes | None:
    """Return an archive with one entry changed, renamed, lost or doubled; None if `data` is no archive.

    `mutated` changes the bytes of an entry; most often those of the pickle, where what matters stands.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            entries = [(info.filename, file.read(info)) for info in file.infolist() if info.file_size < 1 << 20]
    except Exception:
        return None
    if not entries:
        return None
    pickles = [i for i, (name, _) in enumerate(entries) if name.endswith("data.pkl")]
    place = rng.choice(pickles) if pickles and rng.random() < 0.8 else rng.randrange(len(entries))
    name, content = entries[place]
    match rng.randrange(12):
        case 0:
            del entries[place]
        case 1:
            entries.append(entries[rng.randrange(len(entries))])
        case 2:
            entries[place] = (rng.choice(["", "../x", "a/data.pkl", "a/data/0", name + "x"]), content)
        case 3:
            entries[place] = (entries[rng.randrange(len(entries))][0], content)
        case 4 | 5:
            entries[place] = (name, mutated(content))
        case _:
            entries[place] = (name, opcodes(content, rng) or mutated(content))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if rng.random() < 0.02 else zipfile.ZIP_STORED) as file:
        for name, content in entries:
            file.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def opcodes(data: bytes, rng: random.Random) -> bytes | None:
    """Return a pickle with a few of its opcodes or their arguments changed; None if `data` begins with none."""
    parts: list[bytes] = []
    file = io.BytesIO(data)
    try:
        begin = 0
        for _ in pickletools.genops(file):
            parts.append(data[begin : file.tell()])
            begin = file.tell()
    except Exception:
        return None
    for _ in range(rng.choice([1, 1, 2, 3])):
        numbers = [i for i, part in enumerate(parts) if part[:1] in (b"K", b"M", b"J", b"\x8a", b"G")]
        place = rng.randrange(len(parts))
        match rng.randrange(6):
            case 0 if len(parts) > 2:
                del parts[place]
            case 1:
                parts.insert(place, rng.choice(parts))
            case 2:
                parts[place] = rng.choice(parts)
            case 3:
                value = rng.choice([None, True, 0.5, float("nan"), "0", "little", (), [], {}, b"x"])
                parts[place] = pickle.dumps(value, 2)[2:-1]
            case _ if numbers:
                parts[rng.choice(numbers)] = _number(rng)
    return b"".join(parts) + data[begin:]


def _number(rng: random.Random) -> bytes:
    value = rng.choice(NUMBERS)
    return b"G" + struct.pack(">d", value) if rng.random() < 0.1 else pickle.dumps(value, 2)[2:-1]
