"""The same tables as Markdown, for documentation that never carries hand-typed figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import report


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Lay a table out, its first column to the left, the others to the right."""
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *lines])


def render(document: dict[str, Any], full: bool = True) -> str:
    """Write a whole run: where it ran, the summary, a table (and with `full` all contenders) for each group."""
    machine, results = document["machine"], document["results"]
    masked = machine["peers masked to"]
    peers = ", ".join(f"{name} {version}" for name, version in document["peers"].items() if name != "octensor")
    parts = [
        f"{machine['cpu']}, {machine['cores']} cores; octensor {document['octensor']} on {document['isa']}"
        + (f", peers held to {masked}" if masked else "")
        + f"; {peers or 'no peers'}; {document['rounds']} rounds."
    ]
    if "command" in document:
        parts.append(f"`{' '.join(document['command'])}`")
    lines = report.summary_lines(document)
    if lines:
        parts.append("\n".join(f"* {line}" for line in lines))
    for group, threads in dict.fromkeys((r["group"], r["threads"]) for r in results):
        chosen = [r for r in results if (r["group"], r["threads"]) == (group, threads)]
        parts.append(f"#### {group}, {threads} thread{'s' if threads > 1 else ''}")
        ceilings = {name: value for r in chosen for name, value in r["ceilings"].items()}
        unit = {"copy": "GB/s", "read once": "GB/s"}
        if ceilings:
            text = ", ".join(f"{name} {value:.0f} {unit.get(name, 'GOP/s')}" for name, value in ceilings.items())
            parts.append(f"Ceilings: {text}.")
        parts.append(table(*report.rows(chosen)))
        header, footprints = report.footprint_rows(chosen)
        if footprints:
            parts.append(table(header, footprints))
        if full:
            title = f"Every contender, median ms ({chosen[0]['unit']}), * not exact"
            inner = table(*report.full_rows(chosen))
            parts.append(f"<details><summary>{title}</summary>\n\n{inner}\n\n</details>")
    return "\n\n".join(parts) + "\n"
