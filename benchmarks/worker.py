"""Heartbeats an hour from one hosted worker machine: the worker as it is deployed, its queue never empty."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import connection

from benchmarks.databases import connect_superuser, make_database, use_database
from benchmarks.heartbeats import AGENT, agent_process, create_heartbeats
from benchmarks.measure import Section, milliseconds
from benchmarks.pages import PROJECT
from benchmarks.waiting import processor_seconds
from compliance.jobs import dispatch
from compliance.models import Agent
from compliance.tenancy.scope import platform_scope
from tests.servers import Services

DATABASE = "worker"
HOURLY = 10_000
MOST_PER_SECOND = 80  # so many are queued for each second that is measured
WARM_UP_RUNS = 100
STARTS_WITHIN_SECONDS = 90


def measure(running: Services, *, seconds: float) -> Section:
    """seconds: how long the worker is watched, once it is warm."""
    section = Section(
        "One hosted worker machine",
        "`celery worker --pool=threads --concurrency=4`, as docs/operations.md starts it, on a durable database and a "
        f"real Redis, with the baseline suite against addresses of the demo's “{AGENT}” server. More heartbeats are "
        f"queued than it can run in the {seconds:g} seconds that it is watched. The agent's process, PostgreSQL and "
        "Redis share the two cores with the worker.",
    )
    make_database(running.postgres, DATABASE)
    use_database(DATABASE)
    with agent_process() as (agents, address), _worker(running) as worker:
        urls = [f"{address}?agent={number}" for number in range(round(seconds * MOST_PER_SECOND) + WARM_UP_RUNS)]
        with platform_scope():
            Agent.objects.bulk_create((Agent(agent_url=url, protocol="mcp") for url in urls), batch_size=1000)
        create_heartbeats(urls)
        connection.close()
        dispatch.send(dispatch.HEARTBEATS)
        assert running.postgres.process is not None
        pids = [worker.pid, running.postgres.process.pid, agents.pid]
        with connect_superuser(running.postgres, DATABASE) as superuser:
            _await_runs(superuser, WARM_UP_RUNS)
            began, before = time.perf_counter(), [_runs(superuser), *map(processor_seconds, pids)]
            time.sleep(seconds)
            after, passed = [_runs(superuser), *map(processor_seconds, pids)], time.perf_counter() - began
            bad = superuser.execute(
                "SELECT count(*) FROM agent_compliance_runs WHERE overall_status <> 'passing'"
            ).fetchone()
            assert bad == (0,), "not every heartbeat passed"
    done, *spent = (b - a for a, b in zip(before, after, strict=True))
    assert after[0] < len(urls), "the queue ran empty: queue more"
    hourly = done / passed * 3600
    section.at_least("heartbeats an hour", round(hourly), HOURLY)
    section.add("to spare", f"{hourly / HOURLY:.1f} times as many as asked for")
    parts = " + ".join(milliseconds(each / done) for each in spent)
    section.add("processor time of each, worker + PostgreSQL + agent", parts)
    of_worker, of_database, _ = (each / done * HOURLY / 3600 for each in spent)
    section.add(f"cores for {HOURLY:,} an hour, worker + PostgreSQL", f"{of_worker:.2f} + {of_database:.2f}")
    return section


@contextmanager
def _worker(running: Services) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "DATABASE_URL": running.postgres.url("assay_app", DATABASE)}
    command = [
        *(sys.executable, "-m", "celery", "-A", "compliance.celery:app", "worker", "--pool=threads"),
        *("--concurrency=4", "--hostname=hosted@bench", "--without-gossip", "--without-mingle", "--loglevel=error"),
    ]
    with subprocess.Popen(command, env=environment, cwd=PROJECT, stderr=subprocess.DEVNULL) as started:
        try:
            yield started
        finally:
            started.kill()  # it would end all that it has in flight


def _runs(superuser: psycopg.Connection[tuple[int]]) -> float:
    row = superuser.execute("SELECT count(*) FROM agent_compliance_runs").fetchone()
    assert row is not None
    return float(row[0])


def _await_runs(superuser: psycopg.Connection[tuple[int]], wanted: int) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while _runs(superuser) < wanted:
        assert time.monotonic() < deadline, "the worker does not run what is queued"
        time.sleep(0.2)
