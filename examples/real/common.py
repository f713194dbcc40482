"""What the scripts share: files of installed packages, models in ONNX Runtime, and the table that is printed.

Nothing is downloaded: networks and data lie inside the packages of requirements/real.txt. ``--data FOLDER`` names a
folder that is searched instead, for files that were unpacked or that no package installs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path, PurePath

import numpy as np

import octensor as ot

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the architectures: `networks`

PEER_FLOAT = "ONNX Runtime, float"


def arguments(text: str, *extend: Callable[[argparse.ArgumentParser], None]) -> argparse.Namespace:
    """Read the command line of a script: ``--data``, and what is added."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder to search for the files, instead of installed packages")
    for add in extend:
        add(parser)
    return parser.parse_args()


def find(package: str, pattern: str, data: Path | None = None) -> list[Path]:
    """Return the files of an installed package, or of a folder, whose name matches; at least one."""
    if data is not None:
        found = list(data.rglob(pattern))
    else:
        try:
            files = metadata.files(package) or []
        except metadata.PackageNotFoundError:
            files = []
        found = [Path(str(file.locate())) for file in files if PurePath(file).match(pattern)]
    if not found:
        raise SystemExit(f"{pattern} is missing: pip install -r requirements/real.txt ({package}), or --data FOLDER")
    return sorted(found)


class Own:
    """A model of octensor's that is measured beside others.

    Parameters
    ----------
    model : callable
    *example : ndarray
        Inputs.
    """

    def __init__(self, model: Callable[..., object], *example: np.ndarray) -> None:
        self.model, self.example = model, example

    def __call__(self, *values: object) -> object:
        return self.model(*values)

    @property
    def size(self) -> int:
        """The bytes of the model's file."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.oct"
            ot.save(self.model, path, tuple(map(ot.from_numpy, self.example)))
            return path.stat().st_size

    def timed(self, *example: np.ndarray) -> Callable[[], object]:
        """Return the call of its program on the example; of the model as it is, where an op has no step."""
        values = tuple(map(ot.from_numpy, example))
        try:
            return partial(ot.compile(self.model, values), *values)
        except (ot.CompileError, ot.fx.TraceError) as error:
            print(f"not a program: {error}", file=sys.stderr)
            return partial(self.model, *values)


def run(model: Callable[..., object], x: np.ndarray, batch: int = 20) -> np.ndarray:
    """Return a model's outputs for samples, batch by batch."""
    with ot.no_grad():
        return np.concatenate([np.asarray(model(ot.from_numpy(x[i : i + batch]))) for i in range(0, len(x), batch)])


def outputs(
    contenders: Mapping[str, Callable[..., object]], x: np.ndarray, batch: int = 20
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the first contender's outputs, which are float, and everyone's; but see `without_peer_float`."""
    found = {name: run(contender, x, batch) for name, contender in contenders.items()}
    return without_peer_float(found), found


def without_peer_float(outputs: dict[str, np.ndarray]) -> np.ndarray:
    """Return the first outputs, octensor's in float; take ONNX Runtime's out and print how far they are from it."""
    expected = next(iter(outputs.values()))
    if PEER_FLOAT in outputs:
        print(f"float, to ONNX Runtime's: {relative_error(outputs.pop(PEER_FLOAT), expected):.1e}")
    return expected


def as_program(model: Callable[..., object], *values: object) -> str:
    """Return "yes" if a model is a program that gives its bytes, else what programs lack."""
    try:
        program = ot.compile(model, values)
    except ot.CompileError as error:
        return ", ".join(dict.fromkeys(line.split(" -> ")[0].split()[-1] for line in str(error).splitlines()[1:]))
    except ot.fx.TraceError as error:
        return f"not recorded: {error}"[:100]
    with ot.no_grad():
        pairs = zip(parts(model(*values)), parts(program(*values)), strict=True)
        return "yes" if all(np.array_equal(a, b, equal_nan=True) for a, b in pairs) else "other bytes"


def parts(result: object) -> list[np.ndarray]:
    """Return a model's outputs as arrays, one or several."""
    return [np.asarray(part) for part in (result if isinstance(result, tuple) else (result,))]


def relative_error(reference: np.ndarray, values: np.ndarray) -> float:
    """Return the largest difference as a share of the largest value."""
    return float(np.abs(np.float64(reference) - values).max() / np.abs(reference).max())


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Return how often the largest outputs are at the same place."""
    return float(np.mean(a.argmax(-1) == b.argmax(-1)))


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table in Markdown."""
    lines = [["", *columns], *rows]
    print(f"\n{title}\n")
    for number, line in enumerate(lines):
        cells = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in line]
        print("| " + " | ".join(cells) + " |")
        if number == 0:
            print("| --- " * len(cells) + "|")
