"""The command `octensor`.

`octensor info` tells what this installation is and what it runs on, `octensor bench` how fast it is; `quantize`, `run`,
`compare` and `info FILE` work on model files (`octensor.commands`).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from . import _C
from .backends import cpu
from .bench import command as bench


def info() -> str:
    """Return version, CPU features, instruction sets, what each kernel uses and why, and threads."""
    features = cpu.cpu_features()
    isa, forced = cpu.get_isa(), os.environ.get("OCTENSOR_ISA")
    sections = {
        "octensor": [_C.__version__],
        "cpu features": [" ".join(name for name, present in features.items() if present) or "none of those asked for"],
        "not there": [" ".join(name for name, present in features.items() if not present) or "nothing"],
        "in use": [f"{isa}: {_why(isa, forced)}"],
        "instruction sets": [f"{name:10} {_state(name)}" for name, _ in cpu.isa_list()],
        "kernels": [f"{kernel:10} {isa}: {form}" for kernel, form in cpu.kernel_forms()],
        "threads": [str(cpu.get_num_threads())],
    }
    return "\n".join(
        f"{title if first else '':16}  {line}"
        for title, lines in sections.items()
        for first, line in zip([True] + [False] * len(lines), lines, strict=False)
    )


def _why(isa: str, forced: str | None) -> str:
    if forced == isa:
        return "OCTENSOR_ISA says so"
    best = next(name for name, supported in cpu.isa_list() if supported)
    return "the first of the sets that this machine can run" if isa == best else "set_isa chose it"


def _state(isa: str) -> str:
    missing = cpu.isa_missing(isa)
    return f"cannot run here: needs {' '.join(missing)}" if missing else f"can run: OCTENSOR_ISA={isa} forces it"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="octensor", description="Quantized neural networks on CPUs.")
    parser.add_argument("--version", action="version", version=_C.__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    parts = commands.add_parser("info", help="print the version, the CPU, the instruction sets and the threads")
    parts.add_argument("file", type=Path, nargs="?", default=None, help="say instead what a file of ours or ONNX holds")
    bench.add_arguments(commands.add_parser("bench", help="measure octensor beside other runtimes"))
    wanted = sys.argv[1:] if arguments is None else arguments
    for name, text in _ON_FILES.items():
        part = commands.add_parser(name, help=text, description=text)
        if name in wanted:  # the others need not be imported
            import_module(f"octensor.commands.{name}").add_arguments(part)
    options = parser.parse_args(arguments)
    try:
        if options.command == "bench":
            return bench.main(options, wanted)
        if options.command in _ON_FILES:
            return int(import_module(f"octensor.commands.{options.command}").main(options))
        print(info() if options.file is None else import_module("octensor.commands.info").describe(options.file))
    except (ValueError, TypeError, OSError, ImportError) as error:  # also: OCTENSOR_ISA names a set that is not there
        print(f"octensor {options.command}: {error}", file=sys.stderr)
        return 2
    return 0


_ON_FILES = {
    "quantize": "quantize an ONNX model to int8 on samples, and say what that costs",
    "run": "run a model file on samples",
    "compare": "compare the outputs of two model files on samples",
}
