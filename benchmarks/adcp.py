"""A run of the official AdCP runner through Assay's engine, against the same runner bare, and ten runs at once."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.measure import Section
from compliance.engines.adcp import AdcpEngine
from compliance.engines.report import Report
from tests.engines.adcp.agents import SIGNALS_TOKEN, official, signals, target

GOAL_ONE = 1.25
GOAL_TEN = 6.0
AT_ONCE = 10


def measure(*, rounds: int) -> Section:
    section = Section(
        "The official AdCP runner through Assay",
        "The package's own example of a signals agent, in a process of its own for each run. Assay: the engine as a "
        "worker calls it, with its bounded process, egress proxy, evidence and report. Bare: `adcp storyboard run` "
        f"with its results as JSON. {rounds} rounds, the two taking turns; the ratio is the median of the rounds' "
        f"ratios. At once: {AT_ONCE} agents, from one event loop.",
    )
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="assay-adcp-")))
        urls = []
        for number in range(AT_ONCE):
            folder = home / str(number)
            folder.mkdir()
            urls.append(stack.enter_context(signals(folder)))
        sides: dict[str, Callable[[], object]] = {
            "assay": lambda: asyncio.run(_runs(urls[:1])),
            "bare": lambda: official(urls[0], home, token=SIGNALS_TOKEN),
            "ten": lambda: asyncio.run(_runs(urls)),
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(rounds + 1):
            for name in sides if number % 2 else reversed(sides):
                started = time.perf_counter()
                sides[name]()
                if number:  # the first round warms up
                    seconds[name].append(time.perf_counter() - started)
    for words, name in (("one run, Assay", "assay"), ("one run, bare", "bare"), (f"{AT_ONCE} runs at once", "ten")):
        section.add(words, f"{statistics.median(seconds[name]):.2f} s")
    section.at_most("one run, Assay over bare", _ratio(seconds["assay"], seconds["bare"]), GOAL_ONE)
    section.at_most(f"{AT_ONCE} runs at once over one", _ratio(seconds["ten"], seconds["assay"]), GOAL_TEN)
    return section


def _ratio(over: list[float], under: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


async def _runs(urls: list[str]) -> list[Report]:
    engine = AdcpEngine()
    reports = await asyncio.gather(*(engine.run(target(url, token=SIGNALS_TOKEN, deadline=300.0)) for url in urls))
    broken = [report.headline() for report in reports if report.harness_error or report.truncated]
    assert not broken, broken
    assert len({str(report.counts()) for report in reports}) == 1
    return reports
