"""Hosted workers, the cleanup and buttons at the same moment, as processes with connections of their own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import transaction
from django.utils import timezone

from compliance.jobs.actions import request_owner_test
from compliance.jobs.cleanup import clean_up_jobs, expire_jobs
from compliance.jobs.completion import complete_job
from compliance.jobs.leases import Lease
from compliance.jobs.queue import lease_heartbeats, lease_job, renew_leases
from compliance.models import Agent, AgentContext, ComplianceRun, Job, Organization, User
from compliance.monitors.heartbeats import create_due_heartbeats
from compliance.tenancy.actions import create_organization
from compliance.tenancy.scope import Actor, organization_scope, platform_scope, system_scope
from tests.conftest import AGENT_URL, make_context, make_report, make_user
from tests.racing import Meanwhile, Racer, Raised, gate, race

pytestmark = pytest.mark.processes

RUNS, JOBS = "agent_compliance_runs", "compliance_jobs"


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compliance.celery.app.send_task", lambda name, args: None)


@pytest.fixture
def alice(committed_db: None) -> User:
    return make_user("alice@example.org", "Alice Owner")


@pytest.fixture
def organization(alice: User) -> Organization:
    return create_organization(name="Alpha", by=alice)


@pytest.fixture
def context(organization: Organization) -> AgentContext:
    return make_context(organization)


@pytest.fixture
def job(organization: Organization, context: AgentContext, alice: User) -> Job:
    return request_owner_test(organization=organization, context_id=context.pk, by=alice)[0]


def rows() -> list[Job]:
    with system_scope(by=Actor.system("tests"), reason="look"):
        return list(Job.objects.order_by("created_at", "id"))


def runs() -> list[ComplianceRun]:
    with system_scope(by=Actor.system("tests"), reason="look"):
        return list(ComplianceRun.objects.order_by("recorded_at", "id"))


def change(**values: Any) -> None:
    with system_scope(by=Actor.system("tests"), reason="arrange"):
        Job.objects.update(**values)


def agent() -> Agent:
    with platform_scope():
        return Agent.objects.get(pk=AGENT_URL)


def lease_of(job: Job) -> Lease:
    lease = lease_job(job.pk, job.organization_id)
    assert lease is not None
    return lease


def leasing(job: Job) -> Callable[[], bool]:
    return lambda: lease_job(job.pk, job.organization_id) is not None


def completing(lease: Lease, verdict: str = "passed") -> Callable[[], str]:
    return lambda: complete_job(lease, make_report(verdict)).overall_status


def lost(outcomes: list[Any]) -> list[Any]:
    return [one for one in outcomes if isinstance(one, Raised) and one.kind == "LeaseLost"]


def test_workers_at_once_get_one_lease(job: Job, superuser: psycopg.Connection[Any]) -> None:  # L4
    assert sorted(race(superuser, JOBS, [leasing(job)] * 8)) == [False] * 7 + [True]
    assert rows()[0].attempt == 1


def test_workers_at_once_share_the_heartbeats_without_a_double(
    organization: Organization, superuser: psycopg.Connection[Any]
) -> None:  # L4
    urls = [f"https://agent-{number}.example/mcp" for number in range(12)]
    for url in urls:
        make_context(organization, url)
    assert sorted(race(superuser, JOBS, [create_due_heartbeats] * 4)) == [0, 0, 0, 12]  # L1
    leased = race(superuser, JOBS, [lambda: [lease.agent_url for lease in lease_heartbeats(4)]] * 4)
    assert sorted(url for some in leased for url in some) == sorted(urls)


def test_a_result_that_workers_hand_in_at_once_is_one_run(job: Job, superuser: psycopg.Connection[Any]) -> None:  # L5
    outcomes = race(superuser, RUNS, [completing(lease_of(job))] * 6)
    assert (outcomes.count("passing"), len(lost(outcomes))) == (1, 5), outcomes
    assert [run.pk for run in runs()] == [rows()[0].run_id]


def test_an_old_worker_and_the_new_one_at_once_are_the_new_ones_run(
    job: Job, superuser: psycopg.Connection[Any]
) -> None:  # L6
    old = lease_of(job)
    change(lease_expires_at=timezone.now() - timedelta(seconds=1))
    calls = [completing(old, "failed"), completing(lease_of(job)), completing(old, "failed")]
    outcomes = race(superuser, RUNS, calls, in_turn=True)
    assert outcomes[1] == "passing"
    assert len(lost(outcomes)) == 2
    assert [run.overall_status for run in runs()] == ["passing"]


def test_a_heartbeat_that_ends_at_once_in_two_workers_moves_its_schedule_once_and_with_its_run(
    context: AgentContext, superuser: psycopg.Connection[Any]
) -> None:  # L5, L8
    create_due_heartbeats()
    [lease] = lease_heartbeats(1)
    before = agent().next_heartbeat_at
    with gate(superuser, "agents") as closed:
        killed = Racer(completing(lease))
        assert closed.gather(killed) == [True]
        killed.kill()
        closed.cut(killed)
    assert (runs(), agent().next_heartbeat_at) == ([], before)
    outcomes = race(superuser, "agents", [completing(lease)] * 3)
    assert (outcomes.count("passing"), len(lost(outcomes))) == (1, 2), outcomes
    [run] = runs()
    assert agent().last_checked_at == run.tested_at
    assert run.recorded_at < agent().next_heartbeat_at <= run.recorded_at + timedelta(hours=12)


def test_a_worker_that_renews_keeps_its_lease_against_those_who_would_take_or_expire_it(
    job: Job, superuser: psycopg.Connection[Any]
) -> None:  # L12
    lease = lease_of(job)
    past = timezone.now() - timedelta(seconds=1)
    change(lease_expires_at=past)
    with organization_scope(lease.organization_id):  # type: ignore[arg-type]
        assert renew_leases([lease], {}) == {job.pk}
        others = [Meanwhile(leasing(job)), Meanwhile(expire_jobs)]
        assert [other.waits(superuser) for other in others] == [False, False]
    assert [other.outcome() for other in others] == [False, 0]
    assert (rows()[0].state, rows()[0].lease_token, rows()[0].attempt) == ("leased", lease.token, 1)
    assert completing(lease)() == "passing"


def test_a_lapsed_lease_that_is_taken_renewed_and_handed_in_at_once_is_one_workers(
    job: Job, superuser: psycopg.Connection[Any]
) -> None:  # L6, L12
    old = lease_of(job)
    change(lease_expires_at=timezone.now() - timedelta(seconds=1))
    calls = [leasing(job), lambda: len(renew_leases([old], {})), completing(old), leasing(job)]
    taken, renewed, handed_in, again = race(superuser, JOBS, calls, in_turn=True)
    assert (taken, renewed, handed_in.kind, again) == (True, 0, "LeaseLost", False)
    assert (rows()[0].state, rows()[0].attempt, runs()) == ("leased", 2, [])


def test_a_job_whose_workers_were_lost_too_often_ends_once(job: Job, superuser: psycopg.Connection[Any]) -> None:  # L12
    lease_of(job)
    change(lease_expires_at=timezone.now() - timedelta(seconds=1), attempt=3)
    assert race(superuser, RUNS, [leasing(job)] * 5) == [False] * 5
    assert [run.overall_status for run in runs()] == ["inconclusive"]
    assert rows()[0].state == "finished"


def test_what_expires_while_it_is_leased_goes_on(job: Job, superuser: psycopg.Connection[Any]) -> None:  # L12, L15
    with organization_scope(str(job.organization_id)):
        lease_of(job)
        Job.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        expiring = Meanwhile(expire_jobs)
        assert not expiring.waits(superuser)
    assert expiring.outcome() == expire_jobs() == 0
    assert rows()[0].state == "leased"


def test_what_is_leased_while_it_expires_has_expired(job: Job, superuser: psycopg.Connection[Any]) -> None:  # L15
    change(expires_at=timezone.now())
    calls = [expire_jobs, expire_jobs, leasing(job)]
    assert race(superuser, JOBS, calls, in_turn=True) in ([1, 0, False], [0, 1, False])
    assert rows()[0].state == "expired"


def test_a_result_and_a_cancellation_at_once_are_a_run_or_none(
    job: Job, superuser: psycopg.Connection[Any]
) -> None:  # L5
    lease = lease_of(job)

    def cancel() -> bool:
        with organization_scope(lease.organization_id):  # type: ignore[arg-type]
            return Job.objects.get(pk=job.pk).cancel()

    assert race(superuser, RUNS, [completing(lease), cancel, cancel], in_turn=True) == ["passing", False, False]
    assert rows()[0].state == "finished"


def test_buttons_at_once_are_one_job(
    organization: Organization, context: AgentContext, alice: User, superuser: psycopg.Connection[Any]
) -> None:  # L1
    def press() -> tuple[str, bool]:
        job, created = request_owner_test(organization=organization, context_id=context.pk, by=alice)
        return str(job.pk), created

    pressed = race(superuser, JOBS, [press] * 6)
    assert len({key for key, _ in pressed}) == 1
    assert sorted(created for _, created in pressed) == [False] * 5 + [True]


def test_sweepers_at_once_leave_live_work_alone_and_end_what_nobody_serves_once(
    organization: Organization, alice: User, superuser: psycopg.Connection[Any]
) -> None:  # L12, L15
    contexts = [make_context(organization, f"https://agent-{number}.example/mcp") for number in range(4)]
    jobs = [request_owner_test(organization=organization, context_id=context.pk, by=alice)[0] for context in contexts]
    live = lease_of(jobs[0])
    with transaction.atomic():
        change(expires_at=timezone.now() - timedelta(seconds=1))
    swept = race(superuser, JOBS, [clean_up_jobs] * 4)
    assert sum(counts["expired"] for counts in swept) == 3
    assert [row.state for row in rows()] == ["leased", "expired", "expired", "expired"]
    assert completing(live)() == "passing"
