"""What commands print: tables, and progress, with the package rich where it is installed and stderr is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any


def _rich() -> bool:
    if not sys.stderr.isatty():
        return False
    try:
        import rich  # noqa: F401
    except ImportError:
        return False
    return True


def progress(what: str, items: Any) -> Iterator[Any]:
    """Yield items while showing on stderr how many are done; a terminal sees a bar, a log one line."""
    if _rich():
        from rich.progress import track

        yield from track(items, description=what, total=len(items), transient=True)
        return
    total = len(items)
    shown = sys.stderr.isatty()
    for i, item in enumerate(items, 1):
        yield item
        if shown:
            print(f"\r{what}: {i}/{total}", end="" if i < total else "\n", file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return aligned columns."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def decibels(value: float) -> str:
    """Return a signal to noise ratio as text."""
    return "exact" if value == float("inf") else f"{value:.1f} dB"


def size(count: int) -> str:
    """Return bytes as text."""
    return f"{count / 1e6:.2f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"
