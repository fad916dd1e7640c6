"""A run of the official AdCP runner through Assay's engine, against the same runner bare, and ten runs at once."""

from __future__ import annotations

import asyncio
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks.measure import Section
from compliance.engines.process.capacity import Capacity, default_memory_mb, default_programs
from compliance.engines.reports.model import Report
from compliance.engines.suites.adcp import AdcpEngine
from compliance.engines.suites.adcp.prepared import prepare
from tests.compliance.engines.suites.adcp.agents import SDK, SIGNALS_TOKEN, official, signals, target

GOAL_ONE = 1.25
GOAL_TEN = 6.0
AT_ONCE = 10


def measure(*, rounds: int) -> Section:
    section = Section(
        "The official AdCP runner through Assay",
        "The package's own example of a signals agent, in a process of its own for each run. Assay: the engine as a "
        "worker calls it, with its bounded process, egress proxy, evidence and report, prepared as by "
        "`scripts/install`. Bare: `adcp storyboard run` with its results as JSON. "
        f"{rounds} rounds, the two taking turns; the ratio is the median of the rounds' ratios. At once: {AT_ONCE} "
        "agents, from one event loop, as on a worker; bare, all of them together. Processor: of all "
        "processes but the agents, which a busy machine disturbs less than it does the clock.",
    )
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="assay-adcp-")))
        urls = []
        for number in range(AT_ONCE):
            folder = home / str(number)
            folder.mkdir()
            urls.append(stack.enter_context(signals(folder)))
        prepare(SDK, home / "prepared")
        engine = AdcpEngine(prepared=home / "prepared")
        sides: dict[str, Callable[[], object]] = {
            "assay": lambda: asyncio.run(_runs(urls[:1], engine)),
            "bare": lambda: official(urls[0], home, token=SIGNALS_TOKEN),
            "ten": lambda: asyncio.run(_runs(urls, engine)),
            "ten bare": lambda: _bare(urls, home),
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        processor: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(rounds + 1):
            for name in sides if number % 2 else reversed(sides):
                started, used = time.perf_counter(), _processor()
                sides[name]()
                if number:  # the first round warms up
                    seconds[name].append(time.perf_counter() - started)
                    processor[name].append(_processor() - used)
    for words, name in (
        ("one run, Assay", "assay"),
        ("one run, bare", "bare"),
        (f"{AT_ONCE} runs at once", "ten"),
        (f"{AT_ONCE} bare runs at once", "ten bare"),
    ):
        used = f"{statistics.median(processor[name]):.2f} s of processor"
        section.add(words, f"{statistics.median(seconds[name]):.2f} s, {used}")
    section.at_most("one run, Assay over bare", _ratio(seconds["assay"], seconds["bare"]), GOAL_ONE)
    section.at_most(f"{AT_ONCE} runs at once over one", _ratio(seconds["ten"], seconds["assay"]), GOAL_TEN)
    section.add(f"{AT_ONCE} bare runs at once over one", f"{_ratio(seconds['ten bare'], seconds['bare']):.2f}")
    return section


def _ratio(over: list[float], under: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def _processor() -> float:
    """Seconds that this process and those that it has waited for have used."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _bare(urls: list[str], home: Path) -> None:
    with ThreadPoolExecutor(len(urls)) as together:
        numbered = enumerate(urls)
        list(together.map(lambda one: official(one[1], home / str(one[0]), token=SIGNALS_TOKEN), numbered))


async def _runs(urls: list[str], engine: AdcpEngine) -> list[Report]:
    capacity = Capacity(default_memory_mb(), default_programs())

    async def run(url: str) -> Report:
        place = capacity.reserve(engine.memory_mb)
        try:
            await place.wait()
            return await engine.run(target(url, token=SIGNALS_TOKEN, deadline=300.0))
        finally:
            place.release()

    reports = await asyncio.gather(*(run(url) for url in urls))
    broken = [report.headline() for report in reports if report.harness_error or report.truncated]
    assert not broken, broken
    assert len({str(report.counts()) for report in reports}) == 1
    return reports
