"""SHA-256 of fixed networks' and ops' outputs, for every instruction set, thread count and batch split.

    python scripts/hash_matrix.py                         run what this machine has, print the matrix, compare
    python scripts/hash_matrix.py --json out.json         also write it
    python scripts/hash_matrix.py --merge a.json b.json   run nothing; print and compare what other machines wrote
    python scripts/hash_matrix.py --record                write tests/data/hash_matrix.json anew

Every cell of the matrix is one hash of all outputs; all must be equal, and equal to the recorded ones. Where one is
not, the cases that differ are printed below and the exit status is 1. Cases are in tests/hash_cases.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import octensor as ot
from octensor import _C

TESTS = Path(__file__).resolve().parents[1] / "tests"
RECORDED = TESTS / "data" / "hash_matrix.json"
sys.path.insert(0, str(TESTS))
import hash_cases  # noqa: E402

THREADS = (1, 2, 3, 5)
SPLITS = ("whole", "split")
Hashes = dict[str, str]  # of each case
Matrix = dict[str, Hashes]  # "machine/instruction set/threads/split"


def parts(batch: Any, split: str) -> list[Any]:
    """Return the batch as the arguments of one call, or of three: one row, two, the rest."""
    tensors = batch if isinstance(batch, tuple) else (batch,)
    cuts = [0, len(tensors[0])] if split == "whole" else [0, 1, 3, len(tensors[0])]
    return [tuple(x[a:b] for x in tensors) for a, b in pairwise(cuts) if b > a]


def array(result: Any) -> np.ndarray:
    return np.ascontiguousarray(result.int_repr() if isinstance(result, ot.QTensor) else result)


class Case:
    """A case, made once and run under every setting."""

    def __init__(self, name: str) -> None:
        self.name = name
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
        self.batch, self.run = hash_cases.CASES[name](np.random.default_rng(seed))

    def hash(self, split: str) -> str:
        split = "whole" if self.name in hash_cases.WHOLE else split
        outputs = np.concatenate([array(self.run(*part)) for part in parts(self.batch, split)])
        digest = hashlib.sha256(f"{outputs.dtype} {outputs.shape}".encode())
        digest.update(outputs.tobytes())
        return digest.hexdigest()


def run(names: list[str], threads: tuple[int, ...] = THREADS) -> Matrix:
    """Every instruction set of this machine times `threads` times SPLITS."""
    cases = [Case(name) for name in names]
    before = _C.get_isa(), _C.get_num_threads()
    matrix: Matrix = {}
    try:
        for isa in (name for name, supported in _C.isa_list() if supported):
            _C.set_isa(isa)
            for n in threads:
                _C.set_num_threads(n)
                for split in SPLITS:
                    matrix[f"{platform.machine()}/{isa}/{n}/{split}"] = {case.name: case.hash(split) for case in cases}
    finally:
        _C.set_isa(before[0])
        _C.set_num_threads(before[1])
    return matrix


def summary(hashes: Hashes) -> str:
    return hashlib.sha256("".join(f"{k} {hashes[k]}\n" for k in sorted(hashes)).encode()).hexdigest()[:12]


def show(matrix: Matrix) -> None:
    """Print a row for each machine, set and thread count, a column for each split."""
    rows = dict.fromkeys(key.rpartition("/")[0] for key in matrix)
    print(f"{'machine':8} {'set':10} threads  {SPLITS[0]:12}  {SPLITS[1]:12}")
    for row in rows:
        machine, isa, threads = row.split("/")
        cells = [summary(matrix[f"{row}/{split}"]) for split in SPLITS]
        print(f"{machine:8} {isa:10} {threads:>7}  {cells[0]:12}  {cells[1]:12}")
    sets = {row.rpartition("/")[0] for row in rows}
    print(f"{len(sets)} instruction sets x {len(rows) // max(len(sets), 1)} thread counts x {len(SPLITS)} splits")


def differences(matrix: Matrix, expected: Hashes) -> list[str]:
    """Return a line for each case that is not as expected, with the settings that differ."""
    wrong: dict[str, list[str]] = {}
    for setting, hashes in matrix.items():
        for name in sorted(hashes.keys() | expected.keys()):
            if hashes.get(name) != expected.get(name):
                wrong.setdefault(name, []).append(setting)
    return [
        f"{name}: {len(where)} of {len(matrix)} differ: {', '.join(where[:4])}{', ...' if len(where) > 4 else ''}"
        for name, where in wrong.items()
    ]


def recorded() -> Hashes:
    hashes: Hashes = json.loads(RECORDED.read_text(encoding="utf-8"))
    return hashes


def main(arguments: list[str] | None = None) -> int:
    """Run or merge, print, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the matrix here")
    parser.add_argument("--merge", type=Path, nargs="+", help="read matrices instead of running")
    parser.add_argument("--record", action="store_true", help="make this machine's first row the expected one")
    options = parser.parse_args(arguments)
    if options.merge:
        matrix: Matrix = {}
        for path in options.merge:
            matrix |= json.loads(path.read_text(encoding="utf-8"))
    else:
        matrix = run(list(hash_cases.CASES))
    if options.json:
        options.json.write_text(json.dumps(matrix, indent=0), encoding="utf-8")
    if options.record:
        RECORDED.write_text(json.dumps(next(iter(matrix.values())), indent=0) + "\n", encoding="utf-8")
    show(matrix)
    wrong = differences(matrix, recorded())
    print("\n".join(wrong) if wrong else "all equal, and as recorded")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
