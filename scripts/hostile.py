"""What each hostile file costs: `python scripts/hostile.py [--all] [WORD...]` prints a table; 1 if any passes a limit.

The files are those of the tests (tests/hostile). Each is loaded in a process of its own, forked from one that has the
library imported and has read a whole file of the kind: its time, and by how much its memory grew meanwhile at most (the
peak of what is resident, from /proc). With --all, every operator of ONNX with every attribute 0, -1 or huge as well.
WORDs choose cases by their names.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "fuzz")]

import corpus  # noqa: E402
import limits  # noqa: E402

from hostile import CASES, attributes  # noqa: E402
from hostile.case import Case  # noqa: E402

SHOWN = 20  # of the most expensive ones, unless all are chosen by words


def cost(case: Case, whole: Path) -> tuple[str, float, float]:
    """Return the result, seconds and megabytes of loading a case, measured in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = case.write(Path(folder))
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            os.write(write, pickle.dumps(_measured(case, path, whole)))
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            data = pipe.read()
        status = os.waitpid(child, 0)[1]
        result: tuple[str, float, float] = pickle.loads(data) if status == 0 else (f"died: {status}", 0.0, 0.0)
        return result


def _measured(case: Case, path: Path, whole: Path) -> tuple[str, float, float]:
    case.load(whole)  # its pages, which a fork has not yet
    memory = limits.Peak()
    start = time.perf_counter()
    try:
        case.load(path)
        result = "loads"
    except Exception as error:
        result = type(error).__name__
    return result, time.perf_counter() - start, memory.grown()


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--all", action="store_true", help="with every attribute of every ONNX operator")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    cases = [*CASES, *(attributes.cases() if options.all else ())]
    cases = [case for case in cases if all(word in f"{case.loader}: {case.name}" for word in options.words)]
    rows: list[tuple[Case, str, float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        whole: dict[str, Path] = {}
        for loader in {case.loader for case in cases}:
            whole[loader] = sorted(corpus.CORPORA[loader](Path(folder)), key=lambda p: -p.stat().st_size)[0]
            next(case for case in cases if case.loader == loader).load(whole[loader])
        rows.extend((case, *cost(case, whole[case.loader])) for case in cases)
    rows.sort(key=lambda row: max(row[2] / limits.SECONDS, row[3] / limits.MEGABYTES), reverse=True)
    print("| case | result | seconds | MB |\n| --- | --- | --- | --- |")
    for case, result, seconds, megabytes in rows if options.words else rows[:SHOWN]:
        print(f"| {case.loader}: {case.name} | {result} | {seconds:.3f} | {megabytes:.1f} |")
    wrong = [row for row in rows if not _fits(*row)]
    for case, result, seconds, megabytes in wrong:
        print(f"too much: {case.loader}: {case.name}: {result}, {seconds:.3f} s, {megabytes:.1f} MB")
    refused = sum(result == "ValueError" for _, result, _, _ in rows)
    print(
        f"\n{len(rows)} files: {refused} refused by a ValueError, {len(rows) - refused} load; at most "
        f"{max((row[2] for row in rows), default=0):.2f} s and {max((row[3] for row in rows), default=0):.0f} MB."
    )
    return 1 if wrong else 0


def _fits(case: Case, result: str, seconds: float, megabytes: float) -> bool:
    expected: Any = ("ValueError",) if case.match is not None else ("ValueError", "loads")
    return result in expected and seconds < limits.SECONDS and megabytes < limits.MEGABYTES


if __name__ == "__main__":
    sys.exit(main())
