"""The command `octensor`.

`octensor info` tells what this installation is and what it runs on, `octensor bench` how fast it is.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

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
    commands.add_parser("info", help="print the version, the CPU, the instruction sets and the threads")
    bench.add_arguments(commands.add_parser("bench", help="measure octensor beside other runtimes"))
    options = parser.parse_args(arguments)
    try:
        if options.command == "bench":
            return bench.main(options, sys.argv[1:] if arguments is None else arguments)
        print(info())
    except ValueError as error:  # OCTENSOR_ISA names a set that this CPU does not have
        print(f"octensor: {error}", file=sys.stderr)
        return 2
    return 0
