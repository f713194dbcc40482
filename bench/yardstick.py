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

# The portable kernels are measured against what the architecture's plainest vector unit could do.
_PLAIN = {"x86_64": "avx2", "aarch64": "neon"}


def load(isa: str) -> dict[str, Callable[[int], int]]:
    """Return ``{"port": f, "tile": g}`` of an instruction set; a call runs n rounds and returns its multiply-adds."""
    source = Path(__file__).with_name("yardstick.cpp")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "yardstick.so"
        compiler = os.environ.get("CXX", "g++")
        subprocess.run([compiler, "-O3", "-std=c++20", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
        handle = ctypes.CDLL(str(library))
    prefix = _PLAIN[platform.machine()] if isa == "scalar" else isa
    functions: dict[str, Callable[[int], int]] = {}
    for name in ("port", "tile"):
        function = getattr(handle, f"{prefix}_{name}")
        function.argtypes, function.restype = [ctypes.c_int64], ctypes.c_int64
        functions[name] = function
    return functions
