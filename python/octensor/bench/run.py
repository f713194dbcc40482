"""Measures cases: has every runtime build its variants, lets all of them take turns, compares.

The result is plain data, as JSON holds it; ``report``, ``chart`` and ``markdown`` only read it.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from octensor import _C

from . import mask, networks, operands, timing
from .cases import Case, Elementwise, Gemm, Job, Network, Pool
from .ceilings import Ceiling, Yardstick
from .child import Child
from .operands import Data

SCHEMA = "octensor-bench/2"
OWN = "octensor"


class Bench:
    """A run's contenders on one number of threads, a process for each runtime.

    Parameters
    ----------
    names : sequence of str
        Peers beside octensor, names of ``peers.PEERS``. Those whose package is missing are skipped, with the
        reason in `skipped`.
    threads : int
        For octensor, the peers and the ceilings.
    rounds : int
        How often each contender is timed.
    start : callable
        ``start(name, threads, isa)`` makes a contender: `Child`, or `side.Side` to stay in this process.
    """

    def __init__(self, names: Sequence[str], threads: int, rounds: int, start: Callable[..., Any] = Child) -> None:
        self.threads, self.rounds = threads, rounds
        self.skipped: dict[str, str] = {}
        self.sides: list[Any] = []
        self.yardstick = Yardstick(_C.get_isa(), threads)
        self._start = start
        for name in (OWN, *names):
            try:
                self.sides.append(start(name, threads, _C.get_isa()))
            except (ImportError, RuntimeError) as error:
                self.skipped[name] = str(error)

    def close(self) -> None:
        """End the processes."""
        for side in self.sides:
            if isinstance(side, Child):
                side.close()

    def measure(self, job: Job) -> dict[str, Any]:
        """Time octensor, the peers and the ceilings on one case."""
        case = job.case
        data = networks.data(case) if isinstance(case, Network) else operands.make(case)
        entries, skipped = [], dict(self.skipped)
        turns: dict[str, Callable[[], float]] = {}
        for side in list(self.sides):
            try:
                built = side.build(case, data)
            except RuntimeError as error:  # its process is gone
                skipped[side.name] = self.skipped[side.name] = str(error)
                self.sides.remove(side)
                continue
            for entry in built:
                if "skipped" in entry:
                    skipped[entry["name"]] = entry["skipped"]
                    continue
                entries.append(entry)
                turns[entry["name"]] = partial(side.turn, entry["name"])
        ceilings = {f"ceiling {c.name}": c for c in ([] if job.at else self._ceilings(case))}
        turns |= {name: timing.Stopwatch(ceiling.call).turn for name, ceiling in ceilings.items()}
        seconds = timing.interleave(turns, self.rounds)
        for entry in entries:
            samples = seconds[entry["name"]]
            spread = timing.Spread.of([s * 1e3 for s in samples])
            entry["ms"] = {"median": spread.median, "minimum": spread.minimum, "q1": spread.q1, "q3": spread.q3}
            entry["noise"] = spread.noise
            entry["rate"] = case.work / spread.median / 1e6
        if isinstance(case, Network) and self.threads == 1:
            self._footprints(case, data, entries)
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

    def _footprints(self, case: Network, data: Data, entries: list[dict[str, Any]]) -> None:
        """Add what each integer variant takes in a process that runs nothing else, less the bench's own share."""
        bare = {True: bare_memory("numpy, octensor"), False: bare_memory("numpy")}
        for entry in entries:
            if entry["precision"] == "fp32":
                continue
            side = self._start(entry["peer"], self.threads, _C.get_isa())
            found = side.footprint(entry["name"], case, data)
            if isinstance(side, Child):
                side.close()
            bench = found["base"] - bare[entry["peer"] == OWN]
            rest = {name: value for name, value in found.items() if name not in ("base", "resident", "peak")}
            memory = {f"{name} MB": found[name] - bench for name in ("resident", "peak")}
            entry["footprint"] = memory | rest

    def _ceilings(self, case: Case) -> list[Ceiling]:
        if isinstance(case, Elementwise | Pool):
            return self.yardstick.memory(copy=max(64, int(case.work) // 2))
        compute = self.yardstick.compute()
        if isinstance(case, Gemm) and case.m <= 8:
            return compute + self.yardstick.memory(read=case.weight_bytes)
        return compute


def bare_memory(imports: str) -> float:
    """Return the resident memory, in MB, of a process that has imported these and nothing else."""
    code = f"import {imports}; print([l.split()[1] for l in open('/proc/self/status') if l.startswith('VmRSS')][0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return int(done.stdout) / 1024 if done.returncode == 0 else 0.0


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


def installed(names: Iterable[str]) -> dict[str, float]:
    """Return what each peer's packages take on disk, in MB; without those that they need."""
    found = {}
    for name in names:
        specs = [importlib.util.find_spec(package) for package in mask.PACKAGES.get(name) or [name]]
        folders = [Path(place) for spec in specs if spec for place in spec.submodule_search_locations or []]
        folders += [path for folder in folders if (path := folder.with_name(f"{folder.name}.libs")).exists()]
        sizes = [path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()]
        found[name] = sum(sizes) / 1e6
    return found


def collect(
    jobs: Sequence[Job],
    names: Sequence[str],
    threads: Sequence[int],
    rounds: int,
    progress: Callable[[dict[str, Any]], None] = lambda _: None,
    start: Callable[..., Any] = Child,
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
    start : callable
        As `Bench` takes it.
    """
    results: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    for count in threads:
        bench = Bench(names, count, rounds, start)
        versions |= {side.name: side.version for side in bench.sides}
        try:
            for job in jobs:
                results.append(bench.measure(job))
                progress(results[-1])
        finally:
            bench.close()
    document = {"schema": SCHEMA, "octensor": _C.__version__, "isa": _C.get_isa(), "machine": machine()}
    return document | {
        "rounds": rounds,
        "peers": versions,
        "installed MB": installed(versions),
        "results": results,
        "summary": summarise(results),
    }


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


def _share(case: Case, ceiling: Ceiling, limit: Sequence[float], own: Sequence[float]) -> float:
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
