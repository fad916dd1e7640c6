"""`assay-runner check` and `assay-runner engines`: what is there, what is wrong, and how to remedy it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

from compliance.engines import engine_health, engine_names, get_engine
from compliance.runners.program.client import Client, Refused, Unavailable
from compliance.runners.program.jobs import CLOCK_OFF_SECONDS
from compliance.runners.program.problems import Exit, Problem
from compliance.runners.program.state import InUse

log = logging.getLogger(__name__)

OFFICIAL = ("adcp", "mcp-conformance")  # whose runners are npm packages

Say = Callable[[str], None]
_Found = TypeVar("_Found")


def list_engines(say: Say) -> Exit:
    """Every engine with its version, or with what it lacks."""
    available = 0
    for name in engine_names():
        health = engine_health(name)
        if health.available:
            available += 1
            with_what = ", ".join(f"{part} {version}" for part, version in health.runtime.items())
            say(f"ok       {name} {get_engine(name).version}" + (f" ({with_what})" if with_what else ""))
        else:
            say(f"missing  {name}: {health.reason}")
    if not all(engine_health(name).available for name in OFFICIAL):
        say("`assay-runner install-engines` brings the official runners of AdCP and MCP, once Node is installed.")
    return Exit.OK if available else Exit.ENGINES


class Findings:
    """What a check has found so far; its exit code is that of the first thing wrong."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.exit_code = Exit.OK

    def well(self, what: str) -> None:
        self._say(f"ok       {what}")

    def note(self, what: str) -> None:
        self._say(f"note     {what}")

    def wrong(self, problem: Problem) -> None:
        if self.exit_code is Exit.OK:
            self.exit_code = problem.exit_code
        self._say(f"WRONG    {problem.what}\n         {problem.remedy}")

    def holds(self, what: str, attempt: Callable[[], _Found]) -> _Found | None:
        """What an attempt finds, with one line about whether it works out."""
        try:
            found = attempt()
        except InUse as in_use:
            self.note(f"{in_use.what} That is well if it is this machine's own service.")
        except Problem as problem:
            self.wrong(problem)
        else:
            self.well(what)
            return found
        return None


def check_engines(findings: Findings) -> None:
    names = engine_names()
    able = [name for name in names if engine_health(name).available]
    if not able:
        findings.wrong(NO_ENGINES)
        return
    findings.well(f"engines: {', '.join(able)}")
    for name in names:
        if name not in able:
            findings.note(f"engine {name}: {engine_health(name).reason}")


async def check_server(findings: Findings, client: Client) -> None:
    """Whether the server is there and takes the token, without taking any work; and whether the clocks agree."""
    try:
        await client.renew([], seconds=20.0)
    except Unavailable as away:
        findings.wrong(Problem(Exit.SERVER, f"The server: {away}.", "Check --url and the network, then try again."))
        return
    except Refused as refused:
        what = f"{client.url} is an Assay that this program does not understand ({refused.status}: {refused})."
        findings.wrong(Problem(Exit.VERSION, what, "Install the assay-runner of that server's release."))
        return
    except Problem as problem:
        findings.wrong(problem)
        return
    findings.well(f"the server {client.url} takes the token")
    try:
        off = time.time() - parsedate_to_datetime(client.date).timestamp()
    except (TypeError, ValueError):
        findings.note("the server does not say what time it is")
        return
    if abs(off) > CLOCK_OFF_SECONDS:
        findings.note(
            f"this machine's clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the server's;"
            " nothing in the runner depends on it, but certificates may"
        )
    else:
        findings.well("the clock agrees with the server's")


NO_ENGINES = Problem(Exit.ENGINES, "No engine can run here.", "`assay-runner engines` says what each of them lacks.")
