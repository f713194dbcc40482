"""One runtime's contenders in one process: builds them, checks them, runs them when told."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from octensor import _C

from . import networks, operands, peers, timing
from .cases import Case, Conv, Gemm, Lstm, Network
from .operands import Data
from .peers import Runner, Variant


class Side:
    """The contenders of one peer.

    Parameters
    ----------
    name : str
        A name of ``peers.PEERS``.
    threads : int
    isa : str
        Octensor's instruction set.

    Raises
    ------
    ImportError
        Where the peer's package is missing.
    """

    def __init__(self, name: str, threads: int, isa: str) -> None:
        _C.set_isa(isa)
        self.base = memory()["resident"]
        self.peer = peers.load(name, threads)
        self.name, self.version = name, self.peer.version
        self._turns: dict[str, timing.Stopwatch] = {}
        self._kept: list[Any] = []  # runtimes hold pointers into operands
        self._probes: dict[tuple[str, Case], bool] = {}

    def build(self, case: Case, data: Data) -> list[dict[str, Any]]:
        """Make every variant of a case and forget the case before.

        Returns
        -------
        A dictionary for each: its name, and either ``skipped`` (why) or peer, precision, exact and, for a network,
        ``sqnr``.
        """
        self._turns, self._kept = {}, [data]
        return [self._built(variant, case, data) for variant in self.peer.variants(case)]

    def _built(self, variant: Variant, case: Case, data: Data) -> dict[str, Any]:
        try:
            runner = variant.build(data)
            entry: dict[str, Any] = {"name": variant.name, "peer": self.name, "precision": variant.precision}
            entry["exact"] = self._exact(variant, runner, data, case)
            if isinstance(case, Network) and runner.output is not None:
                entry["sqnr"] = networks.sqnr(runner.output(), data.result)
        except Exception as error:  # peers refuse in their own ways: the reason is reported
            return {"name": variant.name, "skipped": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        self._turns[variant.name] = timing.Stopwatch(runner.call)
        self._kept.append(runner)
        return entry

    def turn(self, name: str) -> float:
        """Run a variant for one turn; return the seconds that one call takes."""
        return self._turns[name].turn()

    def footprint(self, name: str, case: Case, data: Data) -> dict[str, float]:
        """Load and run one variant; return how long loading took and the process's memory, in MB.

        Meant for a process that does nothing else. ``base`` is the memory of the bench itself, before the peer.
        """
        variant = next(v for v in self.peer.variants(case) if v.name == name)
        start = time.perf_counter()
        runner = variant.build(data)
        took = time.perf_counter() - start
        for _ in range(3):
            runner.call()
        return {"load s": took, "base": self.base, **memory(), **(runner.facts or {})}

    def _exact(self, variant: Variant, runner: Runner, data: Data, case: Case) -> bool | None:
        """Whether integer results are right; None for floats and where there is nothing to compare with."""
        if variant.precision == "fp32":
            return None
        if isinstance(case, Network | Lstm):  # whose integer kernels are those of its layers
            return self._probe(variant, case.probe)
        if not data.result.size:
            return None
        if runner.output is not None and not data.agrees(runner.output()):
            return False
        if not isinstance(case, Gemm | Conv) or variant.precision == "int4":
            return True
        if isinstance(case, Gemm):
            return self._probe(variant, replace(case, m=min(case.m, 8), n=min(case.n, 64), k=256))
        return self._probe(variant, replace(case, size=min(case.size, 8)))

    def _probe(self, variant: Variant, small: Gemm | Conv) -> bool:
        """Whether all-255 activations times all-127 weights come out right."""
        key = variant.name, small
        if key not in self._probes:
            twin = next(v for v in self.peer.variants(small) if v.name == variant.name)
            data = operands.probe(small)
            runner = twin.build(data)
            self._probes[key] = runner.output is None or data.agrees(runner.output())
        return self._probes[key]


def memory() -> dict[str, float]:
    """Return this process's resident memory now and at its peak, in MB; zeros where the system does not say."""
    found = {"resident": 0.0, "peak": 0.0}
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        found["resident"] = int(lines["VmRSS"].split()[0]) / 1024
        found["peak"] = int(lines["VmHWM"].split()[0]) / 1024
    return found
