"""Tables on the terminal: with rich where it is installed, aligned text where not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NOISY = 0.15  # middle half wider than this share of the median


def number(value: float) -> str:
    """Three or four significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def own_entry(result: dict[str, Any]) -> dict[str, Any] | None:
    """Find octensor's entry, the 4-bit one where there are two."""
    own = [e for e in result["entries"] if e["peer"] == "octensor"]
    return own[-1] if own else None


def main_share(result: dict[str, Any]) -> str:
    """List the shares of ceilings, by name."""
    shares: dict[str, float] = result.get("shares", {})
    return ", ".join(f"{value:.0%} {name}" for name, value in shares.items() if value <= 9.99)


def rows(results: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """One line to a case: octensor, its ceilings, the best exact peer, the best of all, the noise."""
    unit = results[0]["unit"]
    header = ["case", "octensor ms", "min", unit, "of ceiling", "best exact peer", "x", "best peer", "x", "best fp32"]
    table = []
    for result in results:
        own = own_entry(result)
        if own is None:
            continue
        ratios = result["ratios"]
        line = [result["case"], number(own["ms"]["median"]) + (" INEXACT" if own["exact"] is False else "")]
        line += [number(own["ms"]["minimum"]), number(own["rate"]), main_share(result)]
        for kind in ("best exact", "best"):
            best = ratios.get(kind)
            line += [f"{best['name']} {number(best['ms'])}", f"{best['x']:.2f}"] if best else ["-", "-"]
        fp32 = ratios.get("best fp32")
        line.append(f"{fp32['name']} {number(fp32['ms'])}" if fp32 else "-")
        table.append([*line, f"{own['noise']:.0%}" + ("!" if own["noise"] > NOISY else "")])
    return [*header, "noise"], table


def full_rows(results: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """One column to a variant: median ms (rate), a star where the result is not exact."""
    names = list(dict.fromkeys(e["name"] for r in results for e in r["entries"]))
    table = []
    for result in results:
        cells = {
            e["name"]: f"{number(e['ms']['median'])} ({number(e['rate'])})" + ("*" if e["exact"] is False else "")
            for e in result["entries"]
        }
        table.append([result["case"], *(cells.get(name, "-") for name in names)])
    return ["case", *names], table


def footprint_rows(results: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """One line to a network and integer variant: what it takes besides time, and how near it is to float.

    Empty where no result has any.
    """
    found = [(r["case"], e) for r in results for e in r["entries"] if "footprint" in e]
    names = list(dict.fromkeys(name for _, entry in found for name in entry["footprint"]))
    table = []
    for case, entry in found:
        values = entry["footprint"]
        cells = [number(values[name]) if name in values else "-" for name in names]
        table.append([f"{case}, {entry['name']}", *cells, f"{entry['sqnr']:.1f}" if "sqnr" in entry else "-"])
    return ["network, variant", *names, "dB to float"], table


def summary_lines(document: dict[str, Any]) -> list[str]:
    """Geometric means; how 2 threads compare with 1; what is installed; what was skipped."""
    lines = []
    for row in document["summary"]:
        parts = [
            f"{kind} peer x{row[kind]['geomean']:.2f} (worst x{row[kind]['minimum']:.2f})"
            for kind in ("best exact", "best", "best fp32")
            if kind in row
        ]
        if parts:
            lines.append(f"{row['group']}, {row['threads']} thread(s), geometric means: {'; '.join(parts)}")
    lines += scaling_lines(document["results"])
    sizes = ", ".join(f"{name} {number(size)}" for name, size in document["installed MB"].items())
    lines.append(f"installed, without what they need, MB: {sizes}")
    reasons: dict[str, str] = {}
    for result in document["results"]:
        reasons |= {f"{name} ({result['group']})": reason for name, reason in result["skipped"].items()}
    return lines + [f"skipped {name}: {reason}" for name, reason in reasons.items()]


def scaling_lines(results: Sequence[dict[str, Any]]) -> list[str]:
    """Where a network ran on several numbers of threads: each contender's gain."""
    lines = []
    networks = [r for r in results if r["group"] in ("networks", "sequences")]
    times = {(r["case"], r["threads"], e["name"]): e["ms"]["median"] for r in networks for e in r["entries"]}
    for (case, threads, name), ms in times.items():
        if threads > 1 and (case, 1, name) in times:
            lines.append(f"{case}, {name}: 1 -> {threads} threads x{times[case, 1, name] / ms:.2f}")
    return lines


def show(document: dict[str, Any], full: bool) -> None:
    """Print everything."""
    results = document["results"]
    for group, threads in dict.fromkeys((r["group"], r["threads"]) for r in results):
        chosen = [r for r in results if (r["group"], r["threads"]) == (group, threads)]
        title = f"{group}, {document['isa']}, {threads} thread(s)"
        ceilings = {name: value for r in chosen for name, value in r["ceilings"].items()}
        if ceilings:
            title += "; ceilings: " + ", ".join(f"{name} {value:.0f}" for name, value in ceilings.items())
        _print_table(title, *rows(chosen))
        if full:
            _print_table(f"{group}: every contender, median ms ({chosen[0]['unit']}), * not exact", *full_rows(chosen))
        header, table = footprint_rows(chosen)
        if table:
            _print_table(f"{group}: a process each", header, table)
    for line in summary_lines(document):
        print(line)


def _print_table(title: str, header: Sequence[str], table: Sequence[Sequence[str]]) -> None:
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        widths = [max(len(line[i]) for line in [header, *table]) for i in range(len(header))]
        print(title)
        for line in [header, *table]:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    shown = Table(title=title)
    for index, heading in enumerate(header):
        shown.add_column(heading, justify="right" if index else "left")
    for line in table:
        shown.add_row(*line)
    console.print(shown)
