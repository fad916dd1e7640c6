"""Timing. Cases take turns, so that whatever else the machine does falls on all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """One line of a table. `met` is None where there is no goal."""

    what: str
    value: str
    goal: str = ""
    met: bool | None = None

    @property
    def verdict(self) -> str:
        return {True: "met", False: "MISSED", None: ""}[self.met]


@dataclass
class Section:
    """The figures of one benchmark, and how they were come by."""

    title: str
    how: str
    figures: list[Figure] = field(default_factory=list)

    def add(self, what: str, value: str) -> None:
        self.figures.append(Figure(what, value))

    def at_most(self, what: str, value: float, limit: float, unit: str = "") -> None:
        self.figures.append(Figure(what, _number(value, unit), f"≤ {limit:g}{unit}", value <= limit))

    def at_least(self, what: str, value: float, limit: float, unit: str = "") -> None:
        self.figures.append(Figure(what, _number(value, unit), f"≥ {limit:g}{unit}", value >= limit))


def _number(value: float, unit: str) -> str:
    return f"{value:,.0f}{unit}" if value == int(value) else f"{value:.2f}{unit}"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


@dataclass
class Sample:
    """Repeated timings of one case, in seconds."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        return statistics.quantiles(self.seconds, n=20)[-1] if len(self.seconds) > 1 else self.median

    def __str__(self) -> str:
        return f"{milliseconds(self.median)} (p95 {self.p95 * 1000:.2f})"


def take_turns(cases: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 5) -> dict[str, Sample]:
    """Time every case once a round, each round beginning with another one."""
    names = list(cases)
    samples = {name: Sample() for name in names}
    for _ in range(warm_up):
        for name in names:
            cases[name]()
    gc.collect()
    gc.disable()  # a collection falls on whoever happens to be running
    try:
        for number in range(rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                started = time.perf_counter()
                cases[name]()
                samples[name].seconds.append(time.perf_counter() - started)
    finally:
        gc.enable()
    return samples


def ratio(over: Sample, under: Sample) -> float:
    """The ratio of two samples that took turns: the median of the rounds' own ratios.

    A disturbance that lasts longer than a round falls on both sides of its ratio and drops out.
    """
    return statistics.median(a / b for a, b in zip(over.seconds, under.seconds, strict=True))
