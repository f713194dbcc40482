"""Write the lists of operators in docs/onnx.md, from the tables of the importer and the exporter.

    python scripts/onnx_operators.py          write them
    python scripts/onnx_operators.py --check  exit with an error if the page is out of date

Needs the package onnx: what of an operator is not read follows from the standard's own definitions.
"""

from __future__ import annotations

import sys
from pathlib import Path

from onnx import defs

from octensor.onnx import rows as rows
from octensor.onnx.exporter import ROWS
from octensor.onnx.importer import FUNCTIONS, OPERATORS
from octensor.onnx.makers import MAKERS
from octensor.onnx.registry import Operator

PAGE = Path(__file__).resolve().parents[1] / "docs" / "onnx.md"


def not_read(operator: Operator) -> list[str]:
    """Return attributes of the newest definition that the operator's function does not take."""
    schema = None if "." in operator.name else defs.get_schema(operator.name)
    if schema is None:
        return []
    known = operator.attributes | set(operator.inputs) | operator.ignored
    return sorted(set(schema.attributes) - known)


def is_known(name: str) -> bool:
    """Whether an operator becomes a layer or a function of octensor's own."""
    own = OPERATORS[name].function.__module__.startswith("octensor.ops.")
    return own or name in MAKERS or name in FUNCTIONS


def read_table() -> list[str]:
    """Return the table of operators that are read."""
    lines = ["| operator | | not read |", "| --- | --- | --- |"]
    for name in sorted(OPERATORS, key=str.lower):
        missing = ", ".join(not_read(OPERATORS[name]))
        lines.append(f"| {name} | {'known' if is_known(name) else ''} | {missing} |")
    return [*lines, "", f"{len(OPERATORS)} operators, and `Constant` and `If`."]


def written_list() -> list[str]:
    """Return the list of ops that are written."""
    return [", ".join(f"`{name}`" for name in sorted(ROWS)) + ", and the layers `LSTM`, `GRU` and `RNN`."]


PARTS = {"operators": read_table, "ops": written_list}


def page() -> str:
    """Return the page with its generated parts anew."""
    text = PAGE.read_text(encoding="utf-8")
    for name, part in PARTS.items():
        begin, end = f"<!-- {name}: scripts/onnx_operators.py -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        if not rest or end not in rest:
            raise ValueError(f"{PAGE.name}: expected the marks {begin.strip()!r} and {end!r}")
        text = f"{before}{begin}\n" + "\n".join(part()) + f"\n\n{end}{rest.partition(end)[2]}"
    return text


def main(arguments: list[str]) -> int:
    """Write or check."""
    if "--check" in arguments:
        if PAGE.read_text(encoding="utf-8") != page():
            print(f"{PAGE.name} is out of date: run python scripts/onnx_operators.py")
            return 1
        return 0
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
