"""What an agent's owner decides for everybody: heartbeats that are skipped, and how many tests run at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connections, transaction
from django.test import Client
from django.urls import reverse

from compliance.database import database_time
from compliance.jobs.actions import request_owner_test
from compliance.jobs.queue import lease_heartbeats
from compliance.models import Agent, AgentContext, HeartbeatDecision, Job, Monitor, Organization, User
from compliance.monitors.heartbeats import create_due_heartbeats, skip_due_heartbeats
from compliance.monitors.metrics import read_figures
from compliance.monitors.tick import create_due_monitor_jobs, tick
from compliance.registry.actions import change_heartbeats
from compliance.runs.models import OverallStatus, TriggeredBy
from compliance.tenancy.actions import create_organization
from compliance.tenancy.errors import NotAllowed, Refused
from compliance.tenancy.scope import organization_scope, platform_scope
from tests.compliance.monitors.conftest import finish, jobs_of, make_due, make_monitor, stored
from tests.conftest import AGENT_URL, make_context, make_user


def agent(**fields: Any) -> Agent:
    """The agent, changed; its heartbeat is not due unless that is said."""
    if "max_at_once" in fields:
        fields = {"next_heartbeat_at": database_time() + timedelta(hours=1)} | fields
    with platform_scope():
        if fields:
            Agent.objects.filter(pk=AGENT_URL).update(**fields)
        return Agent.objects.get(pk=AGENT_URL)


def skipped(organization: Organization) -> list[tuple[str, str]]:
    with organization_scope(organization.id):
        return list(HeartbeatDecision.objects.newest_of(AGENT_URL).values_list("outcome", "reason"))


# Heartbeats that are skipped


@pytest.mark.parametrize(
    ("fields", "outcome", "words"),
    [
        ({"paused": True}, "paused", "has paused"),
        ({"opted_out": True}, "opted_out", "has opted out"),
        ({"lifecycle_stage": "retired"}, "archived", "is retired"),
        ({"lifecycle_stage": "retired", "paused": True, "opted_out": True}, "archived", "is retired"),
        ({"paused": True, "opted_out": True}, "paused", "has paused"),
    ],
)
def test_a_heartbeat_that_is_skipped_leaves_one_row_and_is_counted(
    organization: Organization, context: AgentContext, fields: dict[str, Any], outcome: str, words: str
) -> None:  # Q3, G1
    due = database_time() - timedelta(minutes=1)
    before = read_figures()["heartbeats"].get((outcome, ""), 0)
    agent(**fields, next_heartbeat_at=due)
    counts = tick()
    assert counts[f"heartbeats.{outcome}"] == 1
    [(found, reason)] = skipped(organization)
    assert found == outcome
    assert words in reason
    assert agent().next_heartbeat_at > database_time(), "the schedule goes on"
    assert skip_due_heartbeats() == {}
    assert create_due_heartbeats() == 0
    assert read_figures()["heartbeats"][outcome, ""] == before + 1


def test_ticks_at_the_same_moment_skip_a_heartbeat_once(committed_db: None) -> None:  # Q3
    organization = create_organization(name="Alpha", by=make_user("alice@example.org", "Alice Owner"))
    make_context(organization)
    agent(paused=True, next_heartbeat_at=database_time() - timedelta(minutes=1))
    barrier = Barrier(4)

    def one(_: int) -> int:
        barrier.wait(30)
        try:
            return skip_due_heartbeats().total()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(one, range(4))) == [0, 0, 0, 1]
    assert len(skipped(organization)) == 1


def test_an_agent_in_development_is_not_on_schedule_and_leaves_no_row(
    organization: Organization, context: AgentContext
) -> None:
    agent(lifecycle_stage="development", next_heartbeat_at=database_time() - timedelta(minutes=1))
    assert skip_due_heartbeats() == {}
    assert skipped(organization) == []


def test_skipped_heartbeats_are_read_by_who_has_the_agent_and_never_changed(
    organization: Organization, context: AgentContext, other_organization: Organization
) -> None:  # I1, I2
    agent(paused=True, next_heartbeat_at=database_time() - timedelta(minutes=1))
    skip_due_heartbeats()
    assert len(skipped(organization)) == 1
    assert skipped(other_organization) == []
    assert HeartbeatDecision.objects.count() == 0, "without a scope there is nothing"
    for change in (
        lambda: HeartbeatDecision.objects.update(reason="Another."),
        lambda: HeartbeatDecision.objects.all().delete(),
    ):
        with organization_scope(organization.id), pytest.raises(DatabaseError), transaction.atomic():
            change()
    made = HeartbeatDecision(agent_url=AGENT_URL, scheduled_for=database_time(), outcome="paused", reason="Made up.")
    with organization_scope(organization.id), pytest.raises(DatabaseError), transaction.atomic():
        made.save()


def test_the_agents_page_shows_what_was_skipped(
    client: Client, alice: User, organization: Organization, context: Any
) -> None:
    agent(paused=True, next_heartbeat_at=database_time() - timedelta(minutes=1))
    skip_due_heartbeats()
    client.force_login(alice)
    page = client.get(reverse("agent", args=[organization.slug, context.pk])).content.decode()
    assert "Skipped heartbeats" in page
    assert "The agent&#x27;s verified owner has paused its automatic tests." in page


# How many tests at once


def test_a_cap_of_the_agents_owner_holds_for_monitors_of_all_organizations(
    organization: Organization,
    context: AgentContext,
    alice: User,
    other_organization: Organization,
    other_context: AgentContext,
    charlie: User,
) -> None:  # G3
    agent(max_at_once=1)
    ours = make_monitor(organization, context, alice)
    theirs = make_monitor(other_organization, other_context, charlie)
    occurrence = make_due(theirs)
    make_due(ours)
    assert create_due_monitor_jobs() == {"allowed": 1, "concurrency": 1}
    waiting = [each for each in (ours, theirs) if stored(each).waiting_since is not None]
    [waits] = waiting
    assert stored(waits).next_run_at <= occurrence + timedelta(seconds=2)
    [job] = jobs_of(other_organization if waits is ours else organization)
    finish(job)
    make_due(waits)
    assert create_due_monitor_jobs() == {"allowed": 1}


def test_it_holds_for_heartbeats_and_for_who_asks_and_names_itself(
    organization: Organization,
    context: AgentContext,
    alice: User,
    other_organization: Organization,
    other_context: AgentContext,
    charlie: User,
) -> None:  # G3
    agent(max_at_once=1)
    job, _ = request_owner_test(organization=organization, context_id=context.pk, by=alice)
    agent(next_heartbeat_at=database_time() - timedelta(minutes=1))
    assert create_due_heartbeats() == 0
    assert agent().next_heartbeat_at < database_time(), "it stays due"
    with pytest.raises(Refused, match="owner allows 1 of its tests at once"):
        request_owner_test(organization=other_organization, context_id=other_context.pk, by=charlie)
    again, new = request_owner_test(organization=organization, context_id=context.pk, by=alice)
    assert (again.pk, new) == (job.pk, False), "the one under way is shown"
    with organization_scope(organization.id):
        assert Job.objects.get(pk=job.pk).cancel()
    assert create_due_heartbeats() == 1
    assert len(lease_heartbeats(5)) == 1
    with pytest.raises(Refused, match="owner allows"):
        request_owner_test(organization=organization, context_id=context.pk, by=alice)


def test_a_heartbeat_that_is_due_goes_before_the_tests_of_organizations(
    organization: Organization, context: AgentContext, alice: User
) -> None:  # Q2
    """Else whoever tests the agent without a pause decides when the platform may."""
    agent(max_at_once=1, next_heartbeat_at=database_time() - timedelta(minutes=1))
    with pytest.raises(Refused, match="owner allows"):
        request_owner_test(organization=organization, context_id=context.pk, by=alice)
    assert create_due_heartbeats() == 1
    with platform_scope():
        [beat] = Job.objects.all()
        assert beat.cancel()
    agent(next_heartbeat_at=database_time() + timedelta(hours=1))
    _, new = request_owner_test(organization=organization, context_id=context.pk, by=alice)
    assert new


def test_a_cap_of_one_does_not_wait_for_a_scheduler_that_stands_still(
    organization: Organization, context: AgentContext, alice: User
) -> None:
    agent(max_at_once=1, next_heartbeat_at=database_time() - timedelta(hours=5))
    _, new = request_owner_test(organization=organization, context_id=context.pk, by=alice)
    assert new


def test_organizations_that_decide_at_the_same_moment_do_not_exceed_it(committed_db: None) -> None:  # G5
    monitors: list[Monitor] = []
    for number in range(4):
        by = make_user(f"owner{number}@example.org", f"Owner {number}")
        organization = create_organization(name=f"Organization {number}", by=by)
        monitors.append(make_monitor(organization, make_context(organization), by))
    agent(max_at_once=2)
    for monitor in monitors:
        make_due(monitor)
    barrier = Barrier(4)

    def one(_: int) -> Any:
        barrier.wait(30)
        try:
            return create_due_monitor_jobs()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        outcomes = sum(pool.map(one, range(4)), start=create_due_monitor_jobs())
    assert outcomes["allowed"] == 2, outcomes


def test_only_the_agents_verified_owner_sets_it(
    organization: Organization,
    alice: User,
    other_organization: Organization,
    other_context: AgentContext,
    charlie: User,
) -> None:
    verified_context = make_context(organization, verified=True)
    settings = {"interval_hours": 12, "lifecycle_stage": "production", "paused": False, "opted_out": False}
    acting = {"organization": organization, "context_id": verified_context.pk, "by": alice}
    assert change_heartbeats(**acting, **settings, max_at_once=3).max_at_once == 3
    with pytest.raises(Refused, match="must be 1 to 1000"):
        change_heartbeats(**acting, **settings, max_at_once=0)
    assert change_heartbeats(**acting, **settings).max_at_once is None
    with pytest.raises(NotAllowed):
        change_heartbeats(
            organization=other_organization, context_id=other_context.pk, by=charlie, **settings, max_at_once=3
        )


# Counters of runs


def test_each_recorded_run_is_counted_by_trigger_and_verdict_and_all_series_are_there(
    organization: Organization, context: AgentContext, alice: User, superuser: psycopg.Connection[Any]
) -> None:
    before = read_figures()["runs"]
    assert set(before) == {(trigger, verdict) for trigger in TriggeredBy.values for verdict in OverallStatus.values}
    job, _ = request_owner_test(organization=organization, context_id=context.pk, by=alice)
    run = finish(job)
    after = read_figures()["runs"]
    changed = {key: after[key] - before[key] for key in after if after[key] != before[key]}
    assert changed == {(run.triggered_by, run.overall_status): 1}
