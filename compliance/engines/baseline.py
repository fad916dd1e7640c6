"""The baseline engine: the checks that hold for every agent, by asking the agent.

This module drives a run and answers for how it ends; what is asked is in baseline_mcp and baseline_a2a.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import ssl
import traceback
from importlib.metadata import version

from . import baseline_a2a, baseline_mcp
from .contract import Detection, Health, OnStep, Target
from .detect import detect_on
from .egress import Guard, Resolve, system_resolve
from .judge import judge_connection
from .report import Report
from .run import OutOfTime, PolicyRefused, Run, Unable
from .suites import SUITES, SuiteSpec
from .wire import Wire

log = logging.getLogger(__name__)

# The SDKs log what an agent sent, which may echo a credential (V1).
for _name in ("mcp", "client", "a2a", "httpx", "httpx2", "httpcore", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

_GRACE = 5.0  # for closing a session; every exchange ends by the deadline on its own
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

    def _wire(self, target: Target) -> Wire:
        return Wire(
            guard=Guard(target.allow, self._resolve, run_key=target.run_key),
            limits=target.limits,
            deadline=target.deadline,
            credential=target.credential,
            credential_url=target.url,
            ssl_context=self._ssl_context,
        )

    async def detect(self, target: Target) -> Detection:
        async with self._wire(target) as wire:
            return await detect_on(wire, target)

    async def run(self, target: Target, *, on_step: OnStep | None = None) -> Report:
        async with self._wire(target) as wire:
            protocol, reason = target.protocol, ""
            if protocol not in _CONVERSATIONS:
                found = await detect_on(wire, target)
                protocol, reason = found.protocol, found.reason
            run = Run(target, wire, protocol, on_step)
            try:
                async with asyncio.timeout(max(wire.remaining, 0) + _GRACE):
                    if protocol:
                        await _CONVERSATIONS[protocol](run)
                    else:
                        judge_unknown(run, reason)
            except (OutOfTime, TimeoutError):
                run.truncated = True
            except PolicyRefused as refused:
                run.refused = True
                run.harness_error = f"Assay does not test this address ({refused})"
                run.notice(
                    "refused", "Private and reserved addresses are not tested unless Assay's operator allows them"
                )
            except Unable as unable:
                run.harness_error = str(unable)
            except Exception as error:  # noqa: BLE001
                # Whatever it is, it is ours: the report says so, and never that the agent failed (R7).
                # The innermost place, and not the message, which may quote the agent.
                frame = traceback.extract_tb(error.__traceback__)[-1]
                log.error("The baseline engine broke: %s at %s:%s", type(error).__name__, frame.filename, frame.lineno)
                run.harness_error = f"{type(error).__name__} in the baseline engine"
            return run.report(self.name, self.version)


def judge_unknown(run: Run, reason: str) -> None:
    """The report about an address at which no known protocol answers."""
    first = run.wire.exchanges[0]
    with run.step("connectivity/reach", "reachable") as step:
        step.exchange = first
        reached = judge_connection(run, first, step)
    if reached:
        with run.step("connectivity/reach", "speaks") as step:
            step.exchange = first
            step.failed(reason)
