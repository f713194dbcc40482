"""Whole networks: where their architectures are, and the files that every runtime is given the same network in.

The architectures are octensor's examples (``examples/networks`` of a source tree). Random weights, calibration and
the float result come from octensor; the same source, its import lines changed, gives PyTorch's model, which PyTorch
exports; ONNX Runtime's own tools quantize that. So each runtime gets what its own users would make of one network.

Everything is made once for each network, in a process of its own, and kept beside the masked peers
(``mask.cache()``); touching an architecture makes it anew.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import types
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from . import mask
from .cases import Network
from .operands import Data

_TORCH = (
    ("from octensor import quantization", "from torch.ao import quantization"),
    ("octensor.quantization", "torch.ao.quantization"),
    ("octensor", "torch"),
)


def examples() -> Path:
    """Return the folder of the architectures: of the source tree this file is in, or of the current one.

    Raises
    ------
    FileNotFoundError
        Where there is neither.
    """
    for root in (Path(__file__).resolve().parents[3], Path.cwd()):
        if (root / "examples" / "networks" / "weights.py").exists():
            return root / "examples" / "networks"
    raise FileNotFoundError("networks: expected examples/networks in the current folder: run from a source tree")


def architecture(file: str, library: str = "octensor", changes: Sequence[tuple[str, str]] = ()) -> Any:
    """Import one file of the examples, in terms of a library.

    Parameters
    ----------
    file : str
        Name without ``.py``.
    library : str
        ``"octensor"``, or ``"torch"``: then its import lines are changed to PyTorch's.
    changes : sequence of (old, new)
        More text to replace.
    """
    path = examples() / f"{file}.py"
    source = path.read_text(encoding="utf-8")
    for old, new in (*(_TORCH if library == "torch" else ()), *changes):
        source = source.replace(old, new)
    digest = hashlib.sha256(source.encode()).hexdigest()[:8]
    name = f"octensor_bench_{file}_{digest}"
    if name not in sys.modules:
        module = types.ModuleType(name)
        sys.modules[name] = module
        exec(compile(source, str(path), "exec"), module.__dict__)
    return sys.modules[name]


def model(case: Network, library: str = "octensor", changes: Sequence[tuple[str, str]] = ()) -> Any:
    """Make the float network, untrained."""
    return getattr(architecture(case.file, library, changes), case.maker)(*case.arguments)


def weights(library: str = "octensor") -> Any:
    """Import the file of the examples that initialises and quantizes."""
    return architecture("weights", library)


def data(case: Network) -> Data:
    """Return the input and the float result; make the network's files where they are missing."""
    folder = files(case)
    if not (folder / "ready").exists():
        print(f"octensor bench: making {case.name} for all runtimes (once; kept in {folder})", file=sys.stderr)
        command = [sys.executable, "-m", "octensor.bench.make_network", json.dumps(asdict(case)), str(folder)]
        subprocess.run(command, check=True)
    empty = np.empty(0, np.int8)
    return Data(np.load(folder / "x.npy"), empty, 1.0, np.load(folder / "y.npy"), folder)


def files(case: Network) -> Path:
    """Return the folder of a network's files; its name has a hash of all they are made from."""
    made_by = [Path(__file__).with_name(f"{name}.py") for name in ("make_network", "tflite")]
    sources = [*sorted(examples().glob("*.py")), *made_by]
    content = b"".join(path.read_bytes() for path in sources) + repr(case).encode()
    label = "".join(c if c.isalnum() else "-" for c in case.name.lower())
    return mask.cache() / f"{label}-{hashlib.sha256(content).hexdigest()[:12]}"


def file(data: Data, name: str) -> Path:
    """Return one of the network's files.

    Raises
    ------
    FileNotFoundError
        Where it was not made, because a package was missing.
    """
    assert data.folder is not None
    path = data.folder / name
    if not path.exists():
        raise FileNotFoundError(f"{name}: making it needs packages that are missing (torch, onnx, onnxruntime)")
    return path


def quantized(folder: Path) -> Any:
    """Load octensor's quantized model, as its users do where they deploy it: without its class."""
    import octensor

    return octensor.load(folder / "octensor.oct")


def sqnr(output: np.ndarray, reference: np.ndarray) -> float:
    """Signal to noise, in dB."""
    noise = float(np.square(output.astype(np.float64) - reference).sum())
    return float(10 * np.log10(float(np.square(reference, dtype=np.float64).sum()) / max(noise, 1e-30)))


def profile(case: Network, folder: Path) -> str:
    """Write what each step of octensor's program takes, as text and as a chart; return the text.

    Raises
    ------
    ValueError
        Where this octensor has no programs.
    """
    import octensor

    compile_ = getattr(octensor, "compile", None)
    if compile_ is None:
        raise ValueError("--profile: this octensor has no octensor.compile")
    made = data(case)
    assert made.folder is not None
    found = compile_(quantized(made.folder), made.x).profile(made.x)
    text = f"{case.name}\n{found}\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{case.file}.txt").write_text(text, encoding="utf-8")
    found.chart(folder / f"{case.file}.png")
    return text
