"""A thousand idle private runners that wait for work at one web machine, and how soon a hundred of them get some."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psutil  # type: ignore[import-untyped]
from asgiref.sync import sync_to_async
from django.db import connection

from benchmarks.databases import make_database, use_database
from benchmarks.measure import Sample, Section, milliseconds
from benchmarks.pages import WORKERS, web_server
from compliance.embedded.servers import LOOPBACK
from compliance.jobs.actions import request_owner_test
from compliance.models import Agent, AgentContext, Organization, User
from compliance.registry.models import Placement
from compliance.runners.actions import create_runner
from compliance.tenancy.actions import create_organization
from compliance.tenancy.scope import organization_scope
from tests.servers import Services

DATABASE = "waiting"
CORES, SECONDS = 0.15, 2.0
ORGANIZATIONS = 10
WAIT_SECONDS = 50  # what the runner program asks for


@dataclass
class _Runner:
    """A runner as its web server sees it: one connection, and a poll that follows the other."""

    organization: Organization
    id: UUID
    token: str
    answers: int = 0
    leased: asyncio.Event = field(default_factory=asyncio.Event)
    leased_at: float = 0.0

    async def wait_for_work(self, port: int) -> None:
        body = json.dumps({"at_most": 1, "version": "1.0.0", "engines": {"baseline": "1.0"}, "host": "bench"}).encode()
        head = (
            f"POST /api/v1/runner/poll HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.token}\r\n"
            f"Prefer: wait={WAIT_SECONDS}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            while True:
                writer.write(head.encode() + body)
                answer = await _read(reader)
                self.answers += 1
                if answer["leases"]:
                    self.leased_at = time.perf_counter()
                    self.leased.set()
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> dict[str, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert head.startswith("http/1.1 200 "), head
    length = next(line for line in head.splitlines() if line.startswith("content-length:"))
    answer: dict[str, Any] = json.loads(await reader.readexactly(int(length.partition(":")[2])))
    return answer


def measure(running: Services, *, runners: int, woken: int) -> Section:
    """runners: how many wait; woken: how many of them get work while the others go on waiting."""
    section = Section(
        f"{runners:,} idle private runners at one web machine",
        f"The web server as it is run, {WORKERS} processes. {runners:,} runners of {ORGANIZATIONS} "
        f"organizations, each with its own token and one connection, poll with `Prefer: wait={WAIT_SECONDS}` and again "
        f"as soon as they are answered; they began over {WAIT_SECONDS} seconds. Processor time is that of all web and "
        f"PostgreSQL processes over {WAIT_SECONDS} seconds, in which every runner polls once. Then owner tests are "
        f"asked for, each pinned to another of {woken} runners, one after the other while the rest waits; the time is "
        "from the call of the action to the lease at the runner.",
    )
    make_database(running.postgres, DATABASE)
    use_database(DATABASE)
    user = User.objects.create_user(email="owner@bench.example", password=None, name="Olga Owner")
    people = _runners(user, runners)
    agents = _agents([people[number].organization for number in range(woken)])
    connection.close()
    assert running.postgres.process is not None
    with web_server(running, DATABASE) as (port, web):
        asyncio.run(_measure(section, people, agents, user, port, web.pid, running.postgres.process.pid))
    return section


async def _measure(
    section: Section, people: list[_Runner], agents: list[UUID], user: User, port: int, web: int, postgres: int
) -> None:
    waiting = []
    empty = _memory(web)
    for runner in people:
        waiting.append(asyncio.create_task(runner.wait_for_work(port)))
        await asyncio.sleep(WAIT_SECONDS / len(people))
    polls, began, before = _answers(people), time.perf_counter(), (processor_seconds(web), processor_seconds(postgres))
    await asyncio.sleep(WAIT_SECONDS)
    passed, polls = time.perf_counter() - began, _answers(people) - polls
    web_time, database_time = processor_seconds(web) - before[0], processor_seconds(postgres) - before[1]
    held = _memory(web) - empty
    sample = Sample()
    for runner, agent in zip(people, agents, strict=False):
        asked = time.perf_counter()
        await sync_to_async(_ask)(runner, agent, user)
        await asyncio.wait_for(runner.leased.wait(), 60)
        sample.seconds.append(runner.leased_at - asked)
    for task in waiting:
        assert not task.done(), task.exception()
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    section.at_most("processor time, web and database", (web_time + database_time) / passed, CORES, " cores")
    section.at_most("work asked for to lease at the runner: longest", max(sample.seconds), SECONDS, " s")
    section.add("work asked for to lease at the runner", str(sample))
    section.add("processor time of the web processes", f"{web_time / passed:.3f} cores")
    section.add("processor time of PostgreSQL", f"{database_time / passed:.3f} cores")
    section.add("polls answered meanwhile", f"{polls:,}")
    section.add("processor time of a poll", milliseconds((web_time + database_time) / max(1, polls)))
    section.add("memory of the web processes for each waiting runner", f"{held / len(people) / 1024:.0f} KB")


def _runners(user: User, count: int) -> list[_Runner]:
    people = []
    organizations = [create_organization(name=f"Organization {number}", by=user) for number in range(ORGANIZATIONS)]
    for number in range(count):
        organization = organizations[number % ORGANIZATIONS]
        runner, token = create_runner(organization=organization, name=f"Runner {number}", by=user)
        people.append(_Runner(organization, runner.pk, token))
    return people


def _agents(organizations: list[Organization]) -> list[UUID]:
    """An agent for each: two tests of one agent would be one."""
    contexts = []
    for number, organization in enumerate(organizations):
        with organization_scope(organization.id):
            agent = Agent.objects.create(agent_url=f"https://agent-{number}.example/mcp")
            contexts.append(
                AgentContext.objects.create(organization=organization, agent=agent, name=f"Agent {number}").pk
            )
    return contexts


def _ask(runner: _Runner, agent: UUID, user: User) -> None:
    _, new = request_owner_test(
        organization=runner.organization, context_id=agent, by=user, placement=Placement(runner_id=runner.id)
    )
    assert new


def _answers(people: list[_Runner]) -> int:
    return sum(runner.answers for runner in people)


def processor_seconds(pid: int) -> float:
    """Seconds of a process and its children, those that have ended as well."""
    main = psutil.Process(pid)
    own = main.cpu_times()
    alive = sum(sum(child.cpu_times()[:2]) for child in main.children(recursive=True))
    return float(sum(own[:4]) + alive)


def _memory(pid: int) -> int:
    return sum(child.memory_info().rss for child in psutil.Process(pid).children())
