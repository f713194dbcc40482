"""The rules of the house that a compiler does not check."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CPP = sorted(path for pattern in ("*.h", "*.cpp", "*.in") for path in (ROOT / "csrc").rglob(pattern))
PYTHON = sorted((ROOT / "python").rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def offences(paths: list[Path], pattern: str) -> list[str]:
    """Lines that match, as "file:line: text"."""
    found = []
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(pattern, line):
                found.append(f"{relative(path)}:{number}: {line.strip()}")
    return found


# --- C++ ------------------------------------------------------------------------------------------------


def outside_simd() -> list[Path]:
    return [path for path in CPP if (ROOT / "csrc" / "simd") not in path.parents]


def test_sources_are_found():
    assert len(CPP) > 20
    assert len(PYTHON) > 20


def test_intrinsics_are_included_under_simd_only():
    assert offences(outside_simd(), r"#\s*include\s*<(\w*intrin|arm_\w+)\.h>") == []


def test_instruction_set_macros_are_tested_under_simd_only():
    assert offences(outside_simd(), r"\b__(AVX|SSE|SSSE|FMA|ARM_|AMX|BMI|F16C)\w*") == []


def test_no_target_pragmas_and_no_native_builds():
    assert offences(CPP, r"#\s*pragma\s+(GCC|clang)\s+target|__attribute__\(\(.*target|\[\[gnu::target") == []
    builds = [ROOT / "CMakeLists.txt", ROOT / "pyproject.toml", ROOT / "Makefile", *(ROOT / "scripts").rglob("*.sh")]
    assert offences(builds, r"-m(arch|tune|cpu)=native|-ffast-math|-Ofast|-funsafe-math") == []


LAYERS = ["core", "simd", "kernels", "isa", "ops", "program", "bind"]  # each may include those before it


def test_cpp_layers_include_downwards_only():
    wrong = []
    for path in CPP:
        layer = path.relative_to(ROOT / "csrc").parts[0]
        for included in re.findall(r'#include "(\w+)/', path.read_text(encoding="utf-8")):
            if LAYERS.index(included) > LAYERS.index(layer):
                wrong.append(f"{relative(path)} includes {included}/")
    assert wrong == []


# --- what the compiler made -------------------------------------------------------------------------------

NM = os.environ.get("NM", "nm")
OBJDUMP = os.environ.get("OBJDUMP", "objdump")
BUILD = ROOT / os.environ.get("OCTENSOR_BUILD_DIR", "build/native")
STRUCTS = dict(re.findall(r"octensor_isa\((\w+) (\w+)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")))


def isa_objects() -> list[tuple[str, Path]]:
    """(instruction set, object file) of every object that was compiled for one."""
    if not BUILD.is_dir() and "OCTENSOR_BUILD_DIR" not in os.environ:
        pytest.skip("no build folder: run `make test`, or set OCTENSOR_BUILD_DIR")
    pattern = re.compile(r"octensor_isa_(\w+)\.dir")
    found = [(m[1], path) for path in sorted(BUILD.rglob("*.o")) if (m := pattern.search(path.as_posix()))]
    assert found, f"no instruction-set objects under {BUILD}"
    return found


def is_float_unit(path: Path) -> bool:
    """Whether an object has the float kernels of its set: they are a unit of their own, with a table of their own."""
    return "_float." in path.name


def symbols(path: Path, *flags: str) -> list[tuple[str, str]]:
    """(type, demangled name) of an object's symbols."""
    out = subprocess.run([NM, "--demangle", *flags, path], capture_output=True, text=True, check=True).stdout
    return [(m[1], m[2]) for line in out.splitlines() if (m := re.match(r"[0-9a-f ]*\s([A-Za-z]) (.+)", line))]


def test_instruction_set_objects_share_no_weak_symbols():
    """The linker keeps one of equal weak symbols: one that is not named after its own instruction set
    could be the AVX-512 copy, kept for everyone.
    """
    wrong = [
        f"{isa}: {kind} {name}"
        for isa, path in isa_objects()
        for kind, name in symbols(path, "--defined-only")
        if kind in "VWu" and f"octensor::simd::{STRUCTS[isa]}" not in name
    ]
    assert wrong == []


def test_instruction_set_objects_hold_no_containers():
    wrong = [f"{isa}: {name}" for isa, path in isa_objects() for _, name in symbols(path) if "std::" in name]
    assert wrong == []


# What the kernels of a set are made of, and what would kill a CPU that has no more than the set.
OWN = {
    "scalar": (None, r"%[yz]mm|\b[su]dot\b|mmla\b"),
    "avx2": (r"\bvpmaddubsw\b.*%ymm", r"%zmm|\bvpdp"),
    "avxvnni": (r"{vex} vpdpbusd\b.*%ymm", r"%zmm|(?<!{vex} )vpdp"),
    "avx512vnni": (r"(?<!{vex} )vpdpbusd\b.*%zmm", r"{vex}"),
    "neon": (r"\bsmlal2?\b", r"\b(us|su|[su])dot\b|mmla\b"),
    "neondot": (r"\bsdot\b", r"\b(us|su)dot\b|mmla\b"),
    "neoni8mm": (r"\busmmla\b", None),
}


def test_every_set_uses_its_own_instructions_and_no_others():
    wrong = []
    for isa, path in isa_objects():
        code = subprocess.run([OBJDUMP, "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True)
        own, foreign = OWN[isa]
        if own and not is_float_unit(path) and not re.search(own, code.stdout):
            wrong.append(f"{isa}: no {own}")
        if foreign and (found := re.search(f".*({foreign}).*", code.stdout)):
            wrong.append(f"{isa}: {found[0].strip()}")
    assert wrong == []


def test_instruction_set_objects_give_one_table_and_need_next_to_nothing():
    """Only a table leaves an object; nothing enters but the set's float table and what the compiler may call."""
    compilers = {"memcpy", "memset", "memmove"}
    for isa, path in isa_objects():
        public = [name for kind, name in symbols(path, "--defined-only", "--extern-only") if kind not in "VWu"]
        table, floats = f"octensor::table_{isa}", f"octensor::floats_{isa}"
        assert public == [floats if is_float_unit(path) else table]
        needed = {name for _, name in symbols(path, "--undefined-only")}
        more = {"fmaf"} if isa == "scalar" else set()  # the C library's, where a set has no instruction for it
        assert needed <= compilers | (more if is_float_unit(path) else {floats}), isa


def test_every_instruction_set_of_the_build_is_listed():
    from octensor import _C

    assert {isa for isa, _ in isa_objects()} == {name for name, _ in _C.isa_list()}


# --- every language -----------------------------------------------------------------------------------------

LIMIT = 500


def test_no_file_over_500_lines_without_a_reason():
    """A longer file says why in its first ten lines, with the words "over 500 lines"."""
    tracked = [
        path
        for folder in ("csrc", "python", "tests", "scripts", "bench", "examples")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".h", ".cpp", ".in", ".sh"}
    ]
    wrong = []
    for path in tracked:
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > LIMIT and not any("over 500 lines" in line.lower() for line in lines[:10]):
            wrong.append(f"{relative(path)}: {len(lines)} lines")
    assert wrong == []


# --- Python -------------------------------------------------------------------------------------------------

# Each may import from its own row and those above it. A dotted name is an exception to its package's row:
# the views of nn are names for states that workflows make.
RANKS = [
    {"_C"},
    {"arrays", "autograd", "inplace", "mapped", "tensor", "grid", "random", "backends"},
    {"ops"},
    {"factories", "qtensor"},
    {"nn", "optim"},
    {"quantization", "ao", "nn.views", "nn.quantized", "nn.qat", "nn.intrinsic", "nn.quantizable"},
    {"bench.ceilings"},
    {"graph", "fx", "program", "quantization.fx", "quantization.quantize_fx", "quantization._numeric_suite_fx"},
    {"io", "onnx", "torch"},
    {"", "bench", "cli", "commands", "__main__"},  # octensor/__init__.py gathers everything
]


def rank(module: str) -> int:
    """Row of "octensor.nn.linear": that of the longest prefix listed."""
    parts = module.split(".")[1:3]
    for name in (".".join(parts), "".join(parts[:1])):
        for row, names in enumerate(RANKS):
            if name in names:
                return row
    raise AssertionError(f"{module}: which layer is it in? add it to RANKS")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT / "python").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def run_time_nodes(tree: ast.AST) -> list[ast.stmt]:
    """Import statements that run: all but those under `if TYPE_CHECKING:`."""
    found: list[ast.stmt] = []
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            pending += node.orelse
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        pending += ast.iter_child_nodes(node)
    return found


def imports(path: Path) -> set[str]:
    """Dotted names of the octensor modules that a file imports when it runs."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    names: set[str] = set()
    for node in run_time_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            full = ".".join(part for part in (base, node.module) if part)
            # `from octensor import nn` names a module, `from octensor.nn import Linear` a class in one.
            names |= {f"{full}.{alias.name}" for alias in node.names} if full == "octensor" else {full}
    return {name for name in names if name.split(".")[0] == "octensor"}


def test_python_layers_import_downwards_only():
    wrong = []
    for path in PYTHON:
        here = module_name(path)
        for name in imports(path):
            if rank(name) > rank(here):
                wrong.append(f"{here} imports {name}")
    assert wrong == []


def test_run_time_needs_nothing_but_numpy():
    """Other packages are extras: imported only inside functions of their bridge, never at the top of a file.

    Files are safetensors' affair, in the one place that reads and writes them.
    """
    extras = {"onnx", "torch", "rich", "matplotlib"}
    wrong = []
    for path in PYTHON:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        needs = {"numpy", "octensor"} | ({"safetensors"} if path.name == "safetensors_file.py" else set())
        top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        for node in top:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and node.level:
                continue
            for name in (n.split(".")[0] for n in names):
                if name not in sys.stdlib_module_names | needs:
                    kind = "an extra" if name in extras else "unknown"
                    wrong.append(f"{relative(path)}: {name} ({kind})")
    assert wrong == []


@pytest.mark.native
def test_the_committed_stub_is_the_generated_one():
    """`make stubs` writes python/octensor/_C.pyi; this notices when it was forgotten."""
    if shutil.which("ruff", path=Path(sys.executable).parent) is None:
        pytest.skip("needs requirements/test.txt: pybind11-stubgen and ruff")
    done = subprocess.run([sys.executable, ROOT / "scripts" / "stubs.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
