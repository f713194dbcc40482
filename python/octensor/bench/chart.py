"""One picture of a run: for each case, every contender's rate; for a sweep, time over the swept size."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

_WIDTH = 12.0


def draw(document: dict[str, Any], path: Path) -> None:
    """Write a PNG.

    Raises
    ------
    ImportError
        Where matplotlib is missing.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [
        (group, threads, [r for r in document["results"] if (r["group"], r["threads"]) == (group, threads)])
        for group, threads in dict.fromkeys((r["group"], r["threads"]) for r in document["results"])
    ]
    heights = [3.6 if results[0]["at"] else 1.2 + 0.55 * len(results) for _, _, results in panels]
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(_WIDTH, sum(heights)), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for axis, (group, threads, results) in zip(axes[:, 0], panels, strict=True):
        (_curve if results[0]["at"] else _bars)(axis, results)
        axis.set_title(f"{group}, {document['isa']}, {threads} thread(s)", loc="left")
    masked = document["machine"]["peers masked to"]
    figure.suptitle(f"{document['machine']['cpu']}" + (f", peers held to {masked}" if masked else ""), fontsize="small")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _bars(axis: Any, results: list[dict[str, Any]]) -> None:
    """Draw a row for each case: a dot to a contender, octensor's the large one, hollow where not exact."""
    names = list(dict.fromkeys(e["name"] for r in results for e in r["entries"]))
    markers = dict(zip(names, itertools.cycle("osD^v<>pPX*hd"), strict=False))
    labelled = set()
    for row, result in enumerate(results):
        for entry in result["entries"]:
            name, own = entry["name"], entry["peer"] == "octensor"
            colour = "black" if own else f"C{names.index(name) % 10}"
            axis.scatter(
                entry["rate"],
                row,
                s=70 if own else 28,
                marker=markers[name],
                facecolors="none" if entry["exact"] is False else colour,
                edgecolors=colour,
                label=None if name in labelled else name,
                zorder=3 if own else 2,
            )
            labelled.add(name)
    axis.set_yticks(range(len(results)), [r["case"] for r in results])
    axis.invert_yaxis()
    axis.set_xlim(left=0)
    axis.set_xlabel(f"{results[0]['unit']} (hollow: not exact)")
    axis.grid(axis="both", alpha=0.3)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="x-small")


def _curve(axis: Any, results: list[dict[str, Any]]) -> None:
    """Draw time over the swept size, and as dashes what it would be if it grew exactly as the work."""
    sizes = [r["at"] for r in results]
    for index, name in enumerate(dict.fromkeys(e["name"] for r in results for e in r["entries"])):
        spreads = {r["at"]: e["ms"] for r in results for e in r["entries"] if e["name"] == name}
        axis.plot(list(spreads), [s["minimum"] for s in spreads.values()], color=f"C{index}", linewidth=1, label=name)
        axis.plot(list(spreads), [s["median"] for s in spreads.values()], ".", color=f"C{index}", markersize=4)
    last = results[-1]
    fastest = min(e["ms"]["minimum"] for e in last["entries"])
    axis.plot(
        sizes,
        [fastest * r["work"] / last["work"] for r in results],
        "--",
        color="grey",
        linewidth=0.8,
        label="as the work",
    )
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xlabel("size")
    axis.set_ylabel("ms (line: minimum, dots: median)")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="x-small")
