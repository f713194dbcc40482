"""Fuzz one loader: `python tests/fuzz/octfuzz.py torch|safetensors|oct|onnx [--seconds 60] [--seed 0]`.

A finding is anything but a value or a ValueError from loading: another exception, more than a second of processor
time, more than 100 MB, a crash. Models that load also run and are compiled, where any exception is fine and a crash is
not. The input is kept in a file before it is used, so that a crash leaves it (--keep FOLDER); --only runs one again.

With the package atheris mutations follow coverage (libFuzzer), and --corpus FOLDER keeps what reached something new;
without it they are random with a seed. `make fuzz` runs all on an extension with the address sanitizer.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import limits
import numpy as np
from corpus import CORPORA
from mutate import mutate

try:
    import atheris
except ImportError:
    atheris = None

# With atheris the package is compiled with counters of its branches; parts of it are else imported when they are used.
with atheris.instrument_imports(["octensor"]) if atheris else contextlib.nullcontext():
    import octensor as ot
    import octensor.io.load
    import octensor.io.model_file
    import octensor.io.torch_file
    import octensor.onnx.load
from octensor.graph.graph_module import GraphModule

MOST_VALUES = 1 << 16
RUN_SECONDS = 5.0  # a model may ask for time and memory, its file may not
COMPILED = 8  # one model of so many is also compiled, which takes much longer than to load it

SUFFIX = {"torch": ".pt", "safetensors": ".safetensors", "oct": ".oct", "onnx": ".onnx"}


def run_model(model: GraphModule, compiled: bool) -> None:
    """Run a model that loaded on inputs of the shapes that it names; then as a program, if it is to be compiled."""
    inputs = []
    for node in model.graph.nodes:
        if node.op == "placeholder":
            meta = node.meta.get("tensor")
            shape = (2, 3) if meta is None else meta.shape
            if np.prod([max(1.0, float(n)) for n in shape]) > MOST_VALUES:
                return
            dtype = "float32" if meta is None or not meta.dtype or meta.dtype.startswith("q") else meta.dtype
            inputs.append(np.ones(shape, dtype))
    kept = [x.copy() for x in inputs]
    with contextlib.suppress(Exception), np.errstate(all="ignore"):
        model(*inputs)
        if compiled:
            ot.compile(model, tuple(inputs))(*inputs)
    if not all(np.array_equal(x, y) for x, y in zip(inputs, kept, strict=True)):
        raise AssertionError("a model wrote into its inputs")


def one(kind: str, path: Path) -> bool:
    """Load a file; return whether it was valid."""
    with limits.seconds(limits.SECONDS), limits.megabytes(limits.MEGABYTES + (path.stat().st_size >> 16)):
        try:
            value: Any = ot.onnx.load(path) if kind == "onnx" else ot.load(path)
        except ValueError:
            value = None
    if isinstance(value, GraphModule):
        with contextlib.suppress(limits.Slow, MemoryError), limits.seconds(RUN_SECONDS):
            run_model(value, compiled=path.stat().st_size % COMPILED == 0)
    return value is not None


def _name(error: BaseException) -> str:
    """Return the error's kind and the line of octensor that it came from."""
    where, trace = "", error.__traceback__
    while trace is not None:
        if "octensor" in trace.tb_frame.f_code.co_filename:
            where = f"{Path(trace.tb_frame.f_code.co_filename).name}-{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}-{where}"


class Fuzzer:
    """Executes inputs of one kind, counts, and keeps what must not happen."""

    def __init__(self, kind: str, keep: Path) -> None:
        self.kind, self.keep = kind, keep
        self.current = keep / f"current-{kind}-{os.getpid()}{SUFFIX[kind]}"
        self.findings: dict[str, str] = {}
        self.valid = self.count = 0
        self.start = time.monotonic()

    def execute(self, data: bytes) -> None:
        """Run one input."""
        self.current.unlink(missing_ok=True)  # another file, if something still maps the last one
        self.current.write_bytes(data)
        self.count += 1
        try:
            self.valid += one(self.kind, self.current)
        except (Exception, MemoryError) as error:
            name = _name(error)
            if name not in self.findings:
                self.findings[name] = str(error)[:200]
                shutil.copy(self.current, self.keep / f"{self.kind}-{name}{SUFFIX[self.kind]}")
                print(f"finding: {self.kind}: {name}: {error!s:.200}", flush=True)

    def report(self, how: str) -> None:
        """Say what was done."""
        self.current.unlink(missing_ok=True)
        used = os.times()
        print(
            f"{self.kind}: {self.count} executions, {self.valid} valid, {len(self.findings)} findings, "
            f"{time.monotonic() - self.start:.0f} s, {used.user + used.system:.0f} s of processor time, {how}",
            flush=True,
        )


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=list(CORPORA))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()), help="where findings go")
    parser.add_argument("--corpus", type=Path, help="where inputs that reached something new are kept")
    parser.add_argument("--random", action="store_true", help="do without atheris")
    parser.add_argument("--only", type=Path, help="run one file and stop")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    limits.prepare()
    if options.only:
        print(one(options.kind, options.only))
        return 0
    options.keep.mkdir(parents=True, exist_ok=True)
    fuzzer = Fuzzer(options.kind, options.keep)
    with tempfile.TemporaryDirectory() as folder:
        corpus = [path.read_bytes() for path in CORPORA[options.kind](Path(folder))]
    rng = random.Random(options.seed)
    for data in corpus:
        fuzzer.execute(data)
    end = time.monotonic() + options.seconds
    if atheris is not None and not options.random:
        _by_coverage(fuzzer, corpus, options, rng, end)
    while time.monotonic() < end:
        fuzzer.execute(mutate(options.kind, rng.choice(corpus), corpus, rng))
    fuzzer.report(f"random, seed {options.seed}")
    return 1 if fuzzer.findings else 0


def _by_coverage(fuzzer: Fuzzer, corpus: list[bytes], options: Any, rng: random.Random, end: float) -> None:
    """Hand over to libFuzzer; the process ends when the time is over."""
    folder = options.corpus or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    for i, data in enumerate(corpus):
        (folder / f"seed-{i}").write_bytes(data)
    before = len(list(folder.iterdir()))

    def target(data: bytes) -> None:
        fuzzer.execute(data)
        if time.monotonic() > end:
            fuzzer.report(f"by coverage, corpus {before} -> {len(list(folder.iterdir()))} files")
            if options.corpus is None:
                shutil.rmtree(folder, ignore_errors=True)
            os._exit(1 if fuzzer.findings else 0)

    def mutator(data: bytes, size: int, seed: int) -> bytes:
        if rng.random() < 0.2:
            return atheris.Mutate(data, size)  # type: ignore[no-any-return]
        chosen = rng.choice(corpus) if rng.random() < 0.5 else data  # what is new is mostly refused early
        return mutate(fuzzer.kind, chosen, corpus, random.Random(seed))[:size]

    arguments = [
        "-timeout=600",
        "-report_slow_units=600",
        "-rss_limit_mb=1000",
        "-max_len=100000",
        "-len_control=0",
        f"-seed={options.seed + 1}",
    ]
    arguments.append("-mutate_depth=2")  # what is changed more often is seldom read to its end
    arguments.append(f"-artifact_prefix={fuzzer.keep}/{fuzzer.kind}-")
    atheris.Setup([sys.argv[0], *arguments, str(folder)], target, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
