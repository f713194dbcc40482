"""The command `octensor`.

`octensor info` tells what this installation is and what it runs on, `octensor bench` how fast it is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import _C
from .backends import cpu
from .bench import command as bench


def info() -> str:
    """Return version, CPU features, instruction sets and threads, a line each."""
    features = [name for name, present in cpu.cpu_features().items() if present]
    sets = [name if supported else f"({name})" for name, supported in cpu.isa_list()]
    return "\n".join(
        (
            f"octensor          {_C.__version__}",
            f"cpu features      {' '.join(features) or 'none of those asked for'}",
            f"instruction sets  {' '.join(sets)}",
            f"in use            {cpu.get_isa()}",
            f"threads           {cpu.get_num_threads()}",
        )
    )


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
