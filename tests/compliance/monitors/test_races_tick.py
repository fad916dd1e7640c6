"""Ticks at the same moment, as processes with connections of their own: one request for each occurrence, no cap broken.

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

from compliance.jobs.cleanup import expire_requests
from compliance.jobs.completion import complete_request
from compliance.jobs.queue import lease_request, renew_leases
from compliance.models import AgentContext, ComplianceRequest, Monitor, Organization, Role, User
from compliance.monitors import tick as ticking
from compliance.monitors.actions import archive_monitor, change_monitor, pause_monitor, run_monitor_now
from compliance.monitors.liveness import TickCounter
from compliance.monitors.models import database_time
from compliance.monitors.tick import request_due_monitors, tick
from compliance.registry.actions import remove_context
from compliance.tenancy.actions import create_organization
from compliance.tenancy.scope import organization_scope, platform_scope
from tests.compliance.monitors.conftest import (
    What,
    When,
    change,
    decisions_of,
    finish,
    make_due,
    make_monitor,
    outcomes,
    requests_of,
    stored,
)
from tests.compliance.runners.conftest import make_runner
from tests.conftest import AGENT_URL, add_member, make_context, make_report, make_user
from tests.processes import ROOT
from tests.racing import Meanwhile, Racer, Raised, gate, race

REQUESTS = "compliance_requests"


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


# One request for each occurrence


def test_ticks_at_once_make_one_request_and_one_decision_for_each_occurrence(
    organization: Organization, alice: User, superuser: psycopg.Connection[Any]
) -> None:  # L1, G4
    monitors = some_monitors(organization, alice, 3)
    results = race(superuser, REQUESTS, [request_due_monitors] * 8)
    assert sum(results, Counter()) == {"allowed": 3}
    assert {request.monitor_id for request in requests_of(organization)} == {monitor.pk for monitor in monitors}
    assert outcomes(organization) == ["allowed"] * 3


def test_every_evaluation_of_ticks_at_once_is_one_decision_and_is_counted(
    organization: Organization, alice: User, superuser: psycopg.Connection[Any], settings: Any
) -> None:  # G4
    settings.MONITOR_BUDGET_RUNS = 2
    others = [create_organization(name=name, by=alice) for name in ("Beta", "Gamma")]
    for one in (organization, *others):
        monitors = some_monitors(one, alice, 4)
        change(monitors[3], interval_minutes=None, cron="99 * * * *")
    results = race(superuser, "monitor_decisions", [request_due_monitors] * 6)
    counted = sum(results, Counter())
    assert counted == {"allowed": 6, "budget": 3, "parked": 3}
    written = [outcome for one in (organization, *others) for outcome in outcomes(one)]
    assert Counter(written) == counted
    totals = TickCounter.objects.filter(name="decisions").values_list("label", "value")
    assert dict(totals) == counted


def test_ticks_and_buttons_at_once_make_one_request_for_a_monitor(
    organization: Organization, monitor: Monitor, alice: User, superuser: psycopg.Connection[Any]
) -> None:  # L1
    make_due(monitor)
    bob = another_admin(organization, "bob")
    calls = [request_due_monitors, press(monitor, alice), request_due_monitors, press(monitor, bob)]
    results = race(superuser, REQUESTS, calls)
    assert len(requests_of(organization)) == 1
    assert outcomes(organization) == ["allowed"]
    refused = [result for result in results if isinstance(result, Raised)]
    assert {one.kind for one in refused} <= {"Refused"}, results


def test_the_database_lets_one_of_two_requests_for_an_occurrence_in(
    organization: Organization, monitor: Monitor, superuser: psycopg.Connection[Any]
) -> None:  # L1
    """Whatever code forgets its locks."""
    occurrence = make_due(monitor)
    version = monitor.version_to_run

    def insert(**changes: Any) -> None:
        with organization_scope(organization.id):
            ComplianceRequest.objects.create(
                organization=organization,
                agent_id=AGENT_URL,
                triggered_by="monitor",
                suite_version=version,
                monitor=monitor,
                **{"scheduled_for": occurrence, **changes},
            )

    for theirs in ({}, {"scheduled_for": None}, {"state": "cancelled"}):
        with organization_scope(organization.id):
            insert()
            other = Meanwhile(lambda theirs=theirs: insert(**theirs))  # type: ignore[misc]
            assert other.waits(superuser)
            connection.set_rollback(False)
        assert isinstance(other.outcome(), DatabaseError), theirs
        assert len(requests_of(organization)) == 1
        with organization_scope(organization.id):
            ComplianceRequest.objects.all().delete()


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
    race(superuser, REQUESTS, [request_due_monitors, stop_it, request_due_monitors, button], in_turn=True)
    after = stored(monitor)
    assert after.state == stop_it() if stop is pause_monitor else after.state == "archived"
    assert after.next_run_at is None
    assert len(requests_of(organization)) == 1
    finish(requests_of(organization)[0])
    assert (stored(monitor).state, stored(monitor).next_run_at) == (after.state, None), "a result does not wake it"
    assert request_due_monitors() == {}


def test_an_agent_that_is_removed_while_ticks_decide_takes_its_request_along(
    organization: Organization,
    context: AgentContext,
    monitor: Monitor,
    alice: User,
    superuser: psycopg.Connection[Any],
) -> None:  # G2
    make_due(monitor)

    def remove() -> None:
        remove_context(organization=organization, context_id=context.pk, by=alice)

    first, removed, last = race(superuser, REQUESTS, [request_due_monitors, remove, request_due_monitors], in_turn=True)
    assert removed is None
    # A tick may come by once more before its end, and finds what the removal has cancelled.
    assert first + last in ({"allowed": 1}, {"allowed": 1, "cancelled": 1})
    assert [request.state for request in requests_of(organization)] == ["cancelled"]
    make_due(monitor)
    assert request_due_monitors() == {"no_agent": 1}
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
    race(superuser, REQUESTS, [*[request_due_monitors] * 8, *buttons])
    request_due_monitors()
    assert len(requests_of(organization)) == 2
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
    [by_hand] = requests_of(organization)
    occurrence = make_due(monitor)
    change(monitor, failures_in_a_row=4)

    def end() -> str:
        return str(finish(by_hand, harness_error="the network is gone").overall_status)

    results = race(superuser, "monitors", [end, request_due_monitors, end, request_due_monitors], in_turn=True)
    assert results[0] == "inconclusive"
    after = stored(monitor)
    assert (after.next_run_at, after.failures_in_a_row, after.state) == (occurrence, 4, "active")  # L17
    assert sum(race(superuser, REQUESTS, [request_due_monitors] * 3), Counter()) == {"allowed": 1}
    assert [request.scheduled_for for request in requests_of(organization)] == [None, occurrence]


def test_an_occurrence_that_nobody_served_comes_again_once(
    organization: Organization, monitor: Monitor, superuser: psycopg.Connection[Any]
) -> None:  # L15
    occurrence = make_due(monitor)
    request_due_monitors()
    with organization_scope(organization.id):
        ComplianceRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    results = race(superuser, REQUESTS, [expire_requests, request_due_monitors] * 4)
    assert sorted(results[::2]) == [0, 0, 0, 1]
    again = race(superuser, REQUESTS, [request_due_monitors, expire_requests] * 4)
    assert sum(results[1::2] + again[::2], Counter()) == {"allowed": 1}
    assert stored(monitor).next_run_at == occurrence, "nothing moved the schedule"
    requests = requests_of(organization)
    assert [(one.state, one.scheduled_for) for one in requests] == [("expired", occurrence), ("queued", occurrence)]
    assert requests[0].end_reason == "No worker took it in time."
    finish(requests[1])
    assert stored(monitor).next_run_at > database_time()
    assert request_due_monitors() == {}


def test_what_is_being_renewed_does_not_expire_and_is_not_waited_for(
    organization: Organization, monitor: Monitor, superuser: psycopg.Connection[Any]
) -> None:  # L12, L15
    make_due(monitor)
    request_due_monitors()
    [request] = requests_of(organization)
    lease = lease_request(request.pk, organization.id)
    assert lease is not None
    past = timezone.now() - timedelta(seconds=1)
    with organization_scope(organization.id):
        ComplianceRequest.objects.update(lease_expires_at=past, expires_at=past)
    with organization_scope(organization.id):
        assert renew_leases([lease], {}) == {request.pk}
        expiring = Meanwhile(expire_requests)
        assert not expiring.waits(superuser)
    assert expiring.outcome() == 0
    complete_request(lease, make_report())
    assert requests_of(organization)[0].state == "finished"


def test_an_offline_runner_defers_and_gets_one_catch_up_when_it_is_back(
    organization: Organization,
    context: AgentContext,
    alice: User,
    superuser: psycopg.Connection[Any],
    settings: Any,
) -> None:  # L13
    settings.MONITOR_COOLDOWN_SECONDS = 0  # a flood would not be held back by it
    lab = make_runner(organization, alice)
    monitor = make_monitor(organization, context, alice, pin=lab.pin())
    change(monitor, anchor=database_time() - timedelta(hours=100))
    occurrence = make_due(monitor, since=timedelta(hours=50))
    assert sum(race(superuser, "monitor_decisions", [request_due_monitors] * 3), Counter()) == {"deferred": 1}
    for _ in range(3):
        assert request_due_monitors() == {}, "it waits"
        change(monitor, deferred_until=database_time() - timedelta(seconds=1))
        assert request_due_monitors() == {"deferred": 1}
    assert (stored(monitor).next_run_at, requests_of(organization)) == (occurrence, [])

    race(superuser, REQUESTS, [lab.poll, *[request_due_monitors] * 4])
    race(superuser, REQUESTS, [request_due_monitors] * 4)
    [request] = requests_of(organization)
    assert (request.scheduled_for, request.state) == (occurrence, "queued")
    leases = race(superuser, REQUESTS, [lab.poll, lab.poll])
    [lease] = [lease for found in leases for lease in found]
    assert lab.complete(lease).status_code == 200
    race(superuser, REQUESTS, [request_due_monitors] * 4)
    assert len(requests_of(organization)) == 1, "fifty were missed, and one is made up for"
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

    calls = [request_due_monitors, with_a_wrong_clock(request_due_monitors)] * 2
    assert sum(race(superuser, REQUESTS, calls), Counter()) == {"allowed": 1}
    [request] = requests_of(organization)
    end = with_a_wrong_clock(lambda: str(finish(request).overall_status))
    assert race(superuser, REQUESTS, [end]) == ["passing"]
    now = database_time()
    assert now < stored(monitor).next_run_at <= now + timedelta(hours=1)
    assert stored(monitor).next_run_at > occurrence
    assert race(superuser, REQUESTS, calls) == [{}] * 4


# What is broken


def test_a_bad_schedule_parks_one_monitor_once_and_a_lost_database_is_raised(
    organization: Organization, alice: User, superuser: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:  # L10
    caplog.set_level(logging.CRITICAL)
    monitors = some_monitors(organization, alice, 2)
    change(monitors[0], interval_minutes=None, cron="99 * * * *")
    with gate(superuser, REQUESTS) as closed:
        lost = Racer(request_due_monitors)
        assert closed.gather(lost) == [True]
        closed.cut(lost)
        assert "Error" in lost.outcome().kind
    assert decisions_of(organization) == []
    results = race(superuser, "monitor_decisions", [request_due_monitors] * 4)
    assert sum(results, Counter()) == {"parked": 1, "allowed": 1}
    assert [stored(one).state for one in monitors] == ["parked", "active"]
    assert sorted(outcomes(organization)) == ["allowed", "parked"]


def test_a_phase_that_loses_its_database_does_not_stop_the_next(
    organization: Organization, monitor: Monitor, superuser: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:  # L11
    caplog.set_level(logging.CRITICAL)
    make_due(monitor)
    with gate(superuser, REQUESTS) as closed:
        ticker = Racer(tick)
        assert closed.gather(ticker) == [True], "the heartbeats wait to be written"
        closed.cut(ticker)
        closed.open()
        outcome = ticker.outcome()
    assert "Error" in outcome.kind
    with platform_scope():
        assert not ComplianceRequest.objects.exists()
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
                racers.append(Racer(request_due_monitors))
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
    request_due_monitors()
    [request] = requests_of(organization)
    with organization_scope(organization.id):
        changed = change_monitor(
            organization=organization,
            monitor_id=monitor.pk,
            name="Daily",
            when=When(interval_minutes=1440),
            what=What(),
            by=alice,
        )
        ending = Meanwhile(lambda: finish(request))
        assert ending.waits(superuser)
    assert ending.outcome().overall_status == "passing"
    assert stored(monitor).next_run_at == changed.next_run_at
    assert stored(monitor).last_status == "passing"
