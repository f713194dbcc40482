"""How long one sample takes on one thread, beside ONNX Runtime: ``--latency`` of the scripts.

Contenders take turns, round by round, as in `octensor.bench`; octensor runs as a program. With ``--isa avx2`` octensor
uses no more than AVX2, and ONNX Runtime is shown a CPU that has no more (`octensor.bench.mask`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Protocol

import common
import numpy as np

import octensor as ot
from octensor.bench import mask, timing

ROUNDS = 60


class Timed(Protocol):
    """What is measured: `common.Own`, `peer.Session`."""

    def timed(self, *example: np.ndarray) -> Callable[[], object]:
        """Return the call that computes the example's outputs, all preparation done."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options to a command line."""
    parser.add_argument("--latency", action="store_true", help="time one sample on one thread, in place of quality")
    parser.add_argument("--isa", help="instruction set; avx2 also holds ONNX Runtime to it")


def hold(given: argparse.Namespace) -> None:
    """Obey ``--isa``; where that takes a process in which ONNX Runtime sees another CPU, begin anew in one."""
    if given.isa:
        ot.backends.cpu.set_isa(given.isa)
    if mask.needed(given.isa, ["onnxruntime"]) and mask.available():
        mask.restart(["onnxruntime"], sys.argv, program=())


def table(title: str, contenders: Mapping[str, Timed], *example: np.ndarray) -> None:
    """Measure and print."""
    ot.set_num_threads(1)
    turns = {name: timing.Stopwatch(contender.timed(*example)).turn for name, contender in contenders.items()}
    with ot.no_grad():
        seconds = timing.interleave(turns, ROUNDS)
    spreads = [timing.Spread.of(samples) for samples in seconds.values()]
    common.table(
        f"{title}: one sample, one thread, {ot.backends.cpu.get_isa()}",
        contenders,
        [
            ["median, ms", *(f"{1e3 * spread.median:.3f}" for spread in spreads)],
            ["minimum, ms", *(f"{1e3 * spread.minimum:.3f}" for spread in spreads)],
        ],
    )
