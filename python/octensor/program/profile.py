"""What each step of a program costs, and how much of the machine it uses.

Between the runs of the program, in the same call, two loops are timed (`bench.ceilings`): one that multiplies and does
nothing else, one that copies memory. A step's bound is the larger of the times that its multiply-adds and its bytes
take at these speeds; its share is that bound by its time. Bytes that are in a cache move faster than the memory's
speed, so a small step can do better than its bound.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .. import _C
from .text import columns, size_text

_COPY = 64 << 20  # bytes: more than the caches hold


@dataclass(frozen=True)
class StepTime:
    """One step: what it is, its median time in seconds, and its share of the bound (None where none is known)."""

    op: str
    path: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    seconds: float
    multiply_adds: int
    bytes: int
    share: float | None


class Profile:
    """Times of a program's steps; printed as a table.

    Attributes
    ----------
    steps : tuple of StepTime
    total : float
        Seconds of a whole call, median.
    multiply_adds_per_second, bytes_per_second : float or None
        What the machine reached in the same call; None without a C++ compiler.
    """

    def __init__(self, steps: tuple[StepTime, ...], total: float, speeds: tuple[float, float] | None) -> None:
        self.steps = steps
        self.total = total
        self.multiply_adds_per_second: float | None = speeds[0] if speeds else None
        self.bytes_per_second: float | None = speeds[1] if speeds else None

    def table(self) -> str:
        """Return the table as plain text."""
        return self._head() + "\n" + columns(self._rows(), {0, 3, 4, 5, 6, 7})

    def _head(self) -> str:
        inside = sum(step.seconds for step in self.steps)
        text = f"{len(self.steps)} steps, {self.total * 1e6:.1f} us a call, {inside * 1e6:.1f} us in steps"
        if self.multiply_adds_per_second and self.bytes_per_second:
            text += (
                f"; the machine reached {self.multiply_adds_per_second / 1e9:.0f} G multiply-adds/s, "
                f"{self.bytes_per_second / 1e9:.1f} GB/s"
            )
        return text

    def _rows(self) -> list[list[str]]:
        inside = sum(step.seconds for step in self.steps) or 1.0
        rows = [["", "op", "result", "us", "time", "multiply-adds", "bytes", "of bound", "module"]]
        for i, s in enumerate(self.steps):
            share = "" if s.share is None else f"{s.share:.0%}"
            work = f"{s.multiply_adds / 1e6:.2f} M" if s.multiply_adds else ""
            time_share = f"{s.seconds / inside:.1%}"
            result = ", ".join(s.outputs)
            us = f"{s.seconds * 1e6:.1f}"
            rows.append([str(i), s.op, result, us, time_share, work, size_text(s.bytes), share, s.path])
        return rows

    def __repr__(self) -> str:
        return self.table()

    def __rich__(self) -> Any:
        """Return the table as rich draws it."""
        from rich.table import Table

        head, *body = self._rows()
        table = Table(title=self._head())
        for i, name in enumerate(head):
            table.add_column(name, justify="right" if i in (0, 3, 4, 5, 6, 7) else "left")
        for line in body:
            table.add_row(*line)
        return table

    def chart(self, path: str | Path) -> None:
        """Draw a bar for each step, its bound as the dark part, into an image file (needs matplotlib).

        Raises
        ------
        ImportError
            Without matplotlib; says how to get it.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("Profile.chart: matplotlib is not installed: pip install matplotlib") from error
        figure = Figure(figsize=(8, 1 + 0.22 * len(self.steps)), layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(self.steps))
        times = np.array([s.seconds * 1e6 for s in self.steps])
        axes.barh(places, times, color="#9bb8d9", label="time")
        axes.barh(
            places, [t * min(s.share or 0.0, 1.0) for t, s in zip(times, self.steps, strict=True)], color="#2f5d8c"
        )
        axes.set_yticks(places, [f"{s.path} {s.op}".strip() for s in self.steps], fontsize=7)
        axes.invert_yaxis()
        axes.set_xlabel("microseconds; dark: the bound")
        figure.savefig(path)


def measure(program: _C.Program, inputs: list[Any], repeat: int) -> Profile:
    """Run a program `repeat` times, and the machine's loops in between."""
    if repeat < 1:
        raise ValueError(f"profile: repeat: expected at least 1, got {repeat}")
    rows = program.describe(inputs)
    ceilings = _ceilings()
    program.run(inputs)
    times: list[Any] = []
    totals: list[float] = []
    speeds: list[list[float]] = []
    for _ in range(repeat):
        times.append(program.run_timed(inputs))
        start = time.perf_counter()
        program.run(inputs)
        totals.append(time.perf_counter() - start)
        if len(speeds) < 5:
            speeds.append([_speed(c) for c in ceilings])
    medians = np.median(np.array(times).reshape(repeat, len(rows)), axis=0)
    best = tuple(np.max(np.array(speeds), axis=0)) if ceilings else None
    steps = []
    for row, seconds in zip(rows, medians, strict=True):
        share = None
        if best is not None and seconds > 0:
            share = float(max(row["multiply_adds"] / best[0], row["bytes"] / best[1]) / seconds)
        steps.append(
            StepTime(
                op=row["op"],
                path=row["path"],
                inputs=tuple(row["inputs"]),
                outputs=tuple(row["outputs"]),
                seconds=float(seconds),
                multiply_adds=row["multiply_adds"],
                bytes=row["bytes"],
                share=share,
            )
        )
    return Profile(tuple(steps), float(np.median(totals)), best)


def _ceilings() -> list[Any]:
    """Return the loop that multiplies and the one that copies; none without a compiler."""
    # The bench gathers all of the package and is not one of its layers: it is a tool here, like the compiler it needs.
    yardstick = import_module("octensor.bench.ceilings").Yardstick
    try:
        yard = yardstick(_C.get_isa(), _C.get_num_threads())
    except RuntimeError:
        return []
    port = next(c for c in yard.compute() if c.name == "port")
    return [port, *yard.memory(copy=_COPY)]


def _speed(ceiling: Any) -> float:
    start = time.perf_counter()
    ceiling.call()
    seconds = time.perf_counter() - start
    return float(ceiling.work / seconds / (2 if ceiling.unit == "GOP/s" else 1))
