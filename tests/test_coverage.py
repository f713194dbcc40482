"""docs/coverage.md says what the tests say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from coverage_rows import PLANNED, ROWS

ROOT = Path(__file__).resolve().parents[1]


def test_the_checklist_is_whole():
    assert list(ROWS) == list(range(1, 299))
    assert all(row.name and row.kind for row in ROWS.values())
    assert ROWS.keys() > PLANNED


@pytest.mark.native
def test_the_committed_page_is_the_generated_one():
    """`make coverage` writes it; this notices when it was forgotten, and marks that name no row."""
    done = subprocess.run([sys.executable, ROOT / "scripts" / "coverage.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
