"""The engine of the official MCP conformance scenarios: opens, chooses, starts the runner, writes the report."""

from __future__ import annotations

import platform
import ssl
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import httpx2

from compliance.engines.catalog import SuiteSpec
from compliance.engines.contract import BEGIN_AT, NOT_REACHED, Health, OnStep, Progress, Target
from compliance.engines.execution.session import run_session
from compliance.engines.http.client import HttpClient
from compliance.engines.http.egress import Guard, Resolve, system_resolve
from compliance.engines.process.node_runtime import RuntimeMissing, node_version, package
from compliance.engines.reports.builder import ReportBuilder, Unable
from compliance.engines.reports.model import Report, Scenario, Track, Verdict
from compliance.engines.suites.mcp_conformance.discover import Found, discover
from compliance.engines.suites.mcp_conformance.runner import DRIVER, MEMORY_MB, PACKAGE, RunnerOutput, run_scenarios
from compliance.engines.suites.mcp_conformance.scenarios import (
    BY_SUITE,
    OPENING,
    SPEC_VERSION,
    SUITES,
    Official,
    begun_at,
)
from compliance.engines.suites.mcp_conformance.verdicts import ScenarioWriter

_ADAPTER = "1.0"
_LOCAL = ("localhost", "127.0.0.1", "::1", "[::1]")  # the names that the official scenario takes for this machine


class ConformanceEngine:
    name = "mcp-conformance"

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        resolve: Resolve = system_resolve,
        memory_mb: int = MEMORY_MB,
        driver: Path = DRIVER,
    ) -> None:
        self.memory_mb = memory_mb
        self._ssl_context = ssl_context
        self._resolve = resolve
        self._driver = driver

    @property
    def version(self) -> str:
        try:
            return f"{_ADAPTER}+{package(PACKAGE).version}"
        except RuntimeMissing:
            return _ADAPTER

    def suites(self) -> tuple[SuiteSpec, ...]:
        return SUITES if self.health().available else ()

    def health(self) -> Health:
        try:
            runtime = {"node": node_version(), PACKAGE: package(PACKAGE).version}
        except RuntimeMissing as missing:
            return Health(False, str(missing))
        return Health(True, runtime={"python": platform.python_version(), "mcp": version("mcp"), **runtime})

    async def run(self, target: Target, *, on_step: OnStep | None = None) -> Report:
        health, started = self.health(), time.perf_counter()
        suite = next((suite for suite in SUITES if suite.slug == target.suite), None)
        work = _Work(target, on_step, self.memory_mb, self._driver)
        if not health.available:
            work.harness_error = health.reason
        elif suite is None:
            work.harness_error = f"This engine has no suite called {target.suite!r}"
        else:
            guard = Guard(target.allow, self._resolve)
            async with HttpClient.for_target(target, guard, self._ssl_context) as http:
                await work.hold(http, guard, suite)
        report = work.report()
        return replace(
            report,
            engine=self.name,
            engine_version=self.version,
            duration_ms=int((time.perf_counter() - started) * 1000),
            spec_version=SPEC_VERSION,
            runtime=dict(health.runtime),
        )


class _Work:
    """One run, from the first request to the report."""

    def __init__(self, target: Target, on_step: OnStep | None, memory_mb: int, driver: Path) -> None:
        self.target = target
        self.memory_mb = memory_mb
        self.driver = driver
        self.on_step = on_step
        self.suite: SuiteSpec | None = None
        self.scenarios: list[Official] = []
        self.filtered = False
        self.opening: ReportBuilder | None = None
        self.found = Found()
        self.output = RunnerOutput()
        self.harness_error = ""

    async def hold(self, http: HttpClient, guard: Guard, suite: SuiteSpec) -> None:
        self.suite = suite
        asked = {str(key) for key in self.target.options.get("scenarios") or ()}
        self.scenarios = [s for s in BY_SUITE[suite.slug] if not asked or s.key in asked]
        self.filtered = len(self.scenarios) < len(BY_SUITE[suite.slug])
        run = self.opening = ReportBuilder(replace(self.target, options={}), http, "mcp", None, suite=OPENING)
        await run_session(run, self._converse(run, guard), "conformance")

    async def _converse(self, run: ReportBuilder, guard: Guard) -> None:
        self.found = await discover(run)
        chosen = begun_at(
            str(self.target.options.get(BEGIN_AT, "")), [s.key for s in self.scenarios if not self._left_out(s)[1]]
        )
        if not self.found.ready or not chosen:
            return
        titles = {s.key: s.title for s in self.scenarios}

        def on_start(scenario: str, done: int) -> None:
            if self.on_step is not None:
                self.on_step(Progress(titles.get(scenario, scenario), done, len(chosen)))

        try:
            self.output = await run_scenarios(
                self.target,
                chosen,
                guard=guard,
                seconds=run.http.remaining,
                on_start=on_start,
                memory_mb=self.memory_mb,
                driver=self.driver,
            )
        except RuntimeMissing as missing:
            raise Unable(str(missing)) from None

    def _left_out(self, official: Official) -> tuple[Verdict, str]:
        """Why a scenario is not run against this agent, and the verdict that this is; with "" it is run."""
        if self.found.unsupported:
            return Verdict.NOT_APPLICABLE, self.found.unsupported
        host = httpx2.URL(self.target.url).host
        if official.local_only and host not in _LOCAL:
            reason = "DNS rebinding is a danger to servers on a user's own machine, and this one is elsewhere"
            return Verdict.NOT_APPLICABLE, reason
        # Of a server with the fixtures everything is asked, as the official runner does.
        if self.suite is None or not self.suite.full or self.found.declares(official.capability):
            return Verdict.NOT_APPLICABLE, ""
        if not self.found.opened:
            return Verdict.SKIPPED, "Left out: no session was opened, so what the server declares is not known"
        return Verdict.NOT_APPLICABLE, f"The server does not declare {official.capability}"

    def report(self) -> Report:
        run = self.opening
        if run is None or self.suite is None:
            return Report("", "", self.target.suite, "mcp", "", (), 0, harness_error=self.harness_error)
        self.output.note_on(run)
        opening = run.report("", "", full=self.suite.full and not self.filtered)
        everything = self.target.all_evidence or self.target.options.get("evidence") == "all"
        writer = ScenarioWriter(self.found, run.redactor, all_evidence=everything)
        written = {official.key: self._scenario(official, writer) for official in self.scenarios}
        tracks = [
            Track(track.key, track.title, tuple(written[s.key] for s in track.scenarios if s.key in written))
            for track in self.suite.tracks
            if any(s.key in written for s in track.scenarios)
        ]
        # The runner counts no opening of ours: it is shown where it is what there is to say.
        if not self.found.ready:
            tracks = [*opening.tracks, *tracks]
        withdrawn = {"withdrawn_passes": writer.withdrawn} if writer.withdrawn else {}
        return replace(
            opening,
            suite=self.suite.slug,
            tracks=tuple(tracks),
            notices=(*opening.notices, *writer.notices),
            observations=opening.observations | withdrawn,
        )

    def _scenario(self, official: Official, writer: ScenarioWriter) -> Scenario:
        if (outcome := self.output.outcomes.get(official.key)) is not None:
            return writer.scenario(official, outcome)
        assert self.opening is not None
        if self.opening.harness_error:
            return writer.unrun(official, Verdict.NOT_TESTED, "Not reached: the test itself stopped")
        if self.opening.truncated:
            return writer.unrun(official, Verdict.NOT_TESTED, NOT_REACHED)
        if not self.found.ready:
            reason = self.opening.stop_reason or "Left out: something earlier has to work first"
            return writer.unrun(official, Verdict.SKIPPED, reason)
        return writer.unrun(official, *self._left_out(official))
