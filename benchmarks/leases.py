"""Private runners at work: leases and completions a second through the real web server, by eight that poll."""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from benchmarks.databases import connect_superuser, make_database, use_database
from benchmarks.measure import Section, milliseconds
from benchmarks.pages import WORKERS, web_server
from benchmarks.waiting import processor_seconds
from compliance.embedded.servers import LOOPBACK
from compliance.engines.reports.model import Report, Scenario, Step, Track, Verdict
from compliance.jobs.queue import insert_jobs
from compliance.models import Agent, AgentContext, Job, Organization, SuiteVersion, TriggeredBy, User
from compliance.registry.models import Placement
from compliance.runners.actions import create_runner
from compliance.tenancy.actions import create_organization
from compliance.tenancy.scope import organization_scope, platform_scope
from tests.servers import Services

DATABASE = "leases"
POLLERS, ORGANIZATIONS = 8, 4
PER_SECOND = 300.0
WARM_UP_SECONDS = 3.0


@dataclass
class _Client:
    """A runner that takes what it is given and says at once that it passed. It costs as little as can be."""

    organization: Organization
    placement: Placement
    token: str
    done: int = 0
    failure: Exception | None = None
    _stream: socket.socket = field(init=False)
    _rest: bytes = b""

    def work(self, port: int, at_most: int, report: bytes, stopped: threading.Event) -> None:
        try:
            self._stream = socket.create_connection((LOOPBACK, port))
            self._stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poll = self._message("poll", b'{"at_most":%d,"engines":{"baseline":"1.0"},"version":"1.0.0"}' % at_most)
            while not stopped.is_set():
                leases = json.loads(self._ask(poll))["leases"]
                assert leases, "no work is left: load more"
                for lease in leases:
                    body = b'{"token":"%s","age_ms":5,"report":%s}' % (lease["token"].encode(), report)
                    self._ask(self._message(f"jobs/{lease['job_id']}/complete", body))
                    self.done += 1
        except (OSError, ValueError, AssertionError) as failure:
            self.failure = failure

    def _message(self, path: str, body: bytes) -> bytes:
        head = (
            f"POST /api/v1/runner/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _ask(self, message: bytes) -> bytes:
        self._stream.sendall(message)
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head = data[:end].lower()
        assert head.startswith(b"http/1.1 200 "), data
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(data) < end + 4 + length:
            data += self._more()
        self._rest = data[end + 4 + length :]
        return data[end + 4 : end + 4 + length]

    def _more(self) -> bytes:
        found = self._stream.recv(262_144)
        assert found, "the web server hung up"
        return found


def measure(running: Services, *, seconds: float) -> Section:
    """seconds: how long each case goes on after its warm-up."""
    cases = (
        ("30 steps, 16 leases a poll", 30, 16),
        ("30 steps, 1 lease a poll", 30, 1),
        ("3 steps, 16 leases a poll", 3, 16),
    )
    section = Section(
        f"{POLLERS} private runners that lease and complete",
        f"The web server as it is run, {WORKERS} processes, durable database. {POLLERS} runners "
        f"of {ORGANIZATIONS} organizations, each with its own token and one kept connection, ask for work, hand in a "
        "report of the baseline's size for each lease, without evidence, and ask again. Each lease and each report is "
        "a transaction that is recorded like any other: run, totals, the end of the job. The clients share the "
        f"machine. Every case goes on for {seconds:g} seconds after {WARM_UP_SECONDS:g} to warm up.",
    )
    for words, steps, at_most in cases:
        make_database(running.postgres, DATABASE)
        use_database(DATABASE)
        clients = _arrange(round((seconds + WARM_UP_SECONDS) * 3 * PER_SECOND))
        connection.close()
        report = json.dumps(make_report(steps).to_json(), separators=(",", ":")).encode()
        assert running.postgres.process is not None
        with web_server(running, DATABASE, ASSAY_RUNNER_RATE_PER_MINUTE="1000000") as (port, web):
            per_second, spent = _run(clients, port, at_most, report, seconds, web.pid, running.postgres.process.pid)
        with connect_superuser(running.postgres, DATABASE) as superuser:
            row = superuser.execute("SELECT count(*) FROM agent_compliance_runs").fetchone()
            assert row == (sum(client.done for client in clients),), "not every completion is a run"
        if steps == 30 and at_most > 1:
            section.at_least(f"{words}: leases and completions", per_second, PER_SECOND, "/s")
        else:
            section.add(f"{words}: leases and completions", f"{per_second:.0f}/s")
        parts = " + ".join(milliseconds(each / per_second) for each in spent)
        section.add(f"{words}: processor time of each, web + PostgreSQL + clients", parts)
    return section


def _run(
    clients: list[_Client], port: int, at_most: int, report: bytes, seconds: float, web: int, postgres: int
) -> tuple[float, list[float]]:
    """Leases and completions a second, and the processor seconds a second of web, PostgreSQL and clients."""
    stopped = threading.Event()
    threads = [threading.Thread(target=client.work, args=(port, at_most, report, stopped)) for client in clients]
    for thread in threads:
        thread.start()
    time.sleep(WARM_UP_SECONDS)

    def now() -> list[float]:
        done = float(sum(client.done for client in clients))
        return [done, processor_seconds(web), processor_seconds(postgres), time.process_time(), time.perf_counter()]

    before = now()
    time.sleep(seconds)
    after = now()
    stopped.set()
    for thread in threads:
        thread.join()
    for client in clients:
        if client.failure is not None:
            raise client.failure
    done, *spent, passed = (b - a for a, b in zip(before, after, strict=True))
    return done / passed, [each / passed for each in spent]


def _arrange(work: int) -> list[_Client]:
    """The clients, and `work` jobs, each of an agent of its own, spread over the clients."""
    user = User.objects.create_user(email="owner@bench.example", password=None, name="Olga Owner")
    version = SuiteVersion.objects.get(suite__slug="baseline")
    clients = []
    organizations = [create_organization(name=f"Organization {number}", by=user) for number in range(ORGANIZATIONS)]
    for number in range(POLLERS):
        organization = organizations[number % ORGANIZATIONS]
        runner, token = create_runner(organization=organization, name=f"Runner {number}", by=user)
        clients.append(_Client(organization, Placement(runner_id=runner.pk), token))
    for number, client in enumerate(clients):
        urls = [f"https://agent-{number}-{of}.example/mcp" for of in range(work // POLLERS)]
        with platform_scope():
            Agent.objects.bulk_create((Agent(agent_url=url, protocol="mcp") for url in urls), batch_size=1000)
        with organization_scope(client.organization.id):
            AgentContext.objects.bulk_create(
                (AgentContext(organization=client.organization, agent_id=url, name="Agent") for url in urls),
                batch_size=1000,
            )
            insert_jobs(_request(client, url, user, version) for url in urls)
    return clients


def _request(client: _Client, url: str, user: User, version: SuiteVersion) -> Job:
    by: Any = user.as_actor()
    return Job(
        organization=client.organization,
        agent_id=url,
        triggered_by=TriggeredBy.OBSERVER_TEST,
        actor_kind=by.kind,
        actor_id=by.id,
        actor_name=by.name,
        suite_version=version,
        executor_kind=client.placement.kind,
        runner_id=client.placement.runner_id,
    )


def make_report(steps: int) -> Report:
    """What the baseline engine says of an agent that passes, in size."""
    made = tuple(
        Step(
            key=f"step-{number}",
            title=f"The agent does what it says in check {number}",
            verdict=Verdict.PASSED,
            expected="an answer as the specification has it",
            actual="an answer as the specification has it, after 12 ms",
        )
        for number in range(steps)
    )
    scenarios = tuple(
        Scenario(f"protocol/group-{start}", f"Group {start}", made[start : start + 6]) for start in range(0, steps, 6)
    )
    return Report(
        engine="baseline",
        engine_version="1.0",
        suite="baseline",
        protocol="mcp",
        protocol_version="2025-06-18",
        tracks=(Track("protocol", "Protocol", scenarios),),
        duration_ms=420,
    )
