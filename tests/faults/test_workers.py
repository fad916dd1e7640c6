"""What is lost on the way: workers killed in the middle of a test, and a broker that forgets. Real processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from compliance.celery import app
from compliance.embedded.servers import Redis
from compliance.jobs import dispatch
from compliance.jobs.actions import request_owner_test
from compliance.jobs.cleanup import dispatch_again
from compliance.models import AgentContext, ComplianceRun, Job, Organization, User
from compliance.monitors.heartbeats import create_due_heartbeats
from compliance.tenancy.actions import create_organization
from compliance.tenancy.scope import Actor, system_scope
from tests.conftest import make_context, make_user
from tests.processes import HeldAgent, serving_demo_agents, wait_for, worker

pytestmark = pytest.mark.processes

QUICK = {
    "ASSAY_LEASE_SECONDS": "2",
    "ASSAY_JOB_REDISPATCH_AFTER_SECONDS": "1",
    "ASSAY_STEP_TIMEOUT_SECONDS": "20",
    "ASSAY_TEST_DEADLINE_SECONDS": "60",
}


@pytest.fixture(autouse=True)
def _empty_broker() -> Iterator[None]:
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    client.flushdb()
    yield
    client.flushdb()
    client.close()


@pytest.fixture
def agent() -> Iterator[HeldAgent]:
    agent = HeldAgent()
    yield agent
    agent.close()


@pytest.fixture
def arranged(committed_db: None, agent: HeldAgent) -> tuple[Organization, AgentContext, User]:
    user = make_user("alice@example.org", "Alice Owner")
    organization = create_organization(name="Alpha", by=user)
    return organization, make_context(organization, agent.url), user


def look(model: Any) -> list[Any]:
    with system_scope(by=Actor.system("tests"), reason="look"):
        return list(model.objects.all())


def the_job() -> Job:
    [job] = look(Job)
    return job


def the_run() -> ComplianceRun | None:
    runs = look(ComplianceRun)
    return runs[0] if runs else None


def sweep_until_recorded(settings: Any) -> ComplianceRun:
    settings.JOB_REDISPATCH_AFTER_SECONDS = 1

    def swept() -> ComplianceRun | None:
        dispatch_again()
        return the_run()

    return wait_for(swept, seconds=45, what="a run on record")


def test_a_test_whose_worker_is_killed_is_run_again_by_another(
    arranged: tuple[Organization, AgentContext, User], agent: HeldAgent, tmp_path: Path, settings: Any
) -> None:
    organization, context, alice = arranged
    with worker(tmp_path / "first.log", env=QUICK) as first:
        request_owner_test(organization=organization, context_id=context.pk, by=alice)
        agent.wait_until_asked()
        assert the_job().state == "leased"
        first.kill()
    assert the_run() is None
    with worker(tmp_path / "second.log", env=QUICK):
        settings.JOB_REDISPATCH_AFTER_SECONDS = 1

        def swept_and_asked() -> bool:
            dispatch_again()
            return agent.asked.acquire(blocking=False)

        wait_for(swept_and_asked, what="a second attempt")
        agent.go_on.set()
        run = wait_for(the_run, what="a run on record")
    assert (run.overall_status, the_job().attempt, the_job().state) == ("failing", 2, "finished")
    assert len(look(ComplianceRun)) == 1


def test_a_job_that_kills_every_worker_ends_inconclusive(
    arranged: tuple[Organization, AgentContext, User], agent: HeldAgent, tmp_path: Path, settings: Any
) -> None:
    organization, context, alice = arranged
    once = {**QUICK, "ASSAY_JOB_MAX_ATTEMPTS": "1"}
    with worker(tmp_path / "first.log", env=once) as first:
        request_owner_test(organization=organization, context_id=context.pk, by=alice)
        agent.wait_until_asked()
        first.kill()
    with worker(tmp_path / "second.log", env=once):
        run = sweep_until_recorded(settings)
    assert run.overall_status == "inconclusive"
    assert "worker was lost" in run.headline
    assert the_job().state == "finished"


def test_a_job_survives_a_broker_that_was_emptied(
    arranged: tuple[Organization, AgentContext, User], agent: HeldAgent, tmp_path: Path, settings: Any
) -> None:
    organization, context, alice = arranged
    agent.go_on.set()
    request_owner_test(organization=organization, context_id=context.pk, by=alice)
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    assert client.dbsize() > 0, "the nudge should have been in the broker"
    client.flushdb()
    client.close()
    with worker(tmp_path / "worker.log", env=QUICK):
        run = sweep_until_recorded(settings)
    assert run.overall_status == "failing"
    assert len(look(ComplianceRun)) == 1


def test_a_message_delivered_twice_is_one_run(
    arranged: tuple[Organization, AgentContext, User], agent: HeldAgent, tmp_path: Path
) -> None:
    organization, context, alice = arranged
    agent.go_on.set()
    job, _ = request_owner_test(organization=organization, context_id=context.pk, by=alice)
    for _ in range(5):
        dispatch.send(dispatch.EXECUTE, str(job.pk), organization.id)
    with worker(tmp_path / "worker.log", env=QUICK) as process:
        wait_for(lambda: process.output().count("execute_job") >= 12, what="six deliveries")
        wait_for(lambda: process.output().count("succeeded") >= 6, what="six ends")
    assert len(look(ComplianceRun)) == 1
    assert the_job().attempt == 1


def test_progress_is_shown_while_a_test_runs_and_the_lease_stays_alive(
    arranged: tuple[Organization, AgentContext, User], agent: HeldAgent, tmp_path: Path
) -> None:
    organization, context, alice = arranged
    with worker(tmp_path / "worker.log", env=QUICK):
        request_owner_test(organization=organization, context_id=context.pk, by=alice)
        agent.wait_until_asked()
        progress = wait_for(lambda: the_job().progress, what="progress")
        first_expiry = the_job().lease_expires_at
        # Longer than a lease: only renewals keep the job where it is.
        wait_for(lambda: (the_job().lease_expires_at - first_expiry).total_seconds() > 2, what="renewals")
        assert the_job().attempt == 1
        agent.go_on.set()
        wait_for(the_run, what="a run on record")
    assert progress["step"]
    assert progress["total"] > progress["done"]
    assert the_job().attempt == 1


@pytest.fixture
def demo_agents(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The demo's agents, served by a process of their own."""
    with serving_demo_agents(tmp_path / "agents.log") as urls:
        yield urls


def verdicts(run: ComplianceRun) -> list[tuple[str, str, str]]:
    return [
        (scenario["key"], step["key"], step["verdict"])
        for track in run.tracks_json
        for scenario in track["scenarios"]
        for step in scenario["steps"]
    ]


def test_the_same_agent_gets_the_same_verdict_from_an_owner_test_and_a_heartbeat(
    committed_db: None, demo_agents: dict[str, str], tmp_path: Path
) -> None:  # R8
    user = make_user("alice@example.org", "Alice Owner")
    organization = create_organization(name="Alpha", by=user)
    names = ["library", "weather", "payroll", "translator"]
    contexts = [make_context(organization, demo_agents[name], name=name) for name in names]
    with worker(tmp_path / "worker.log", env=QUICK):
        for context in contexts:
            request_owner_test(organization=organization, context_id=context.pk, by=user)
        assert create_due_heartbeats() == len(names)
        wait_for(lambda: len(look(ComplianceRun)) == 2 * len(names), seconds=60, what="all runs")
    runs = {(run.agent_url, run.triggered_by): run for run in look(ComplianceRun)}
    for name in names:
        own = runs[demo_agents[name], "observer_test"]
        heartbeat = runs[demo_agents[name], "heartbeat"]
        assert verdicts(own) == verdicts(heartbeat), name
        assert (own.overall_status, own.counts) == (heartbeat.overall_status, heartbeat.counts), name
        assert len(verdicts(own)) > 5, name
    statuses = {name: runs[demo_agents[name], "heartbeat"].overall_status for name in names}
    assert statuses == {"library": "passing", "weather": "partial", "payroll": "inconclusive", "translator": "passing"}


def test_a_worker_that_loses_redis_ends_its_test_and_takes_more_when_redis_is_back(
    arranged: tuple[Organization, AgentContext, User], agent: HeldAgent, tmp_path: Path
) -> None:
    organization, context, alice = arranged
    broker = Redis(tmp_path / "broker", durable=False)
    broker.start()

    def nudge_there() -> None:
        job, _ = request_owner_test(organization=organization, context_id=context.pk, by=alice)
        with app.connection_for_write(broker.url) as connection:
            app.send_task(dispatch.EXECUTE, args=[str(job.pk), organization.id], connection=connection)

    try:
        with worker(tmp_path / "worker.log", env={**QUICK, "REDIS_URL": broker.url}) as process:
            nudge_there()
            agent.wait_until_asked()
            broker.kill()
            process.says("Connection to broker lost")
            broker.start()
            agent.go_on.set()
            wait_for(the_run, what="a run on record")
            assert the_job().attempt == 1, "the worker that was at it went on"
            nudge_there()
            wait_for(lambda: len(look(ComplianceRun)) == 2, what="a run that the same worker was told of afterwards")
            assert process.child.poll() is None
    finally:
        broker.stop()


def test_keys_of_the_broker_that_are_of_another_type_do_not_keep_workers_from_starting(
    arranged: tuple[Organization, AgentContext, User], agent: HeldAgent, tmp_path: Path, settings: Any
) -> None:
    organization, context, alice = arranged
    agent.go_on.set()
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        for key in ("celery", "_kombu.binding.celery", "_kombu.binding.celeryev", "unacked", "unacked_index"):
            client.set(f"assay:{key}", "not what it should be")
        client.rpush("assay:unacked_mutex", "not what it should be")
        client.set("assay:a-cache", "kept")
        client.set("another-program:celery", "kept")
    request_owner_test(organization=organization, context_id=context.pk, by=alice)
    with worker(tmp_path / "worker.log", env=QUICK) as started:
        sweep_until_recorded(settings)
        assert started.output().count("is deleted: it must be a") == 6
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        assert client.get("assay:a-cache") == client.get("another-program:celery") == b"kept"
