"""Runs whose engines need memory wait for capacity, with their leases alive and their clocks not started."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from compliance.engines import Progress, Report, Target
from compliance.engines.process.capacity import Capacity
from compliance.engines.process.runner import ProcessLimits, run_process, scratch_folder
from compliance.jobs import worker as execution
from compliance.jobs.actions import request_owner_test
from compliance.jobs.leases import Lease
from compliance.jobs.queue import lease_job
from compliance.models import Job, Organization, User
from compliance.tenancy.actions import create_organization
from compliance.tenancy.scope import Actor, system_scope
from tests.conftest import make_context, make_report, make_user
from tests.processes import wait_for

HOLD = """
import os, sys, time
held = bytearray(b"x") * 30_000_000
print("began", flush=True)
while not os.path.exists(sys.argv[1]): time.sleep(0.02)
"""


class Heavy:
    """An engine whose runs are real processes, which go on until somebody lets them."""

    name, version = "baseline", "1"
    memory_mb = 600

    def __init__(self, let_go: Path) -> None:
        self.let_go = let_go
        self.at_once = self.most = 0
        self.order: list[str] = []
        self.deadlines: list[float] = []

    async def run(self, target: Target, *, on_step: Any = None) -> Report:
        self.order.append(target.url)
        self.deadlines.append(target.deadline)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            with scratch_folder() as folder:
                done = await run_process(
                    [sys.executable, "-c", HOLD, str(self.let_go)],
                    limits=ProcessLimits(seconds=target.deadline, memory_mb=self.memory_mb),
                    env={},
                    folder=folder,
                    on_line=lambda _: on_step and on_step(Progress("Holding", 1, 2)),
                )
            return make_report("passed") if done.returncode == 0 else make_report(harness_error=done.stopped)
        finally:
            self.at_once -= 1


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Heavy]:
    heavy = Heavy(tmp_path / "let-go")
    capacity = Capacity(1000)
    monkeypatch.setattr("compliance.engines.execution.loop.get_engine", lambda name: heavy)
    monkeypatch.setattr(execution, "_capacity", lambda: capacity)
    yield heavy
    wait_for(lambda: capacity.taken_mb == 0, what="all capacity given back")


@pytest.fixture
def arranged(committed_db: None, monkeypatch: pytest.MonkeyPatch) -> tuple[Organization, User]:
    monkeypatch.setattr("compliance.celery.app.send_task", lambda name, args: None)
    alice = make_user("alice@example.org", "Alice Owner")
    return create_organization(name="Alpha", by=alice), alice


def jobs_of(organization: Organization, alice: User, count: int) -> list[Lease]:
    leases = []
    for number in range(count):
        context = make_context(organization, f"http://127.0.0.1:9/{number}")
        job, _ = request_owner_test(organization=organization, context_id=context.pk, by=alice)
        lease = lease_job(job.pk, organization.id)
        assert lease is not None
        leases.append(lease)
    return leases


def look() -> list[Job]:
    with system_scope(by=Actor.system("tests"), reason="look"):
        return list(Job.objects.order_by("agent_id"))


def taking(leases: list[Lease]) -> Callable[[int], list[Lease]]:
    def take(at_most: int) -> list[Lease]:
        taken = leases[:at_most]
        del leases[:at_most]
        return taken

    return take


@pytest.mark.processes
def test_runs_wait_for_capacity_with_their_leases_alive(
    arranged: tuple[Organization, User], engine: Heavy, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LEASE_SECONDS = 2
    settings.TEST_DEADLINE_SECONDS = 15
    leases = jobs_of(*arranged, 3)
    would_have_run_out = look()[2].lease_expires_at
    steps: list[str] = []
    renew = execution.renew_leases

    def renew_and_look(*arguments: Any) -> Any:
        held = renew(*arguments)
        rows = look()
        if rows[0].progress["step"] == "Holding" and not steps:
            steps.extend(row.progress["step"] for row in rows)
        if steps and timezone.now() > would_have_run_out + timedelta(seconds=1):
            engine.let_go.touch()
        return held

    monkeypatch.setattr(execution, "renew_leases", renew_and_look)
    runs = execution.run_leases(taking(leases), concurrency=8)

    assert steps == ["Holding", "Waiting for capacity on the worker", "Waiting for capacity on the worker"]
    assert [run.overall_status for run in runs] == ["passing"] * 3
    assert engine.most == 1
    assert engine.order == [f"http://127.0.0.1:9/{number}" for number in range(3)]
    assert engine.deadlines == [15.0] * 3
    assert [row.attempt for row in look()] == [1, 1, 1]


@pytest.mark.processes
def test_engines_inside_the_worker_do_not_wait_for_the_others(
    arranged: tuple[Organization, User], engine: Heavy, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = jobs_of(*arranged, 2)
    everything = execution._capacity().reserve(1000)
    engine.let_go.touch()

    class Light:
        memory_mb = 0

        async def run(self, target: Target, *, on_step: Any = None) -> Report:
            return make_report("passed")

    engines = iter([engine, Light()])
    monkeypatch.setattr("compliance.engines.execution.loop.get_engine", lambda name: next(engines))
    complete = execution.complete_job

    def release_and_complete(*arguments: Any, **more: Any) -> Any:
        everything.release()
        return complete(*arguments, **more)

    monkeypatch.setattr(execution, "complete_job", release_and_complete)
    runs = execution.run_leases(taking(leases), concurrency=2)

    assert [run.agent_url for run in runs] == ["http://127.0.0.1:9/1", "http://127.0.0.1:9/0"]


@pytest.mark.processes
def test_run_that_loses_its_lease_while_it_waits_leaves_the_queue(
    arranged: tuple[Organization, User], engine: Heavy, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LEASE_SECONDS = 1
    leases = jobs_of(*arranged, 1)
    everything = execution._capacity().reserve(1000)
    monkeypatch.setattr(execution, "renew_leases", lambda leases, progress: set())

    assert execution.run_leases(taking(leases), concurrency=1) == []
    assert engine.order == []
    everything.release()
