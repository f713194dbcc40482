"""The core's own ceilings, as callables to be timed between the cases of a benchmark.

Builds ``yardstick.cpp`` with the system's C++ compiler into a temporary directory and loads it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

_FLAGS = {"x86_64": ["-mavx2"], "aarch64": []}


def load() -> dict[str, Callable[[int], int]]:
    """Return ``{"port": f, "tile": g}``; each call runs n rounds and returns its multiply-adds."""
    source = Path(__file__).with_name("yardstick.cpp")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "yardstick.so"
        compiler, flags = os.environ.get("CXX", "g++"), _FLAGS[platform.machine()]
        subprocess.run(
            [compiler, "-O3", "-std=c++20", "-shared", "-fPIC", *flags, str(source), "-o", str(library)], check=True
        )
        handle = ctypes.CDLL(str(library))
    functions: dict[str, Callable[[int], int]] = {}
    for name in ("port", "tile"):
        function = getattr(handle, name)
        function.argtypes, function.restype = [ctypes.c_int64], ctypes.c_int64
        functions[name] = function
    return functions
