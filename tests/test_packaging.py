"""What a user downloads and what an import costs."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel() -> zipfile.ZipFile:
    path = os.environ.get("OCTENSOR_WHEEL")
    if not path:
        pytest.skip("no wheel: run `make test`, or set OCTENSOR_WHEEL")
    with zipfile.ZipFile(ROOT / path) as archive:
        yield archive


def test_the_wheel_is_small(wheel):
    assert Path(wheel.filename).stat().st_size < 2_500_000


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = [name for name in wheel.namelist() if not name.endswith("/")]
    folders = {name.split("/")[0] for name in names}
    assert {f for f in folders if not re.fullmatch(r"octensor-[\w.]+\.dist-info|octensor\.libs", f)} == {"octensor"}
    assert "octensor/py.typed" in names
    assert "octensor/_C.pyi" in names
    assert len([name for name in names if name.startswith("octensor/") and name.endswith(".so")]) == 1
    kinds = {Path(name).suffix for name in names if name.startswith("octensor/")}
    assert kinds <= {".py", ".pyi", ".typed", ".so", ".cpp"}
    # The bench compiles its yardsticks where it runs; nothing else of the sources travels.
    sources = [name for name in names if name.endswith(".cpp")]
    assert [name for name in sources if not name.startswith("octensor/bench/native/")] == []
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_extension_is_stripped(wheel, tmp_path):
    (module,) = [name for name in wheel.namelist() if name.startswith("octensor/") and name.endswith(".so")]
    path = wheel.extract(module, tmp_path)
    nm = os.environ.get("NM", "nm")
    done = subprocess.run([nm, path], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    exported = subprocess.run([nm, "-D", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    assert [line.split()[-1] for line in exported.splitlines() if " T " in line] == ["PyInit__C"]


def test_numpy_is_the_only_need_besides_files(wheel):
    (name,) = [n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")]
    needs = Parser().parsestr(wheel.read(name).decode()).get_all("Requires-Dist")
    assert [need for need in needs if "extra ==" not in need and not need.startswith(("numpy", "safetensors"))] == []


def test_the_version_is_one():
    import octensor

    assert octensor.__version__ == metadata.version("octensor")


def test_import_loads_no_heavy_modules():
    code = "import numpy, sys; before = set(sys.modules); import octensor; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    roots = {name.split(".")[0] for name in loaded}
    parts = {name.split(".")[1] for name in loaded if name.startswith("octensor.")}
    packages = {p for p in parts if importlib.util.find_spec(f"octensor.{p}").submodule_search_locations}
    assert packages == {"ops"}
    assert not roots & {"torch", "onnx", "onnxruntime", "pickle", "multiprocessing", "asyncio", "unittest", "argparse"}
    assert {name for name in roots if name not in sys.stdlib_module_names} <= {"octensor", "numpy"}
