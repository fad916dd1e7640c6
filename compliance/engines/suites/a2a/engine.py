"""The engine of the suite a2a-must: our own checks, asked through the guard, in this process."""

from __future__ import annotations

import logging
import platform
import ssl
from dataclasses import replace
from importlib.metadata import version

from compliance.engines.catalog import SuiteSpec
from compliance.engines.contract import Health, OnStep, Target
from compliance.engines.execution.session import run_session
from compliance.engines.http.client import HttpClient
from compliance.engines.http.egress import Guard, Resolve, system_resolve
from compliance.engines.reports.builder import ReportBuilder
from compliance.engines.reports.model import Report
from compliance.engines.suites.a2a.catalog import MUST, SPEC_VERSION
from compliance.engines.suites.a2a.plan import converse

# The SDK logs what an agent sent, which may echo a credential (V1).
logging.getLogger("a2a").setLevel(logging.CRITICAL)


class A2AEngine:
    name = "a2a"
    memory_mb = 0

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None, resolve: Resolve = system_resolve) -> None:
        self._ssl_context = ssl_context
        self._resolve = resolve
        self._runtime = {"python": platform.python_version(), "a2a-sdk": version("a2a-sdk")}
        self.version = f"1.0+{self._runtime['a2a-sdk']}"

    def suites(self) -> tuple[SuiteSpec, ...]:
        return (MUST,)

    def health(self) -> Health:
        return Health(True, runtime=self._runtime)

    def _http(self, target: Target) -> HttpClient:
        guard = Guard(target.allow, self._resolve, run_key=target.run_key)
        return HttpClient.for_target(target, guard, self._ssl_context)

    async def run(self, target: Target, *, on_step: OnStep | None = None) -> Report:
        async with self._http(target) as http:
            run = ReportBuilder(target, http, "a2a", on_step, suite=MUST)

            def make_client(other: Target) -> HttpClient:
                return self._http(replace(other, deadline=max(http.remaining, 0.0)))

            await run_session(run, converse(run, make_client), self.name)
            return run.report(self.name, self.version, spec_version=SPEC_VERSION, runtime=self._runtime, full=MUST.full)
