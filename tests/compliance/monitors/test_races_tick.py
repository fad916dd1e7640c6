"""Ticks at the same moment, as processes with connections of their own: one job for each occurrence, no cap broken.

They gather at a table that nobody may write to for a while: see tests/racing.py.
"""

from __future__ import annotations

import logging
import runpy
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.utils import timezone

from compliance.database import database_time
from compliance.jobs.cleanup import expire_jobs
from compliance.jobs.completion import complete_job
from compliance.jobs.queue import lease_job, renew_leases
from compliance.models import AgentContext, Job, Monitor, Organization, Role, User
from compliance.monitors import tick as ticking
from compliance.monitors.actions import archive_monitor, change_monitor, pause_monitor, run_monitor_now
from compliance.monitors.models import TickCounter
from compliance.monitors.tick import create_due_monitor_jobs, tick
from compliance.registry.actions import remove_context
from compliance.tenancy.actions import create_organization
from compliance.tenancy.scope import organization_scope, platform_scope
from tests.compliance.monitors.conftest import (
    What,
    When,
    change,
    decisions_of,
    finish,
    jobs_of,
    make_due,
    make_monitor,
    outcomes,
    stored,
)
from tests.compliance.runners.conftest import make_runner
from tests.conftest import AGENT_URL, add_member, make_context, make_report, make_user
from tests.processes import ROOT
from tests.racing import Meanwhile, Racer, Raised, gate, race

pytestmark = pytest.mark.processes

JOBS = "compliance_jobs"


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
def monitor(organization: Organization, context: AgentContext, alice: User) -> Monitor:
    return make_monitor(organization, context, alice)


def another_admin(organization: Organization, name: str) -> User:
    """What one person does is done in turn, because each locks their own role: who races is somebody else."""
    user = make_user(f"{name.replace(' ', '-')}@example.org", name)
    add_member(organization, user, Role.ADMIN)
    return user


def some_monitors(organization: Organization, by: User, count: int) -> list[Monitor]:
    """Each of an agent of its own, and due."""
    monitors = []
    for number in range(count):
        context = make_context(organization, f"https://agent-{number}.example/mcp")
        monitors.append(make_monitor(organization, context, by, name=f"Monitor {number}"))
        make_due(monitors[-1])
    return monitors


def press(monitor: Monitor, by: User) -> Callable[[], str]:
    """The button that runs it now; what was decided."""
    return lambda: run_monitor_now(organization=monitor.organization, monitor_id=monitor.pk, by=by).outcome


# One job for each occurrence


def test_ticks_at_once_make_one_job_and_one_decision_for_each_occurrence(
    organization: Organization, alice: User, superuser: psycopg.Connection[Any]
) -> None:  # L1, G4
    monitors = some_monitors(organization, alice, 3)
    results = race(superuser, JOBS, [create_due_monitor_jobs] * 8)
    assert sum(results, Counter()) == {"allowed": 3}
    assert {job.monitor_id for job in jobs_of(organization)} == {monitor.pk for monitor in monitors}
    assert outcomes(organization) == ["allowed"] * 3


def test_every_evaluation_of_ticks_at_once_is_one_decision_and_is_counted(
    organization: Organization, alice: User, superuser: psycopg.Connection[Any], settings: Any
) -> None:  # G4
    settings.MONITOR_BUDGET_RUNS = 2
    others = [create_organization(name=name, by=alice) for name in ("Beta", "Gamma")]
    for one in (organization, *others):
        monitors = some_monitors(one, alice, 4)
        change(monitors[3], interval_minutes=None, cron="99 * * * *")
    results = race(superuser, "monitor_decisions", [create_due_monitor_jobs] * 6)
    counted = sum(results, Counter())
    assert counted == {"allowed": 6, "budget": 3, "parked": 3}
    written = [outcome for one in (organization, *others) for outcome in outcomes(one)]
    assert Counter(written) == counted
    totals = TickCounter.objects.filter(name="decisions").values_list("label", "value")
    assert dict(totals) == counted


def test_ticks_and_buttons_at_once_make_one_job_for_a_monitor(
    organization: Organization, monitor: Monitor, alice: User, superuser: psycopg.Connection[Any]
) -> None:  # L1
    make_due(monitor)
    bob = another_admin(organization, "bob")
    calls = [create_due_monitor_jobs, press(monitor, alice), create_due_monitor_jobs, press(monitor, bob)]
    results = race(superuser, JOBS, calls)
    assert len(jobs_of(organization)) == 1
    assert outcomes(organization) == ["allowed"]
    refused = [result for result in results if isinstance(result, Raised)]
    assert {one.kind for one in refused} <= {"Refused"}, results


def test_the_database_lets_one_of_two_jobs_for_an_occurrence_in(
    organization: Organization, monitor: Monitor, superuser: psycopg.Connection[Any]
) -> None:  # L1
    """Whatever code forgets its locks."""
    occurrence = make_due(monitor)
    version = monitor.version_to_run

    def insert(**changes: Any) -> None:
        with organization_scope(organization.id):
            Job.objects.create(
                organization=organization,
                agent_id=AGENT_URL,
                triggered_by="monitor",
                suite_version=version,
                monitor_id=monitor.pk,
                **{"scheduled_for": occurrence, **changes},
            )

    for theirs in ({}, {"scheduled_for": None}, {"state": "cancelled"}):
        with organization_scope(organization.id):
            insert()
            other = Meanwhile(lambda theirs=theirs: insert(**theirs))  # type: ignore[misc]
            assert other.waits(superuser)
            connection.set_rollback(False)
        assert isinstance(other.outcome(), DatabaseError), theirs
        assert len(jobs_of(organization)) == 1
        with organization_scope(organization.id):
            Job.objects.all().delete()


@pytest.mark.parametrize("stop", [archive_monitor, pause_monitor])
def test_a_monitor_that_is_stopped_while_ticks_decide_about_it_runs_once_or_not_at_all(
    organization: Organization,
    monitor: Monitor,
    alice: User,
    superuser: psycopg.Connection[Any],
    stop: Callable[..., Monitor],
) -> None:  # L1, G1
    make_due(monitor)

    def stop_it() -> str:
        return stop(organization=organization, monitor_id=monitor.pk, by=alice).state

    button = press(monitor, another_admin(organization, "bob"))
    race(superuser, JOBS, [create_due_monitor_jobs, stop_it, create_due_monitor_jobs, button], in_turn=True)
    after = stored(monitor)
    assert after.state == stop_it() if stop is pause_monitor else after.state == "archived"
    assert after.next_run_at is None
    assert len(jobs_of(organization)) == 1
    finish(jobs_of(organization)[0])
    assert (stored(monitor).state, stored(monitor).next_run_at) == (after.state, None), "a result does not wake it"
    assert create_due_monitor_jobs() == {}


def test_an_agent_that_is_removed_while_ticks_decide_takes_its_job_along(
    organization: Organization,
    context: AgentContext,
    monitor: Monitor,
    alice: User,
    superuser: psycopg.Connection[Any],
) -> None:  # G2
    make_due(monitor)

    def remove() -> None:
        remove_context(organization=organization, context_id=context.pk, by=alice)

    first, removed, last = race(
        superuser, JOBS, [create_due_monitor_jobs, remove, create_due_monitor_jobs], in_turn=True
    )
    assert removed is None
    # A tick may come by once more before its end, and finds what the removal has cancelled.
    assert first + last in ({"allowed": 1}, {"allowed": 1, "cancelled": 1})
    assert [job.state for job in jobs_of(organization)] == ["cancelled"]
    make_due(monitor)
    assert create_due_monitor_jobs() == {"no_agent": 1}
    assert stored(monitor).state == "parked"


# Caps


@pytest.mark.parametrize(
    ("cap", "outcome"),
    [
        ("MONITOR_BUDGET_RUNS", "budget"),
        ("MONITOR_ORGANIZATION_CONCURRENCY", "concurrency"),
        ("MONITOR_AGENT_CONCURRENCY", "concurrency"),
    ],
)
def test_eight_ticking_processes_and_buttons_never_exceed_a_cap(
    organization: Organization,
    context: AgentContext,
    alice: User,
    superuser: psycopg.Connection[Any],
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    cap: str,
    outcome: str,
) -> None:  # G3, G5
    setattr(settings, cap, 2)
    monkeypatch.setattr(ticking, "BATCH", 1)  # so that one tick does not lock all that is due
    if cap == "MONITOR_AGENT_CONCURRENCY":
        monitors = [make_monitor(organization, context, alice, name=f"Monitor {n}") for n in range(8)]
    else:
        monitors = some_monitors(organization, alice, 8)
    pressed = monitors[5:]
    for one in monitors[:5]:
        make_due(one)
    for one in pressed:
        change(one, next_run_at=database_time() + timedelta(hours=1))
    buttons = [press(one, another_admin(organization, f"admin {n}")) for n, one in enumerate(pressed)]
    race(superuser, JOBS, [*[create_due_monitor_jobs] * 8, *buttons])
    create_due_monitor_jobs()
    assert len(jobs_of(organization)) == 2
    assert sorted(outcomes(organization)) == sorted(["allowed"] * 2 + [outcome] * 6)


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "many"])
@pytest.mark.parametrize("cap", ["AGENT_CONCURRENCY", "ORGANIZATION_CONCURRENCY", "BUDGET_RUNS"])
def test_a_cap_that_is_not_a_positive_number_is_refused(
    monkeypatch: pytest.MonkeyPatch, cap: str, value: str
) -> None:  # G3
    monkeypatch.setenv(f"ASSAY_MONITOR_{cap}", value)
    with pytest.raises((ImproperlyConfigured, ValueError)):
        runpy.run_path(str(ROOT / "compliance" / "settings.py"))


# The schedule


def test_a_run_by_hand_that_ends_while_its_slot_comes_due_leaves_the_slot(
    organization: Organization, monitor: Monitor, alice: User, superuser: psycopg.Connection[Any]
) -> None:  # L9
    assert press(monitor, alice)() == "allowed"
    [by_hand] = jobs_of(organization)
    occurrence = make_due(monitor)
    change(monitor, failures_in_a_row=4)

    def end() -> str:
        return str(finish(by_hand, harness_error="the network is gone").overall_status)

    results = race(superuser, "monitors", [end, create_due_monitor_jobs, end, create_due_monitor_jobs], in_turn=True)
    assert results[0] == "inconclusive"
    after = stored(monitor)
    assert (after.next_run_at, after.failures_in_a_row, after.state) == (occurrence, 4, "active")  # L17
    assert sum(race(superuser, JOBS, [create_due_monitor_jobs] * 3), Counter()) == {"allowed": 1}
    assert [job.scheduled_for for job in jobs_of(organization)] == [None, occurrence]


def test_an_occurrence_that_nobody_served_comes_again_once(
    organization: Organization, monitor: Monitor, superuser: psycopg.Connection[Any]
) -> None:  # L15
    occurrence = make_due(monitor)
    create_due_monitor_jobs()
    with organization_scope(organization.id):
        Job.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    results = race(superuser, JOBS, [expire_jobs, create_due_monitor_jobs] * 4)
    assert sorted(results[::2]) == [0, 0, 0, 1]
    again = race(superuser, JOBS, [create_due_monitor_jobs, expire_jobs] * 4)
    assert sum(results[1::2] + again[::2], Counter()) == {"allowed": 1}
    assert stored(monitor).next_run_at == occurrence, "nothing moved the schedule"
    jobs = jobs_of(organization)
    assert [(one.state, one.scheduled_for) for one in jobs] == [("expired", occurrence), ("queued", occurrence)]
    assert jobs[0].end_reason == "No worker took it in time."
    finish(jobs[1])
    assert stored(monitor).next_run_at > database_time()
    assert create_due_monitor_jobs() == {}


def test_what_is_being_renewed_does_not_expire_and_is_not_waited_for(
    organization: Organization, monitor: Monitor, superuser: psycopg.Connection[Any]
) -> None:  # L12, L15
    make_due(monitor)
    create_due_monitor_jobs()
    [job] = jobs_of(organization)
    lease = lease_job(job.pk, organization.id)
    assert lease is not None
    past = timezone.now() - timedelta(seconds=1)
    with organization_scope(organization.id):
        Job.objects.update(lease_expires_at=past, expires_at=past)
    with organization_scope(organization.id):
        assert renew_leases([lease], {}) == {job.pk}
        expiring = Meanwhile(expire_jobs)
        assert not expiring.waits(superuser)
    assert expiring.outcome() == 0
    complete_job(lease, make_report())
    assert jobs_of(organization)[0].state == "finished"


def test_an_offline_runner_defers_and_gets_one_catch_up_when_it_is_back(
    organization: Organization,
    context: AgentContext,
    alice: User,
    superuser: psycopg.Connection[Any],
    settings: Any,
) -> None:  # L13
    settings.MONITOR_COOLDOWN_SECONDS = 0  # a flood would not be held back by it
    lab = make_runner(organization, alice)
    monitor = make_monitor(organization, context, alice, placement=lab.placement())
    change(monitor, anchor=database_time() - timedelta(hours=100))
    occurrence = make_due(monitor, since=timedelta(hours=50))
    assert sum(race(superuser, "monitor_decisions", [create_due_monitor_jobs] * 3), Counter()) == {"deferred": 1}
    for _ in range(3):
        assert create_due_monitor_jobs() == {}, "it waits"
        change(monitor, deferred_until=database_time() - timedelta(seconds=1))
        assert create_due_monitor_jobs() == {"deferred": 1}
    assert (stored(monitor).next_run_at, jobs_of(organization)) == (occurrence, [])

    race(superuser, JOBS, [lab.poll, *[create_due_monitor_jobs] * 4])
    race(superuser, JOBS, [create_due_monitor_jobs] * 4)
    [job] = jobs_of(organization)
    assert (job.scheduled_for, job.state) == (occurrence, "queued")
    leases = race(superuser, JOBS, [lab.poll, lab.poll])
    [lease] = [lease for found in leases for lease in found]
    assert lab.complete(lease).status_code == 200
    race(superuser, JOBS, [create_due_monitor_jobs] * 4)
    assert len(jobs_of(organization)) == 1, "fifty were missed, and one is made up for"
    now = database_time()
    assert now < stored(monitor).next_run_at <= now + timedelta(hours=1)


@pytest.mark.parametrize("off_by", [timedelta(hours=-3), timedelta(hours=3)])
def test_ticks_and_workers_whose_clocks_are_wrong_neither_skip_nor_double(
    organization: Organization,
    monitor: Monitor,
    superuser: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    off_by: timedelta,
) -> None:  # L19
    occurrence = make_due(monitor)
    wrong = timezone.now

    def with_a_wrong_clock(call: Callable[[], Any]) -> Callable[[], Any]:
        def go() -> Any:
            timezone.now = lambda: wrong() + off_by  # in a process of its own, which ends
            return call()

        return go

    calls = [create_due_monitor_jobs, with_a_wrong_clock(create_due_monitor_jobs)] * 2
    assert sum(race(superuser, JOBS, calls), Counter()) == {"allowed": 1}
    [job] = jobs_of(organization)
    end = with_a_wrong_clock(lambda: str(finish(job).overall_status))
    assert race(superuser, JOBS, [end]) == ["passing"]
    now = database_time()
    assert now < stored(monitor).next_run_at <= now + timedelta(hours=1)
    assert stored(monitor).next_run_at > occurrence
    assert race(superuser, JOBS, calls) == [{}] * 4


# What is broken


def test_a_bad_schedule_parks_one_monitor_once_and_a_lost_database_is_raised(
    organization: Organization, alice: User, superuser: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:  # L10
    caplog.set_level(logging.CRITICAL)
    monitors = some_monitors(organization, alice, 2)
    change(monitors[0], interval_minutes=None, cron="99 * * * *")
    with gate(superuser, JOBS) as closed:
        lost = Racer(create_due_monitor_jobs)
        assert closed.gather(lost) == [True]
        closed.cut(lost)
        assert "Error" in lost.outcome().kind
    assert decisions_of(organization) == []
    results = race(superuser, "monitor_decisions", [create_due_monitor_jobs] * 4)
    assert sum(results, Counter()) == {"parked": 1, "allowed": 1}
    assert [stored(one).state for one in monitors] == ["parked", "active"]
    assert sorted(outcomes(organization)) == ["allowed", "parked"]


def test_a_phase_that_loses_its_database_does_not_stop_the_next(
    organization: Organization, monitor: Monitor, superuser: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:  # L11
    caplog.set_level(logging.CRITICAL)
    make_due(monitor)
    with gate(superuser, JOBS) as closed:
        ticker = Racer(tick)
        assert closed.gather(ticker) == [True], "the heartbeats wait to be written"
        closed.cut(ticker)
        closed.open()
        outcome = ticker.outcome()
    assert "Error" in outcome.kind
    with platform_scope():
        assert not Job.objects.exists()
    assert outcomes(organization) == ["allowed"]
    assert tick()["heartbeats.created"] == 1


def test_a_monitor_that_two_ticks_cannot_decide_about_fails_once(
    organization: Organization,
    monitor: Monitor,
    superuser: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # G4, L19
    caplog.set_level(logging.CRITICAL)
    make_due(monitor)
    fail = ticking._fail

    def break_down(*args: Any) -> Any:
        raise KeyError("a bug")

    def fail_together(*args: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock_shared(1)")
        return fail(*args)

    monkeypatch.setattr(ticking, "stopped_by", break_down)
    monkeypatch.setattr(ticking, "_fail", fail_together)
    superuser.execute("SELECT pg_advisory_lock(1)")
    try:
        with gate(superuser, "monitor_decisions") as closed:
            racers = []
            for _ in range(2):
                racers.append(Racer(create_due_monitor_jobs))
                assert all(closed.gather(*racers))
            superuser.execute("SELECT pg_advisory_unlock(1)")
            closed.gather(*racers)
            closed.open()
            results = [racer.outcome() for racer in racers]
    finally:
        superuser.execute("SELECT pg_advisory_unlock_all()")
    assert sum(results, Counter()) == {"failed": 1}
    assert outcomes(organization) == ["failed"]
    now = database_time()
    assert now < stored(monitor).next_run_at <= now + timedelta(hours=1)


def test_a_schedule_that_is_changed_while_its_result_comes_is_ahead_of_it(
    organization: Organization, monitor: Monitor, alice: User, superuser: psycopg.Connection[Any]
) -> None:  # L8
    make_due(monitor)
    create_due_monitor_jobs()
    [job] = jobs_of(organization)
    with organization_scope(organization.id):
        changed = change_monitor(
            organization=organization,
            monitor_id=monitor.pk,
            name="Daily",
            when=When(interval_minutes=1440),
            what=What(),
            by=alice,
        )
        ending = Meanwhile(lambda: finish(job))
        assert ending.waits(superuser)
    assert ending.outcome().overall_status == "passing"
    assert stored(monitor).next_run_at == changed.next_run_at
    assert stored(monitor).last_status == "passing"
