"""Heartbeats of local MCP agents from one worker process, against a bare loop over the same SDK calls."""

from __future__ import annotations

import asyncio
import json
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2
import mcp_types as types
import psutil  # type: ignore[import-untyped]
from django.conf import settings
from django.db import connection
from mcp import ClientSession, MCPError
from mcp.client.streamable_http import streamable_http_client
from pydantic import TypeAdapter

from benchmarks.databases import connect_superuser, make_database, use_database
from benchmarks.measure import Section
from compliance.embedded.postgres import Postgres
from compliance.jobs.queue import insert_jobs, lease_heartbeats
from compliance.jobs.worker import run_leases
from compliance.models import Agent, Job, SuiteVersion, TriggeredBy
from compliance.monitors.heartbeats import ACTOR
from compliance.tenancy.scope import platform_scope

GOAL = 0.6
DATABASE = "heartbeats"
AGENT = "library"
_RAW: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


@dataclass
class _Rounds:
    """One side's rounds: wall clock, this process's processor time and the agents'."""

    wall: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)


def measure(postgres: Postgres, *, rounds: int, agents: int) -> Section:
    concurrency = settings.HEARTBEAT_CONCURRENCY
    section = Section(
        f"Heartbeats from one worker process, {concurrency} in flight",
        f"{agents} addresses of the demo's “{AGENT}” server, which runs in one process of its own. Assay: the requests "
        "are rows; leased, run by the baseline engine, recorded, finished, the schedule moved on; "
        f"on a durable database. Bare: the same exchanges of the protocol through the SDK, {concurrency} at a time, "
        "without checks or records; it leaves out the stream for what a server says unasked, as the engine does. "
        f"{rounds} rounds, each one after the other; the ratio is the median of the rounds' ratios.",
    )
    make_database(postgres, DATABASE)
    use_database(DATABASE)
    with agent_process() as (process, address):
        urls = [f"{address}?agent={number}" for number in range(agents)]
        with platform_scope():
            Agent.objects.bulk_create(Agent(agent_url=url, protocol="mcp") for url in urls)
        sides: dict[str, Callable[[], object]] = {
            "assay": lambda: _heartbeats(agents),
            "bare": lambda: asyncio.run(_bare_loop(urls, concurrency)),
        }
        measured = {name: _Rounds() for name in sides}
        for number in range(rounds + 1):
            for name in sides if number % 2 else reversed(sides):
                if name == "assay":
                    create_heartbeats(urls)
                before = (time.process_time(), _processor_time(process), time.perf_counter())
                sides[name]()
                if number:  # the first round warms up
                    measured[name].wall.append(time.perf_counter() - before[2])
                    measured[name].theirs.append(_processor_time(process) - before[1])
                    measured[name].own.append(time.process_time() - before[0])
        _check(postgres, agents, rounds + 1)
    ours, bare = measured["assay"], measured["bare"]
    for words, side in (("heartbeats", ours), ("bare loop", bare)):
        own, theirs = (statistics.median(times) / agents * 1000 for times in (side.own, side.theirs))
        section.add(words, f"{agents / statistics.median(side.wall):.1f}/s")
        section.add(f"{words}, processor time of each, ours and the agent's", f"{own:.1f} + {theirs:.1f} ms")
    section.at_least("heartbeats over bare loop", _ratio(bare.wall, ours.wall), GOAL)
    section.add("the same by processor time of this process alone", f"{_ratio(bare.own, ours.own):.2f}")
    connection.close()
    return section


def _ratio(over: list[float], under: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


@contextmanager
def agent_process() -> Iterator[tuple[psutil.Process, str]]:
    """The demo's agent in a process of its own, and its address."""
    command = [sys.executable, "-m", "compliance.demo_agents", "--only", AGENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as started:
        try:
            assert started.stdout is not None
            yield psutil.Process(started.pid), json.loads(started.stdout.readline())[AGENT]
        finally:
            started.terminate()


def _processor_time(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


# Our side


def create_heartbeats(urls: list[str]) -> None:
    """Requests for heartbeats of these addresses."""
    # What the tick does in another process, so it is not measured.
    version = SuiteVersion.objects.get(suite__slug="baseline")
    with platform_scope():
        created = insert_jobs(
            Job(
                agent_id=url,
                triggered_by=TriggeredBy.HEARTBEAT,
                actor_kind=ACTOR.kind,
                actor_id=ACTOR.id,
                actor_name=ACTOR.name,
                suite_version=version,
            )
            for url in urls
        )
    assert len(created) == len(urls)


def _heartbeats(expected: int) -> None:
    recorded = run_leases(lease_heartbeats, concurrency=settings.HEARTBEAT_CONCURRENCY)
    assert len(recorded) == expected, f"{len(recorded)} of {expected} heartbeats were recorded"


def _check(postgres: Postgres, agents: int, rounds: int) -> None:
    with connect_superuser(postgres, DATABASE) as superuser:
        found = superuser.execute(
            "SELECT count(*), count(*) FILTER (WHERE overall_status = 'passing'), min(headline)"
            " FROM agent_compliance_runs"
        ).fetchone()
    assert found is not None
    assert found[:2] == (agents * rounds, agents * rounds), f"not every heartbeat passed: {found}"


# The bare side


class _NoUnaskedStream(httpx2.AsyncHTTPTransport):
    """Declines the SDK's optional stream without asking the server, as the engine's wire does."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return httpx2.Response(405)
        return await super().handle_async_request(request)


async def _bare_loop(urls: list[str], concurrency: int) -> None:
    context = ssl.create_default_context()  # once for all: making it costs more than a conversation
    places = asyncio.Semaphore(concurrency)

    async def one(url: str) -> None:
        async with places:
            await _converse(url, context)

    await asyncio.gather(*(one(url) for url in urls))


async def _converse(url: str, context: ssl.SSLContext) -> None:
    async with (
        httpx2.AsyncClient(transport=_NoUnaskedStream(verify=context), trust_env=False, timeout=30) as client,
        streamable_http_client(url, http_client=client) as (read, write),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        for request in (
            types.PingRequest(),
            types.ListToolsRequest(params=None),
            types.ListResourcesRequest(params=None),
            types.ListPromptsRequest(params=None),
            _call("opening_hours"),
            _call("new_arrivals"),
        ):
            await session.send_request(request, _RAW)
        for request in (types.Request[Any, Any](method="bench/no-such-method", params=None), _call("no-such-tool")):
            with suppress(MCPError):  # provoked
                await session.send_request(request, _RAW)


def _call(name: str) -> types.CallToolRequest:
    return types.CallToolRequest(params=types.CallToolRequestParams(name=name, arguments={}))
