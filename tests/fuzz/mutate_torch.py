"""Seeded mutations inside of torch's zip archives: the entries change, their checksums fit."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable

Bytes = Callable[[bytes], bytes]


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
        case _:
            entries[place] = (name, mutated(content))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if rng.random() < 0.02 else zipfile.ZIP_STORED) as file:
        for name, content in entries:
            file.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()
