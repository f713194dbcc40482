"""`octensor run model --data x.npz [--out y.npz]`: the outputs of a model."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from . import CommandError, console, models, samples


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument("model", type=Path, help="an .onnx or .oct file")
    samples.add_arguments(parser)
    parser.add_argument("--out", type=Path, default=None, metavar="FILE", help="write the outputs there (.npz)")
    parser.add_argument("--no-compile", action="store_true", help="run node by node, not as a compiled program")


def main(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.out is not None and options.out.suffix != ".npz":
        raise CommandError(f"--out {options.out}: expected a name that ends in .npz")
    model = models.read(options.model)
    data = samples.Samples(options.data, model, options.batch)
    runner = models.Runner(model, data.example, not options.no_compile)
    if runner.note and not options.no_compile:
        print(f"octensor run: node by node: {runner.note}", file=sys.stderr)
    results: dict[str, list[np.ndarray]] = {}
    seconds = 0.0
    for batch in console.progress("run", data):
        start = time.perf_counter()
        outputs = runner(batch)
        seconds += time.perf_counter() - start
        for name, array in outputs.items():
            results.setdefault(name, []).append(array)
    joined = {name: np.concatenate(parts) if parts[0].ndim else np.stack(parts) for name, parts in results.items()}
    rows = [
        (name, str(a.dtype), str(a.shape), *(f"{v:.4g}" for v in _range(a)))
        for name, a in joined.items()
    ]  # fmt: skip
    print(console.table(("output", "dtype", "shape", "min", "mean", "max"), rows))
    print(f"{data.count} samples, {data.batch} at a time: {seconds / data.count * 1e3:.3f} ms each")
    if options.out is not None:
        np.savez(options.out, **joined)  # type: ignore[arg-type]
        print(f"wrote {options.out}")
    return 0


def _range(array: np.ndarray) -> tuple[float, float, float]:
    return (float(array.min()), float(array.mean()), float(array.max())) if array.size else (float("nan"),) * 3
