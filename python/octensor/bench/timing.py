"""Interleaved timing: every contender runs once per round, in turn.

A clock that wanders or a neighbour that wakes up then touches all of them alike. A round's figure is the
mean of enough calls to fill `TARGET` seconds; warm-up calls before each let the caches and a runtime's own
threads settle. Ratios are medians over rounds of the ratio within the round.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

TARGET = 4e-3  # seconds that a contender's calls of one round take together
SETTLE = 1e-3  # seconds of untimed calls before


@dataclass(frozen=True)
class Spread:
    """What many measurements of one thing say, in their own unit."""

    median: float
    minimum: float
    q1: float
    q3: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Summarise; one sample is its own everything."""
        ordered = sorted(samples)
        if len(ordered) < 2:
            return cls(ordered[0], ordered[0], ordered[0], ordered[0])
        q1, median, q3 = statistics.quantiles(ordered, n=4, method="inclusive")
        return cls(median, ordered[0], q1, q3)

    @property
    def noise(self) -> float:
        """The middle half's width, as a share of the median."""
        return (self.q3 - self.q1) / self.median if self.median else 0.0


def geometric_mean(values: Iterable[float]) -> float:
    """Of no values: nan."""
    logarithms = [math.log(value) for value in values]
    return math.exp(statistics.fmean(logarithms)) if logarithms else math.nan


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """Median over rounds of numerator / denominator."""
    return statistics.median(n / d for n, d in zip(numerator, denominator, strict=True))


def calls_per_round(call: Callable[[], object], clock: Callable[[], float], target: float = TARGET) -> int:
    """How many calls fill the target, from the quickest of a few."""
    quickest = math.inf
    spent = 0.0
    for _ in range(5):
        start = clock()
        call()
        took = max(clock() - start, 1e-7)
        quickest = min(quickest, took)
        spent += took
        if spent > 10 * target:
            break
    return max(1, round(target / quickest))


class Stopwatch:
    """Times one contender, a turn at a time; the first turn also finds out how many calls fill one."""

    def __init__(
        self,
        call: Callable[[], object],
        clock: Callable[[], float] = time.perf_counter,
        target: float = TARGET,
        settle: float = SETTLE,
    ) -> None:
        self._call, self._clock, self._target, self._settle = call, clock, target, settle
        self._repeat = 0

    def turn(self) -> float:
        """Return the seconds that a call takes, after at least one call that is not counted."""
        call, clock = self._call, self._clock
        if not self._repeat:
            self._repeat = calls_per_round(call, clock, self._target)
        until = clock() + self._settle
        call()
        while clock() < until:
            call()
        start = clock()
        for _ in range(self._repeat):
            call()
        return (clock() - start) / self._repeat


def interleave(turns: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Let every contender take its turn in each round; return what the turns gave.

    The order rotates from round to round, so that nobody always follows the same neighbour.
    """
    order = list(turns)
    seconds: dict[str, list[float]] = {name: [] for name in order}
    for number in range(rounds):
        shift = number % len(order) if order else 0
        for name in order[shift:] + order[:shift]:
            seconds[name].append(turns[name]())
    return seconds
