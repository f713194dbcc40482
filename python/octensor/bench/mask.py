"""Holds the peers to AVX2 on a machine that has more, so that an AVX2 comparison is a fair one.

octensor obeys ``--isa avx2``. The peers ask the CPU itself: oneDNN, PyTorch and OpenBLAS can be told
otherwise by environment variables, ONNX Runtime, XNNPACK, FBGEMM, OpenVINO and ncnn cannot. So the process
starts itself again with

* copies of the peers' packages in which every ``cpuid`` instruction is replaced by one that no CPU defines;
* a preloaded library (``native/mask_cpuid.cpp``) that answers those as an AVX2 machine would.

Instructions are found by disassembly (``objdump``), never by a search for their bytes alone. Copies are made
once and kept: in ``build/bench`` of a source tree, else in ``~/.cache/octensor``, or where
OCTENSOR_BENCH_CACHE says. Linux on x86-64 only; the installed packages stay as they are.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from .ceilings import compile_library

MARK = "OCTENSOR_BENCH_MASKED"
PACKAGES = {  # what each peer is made of
    "numpy": [],  # OpenBLAS obeys its environment variable
    "torch": ["torch"],
    "onnxruntime": ["onnxruntime"],
    "openvino": ["openvino"],
    "litert": ["ai_edge_litert"],
    "ncnn": ["ncnn"],
}
ENVIRONMENT = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "DNNL_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
_CPUID, _UNDEFINED = b"\x0f\xa2", b"\x0f\x0a"


def needed(isa: str | None, peers: Sequence[str]) -> bool:
    """Whether this run asks for AVX2, has peers, and the CPU would offer them more."""
    if isa != "avx2" or not peers or os.environ.get(MARK):
        return False
    from octensor import _C

    return any(present for name, present in _C.cpu_features().items() if "avx512" in name or "vnni" in name)


def available() -> bool:
    """Whether this system can do it."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and shutil.which("objdump") is not None


def restart(peers: Sequence[str], arguments: Sequence[str], program: Sequence[str] = ("-m", "octensor")) -> None:
    """Replace this process by one whose peers see an AVX2 machine. Does not return.

    Parameters
    ----------
    peers : sequence of str
        Names of `PACKAGES`.
    arguments : sequence of str
        Of the new process.
    program : sequence of str
        What Python is told to run; nothing if the arguments begin with a script.

    Raises
    ------
    RuntimeError
        Where copies cannot be made.
    """
    folder = cache()
    preload = folder / "mask_cpuid.so"
    compile_library("mask_cpuid.cpp", preload, "-fno-exceptions", "-fno-rtti")
    paths = [str(made) for name in peers for made in masked_packages(name, folder)]
    environment = os.environ | ENVIRONMENT | {MARK: "avx2", "LD_PRELOAD": str(preload)}
    environment["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
    os.execve(sys.executable, [sys.executable, *program, *arguments], environment)


def cache() -> Path:
    """Where copies are kept."""
    named = os.environ.get("OCTENSOR_BENCH_CACHE")
    root = Path(__file__).resolve().parents[3]
    if named:
        folder = Path(named).resolve()
    elif (root / "pyproject.toml").exists():
        folder = root / "build" / "bench"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "octensor"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def masked_packages(peer: str, folder: Path) -> Iterator[Path]:
    """Folders for sys.path that hold a peer's packages with their libraries masked; made where missing."""
    for package in PACKAGES[peer]:
        found = importlib.util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            continue
        source = Path(next(iter(found.submodule_search_locations)))
        key = hashlib.sha256(f"{source} {source.stat().st_mtime_ns}".encode()).hexdigest()[:12]
        target = folder / f"{package}-{key}"
        if not (target / "ready").exists():
            print(f"octensor bench: masking {package} (once; kept in {target})", file=sys.stderr, flush=True)
            shutil.rmtree(target, ignore_errors=True)
            _copy(source, target / package)
            beside = source.with_name(f"{package}.libs")
            if beside.exists():
                _copy(beside, target / beside.name)
            (target / "ready").touch()
        yield target


def _copy(source: Path, target: Path) -> None:
    """Link every file but the libraries that ask the CPU; those are copied and changed.

    Hard links, because libraries and packages look beside themselves for others.
    """
    for path in source.rglob("*"):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        new = target / path.relative_to(source)
        new.parent.mkdir(parents=True, exist_ok=True)
        offsets = cpuid_offsets(path) if ".so" in path.name else []
        if offsets:
            content = bytearray(path.read_bytes())
            for offset in offsets:
                content[offset : offset + 2] = _UNDEFINED
            new.write_bytes(content)
            continue
        try:
            os.link(path, new)
        except OSError:  # another file system
            shutil.copy2(path, new)


def cpuid_offsets(library: Path) -> list[int]:
    """Offsets in the file of every cpuid instruction that disassembly finds."""
    content = library.read_bytes()
    if not content.startswith(b"\x7fELF") or _CPUID not in content:
        return []
    command = ["objdump", "--disassemble", "--wide", "--no-show-raw-insn", str(library)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as listing:
        found = subprocess.run(["grep", "-w", "cpuid"], stdin=listing.stdout, capture_output=True, text=True)
    offsets = [_file_offset(content, int(line.split(":")[0], 16)) for line in found.stdout.splitlines()]
    return [offset for offset in offsets if content[offset : offset + 2] == _CPUID]


def _file_offset(elf: bytes, address: int) -> int:
    """Where a 64-bit ELF file holds the byte that is loaded at an address; -1 if nowhere."""
    (table,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    for index in range(count):
        kind, _, offset, start, _, length = struct.unpack_from("<IIQQQQ", elf, table + index * size)
        if kind == 1 and start <= address < start + length:
            return int(offset + address - start)
    return -1
