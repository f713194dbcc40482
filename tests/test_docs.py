"""Every Python block of the documentation runs, and every example in a docstring shows what it says.

The blocks of one page run in order in one namespace, as a reader would type them. A ``text`` block that
follows a Python block is what that block prints. A block that cannot run here has a comment line right
above it: ``<!-- not run: why -->``.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import octensor

ROOT = Path(__file__).resolve().parents[1]
PATHS = [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if path.exists()]
# A profile is beside the machine's own speed, measured by what the host's compiler makes of the yardsticks.
MARKS = {path: [pytest.mark.native] * (".profile(" in path.read_text(encoding="utf-8")) for path in PATHS}
PAGES = [pytest.param(path, id=path.relative_to(ROOT).as_posix(), marks=MARKS[path]) for path in PATHS]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    line: int
    source: str
    runs: bool
    output: str | None


def blocks(page: Path) -> Iterator[Block]:
    """Fenced blocks whose language is python, py or pycon."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start, runs = None, True
    for number, line in enumerate(lines):
        if start is None and re.fullmatch(r"```(python|py|pycon)\b.*", line):
            above = lines[number - 1].strip() if number else ""
            start, runs = number + 1, re.fullmatch(r"<!-- not run: .+ -->", above) is None
        elif start is not None and line.strip() == "```":
            output = None
            below = next((i for i in range(number + 1, len(lines)) if lines[i].strip()), len(lines))
            if below < len(lines) and lines[below] == "```text":
                output = "\n".join(lines[below + 1 : lines.index("```", below)]) + "\n"
            yield Block(start, "\n".join(lines[start:number]) + "\n", runs, output)
            start = None
    assert start is None, f"{page.name}: the block at line {start} does not end"


@pytest.mark.parametrize("page", PAGES)
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if not block.runs:
            continue
        if ">>>" in block.source:
            test = doctest.DocTestParser().get_doctest(block.source, namespace, page.name, str(page), block.line)
            check(test)
            namespace |= test.globs
        else:  # the blank lines make tracebacks show the page's own line numbers
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile("\n" * block.line + block.source, str(page), "exec"), namespace)
            if block.output is not None:
                assert printed.getvalue() == block.output, f"{page.name}:{block.line}"


def check(test: doctest.DocTest) -> None:
    report: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append, clear_globs=False)
    assert not report, "".join(report)


MODULES = ["octensor"] + [m.name for m in pkgutil.walk_packages(octensor.__path__, "octensor.", onerror=lambda _: None)]


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_docstrings(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if (error.name or "").split(".")[0] in ("octensor", ""):
            raise
        pytest.skip(f"an extra is not installed: {error.name}")
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        test.globs |= {"ot": octensor, "octensor": octensor, "np": np}
        check(test)
