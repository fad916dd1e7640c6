"""The tick: one job for each occurrence, the gates in their order, and one decision for each evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connections

from compliance.database import database_time
from compliance.jobs.actions import cancel_job
from compliance.jobs.queue import lease_job
from compliance.models import Agent, AgentContext, Job, Monitor, Organization, SuiteVersion, User
from compliance.monitors import tick as ticking
from compliance.monitors.actions import (
    archive_monitor,
    change_monitor,
    pause_monitor,
    resume_monitor,
    run_monitor_now,
)
from compliance.monitors.models import FOR_CAPACITY
from compliance.monitors.tick import create_due_monitor_jobs, tick
from compliance.registry.actions import remove_context
from compliance.suites.models import EngineHealth
from compliance.tenancy.actions import create_organization
from compliance.tenancy.errors import Refused
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
from tests.conftest import AGENT_URL, make_context, make_user
from tests.racing import Meanwhile


def at_once(call: Callable[[], Any], count: int) -> list[Any]:
    """Call in threads with connections of their own, which begin together; what each returned or raised."""
    barrier = Barrier(count)

    def one(_: int) -> Any:
        try:
            barrier.wait(30)
            return call()
        except Exception as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def agent(**fields: Any) -> None:
    with platform_scope():
        Agent.objects.filter(pk=AGENT_URL).update(**fields)


@pytest.fixture
def committed(committed_db: None) -> tuple[Organization, AgentContext, User]:
    alice = make_user("alice@example.org", "Alice Owner")
    organization = create_organization(name="Alpha", by=alice)
    return organization, make_context(organization), alice


# One job for each occurrence


def test_a_due_monitor_gets_one_job_that_says_everything(
    organization: Organization, monitor: Monitor, sent: list[Any], django_capture_on_commit_callbacks: Any
) -> None:  # L1, L2
    occurrence = make_due(monitor)
    with django_capture_on_commit_callbacks(execute=True):
        assert create_due_monitor_jobs() == {"allowed": 1}
    assert create_due_monitor_jobs() == {}
    [job] = jobs_of(organization)
    assert (job.triggered_by, job.monitor_id, job.scheduled_for) == ("monitor", monitor.pk, occurrence)
    assert (job.actor_kind, job.actor_name) == ("monitor", "Every hour")
    assert sent == [("compliance.jobs.tasks.execute_job", (str(job.pk), organization.id))]
    [decision] = decisions_of(organization)
    assert (decision.outcome, decision.job_id, decision.scheduled_for) == ("allowed", job.pk, occurrence)


def test_a_monitor_that_is_not_due_is_left_alone(organization: Organization, monitor: Monitor) -> None:
    assert create_due_monitor_jobs() == {}
    assert decisions_of(organization) == []


def test_ticks_at_once_make_one_job_for_each_occurrence(
    committed: tuple[Organization, AgentContext, User],
) -> None:  # L1, G4
    organization, _, alice = committed
    for number in range(12):
        context = make_context(organization, f"https://agent-{number}.example/mcp")
        make_due(make_monitor(organization, context, alice, name=f"Monitor {number}"))
    results = at_once(create_due_monitor_jobs, 6)
    assert sum(result.total() for result in results) == 12, results
    assert len({job.monitor_id for job in jobs_of(organization)}) == len(jobs_of(organization)) == 12
    assert outcomes(organization) == ["allowed"] * 12


def test_a_tick_neither_waits_for_another_nor_decides_the_same_again(
    committed: tuple[Organization, AgentContext, User], superuser: psycopg.Connection[Any]
) -> None:  # L1
    organization, context, alice = committed
    make_due(make_monitor(organization, context, alice))
    with organization_scope(organization.id):
        assert create_due_monitor_jobs() == {"allowed": 1}
        other = Meanwhile(create_due_monitor_jobs)
        assert not other.waits(superuser)
        assert other.outcome() == {}
    assert outcomes(organization) == ["allowed"]


def test_the_database_refuses_a_second_job_for_an_occurrence_or_beside_an_active_one(
    organization: Organization, monitor: Monitor
) -> None:  # L1
    occurrence = make_due(monitor)
    create_due_monitor_jobs()
    [job] = jobs_of(organization)
    for changes in ({"scheduled_for": None}, {"state": "cancelled", "scheduled_for": occurrence}):
        with organization_scope(organization.id), pytest.raises(DatabaseError, match="duplicate key"):
            Job(
                organization=organization,
                agent_id=AGENT_URL,
                triggered_by="monitor",
                suite_version=job.suite_version,
                monitor_id=monitor.pk,
                **changes,
            ).save()


def test_later_edits_change_nothing_about_a_job(
    organization: Organization, monitor: Monitor, alice: User
) -> None:  # L2
    make_due(monitor)
    create_due_monitor_jobs()
    change_monitor(
        organization=organization,
        monitor_id=monitor.pk,
        name="Renamed",
        when=When(interval_minutes=30),
        what=What(fields={"dry_run": True}, scenarios=["mcp/lifecycle"]),
        by=alice,
    )
    [job] = jobs_of(organization)
    assert (job.actor_name, job.dry_run, job.options) == ("Every hour", False, {})
    after = stored(monitor).next_run_at
    run = finish(job)
    assert (run.actor_name, run.dry_run, run.triggered_by) == ("Every hour", False, "monitor")
    assert stored(monitor).next_run_at == after, "the new schedule is ahead already"


def test_a_pinned_monitor_stays_with_its_version_and_another_follows(
    organization: Organization, context: AgentContext, alice: User, superuser: psycopg.Connection[Any]
) -> None:
    pinned = make_monitor(organization, context, alice, name="Pinned", pinned=True)
    following = make_monitor(organization, context, alice, name="Following")
    assert pinned.suite_version_id is not None
    assert following.suite_version_id is None
    assert following.version_to_run == SuiteVersion.objects.get(suite__slug="baseline")


# The schedule


@pytest.mark.parametrize("report", [{}, {"harness_error": "it broke"}, {"truncated": True}])
def test_every_result_advances_the_schedule_with_it(
    organization: Organization, monitor: Monitor, report: dict[str, Any]
) -> None:  # L8
    occurrence = make_due(monitor)
    create_due_monitor_jobs()
    assert stored(monitor).next_run_at == occurrence, "until the result is there"
    run = finish(jobs_of(organization)[0], "failed", **report)
    after = stored(monitor)
    assert after.next_run_at > database_time()
    assert (after.last_run_id, after.last_status) == (run.pk, run.overall_status)


def test_a_result_that_cannot_be_recorded_does_not_advance_the_schedule(
    organization: Organization, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:  # L8
    occurrence = make_due(monitor)
    create_due_monitor_jobs()
    with pytest.raises(RuntimeError):
        monkeypatch.setattr("compliance.monitors.models.Monitor.save", raising(RuntimeError("no room")))
        finish(jobs_of(organization)[0])
    assert jobs_of(organization)[0].state == "leased"
    assert stored(monitor).next_run_at == occurrence


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    return fail


def test_what_was_missed_while_nothing_ran_is_one_catch_up(organization: Organization, monitor: Monitor) -> None:  # L19
    make_due(monitor, since=timedelta(hours=50))
    assert create_due_monitor_jobs() == {"allowed": 1}
    finish(jobs_of(organization)[0])
    assert create_due_monitor_jobs() == {}
    now = database_time()
    assert now < stored(monitor).next_run_at <= now + timedelta(hours=1)


def test_a_clock_that_was_set_back_brings_no_occurrence_again(
    organization: Organization, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:  # L19
    change(monitor, anchor=database_time() - timedelta(days=1))
    occurrence = make_due(monitor)
    create_due_monitor_jobs()
    back = database_time() - timedelta(hours=5)
    monkeypatch.setattr("compliance.monitors.actions.database_time", lambda: back)
    finish(jobs_of(organization)[0])
    assert stored(monitor).next_run_at > occurrence


@pytest.mark.parametrize("gate", ["paused", "opted_out"])
def test_a_database_whose_clock_is_set_back_does_not_decide_again_about_what_it_refused(
    organization: Organization, monitor: Monitor, monkeypatch: pytest.MonkeyPatch, gate: str
) -> None:  # L19
    change(monitor, anchor=database_time() - timedelta(days=1))
    GATES[gate](monitor)
    occurrence = make_due(monitor, since=timedelta(0))
    assert create_due_monitor_jobs() == {gate: 1}
    upcoming = stored(monitor).next_run_at
    assert upcoming > occurrence
    locked = ticking._locked_by_us
    for back in (timedelta(hours=5), timedelta(hours=1), timedelta(seconds=1)):

        def set_back(organization_id: str, back: timedelta = back) -> Any:
            now = locked(organization_id)
            return now and now - back

        monkeypatch.setattr(ticking, "_locked_by_us", set_back)
        assert create_due_monitor_jobs() == {}
    assert stored(monitor).next_run_at == upcoming
    assert len(decisions_of(organization)) == 1


def test_a_clock_that_is_set_back_while_an_occurrence_is_decided_about_moves_on_all_the_same(
    organization: Organization, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:  # L19
    """Found due by one clock, and decided about by another that is behind the occurrence: the time that was read."""
    change(monitor, anchor=database_time() - timedelta(hours=23.5))
    GATES["paused"](monitor)
    occurrence = make_due(monitor)
    read = ticking.Capacity.read

    def read_earlier(organization_id: str, now: Any, *rest: Any) -> Any:
        return read(organization_id, now - timedelta(hours=5), *rest)

    monkeypatch.setattr(ticking.Capacity, "read", read_earlier)
    assert create_due_monitor_jobs() == {"paused": 1}
    assert stored(monitor).next_run_at > occurrence
    assert create_due_monitor_jobs() == {}


def test_a_run_by_hand_leaves_the_schedule_as_it_is(
    organization: Organization, monitor: Monitor, bob: User, alice: User
) -> None:  # L9
    before = stored(monitor).next_run_at
    decision = run_monitor_now(organization=organization, monitor_id=monitor.pk, by=alice)
    assert (decision.outcome, decision.actor_name, decision.scheduled_for) == ("allowed", "Alice Owner", None)
    with pytest.raises(Refused, match="under way"):
        run_monitor_now(organization=organization, monitor_id=monitor.pk, by=alice)
    occurrence = make_due(monitor)
    assert create_due_monitor_jobs() == {}, "one at a time"
    run = finish(jobs_of(organization)[0])
    assert (run.triggered_by, run.actor_name) == ("monitor", "Alice Owner")
    assert stored(monitor).next_run_at == occurrence != before
    assert create_due_monitor_jobs() == {"allowed": 1}, "its time is still its own, however lately it ran"
    assert jobs_of(organization)[1].scheduled_for == occurrence


def test_a_cancelled_job_is_over_and_the_schedule_goes_on(organization: Organization, monitor: Monitor) -> None:
    make_due(monitor)
    create_due_monitor_jobs()
    [job] = jobs_of(organization)
    with organization_scope(organization.id):
        assert job.cancel()
    assert create_due_monitor_jobs() == {"cancelled": 1}
    assert stored(monitor).next_run_at > database_time()


# The gates


def engine_is_missing(monitor: Monitor) -> None:
    EngineHealth.objects.create(
        worker="one", engine="baseline", available=False, reason="It is not installed.", checked_at=database_time()
    )


GATES: dict[str, Callable[[Monitor], Any]] = {
    "archived": lambda monitor: agent(lifecycle_stage="retired"),
    "paused": lambda monitor: agent(paused=True),
    "opted_out": lambda monitor: agent(opted_out=True),
    "concurrency": lambda monitor: None,  # by a setting
    "cooldown": lambda monitor: change(monitor, last_scheduled_run_at=database_time() - timedelta(seconds=30)),
    "unavailable": engine_is_missing,
    "budget": lambda monitor: None,  # by a setting
}


@pytest.mark.parametrize("gate", GATES)
def test_the_first_gate_that_stops_wins(
    organization: Organization, context: AgentContext, monitor: Monitor, alice: User, settings: Any, gate: str
) -> None:  # G1, G4
    """Everything from the gate on would stop it too."""
    later = list(GATES)[list(GATES).index(gate) :]
    other = make_monitor(organization, context, alice, name="Other")
    run_monitor_now(organization=organization, monitor_id=other.pk, by=alice)
    for name in later:
        GATES[name](monitor)
    if "concurrency" in later:
        settings.MONITOR_AGENT_CONCURRENCY = 1
    settings.MONITOR_BUDGET_RUNS = 1
    occurrence = make_due(monitor)
    assert create_due_monitor_jobs() == {gate: 1}
    decision = decisions_of(organization)[-1]
    assert decision.reason.endswith(".")
    if gate in FOR_CAPACITY:
        assert stored(monitor).next_run_at == occurrence, "it is tried again (Q1)"
    else:
        assert stored(monitor).next_run_at > database_time(), "what is refused is over"
    assert create_due_monitor_jobs() == {}
    assert len(jobs_of(organization)) == 1, "nothing was spent"


def at_the_next_tick(organization: Organization) -> dict[str, int]:
    """What comes of a tick once everything that waits is to be tried again."""
    with organization_scope(organization.id):
        waiting = Monitor.objects.filter(waiting_since__isnull=False)
        waiting.update(deferred_until=database_time() - timedelta(seconds=1))
    return dict(create_due_monitor_jobs())


def test_what_is_refused_for_want_of_capacity_runs_as_soon_as_there_is_some(
    organization: Organization, context: AgentContext, monitor: Monitor, alice: User, settings: Any
) -> None:  # Q1
    settings.MONITOR_AGENT_CONCURRENCY = 2
    monitors = [monitor, *(make_monitor(organization, context, alice, name=f"Daily {n}") for n in range(3))]
    occurrences = [make_due(each, since=timedelta(seconds=10 - n)) for n, each in enumerate(monitors)]
    assert create_due_monitor_jobs() == {"allowed": 2, "concurrency": 2}
    assert create_due_monitor_jobs() == {}, "not again in the same tick"
    assert decisions_of(organization)[-1].reason.endswith("It is tried again.")
    assert at_the_next_tick(organization) == {"concurrency": 2}
    for job in jobs_of(organization):
        finish(job)
    assert at_the_next_tick(organization) == {"allowed": 2}
    assert [job.scheduled_for for job in jobs_of(organization)] == occurrences
    assert [stored(each).waiting_since is None for each in monitors[:2]] == [True, True]
    for job in jobs_of(organization)[2:]:
        finish(job)
    after = [stored(each) for each in monitors]
    assert all(each.next_run_at > database_time() for each in after)
    assert [(each.deferred_until, each.waiting_since) for each in after] == [(None, None)] * 4


@pytest.mark.parametrize("gate", ["concurrency", "budget"])
def test_what_waits_for_capacity_is_tried_ever_less_often_and_given_up_in_the_end(
    organization: Organization, context: AgentContext, monitor: Monitor, alice: User, settings: Any, gate: str
) -> None:  # Q1
    setattr(settings, {"concurrency": "MONITOR_AGENT_CONCURRENCY", "budget": "MONITOR_BUDGET_RUNS"}[gate], 1)
    settings.MONITOR_CAPACITY_WAIT_MINUTES = 60
    other = make_monitor(organization, context, alice, name="Other")
    run_monitor_now(organization=organization, monitor_id=other.pk, by=alice)
    occurrence = make_due(monitor, since=timedelta(minutes=70))
    assert create_due_monitor_jobs() == {gate: 1}
    for minutes, seconds in ((0, 15), (2, 120), (59, 300)):
        since = database_time() - timedelta(minutes=minutes)
        change(monitor, waiting_since=since)
        assert at_the_next_tick(organization) == {gate: 1}
        waits = stored(monitor)
        assert (waits.next_run_at, waits.waiting_since) == (occurrence, since)
        assert timedelta(seconds=seconds - 5) < waits.deferred_until - database_time() <= timedelta(seconds=seconds + 5)
    change(monitor, waiting_since=database_time() - timedelta(minutes=60))
    assert at_the_next_tick(organization) == {gate: 1}
    assert decisions_of(organization)[-1].reason.endswith("It has waited for 60 minutes and is given up.")
    given_up = stored(monitor)
    assert given_up.next_run_at > database_time()
    assert (given_up.deferred_until, given_up.waiting_since) == (None, None)


def test_how_long_another_occurrence_waited_does_not_count(
    organization: Organization, context: AgentContext, monitor: Monitor, alice: User, settings: Any
) -> None:  # Q1
    """A worker of the version before moves a monitor on and leaves this time as it was."""
    settings.MONITOR_BUDGET_RUNS = 1
    other = make_monitor(organization, context, alice, name="Other")
    run_monitor_now(organization=organization, monitor_id=other.pk, by=alice)
    make_due(monitor)
    change(monitor, waiting_since=database_time() - timedelta(days=2))
    assert create_due_monitor_jobs() == {"budget": 1}
    assert database_time() - stored(monitor).waiting_since < timedelta(minutes=1)


def test_the_organization_has_a_cap_of_its_own(
    organization: Organization, context: AgentContext, monitor: Monitor, alice: User, settings: Any
) -> None:  # G3
    settings.MONITOR_ORGANIZATION_CONCURRENCY = 1
    elsewhere = make_context(organization, "https://other.example/mcp")
    other = make_monitor(organization, elsewhere, alice, name="Other")
    make_due(monitor)
    make_due(other)
    assert create_due_monitor_jobs() == {"allowed": 1, "concurrency": 1}
    assert "of your organization at once" in decisions_of(organization)[-1].reason


def test_a_monitor_whose_agent_was_removed_is_refused_and_parked(
    organization: Organization, context: AgentContext, monitor: Monitor, alice: User
) -> None:  # G2
    make_due(monitor)
    remove_context(organization=organization, context_id=context.pk, by=alice)
    assert create_due_monitor_jobs() == {"no_agent": 1}
    after = stored(monitor)
    assert (after.state, after.context_id, after.agent_url) == ("parked", None, AGENT_URL)
    with pytest.raises(Refused, match="no longer has this agent"):
        resume_monitor(organization=organization, monitor_id=monitor.pk, by=alice)
    assert jobs_of(organization) == []


def test_a_monitor_is_not_run_for_an_agent_that_is_just_being_removed(
    committed: tuple[Organization, AgentContext, User], superuser: psycopg.Connection[Any]
) -> None:  # G2
    organization, context, alice = committed
    monitor = make_monitor(organization, context, alice)
    make_due(monitor)
    with organization_scope(organization.id):
        with organization_scope(organization.id):
            AgentContext.objects.select_for_update().get(pk=context.pk)
        ticking_beside = Meanwhile(create_due_monitor_jobs)
        assert not ticking_beside.waits(superuser), "a removal waits for monitors: nobody may wait for it"
        assert ticking_beside.outcome() == {}
        remove_context(organization=organization, context_id=context.pk, by=alice)
    assert create_due_monitor_jobs() == {"no_agent": 1}


@pytest.mark.parametrize(
    ("cap", "outcome"), [("MONITOR_BUDGET_RUNS", "budget"), ("MONITOR_ORGANIZATION_CONCURRENCY", "concurrency")]
)
def test_ticks_and_buttons_at_once_never_exceed_a_cap(
    committed: tuple[Organization, AgentContext, User], settings: Any, cap: str, outcome: str
) -> None:  # G5
    setattr(settings, cap, 3)
    organization, _, alice = committed
    monitors = []
    for number in range(8):
        context = make_context(organization, f"https://agent-{number}.example/mcp")
        monitors.append(make_monitor(organization, context, alice, name=f"Monitor {number}"))
        if number < 4:
            make_due(monitors[-1])
    pressed = iter(monitors[4:])

    def press() -> Any:
        return run_monitor_now(organization=organization, monitor_id=next(pressed).pk, by=alice)

    calls = iter([create_due_monitor_jobs, press] * 4)
    at_once(lambda: next(calls)(), 8)
    create_due_monitor_jobs()
    assert len(jobs_of(organization)) == 3
    assert sorted(outcomes(organization)) == sorted(["allowed"] * 3 + [outcome] * 5)


def test_the_budget_rolls_and_gives_back_what_was_cancelled(
    organization: Organization, context: AgentContext, monitor: Monitor, alice: User, settings: Any
) -> None:  # G5
    settings.MONITOR_BUDGET_RUNS, settings.MONITOR_COOLDOWN_SECONDS = 1, 0
    make_due(monitor)
    assert create_due_monitor_jobs() == {"allowed": 1}
    finish(jobs_of(organization)[0])
    make_due(monitor)
    assert create_due_monitor_jobs() == {"budget": 1}
    with organization_scope(organization.id):
        Job.objects.update(created_at=database_time() - timedelta(hours=24, seconds=1))
    make_due(monitor)
    assert create_due_monitor_jobs() == {"allowed": 1}
    with organization_scope(organization.id):
        jobs_of(organization)[1].cancel()
    make_due(monitor, since=timedelta(0))
    assert create_due_monitor_jobs() == {"allowed": 1}


def test_what_is_cancelled_once_a_worker_has_begun_it_is_spent(
    organization: Organization, context: AgentContext, monitor: Monitor, alice: User, settings: Any
) -> None:  # G5
    """Else whoever calls each run off before it ends has runs without end."""
    settings.MONITOR_BUDGET_RUNS, settings.MONITOR_COOLDOWN_SECONDS = 1, 0
    run_monitor_now(organization=organization, monitor_id=monitor.pk, by=alice)
    [job] = jobs_of(organization)
    assert lease_job(job.pk, organization.id) is not None
    cancel_job(organization=organization, job_id=job.pk, by=alice)
    assert run_monitor_now(organization=organization, monitor_id=monitor.pk, by=alice).outcome == "budget"


# What is broken


@pytest.mark.parametrize("broken", [{"cron": "99 * * * *"}, {"cron": "0 9 * * *", "timezone": "Europe/Atlantis"}])
def test_a_bad_schedule_parks_that_one_monitor(
    organization: Organization, context: AgentContext, monitor: Monitor, alice: User, broken: dict[str, str]
) -> None:  # L10
    good = make_monitor(organization, context, alice, name="Good")
    change(monitor, interval_minutes=None, **broken)
    make_due(monitor)
    make_due(good)
    assert create_due_monitor_jobs() == {"parked": 1, "allowed": 1}
    after = stored(monitor)
    assert (after.state, after.next_run_at) == ("parked", None)
    assert after.state_reason in [decision.reason for decision in decisions_of(organization)]
    with pytest.raises(Refused, match="Change its schedule"):
        resume_monitor(organization=organization, monitor_id=monitor.pk, by=alice)
    changed = change_monitor(
        organization=organization,
        monitor_id=monitor.pk,
        name="Mended",
        when=When(cron="0 9 * * *"),
        what=What(),
        by=alice,
    )
    assert (changed.state, changed.state_reason) == ("active", "")


def test_a_schedule_that_goes_bad_meanwhile_parks_and_the_result_is_recorded(
    organization: Organization, monitor: Monitor
) -> None:  # L8, L10
    make_due(monitor)
    create_due_monitor_jobs()
    change(monitor, interval_minutes=None, cron="99 * * * *")
    finish(jobs_of(organization)[0])
    assert jobs_of(organization)[0].state == "finished"
    assert stored(monitor).state == "parked"
    assert outcomes(organization) == ["allowed", "parked"]


def test_an_error_of_the_database_is_not_taken_for_a_bad_schedule(
    organization: Organization, monitor: Monitor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:  # L10
    make_due(monitor)
    monkeypatch.setattr(ticking, "_decide", raising(DatabaseError("no room on the disk")))
    monkeypatch.setattr(ticking, "close_old_connections", lambda: None)
    with pytest.raises(DatabaseError, match="no room"):
        create_due_monitor_jobs()
    assert stored(monitor).state == "active"
    assert "could not be decided about" in caplog.text


def test_a_monitor_that_cannot_be_decided_about_fails_alone_and_says_so(
    organization: Organization, context: AgentContext, monitor: Monitor, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:  # G4
    good = make_monitor(organization, context, alice, name="Good")
    make_due(monitor)
    make_due(good)
    asked = ticking.stopped_by

    def asking(one: Monitor, *args: Any) -> Any:
        if one.pk == monitor.pk:
            raise KeyError("a bug")
        return asked(one, *args)

    monkeypatch.setattr(ticking, "stopped_by", asking)
    assert create_due_monitor_jobs() == {"failed": 1, "allowed": 1}
    assert sorted(outcomes(organization)) == ["allowed", "failed"]
    assert stored(monitor).next_run_at > database_time()


@pytest.mark.parametrize("broken", ["create_due_heartbeats", "create_due_monitor_jobs"])
def test_a_phase_that_fails_does_not_stop_the_other(
    organization: Organization,
    context: AgentContext,
    monitor: Monitor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken: str,
) -> None:  # L11
    caplog.set_level(logging.ERROR)
    make_due(monitor)
    monkeypatch.setattr(ticking, broken, raising(RuntimeError("broken")))
    monkeypatch.setattr(ticking, "close_old_connections", lambda: None)
    with pytest.raises(RuntimeError):
        tick()
    with platform_scope():
        beats = Job.objects.count()
    assert (beats, len(jobs_of(organization))) == ((0, 1) if broken == "create_due_heartbeats" else (1, 0))
    assert "of the tick failed" in caplog.text


def test_a_tick_tells_what_came_of_each_phase(
    organization: Organization, context: AgentContext, monitor: Monitor
) -> None:
    make_due(monitor)
    assert tick() == {"heartbeats.created": 1, "monitors.allowed": 1, "runners.told_offline": 0}


# Failures of ours


def run_by_schedule(monitor: Monitor, organization: Organization, **report: Any) -> None:
    change(monitor, last_scheduled_run_at=None)
    make_due(monitor)
    assert create_due_monitor_jobs() == {"allowed": 1}
    finish(jobs_of(organization)[-1], "failed", **report)


def test_five_failures_of_the_harness_in_a_row_pause_the_monitor_once(
    organization: Organization, monitor: Monitor, alice: User
) -> None:  # L17
    broke = {"harness_error": "the network is gone"}
    for _ in range(4):
        run_by_schedule(monitor, organization, **broke)
    run_by_schedule(monitor, organization)
    assert stored(monitor).failures_in_a_row == 0, "a failing agent is a result"
    for _ in range(4):
        run_by_schedule(monitor, organization, **broke)
    run_monitor_now(organization=organization, monitor_id=monitor.pk, by=alice)
    finish(jobs_of(organization)[-1], **broke)
    assert stored(monitor).state == "active", "what somebody asked for does not count"
    run_by_schedule(monitor, organization, **broke)
    after = stored(monitor)
    assert (after.state, after.next_run_at) == ("paused", None)
    assert "5 inconclusive runs in a row" in after.state_reason
    assert outcomes(organization).count("stopped") == 1
    resumed = resume_monitor(organization=organization, monitor_id=monitor.pk, by=alice)
    assert (resumed.state, resumed.failures_in_a_row) == ("active", 0)


def test_what_is_paused_or_archived_is_not_due_and_a_result_does_not_wake_it(
    organization: Organization, context: AgentContext, monitor: Monitor, alice: User
) -> None:
    other = make_monitor(organization, context, alice, name="Other")
    make_due(monitor)
    make_due(other)
    create_due_monitor_jobs()
    pause_monitor(organization=organization, monitor_id=monitor.pk, by=alice)
    archive_monitor(organization=organization, monitor_id=other.pk, by=alice)
    for job in jobs_of(organization):
        finish(job)
    assert [stored(each).state for each in (monitor, other)] == ["paused", "archived"]
    assert [stored(each).next_run_at for each in (monitor, other)] == [None, None]
    assert create_due_monitor_jobs() == {}
    with pytest.raises(Monitor.DoesNotExist):
        resume_monitor(organization=organization, monitor_id=other.pk, by=alice)
    make_monitor(organization, context, alice, name="Other")


def test_a_pause_at_the_moment_of_a_tick_waits_for_it_or_comes_before_it(
    committed: tuple[Organization, AgentContext, User], superuser: psycopg.Connection[Any]
) -> None:
    organization, context, alice = committed
    monitor = make_monitor(organization, context, alice)
    make_due(monitor)
    with organization_scope(organization.id):
        pause_monitor(organization=organization, monitor_id=monitor.pk, by=alice)
        ticking_beside = Meanwhile(create_due_monitor_jobs)
        assert not ticking_beside.waits(superuser)
        assert ticking_beside.outcome() == {}
    assert create_due_monitor_jobs() == {}
    assert jobs_of(organization) == []
