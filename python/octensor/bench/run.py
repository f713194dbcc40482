"""Measures cases: builds every variant, checks it against the exact result, times all of them in turn.

The result is plain data, as JSON holds it; ``report``, ``chart`` and ``markdown`` only read it.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from octensor import _C

from . import operands, peers, timing
from .cases import Case, Conv, Elementwise, Gemm, Job, Network, Pool
from .ceilings import Ceiling, Yardstick
from .peers import Peer, Runner, Variant

SCHEMA = "octensor-bench/1"
OWN = "octensor"


class Bench:
    """One process's contenders on one number of threads.

    Parameters
    ----------
    names : sequence of str
        Peers beside octensor, names of ``peers.PEERS``. Those whose package is missing are skipped, with the
        reason in `skipped`.
    threads : int
        For octensor, the peers and the ceilings.
    rounds : int
        How often each contender is timed.
    """

    def __init__(self, names: Sequence[str], threads: int, rounds: int) -> None:
        self.threads, self.rounds = threads, rounds
        self.skipped: dict[str, str] = {}
        self.peers: list[Peer] = []
        self.yardstick = Yardstick(_C.get_isa(), threads)
        self._probes: dict[tuple[str, Case], bool] = {}
        for name in (OWN, *names):
            try:
                self.peers.append(peers.load(name, threads))
            except ImportError as error:
                self.skipped[name] = str(error)

    def measure(self, job: Job) -> dict[str, Any]:
        """Time octensor, the peers and the ceilings on one case."""
        case = job.case
        built, entries, skipped = self._build(case)
        ceilings = {f"ceiling {c.name}": c for c in ([] if job.at else self._ceilings(case))}
        contenders: dict[str, Callable[[], object]] = {name: runner.call for name, runner in built.items()}
        contenders |= {name: ceiling.call for name, ceiling in ceilings.items()}
        seconds = timing.interleave(contenders, self.rounds, pause=timing.PAUSE if self.threads > 1 else 0.0)
        for entry in entries:
            samples = seconds[entry["name"]]
            spread = timing.Spread.of([s * 1e3 for s in samples])
            entry["ms"] = {"median": spread.median, "minimum": spread.minimum, "q1": spread.q1, "q3": spread.q3}
            entry["noise"] = spread.noise
            entry["rate"] = case.work / spread.median / 1e6
        result: dict[str, Any] = {"group": job.group, "case": case.name, "threads": self.threads}
        result |= {"unit": case.unit, "at": job.at, "work": case.work, "entries": entries, "skipped": skipped}
        result["ceilings"] = {c.name: c.work / statistics.median(seconds[name]) / 1e9 for name, c in ceilings.items()}
        own = _own(entries)
        if own is not None:
            result["shares"] = {
                c.name: _share(case, c, seconds[name], seconds[own["name"]]) for name, c in ceilings.items()
            }
            result["ratios"] = _ratios(own, entries, seconds)
        return result

    def _build(self, case: Case | Network) -> tuple[dict[str, Runner], list[dict[str, Any]], dict[str, str]]:
        data = [operands.make(layer) for layer in layers(case)]
        built: dict[str, Runner] = {}
        entries: list[dict[str, Any]] = []
        skipped = dict(self.skipped)
        for peer, name, variants in self._variants(case):
            try:
                runners = [variant.build(one) for variant, one in zip(variants, data, strict=True)]
                exact = self._exact(variants, runners, data, case)
            except Exception as error:  # peers refuse in their own ways: the reason is reported
                skipped[name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                continue
            built[name] = runners[0] if len(runners) == 1 else Runner(_sequence([r.call for r in runners]))
            entries.append({"name": name, "peer": peer, "precision": variants[0].precision, "exact": exact})
        return built, entries, skipped

    def _variants(self, case: Case | Network) -> Iterator[tuple[str, str, list[Variant]]]:
        """Peer, name, a variant for each layer: those that every layer has."""
        for peer in self.peers:
            choices = [{v.name: v for v in peer.variants(layer)} for layer in layers(case)]
            for name in choices[0]:
                if all(name in choice for choice in choices):
                    yield peer.name, name, [choice[name] for choice in choices]

    def _exact(
        self, variants: list[Variant], runners: list[Runner], data: list[operands.Data], case: Case | Network
    ) -> bool | None:
        """Whether integer results are right; None for floats and where there is nothing to compare with."""
        if variants[0].precision == "fp32" or not all(one.result.size for one in data):
            return None
        agrees = all(_agrees(runner, one) for runner, one in zip(runners, data, strict=True))
        return agrees and self._probe(variants[0], case)

    def _probe(self, variant: Variant, case: Case | Network) -> bool:
        """Whether all-255 activations times all-127 weights come out right."""
        small: Gemm | Conv
        if not isinstance(case, Gemm | Conv) or variant.precision == "int4":
            return True
        if isinstance(case, Gemm):
            small = replace(case, m=min(case.m, 8), n=min(case.n, 64), k=256)
        else:
            small = replace(case, size=min(case.size, 8))
        key = variant.name, small
        if key not in self._probes:
            owner = next(peer for peer in self.peers if variant.name in {v.name for v in peer.variants(case)})
            twin = next(v for v in owner.variants(small) if v.name == variant.name)
            data = operands.probe(small)
            self._probes[key] = _agrees(twin.build(data), data)
        return self._probes[key]

    def _ceilings(self, case: Case | Network) -> list[Ceiling]:
        if isinstance(case, Elementwise | Pool):
            return self.yardstick.memory(copy=max(64, int(case.work) // 2))
        compute = self.yardstick.compute()
        if isinstance(case, Gemm) and case.m <= 8:
            return compute + self.yardstick.memory(read=case.weight_bytes)
        return compute


def layers(case: Case | Network) -> Sequence[Case]:
    """List the case itself, or a network's."""
    return case.layers if isinstance(case, Network) else (case,)


def machine() -> dict[str, Any]:
    """Describe what the figures belong to."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    masked = os.environ.get("OCTENSOR_BENCH_MASKED", "")
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform(), "peers masked to": masked or None}


def collect(
    jobs: Sequence[Job],
    names: Sequence[str],
    threads: Sequence[int],
    rounds: int,
    progress: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure every case on every number of threads.

    Parameters
    ----------
    jobs : sequence of Job
    names : sequence of str
        Peers.
    threads : sequence of int
    rounds : int
    progress : callable
        Told each result as it comes.
    """
    results: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    for count in threads:
        bench = Bench(names, count, rounds)
        versions |= {peer.name: peer.version for peer in bench.peers}
        for job in jobs:
            results.append(bench.measure(job))
            progress(results[-1])
    document = {"schema": SCHEMA, "octensor": _C.__version__, "isa": _C.get_isa(), "machine": machine()}
    return document | {"rounds": rounds, "peers": versions, "results": results, "summary": summarise(results)}


def summarise(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Geometric means of the ratios, and the worst, for each group and number of threads."""
    found = []
    for group, threads in dict.fromkeys((r["group"], r["threads"]) for r in results):
        chosen = [r for r in results if (r["group"], r["threads"]) == (group, threads)]
        row: dict[str, Any] = {"group": group, "threads": threads, "cases": len(chosen)}
        for kind in ("best exact", "best", "best fp32"):
            values = [r["ratios"][kind]["x"] for r in chosen if r.get("ratios", {}).get(kind)]
            if values:
                row[kind] = {"geomean": timing.geometric_mean(values), "minimum": min(values), "cases": len(values)}
        found.append(row)
    return found


def _own(entries: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Find octensor's entry; where it has two, the later is measured against the earlier."""
    return next((e for e in reversed(entries) if e["peer"] == OWN), None)


def _agrees(runner: Runner, data: operands.Data) -> bool:
    return runner.output is None or data.agrees(runner.output())


def _sequence(calls: Sequence[Callable[[], object]]) -> Callable[[], object]:
    def call() -> None:
        for one in calls:
            one()

    return call


def _share(case: Case | Network, ceiling: Ceiling, limit: Sequence[float], own: Sequence[float]) -> float:
    """How much of the ceiling's rate a case reaches: for memory against arithmetic, the bytes it must read."""
    work = case.work
    if ceiling.name == "read once" and isinstance(case, Gemm):
        work = float(case.weight_bytes)
    return timing.paired_ratio(limit, own) * work / ceiling.work


def _ratios(own: dict[str, Any], entries: list[dict[str, Any]], seconds: dict[str, list[float]]) -> dict[str, Any]:
    """How many times faster than the fastest of each kind; above 1, octensor is ahead."""
    rivals = [e for e in entries if e["name"] != own["name"]]
    kinds = {
        "best exact": [e for e in rivals if e["exact"]],
        "best": rivals,
        "best fp32": [e for e in rivals if e["precision"] == "fp32"],
    }
    found: dict[str, Any] = {}
    for kind, candidates in kinds.items():
        if candidates:
            best = min(candidates, key=lambda e: float(e["ms"]["median"]))
            x = timing.paired_ratio(seconds[best["name"]], seconds[own["name"]])
            found[kind] = {"name": best["name"], "ms": best["ms"]["median"], "x": x}
    return found
