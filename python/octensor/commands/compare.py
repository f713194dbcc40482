"""`octensor compare a b --data x.npz`: how far the outputs of one model are from those of another."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from . import CommandError, console, models, samples


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument("reference", type=Path, help="an .onnx or .oct file")
    parser.add_argument("other", type=Path, help="an .onnx or .oct file with the same inputs and outputs")
    samples.add_arguments(parser)


class Differences:
    """Sums over batches, from which the distance of two models' outputs follows."""

    def __init__(self) -> None:
        self.signal: dict[str, float] = {}
        self.noise: dict[str, float] = {}
        self.largest: dict[str, float] = {}
        self.same: dict[str, int] = {}
        self.rows: dict[str, int] = {}

    def add(self, reference: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
        """Take in the outputs of one batch; they are matched by place, as their names may differ."""
        if len(reference) != len(other):
            raise CommandError(f"expected {len(reference)} outputs as the reference has, got {len(other)}")
        for (name, a), b in zip(reference.items(), other.values(), strict=True):
            if a.shape != b.shape:
                raise CommandError(f"output {name}: expected shape {a.shape} as the reference has, got {b.shape}")
            x, y = a.astype(np.float64), b.astype(np.float64)
            self.signal[name] = self.signal.get(name, 0.0) + float((x * x).sum())
            self.noise[name] = self.noise.get(name, 0.0) + float(((x - y) ** 2).sum())
            self.largest[name] = max(self.largest.get(name, 0.0), float(np.abs(x - y).max(initial=0.0)))
            if x.ndim and x.shape[-1] > 1:
                self.same[name] = self.same.get(name, 0) + int((x.argmax(-1) == y.argmax(-1)).sum())
                self.rows[name] = self.rows.get(name, 0) + x.size // x.shape[-1]

    def sqnr(self, name: str) -> float:
        """Return the signal to noise ratio of an output in decibels."""
        if not self.noise[name]:
            return float("inf")
        return 10 * float(np.log10(self.signal[name] / self.noise[name])) if self.signal[name] else float("-inf")

    def __str__(self) -> str:
        rows = [
            (
                name,
                console.decibels(self.sqnr(name)),
                f"{self.largest[name]:.4g}",
                f"{self.same[name] / self.rows[name]:.1%}" if self.rows.get(name) else "-",
            )
            for name in self.signal
        ]
        return console.table(("output", "SQNR", "largest error", "same argmax"), rows)


def measure(reference: models.Runner, other: models.Runner, batches: Iterable[tuple[object, ...]]) -> Differences:
    """Run two models on batches."""
    found = Differences()
    for batch in batches:
        found.add(reference(batch), other(batch))
    return found


def main(options: argparse.Namespace) -> int:
    """Run the command."""
    first, second = models.read(options.reference), models.read(options.other)
    data = samples.Samples(options.data, first, options.batch)
    again = samples.Samples(options.data, second, data.batch)
    runners = models.Runner(first, data.example), models.Runner(second, again.example)
    found = Differences()
    for a, b in console.progress("compare", list(zip(data, again, strict=True))):
        found.add(runners[0](a), runners[1](b))
    print(f"{options.other} against {options.reference}, {data.count} samples:")
    print(found)
    return 0
