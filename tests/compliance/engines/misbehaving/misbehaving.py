"""Engines that do everything that an engine must not do."""

import asyncio
import threading
from dataclasses import replace

from compliance.engines import Health, Progress, Report, Scenario, Step, SuiteSpec, Track, Verdict
from compliance.engines.catalog import ScenarioSpec, StepSpec, TrackSpec

go_on = threading.Event()  # lets the one that blocks end with the test
_STEPS = (StepSpec("rule", "A rule holds", "That it holds"),)


class Good:
    version, memory_mb = "1", 0

    def __init__(self):
        self.name = type(self).__name__.lower()

    def health(self):
        return Health(True)

    def suites(self):
        return [self.suite()]

    def suite(self, **changes):
        tracks = (TrackSpec("t", "Track", (ScenarioSpec("a/b/c", "Scenario", _STEPS), ScenarioSpec("d", "D", _STEPS))),)
        return replace(SuiteSpec(self.name, "1", self.name, "", self.name, ("mcp",), tracks), **changes)

    def report(self, target, **changes):
        step = Step("rule", "A rule holds", Verdict.PASSED)
        tracks = (Track("t", "Track", (Scenario("a/b/c", "Scenario", (step,)),)),)
        return replace(Report(self.name, self.version, target.suite, "mcp", "", tracks, 1), **changes)

    async def run(self, target, *, on_step=None):
        return self.report(target)


class BreaksWhenMade(Good):
    def __init__(self):
        raise RuntimeError("no licence")


class ExitsWhenMade(Good):
    def __init__(self):
        raise SystemExit(3)


class Misnamed(Good):
    def __init__(self):
        self.name = "baseline"


class Half:
    name, version, memory_mb = "half", "1", 0


class Sick(Good):
    def health(self):
        raise OSError("no idea")


class Wordless(Good):
    def health(self):
        return True


class Steals(Good):
    def suites(self):
        unwritable = self.suite(slug="unwritable", requires={"tools": {1}})
        taken, foreign = self.suite(slug="baseline", version="9"), self.suite(slug="foreign", engine="baseline")
        return [taken, foreign, unwritable, self.suite(slug="no slug"), "a suite", self.suite()]


class Raises(Good):
    async def run(self, target, *, on_step=None):
        raise LookupError("secret-4711")


class Exits(Good):
    async def run(self, target, *, on_step=None):
        raise SystemExit(0)


class Cancels(Good):
    async def run(self, target, *, on_step=None):
        raise asyncio.CancelledError


class Garbage(Good):
    async def run(self, target, *, on_step=None):
        return {"overall": "passing"}


class Stranger(Good):
    async def run(self, target, *, on_step=None):
        return self.report(target, suite="baseline")


class Huge(Good):
    async def run(self, target, *, on_step=None):
        return self.report(target, observations={"all": "x" * 40_000_000})


class Verbose(Good):
    async def run(self, target, *, on_step=None):
        steps = tuple(Step(str(n), "T", Verdict.FAILED, "\u20ac" * 10_000, "\u20ac" * 10_000) for n in range(5000))
        return self.report(target, tracks=(Track("t", "Track", (Scenario("a/b/c", "Scenario", steps),)),))


class Writhing(Good):
    async def run(self, target, *, on_step=None):
        class Members(dict):
            def items(self):
                raise RuntimeError("secret-4711")

        return self.report(target, observations={"a": Members(a=1)})


class Synchronous(Good):
    def run(self, target, *, on_step=None):
        return self.report(target)


class Babbles(Good):
    async def run(self, target, *, on_step=None):
        if on_step is not None:
            on_step(Progress({1, 2}, 1, 2))
            on_step(None)
        return self.report(target)


class Hangs(Good):
    async def run(self, target, *, on_step=None):
        await asyncio.Event().wait()


class Stubborn(Good):
    async def run(self, target, *, on_step=None):
        while not go_on.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue


class Blocks(Good):
    async def run(self, target, *, on_step=None):
        go_on.wait(60)
