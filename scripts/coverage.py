"""Write docs/coverage.md: for every row of the checklist (tests/coverage_rows.py) the tests that prove it.

    python scripts/coverage.py          write the page
    python scripts/coverage.py --check  exit with an error if the page is out of date
    python scripts/coverage.py --open   print the rows that no test proves yet

Tests say what they prove with ``@pytest.mark.rows(...)``; they are collected, not run.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "coverage.md"
sys.path.insert(0, str(ROOT / "tests"))

from coverage_rows import PLANNED, ROWS, Row  # noqa: E402


class Mark(NamedTuple):
    """One ``rows`` mark on one test."""

    test: str  #: "test_observers.py::test_moving_average", without parameters
    rows: tuple[int, ...]
    differs: str | None


class Collector:
    """A pytest plugin that reads the marks of what was collected."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        found = {mark: None for item in items for mark in marks_of(item)}
        self.marks = list(found)


def marks_of(item: pytest.Item) -> Iterator[Mark]:
    """Read the marks of one test, and complain about those that say nothing."""
    test = item.nodeid.partition("[")[0].removeprefix("tests/")
    for mark in item.iter_markers("rows"):
        if not mark.args or set(mark.kwargs) - {"differs"}:
            raise pytest.UsageError(f"{test}: rows: expected row numbers and perhaps differs=..., got {mark}")
        unknown = [row for row in mark.args if row not in ROWS]
        if unknown:
            raise pytest.UsageError(f"{test}: rows: expected numbers from 1 to {len(ROWS)}, got {unknown}")
        yield Mark(test, mark.args, mark.kwargs.get("differs"))


def collect() -> list[Mark]:
    """Return all marks of the suite, in the order of its files."""
    collector, output = Collector(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        arguments = ["--collect-only", "-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}", str(ROOT / "tests")]
        status = pytest.main(arguments, plugins=[collector])
    if status != pytest.ExitCode.OK:
        raise SystemExit(output.getvalue())
    return sorted(collector.marks, key=lambda mark: (mark.test, mark.rows, mark.differs or ""))


def page(marks: list[Mark]) -> str:
    """Compose docs/coverage.md."""
    proofs, differences = by_row(marks)
    count = {state: sum(state_of(row, proofs, differences) == state for row in ROWS) for state in STATES}
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in ROWS.values():
        kinds[row.kind].append(row)
    lines = [
        "# Coverage",
        "",
        "What PyTorch's quantization API offers, and the test that proves it here. Written by `make coverage` from the",
        "`rows` marks of the tests; do not edit. A row that is *different* behaves otherwise on purpose, and says why.",
        "",
        f"{len(ROWS)} rows: {', '.join(f'{count[state]} {state}' for state in STATES)}.",
    ]
    for kind, rows in kinds.items():
        lines += [
            "",
            f"## {kind[0].upper()}{kind[1:]}",
            "",
            "| # | name | state | tests |",
            "| --- | --- | --- | --- |",
        ]
        for row in rows:
            state = state_of(row.number, proofs, differences)
            tests = [f"`{test}`" for test in proofs.get(row.number, [])]
            tests += [f"{reason} (`{test}`)" for test, reason in differences.get(row.number, [])]
            lines.append(f"| {row.number} | {row.name} | {state} | {'<br>'.join(tests)} |".replace(" |  |", " | |"))
    return "\n".join(lines) + "\n"


STATES = ("proven", "different", "planned", "open")


def by_row(marks: list[Mark]) -> tuple[dict[int, list[str]], dict[int, list[tuple[str, str]]]]:
    """Return ({row: tests}, {row: (test, why it is different)})."""
    proofs: dict[int, list[str]] = defaultdict(list)
    differences: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for mark in marks:
        for row in mark.rows:
            if mark.differs is None:
                proofs[row].append(mark.test)
            else:
                differences[row].append((mark.test, mark.differs))
    return proofs, differences


def state_of(row: int, proofs: dict[int, list[str]], differences: dict[int, list[tuple[str, str]]]) -> str:
    """Name the state of a row."""
    if row in differences:
        return "different"
    if row in proofs:
        return "proven"
    return "planned" if row in PLANNED else "open"


def main(*arguments: str) -> None:
    marks = collect()
    if "--open" in arguments:
        states = by_row(marks)
        for row in ROWS.values():
            if state_of(row.number, *states) == "open":
                print(f"{row.number:>4}  {row.name} ({row.kind})")
        return
    text = page(marks)
    if "--check" not in arguments:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{PAGE.relative_to(ROOT)} is out of date: run `make coverage`")


if __name__ == "__main__":
    main(*sys.argv[1:])
