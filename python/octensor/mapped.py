"""Files that are mapped into memory, and giving back the memory that their pages take."""

from __future__ import annotations

import contextlib
import mmap
import weakref
from pathlib import Path
from typing import Any

_MAPS: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def map_file(path: str | Path) -> mmap.mmap:
    """Map a whole file, which must not be empty; nobody can write to the map."""
    with Path(path).open("rb") as file:
        made = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _MAPS.add(made)
    return made


def release_pages() -> None:
    """Let the system have the pages of all mapped files; who reads one again gets it again, from the file."""
    advice: Any = getattr(mmap, "MADV_DONTNEED", None)
    for mapped in list(_MAPS) if advice is not None else ():
        with contextlib.suppress(OSError, ValueError):  # what is locked in memory stays; what is closed is gone
            mapped.madvise(advice)
