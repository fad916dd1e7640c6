"""The baseline engine: the checks that hold for every agent, by asking the agent.

What is asked of MCP servers and A2A agents is in the modules mcp and a2a.
"""

from __future__ import annotations

import logging
import platform
import ssl
from importlib.metadata import version

from compliance.engines.catalog import SUITES, SuiteSpec
from compliance.engines.contract import Health, OnStep, Target
from compliance.engines.detection import detect_on
from compliance.engines.execution.session import run_session
from compliance.engines.http.client import HttpClient
from compliance.engines.http.egress import Guard, Resolve, system_resolve
from compliance.engines.http.jsonrpc import method_of
from compliance.engines.reports.builder import ReportBuilder
from compliance.engines.reports.model import Report
from compliance.engines.suites.assertions import check_connection, locked_out
from compliance.engines.suites.baseline import a2a as baseline_a2a
from compliance.engines.suites.baseline import mcp as baseline_mcp

# The SDKs log what an agent sent, which may echo a credential (V1).
for _name in ("mcp", "client", "a2a", "httpx", "httpx2", "httpcore", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

_SPECIFICATIONS = {"mcp": "MCP 2025-11-25", "a2a": "A2A 1.0"}  # that the checks were written against
_CONVERSATIONS = {"mcp": baseline_mcp.converse, "a2a": baseline_a2a.converse}


class BaselineEngine:
    name = "baseline"
    version = "1.0"
    memory_mb = 0

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None, resolve: Resolve = system_resolve) -> None:
        self._ssl_context = ssl_context
        self._resolve = resolve
        self._runtime = {"python": platform.python_version(), "mcp": version("mcp"), "a2a-sdk": version("a2a-sdk")}

    def suites(self) -> tuple[SuiteSpec, ...]:
        return SUITES

    def health(self) -> Health:
        return Health(True, runtime=self._runtime)

    def _http(self, target: Target) -> HttpClient:
        guard = Guard(target.allow, self._resolve, run_key=target.run_key)
        return HttpClient.for_target(target, guard, self._ssl_context)

    async def run(self, target: Target, *, on_step: OnStep | None = None) -> Report:
        async with self._http(target) as http:
            protocol, reason = target.protocol, ""
            if protocol not in _CONVERSATIONS:
                found = await detect_on(http, target)
                protocol, reason = found.protocol or found.likely, found.reason
            run = await self._converse(ReportBuilder(target, http, protocol, on_step), reason)
            if protocol == target.protocol and run.may_be_another:
                # What was known of the agent does not hold, or never did: it is asked again (E5).
                found = await detect_on(http, target)
                if found.protocol not in ("", protocol):
                    run = await self._converse(ReportBuilder(target, http, found.protocol, on_step), found.reason)
            written_for = _SPECIFICATIONS.get(run.protocol, "")
            return run.report(self.name, self.version, spec_version=written_for, runtime=self._runtime)

    async def _converse(self, run: ReportBuilder, reason: str) -> ReportBuilder:
        await run_session(run, _converse(run, reason), self.name)
        return run


async def _converse(run: ReportBuilder, reason: str) -> None:
    if run.protocol:
        await _CONVERSATIONS[run.protocol](run)
    else:
        check_unknown(run, reason)


def check_unknown(run: ReportBuilder, reason: str) -> None:
    """The report about an address at which no known protocol answers."""
    asked = [exchange for exchange in run.http.exchanges if method_of(exchange) == "initialize"]
    first = asked[-1]  # before it are those that the agent put off
    locked = next((exchange for exchange in run.http.exchanges if exchange.is_locked), None)
    with run.step("connectivity/reach", "reachable") as step:
        step.exchange = first
        reached = check_connection(run, first, step)
    if reached:
        with run.step("connectivity/reach", "speaks") as step:
            step.exchange = first
            if not locked_out(run, step, locked or first):
                step.failed(reason)
