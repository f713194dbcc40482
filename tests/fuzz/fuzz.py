"""Fuzz one loader: `python tests/fuzz/fuzz.py torch|safetensors|oct|onnx [--seconds 60] [--seed 0]`.

A finding is anything but a value or a ValueError from loading: another exception, more than a second and a half, a
crash, memory beyond the limit. Models that load also run, where any exception is fine and a crash is not. The input is
kept in a file before it is used, so that a crash leaves it (--keep FOLDER).

With the package atheris mutations follow coverage (libFuzzer); without it they are random with a seed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from corpus import CORPORA
from mutate import mutate

try:
    import atheris
except ImportError:
    atheris = None

# With atheris the loaders are compiled with counters of their branches.
with atheris.instrument_imports(["octensor.io", "octensor.onnx"]) if atheris else contextlib.nullcontext():
    import octensor as ot
    import octensor.onnx
from octensor.graph.graph_module import GraphModule

MEMORY = 4 << 30
SECONDS = 1.5
MOST_VALUES = 1 << 16

SUFFIX = {"torch": ".pt", "safetensors": ".safetensors", "oct": ".oct", "onnx": ".onnx"}


class Slow(Exception):
    """An input took too long."""


def run_model(model: GraphModule) -> None:
    """Run a model that loaded on inputs of the shapes that it names."""
    inputs = []
    for node in model.graph.nodes:
        if node.op == "placeholder":
            meta = node.meta.get("tensor")
            shape = (2, 3) if meta is None else meta.shape
            if np.prod([float(n) for n in shape]) > MOST_VALUES:
                return
            dtype = "float32" if meta is None or not meta.dtype or meta.dtype.startswith("q") else meta.dtype
            inputs.append(np.ones(shape, dtype))
    kept = [x.copy() for x in inputs]
    with contextlib.suppress(Exception), np.errstate(all="ignore"):
        model(*inputs)
    if not all(np.array_equal(x, y) for x, y in zip(inputs, kept, strict=True)):
        raise AssertionError("a model wrote into its inputs")


def one(kind: str, path: Path) -> bool:
    """Load a file; return whether it was valid."""
    try:
        value: Any = ot.onnx.load(path) if kind == "onnx" else ot.load(path)
    except ValueError:
        return False
    if isinstance(value, GraphModule):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_REAL, 5)
        with contextlib.suppress(Slow, MemoryError):  # a model may ask for time and memory, its file may not
            run_model(value)
    return True


def _alarm(*_: Any) -> None:
    raise Slow(f"more than {SECONDS} seconds")


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=list(CORPORA))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()), help="where findings go")
    parser.add_argument("--random", action="store_true", help="do without atheris")
    parser.add_argument("--only", type=Path, help="run one file and stop")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _alarm)
    if options.only:
        print(one(options.kind, options.only))
        return 0
    options.keep.mkdir(parents=True, exist_ok=True)
    current = options.keep / f"current-{options.kind}{SUFFIX[options.kind]}"
    with tempfile.TemporaryDirectory() as folder:
        corpus = [path.read_bytes() for path in CORPORA[options.kind](Path(folder))]
    rng, findings, valid, count = random.Random(options.seed), {}, 0, 0
    end = time.monotonic() + options.seconds

    def execute(data: bytes) -> None:
        nonlocal valid, count
        current.write_bytes(data)
        count += 1
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            valid += one(options.kind, current)
        except (Exception, MemoryError) as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            where = "" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
            name = f"{type(error).__name__}-{where}".replace(":", "-")
            if name not in findings:
                findings[name] = str(error)[:200]
                shutil.copy(current, options.keep / f"{options.kind}-{name}{SUFFIX[options.kind]}")
                print(f"finding: {name}: {error!s:.200}", flush=True)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def report() -> None:
        current.unlink(missing_ok=True)
        print(
            f"{options.kind}: {count} executions, {valid} valid, {len(findings)} findings, seed {options.seed}, "
            f"{'random' if options.random else 'by coverage'}",
            flush=True,
        )

    for data in corpus:
        execute(data)
    options.random = options.random or atheris is None
    if not options.random:
        _by_coverage(execute, corpus, options, rng, report)
    while time.monotonic() < end:
        execute(mutate(rng.choice(corpus), corpus, rng))
    report()
    return 1 if findings else 0


def _by_coverage(execute: Any, corpus: list[bytes], options: Any, rng: random.Random, report: Any) -> None:
    """Hand over to libFuzzer, which ends the process when the time is over."""
    folder = Path(tempfile.mkdtemp())
    for i, data in enumerate(corpus):
        (folder / str(i)).write_bytes(data)
    end = time.monotonic() + options.seconds

    def target(data: bytes) -> None:
        execute(data)
        if time.monotonic() > end:
            report()
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(0)

    def mutator(data: bytes, size: int, seed: int) -> bytes:
        if rng.random() < 0.3:
            return atheris.Mutate(data, size)  # type: ignore[no-any-return]
        return mutate(data, corpus, random.Random(seed))[:size]

    limits = ["-timeout=30", "-rss_limit_mb=4096", "-max_len=200000", f"-seed={options.seed + 1}", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *limits, str(folder)], target, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
