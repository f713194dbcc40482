"""What one file may cost, measured inside of this process: processor time and the growth of its memory."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS = 1.0  # of processor time: neither another process nor a stopped one counts
MEGABYTES = 100
WHOLE = 2 << 30  # address space of the process, where no sanitizer needs it for itself


class Slow(Exception):
    """An input took too long."""


class Large(Exception):
    """An input took too much memory."""


def prepare() -> None:
    """Let the limits hold for this process."""
    if "asan" not in os.environ.get("LD_PRELOAD", ""):
        resource.setrlimit(resource.RLIMIT_AS, (WHOLE, WHOLE))
    signal.signal(signal.SIGPROF, _alarm)


def _alarm(*_: Any) -> None:
    raise Slow("too much processor time")


@contextlib.contextmanager
def seconds(limit: float) -> Iterator[None]:
    """Raise `Slow` after so much processor time; code in C++ is interrupted when it returns."""
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


@contextlib.contextmanager
def megabytes(limit: int) -> Iterator[None]:
    """Raise `Large` if the memory that the process holds has meanwhile grown by more, even for a moment."""
    peak = Peak()
    yield
    if peak.grown() > limit:
        raise Large(f"{peak.grown():.0f} MB")


class Peak:
    """By how much the memory of this process grows at most, from now on."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self.before = _kilobytes("VmRSS")

    def grown(self) -> float:
        """Return the growth in megabytes."""
        return max(0, _kilobytes("VmHWM") - self.before) / 1024


def _kilobytes(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text[text.index(name) :].split(None, 2)[1])
