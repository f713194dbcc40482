"""What the machine itself reaches, as contenders that are timed between the others in the same run.

``native/yardstick.cpp`` is built with the system's C++ compiler into a temporary directory and loaded.
"""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# The portable kernels are measured against what the architecture's plainest vector unit could do.
_PLAIN = {"x86_64": "avx2", "aarch64": "neon"}
# neondot is measured against neon's own loops until it has some of its own.
_LOOPS = {"avx2": "avx2", "avx512vnni": "avx512vnni", "neon": "neon", "neondot": "neon"}
_ONCE = 2e-3  # seconds that one call takes: starting a thread must not count


@dataclass(frozen=True)
class Ceiling:
    """A loop to be timed: `call` does `work`, counted as the cases count theirs."""

    name: str
    unit: str
    work: float
    call: Callable[[], object]


def compile_library(source: str, target: Path, *flags: str) -> Path:
    """Build one of the bench's own C++ files (a name in ``native/``) into a shared library.

    Raises
    ------
    RuntimeError
        Where no compiler is found or it fails; says which command.
    """
    compiler = os.environ.get("CXX", "g++")
    command = [compiler, "-O3", "-std=c++20", "-shared", "-fPIC", "-pthread", *flags]
    command += [str(Path(__file__).with_name("native") / source), "-o", str(target)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", None) or str(error)
        raise RuntimeError(f"{' '.join(command)}: {detail}") from error
    return target


class Yardstick:
    """The loops of one instruction set, run on as many threads as the contenders have."""

    def __init__(self, isa: str, threads: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self._library = ctypes.CDLL(str(compile_library("yardstick.cpp", Path(folder) / "yardstick.so")))
        self._prefix = _LOOPS[isa] if isa in _LOOPS else _PLAIN[platform.machine()]
        self._threads = threads
        self._kept: list[np.ndarray] = []  # what the loops point into
        for name in ("parallel", "copy_bytes", "read_bytes"):
            getattr(self._library, name).restype = ctypes.c_int64

    def compute(self) -> list[Ceiling]:
        """Multiplies alone; a tile in the L1 cache; on avx2 also the tile that saturates."""
        found = []
        for name in ("port", "tile", "saturating_tile"):
            function = getattr(self._library, f"{self._prefix}_{name}", None)
            if function is not None:
                found.append(self._ceiling(name.replace("_", " "), "GOP/s", 2.0, self._parallel(function)))
        return found

    def memory(self, read: int = 0, copy: int = 0) -> list[Ceiling]:
        """Make loops that read an array of some bytes once, or copy one (bytes read and written count)."""
        found = []
        if read:
            source = np.ones(read, np.uint8)
            found.append(self._ceiling("read once", "GB/s", 1.0, self._pass("read_bytes", read, source)))
        if copy:
            pair = np.ones(copy, np.uint8), np.ones(copy, np.uint8)
            found.append(self._ceiling("copy", "GB/s", 1.0, self._pass("copy_bytes", copy, *pair)))
        return found

    def _parallel(self, function: object) -> Callable[[int], int]:
        return lambda n: int(self._library.parallel(function, ctypes.c_int64(n), self._threads))

    def _pass(self, name: str, size: int, *arrays: np.ndarray) -> Callable[[int], int]:
        function = getattr(self._library, name)
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]

        def run(n: int) -> int:
            return int(function(*pointers, ctypes.c_int64(size), ctypes.c_int64(n), self._threads))

        self._kept += arrays
        return run

    def _ceiling(self, name: str, unit: str, factor: float, run: Callable[[int], int]) -> Ceiling:
        """As many repetitions as take about `_ONCE`."""
        for power in range(32):
            start = time.perf_counter()
            work = run(1 << power)
            if time.perf_counter() - start > _ONCE / 2:
                break
        return Ceiling(name, unit, work * factor, lambda: run(1 << power))
