"""Integer GEMM against the core's own ceilings, side by side in one run.

    python bench/gemm.py [--threads N] [--rounds R] [--isa NAME] [--json FILE]

Each round times every shape once and, right before and after it, two yardsticks (yardstick.cpp):
the multiply ports alone, and a plain exact tile with its operands in the L1 cache. A shape's share
is the median over rounds of its rate divided by the mean of the two yardstick rates around it, so
that a clock that wanders does not count. Rates are multiply-adds per second; the yardsticks use one
core, whatever ``--threads`` says.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import yardstick
from rich.console import Console
from rich.table import Table

import octensor as ot
from octensor import _C

SHAPES = [  # rows, columns, K
    (1, 1024, 1024),
    (1, 4096, 4096),
    (16, 768, 768),
    (128, 768, 768),
    (128, 768, 3072),
    (196, 512, 4608),
    (256, 1024, 1024),
    (1024, 1024, 1024),
]


def linear_case(m: int, n: int, k: int) -> tuple[object, object, object]:
    """Random full-range operands of one static linear layer."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (m, k), dtype=np.uint8)
    w = rng.integers(-128, 128, (n, k), dtype=np.int8)
    packed = _C.PackedLinear(_C.QTensor.from_numpy(w, _C.QParams(0.01, 0, _C.qint8)), None)
    return _C.QTensor.from_numpy(x, _C.QParams(0.1, 128, _C.quint8)), packed, _C.QParams(20.0, 128, _C.quint8)


def rate(work: float, repeat: int, call: object, *args: object) -> float:
    """Multiply-adds per second of `repeat` calls that do `work` each."""
    start = time.perf_counter()
    for _ in range(repeat):
        call(*args)  # type: ignore[operator]
    return work * repeat / (time.perf_counter() - start)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description="Integer GEMM beside the core's ceilings.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--isa", default=None, help="instruction set to force")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures there")
    options = parser.parse_args()
    _C.set_num_threads(options.threads)
    if options.isa:
        _C.set_isa(options.isa)

    ceilings = yardstick.load(_C.get_isa())
    rounds = dict.fromkeys(ceilings, 1)
    for name, function in ceilings.items():  # about a millisecond each
        while rate(function(rounds[name]), 1, function, rounds[name]) / function(rounds[name]) > 1e3:
            rounds[name] *= 2
    cases = {shape: linear_case(*shape) for shape in SHAPES}
    repeats = {}
    for shape, case in cases.items():
        _C.linear(*case)
        work = float(np.prod(shape))
        repeats[shape] = max(1, round(5e-3 * rate(work, 1, _C.linear, *case) / work))

    def measure_ceilings() -> dict[str, float]:
        return {n: rate(f(rounds[n]), 1, f, rounds[n]) for n, f in ceilings.items()}

    rates: dict[object, list[float]] = {key: [] for key in [*SHAPES, *ceilings]}
    shares: dict[tuple[object, str], list[float]] = {(s, n): [] for s in SHAPES for n in ceilings}
    for _ in range(options.rounds):
        before = measure_ceilings()
        for shape, case in cases.items():
            work = float(np.prod(shape))
            r = rate(work, repeats[shape], _C.linear, *case)
            after = measure_ceilings()
            rates[shape].append(r)
            for name in ceilings:
                around = (before[name] + after[name]) / 2
                rates[name].append(around)
                shares[shape, name].append(r / around)
            before = after

    table = Table(title=f"GEMM u8 x s8 -> u8, {_C.get_isa()}, {options.threads} thread(s), octensor {ot.__version__}")
    for heading in ("M x N x K", "ms", "GMAC/s median", "min", "max", "of port", "of tile"):
        table.add_column(heading, justify="right")
    rows = []
    for shape in SHAPES:
        r = rates[shape]
        row = {
            "shape": shape,
            "ms": float(np.prod(shape)) / statistics.median(r) * 1e3,
            "gmacs": [statistics.median(r) / 1e9, min(r) / 1e9, max(r) / 1e9],
            "of_port": statistics.median(shares[shape, "port"]),
            "of_tile": statistics.median(shares[shape, "tile"]),
        }
        rows.append(row)
        table.add_row(
            " x ".join(map(str, shape)),
            f"{row['ms']:.3f}",
            *(f"{v:.1f}" for v in row["gmacs"]),
            f"{row['of_port']:.0%}",
            f"{row['of_tile']:.0%}",
        )
    console = Console()
    console.print(table)
    summary = {name: statistics.median(rates[name]) / 1e9 for name in ceilings}
    port, tile = summary["port"], summary["tile"]
    console.print(f"one core in this run: multiply ports {port:.1f} GMAC/s, plain exact tile {tile:.1f} GMAC/s")
    if options.json:
        options.json.write_text(json.dumps({"isa": _C.get_isa(), "ceilings": summary, "cases": rows}, indent=1))


if __name__ == "__main__":
    main()
