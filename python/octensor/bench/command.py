"""The command line of the bench: `octensor bench --help`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from octensor import _C

from . import cases, peers
from .cases import Job, Network

_NAMES = [*cases.GROUPS, "sweep", "all"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe what `octensor bench` takes."""
    parser.add_argument("group", nargs="*", metavar="GROUP", help=f"{', '.join(_NAMES)} (default: gemm)")
    parser.add_argument(
        "--peers",
        default="all",
        help=f"comma-separated: {', '.join(n for n in peers.PEERS if n != 'octensor')}; all; none",
    )
    parser.add_argument("--threads", default="1", help="comma-separated numbers of threads, each a run of its own")
    parser.add_argument(
        "--shapes",
        default=None,
        help="comma-separated, instead of the group's table: MxNxK, ...; for sweep, names of lines",
    )
    parser.add_argument("--rounds", type=int, default=9, help="how often each contender is timed")
    parser.add_argument("--isa", default=None, help="instruction set for octensor; avx2 also holds the peers to it")
    parser.add_argument("--full", action="store_true", help="also a column for every contender")
    parser.add_argument(
        "--profile", type=Path, default=None, metavar="FOLDER", help="write the steps of octensor's networks there"
    )
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write every figure there")
    parser.add_argument("--chart", type=Path, default=None, metavar="FILE", help="draw them (PNG; needs matplotlib)")
    parser.add_argument("--markdown", type=Path, default=None, metavar="FILE", help="write the tables there")


def chosen_jobs(groups: Sequence[str], shapes: str | None) -> list[Job]:
    """Look up what to measure.

    Raises
    ------
    ValueError
        For a group or a shape that does not exist; for shapes of several groups.
    """
    names = list(cases.GROUPS) if "all" in groups else groups or ["gemm"]
    for name in names:
        if name not in _NAMES:
            raise ValueError(f"group {name!r}: expected one of {', '.join(_NAMES)}")
    if shapes is not None and len(names) != 1:
        raise ValueError("--shapes: expected one group beside it")
    wanted = None if shapes is None else [text.strip() for text in shapes.split(",")]
    found: list[Job] = []
    for name in names:
        if name == "sweep":
            found += _sweep(wanted)
        elif wanted is not None:
            found += [Job(name, cases.parse_shape(name, text)) for text in wanted]
        else:
            found += [Job(name, case) for case in cases.GROUPS[name]]
    return found


def _sweep(wanted: list[str] | None) -> list[Job]:
    lines = cases.sweeps()
    for name in wanted or []:
        if name not in lines:
            raise ValueError(f"--shapes: {name!r}: expected some of {', '.join(lines)}")
    return [job for name in wanted or lines for job in lines[name]]


def chosen_peers(text: str) -> list[str]:
    """Names of peers.

    Raises
    ------
    ValueError
        For a name that is none.
    """
    known = [name for name in peers.PEERS if name != "octensor"]
    if text in ("all", "none"):
        return known if text == "all" else []
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise ValueError(f"--peers: {name!r}: expected all, none or some of {', '.join(known)}")
    return names


def thread_counts(text: str) -> list[int]:
    """Read "1,2".

    Raises
    ------
    ValueError
        Unless all are positive integers.
    """
    if not all(part.strip().isdecimal() and int(part) > 0 for part in text.split(",")):
        raise ValueError(f"--threads {text!r}: expected positive integers joined by commas, such as 1,2")
    return [int(part) for part in text.split(",")]


def main(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Run the bench with parsed options (and the arguments they came from); return the exit status."""
    from . import chart, markdown, mask, networks, report, run

    try:
        if options.rounds < 1:
            raise ValueError(f"--rounds {options.rounds}: expected a positive integer")
        jobs = chosen_jobs(options.group, options.shapes)
        names, threads = chosen_peers(options.peers), thread_counts(options.threads)
        if options.isa:
            _C.set_isa(options.isa)
        if mask.needed(options.isa, names):
            if mask.available():
                mask.restart(names, arguments)
            print("octensor bench: the peers use all that this CPU has: see octensor.bench.mask", file=sys.stderr)
    except (ValueError, RuntimeError) as error:
        print(f"octensor bench: {error}", file=sys.stderr)
        return 2

    def progress(result: dict[str, object]) -> None:
        print(f"  {result['group']} {result['case']}, {result['threads']} thread(s)", file=sys.stderr, flush=True)

    document = run.collect(jobs, names, threads, options.rounds, progress)
    document["command"] = ["octensor", *arguments]
    report.show(document, options.full)
    try:
        _C.set_num_threads(threads[0])
        for case in [job.case for job in jobs if options.profile and isinstance(job.case, Network)]:
            print(networks.profile(case, options.profile))
    except (ValueError, ImportError) as error:
        print(f"octensor bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(document, indent=1), encoding="utf-8")
    if options.chart:
        try:
            chart.draw(document, options.chart)
        except ImportError as error:
            print(f"octensor bench: --chart: {error} (pip install octensor[bench])", file=sys.stderr)
            return 1
    if options.markdown:
        options.markdown.write_text(markdown.render(document), encoding="utf-8")
    return 0
