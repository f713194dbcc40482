"""Write the tables of docs/performance.md from what `octensor bench --json` wrote.

python scripts/performance.py RUN.json [RUN.json ...]

Replaces everything between the page's two markers; a run becomes a section, in the order given.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from octensor.bench import markdown, run

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- tables: scripts/performance.py writes from here -->", "<!-- to here -->"


def replaced(page: str, text: str) -> str:
    """Return the page with other text between the markers."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE.name}: expected the lines {BEGIN!r} and {END!r}")
    return f"{head}{BEGIN}\n\n{text}\n{END}{tail}"


def main() -> int:
    """Read runs, write the page."""
    parser = argparse.ArgumentParser(description="Write the tables of docs/performance.md.")
    parser.add_argument("runs", nargs="+", type=Path)
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in parser.parse_args().runs]
    for document in documents:
        if document.get("schema") != run.SCHEMA:
            raise SystemExit(f"expected a document of schema {run.SCHEMA}, got {document.get('schema')}")
    text = "\n".join(markdown.render(document) for document in documents)
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
