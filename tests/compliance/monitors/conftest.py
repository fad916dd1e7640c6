"""Monitors, and the time at which they are due."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from compliance.database import database_time
from compliance.jobs.completion import complete_job
from compliance.jobs.queue import lease_job
from compliance.models import (
    AgentContext,
    ComplianceRun,
    HeartbeatDecision,
    Job,
    Monitor,
    MonitorDecision,
    Organization,
    User,
)
from compliance.monitors.actions import What, When, create_monitor
from compliance.tenancy.scope import organization_scope, platform_scope
from tests.conftest import make_report


def make_monitor(organization: Organization, context: AgentContext, by: User, **changes: Any) -> Monitor:
    """A monitor of every hour, unless it is changed."""
    what = What(**{name: changes.pop(name) for name in list(changes) if name in What.__dataclass_fields__})
    when = When(**{name: changes.pop(name) for name in list(changes) if name in When.__dataclass_fields__})
    return create_monitor(
        organization=organization,
        context_id=context.pk,
        name=changes.pop("name", "Every hour"),
        suite_slug=changes.pop("suite", "baseline"),
        when=When(interval_minutes=60) if when == When() else when,
        what=what,
        by=by,
    )


def change(monitor: Monitor, **values: Any) -> Monitor:
    """Write to the row what no action would; returns it as it is then."""
    with organization_scope(monitor.organization_id):
        if values:
            Monitor.objects.filter(pk=monitor.pk).update(**values)
        return Monitor.objects.get(pk=monitor.pk)


def stored(monitor: Monitor) -> Monitor:
    return change(monitor)


def make_due(monitor: Monitor, *, since: timedelta = timedelta(seconds=1)) -> datetime:
    """Let the monitor be due for so long; returns the occurrence."""
    occurrence = database_time() - since
    change(monitor, next_run_at=occurrence, deferred_until=None, waiting_since=None)
    return occurrence


def jobs_of(organization: Organization) -> list[Job]:
    """The jobs of the organization's monitors, the oldest first."""
    with organization_scope(organization.id):
        return list(Job.objects.filter(triggered_by="monitor").order_by("created_at", "id"))


def decisions_of(organization: Organization) -> list[MonitorDecision]:
    """The decisions about the organization's monitors, the oldest first."""
    with organization_scope(organization.id):
        return list(MonitorDecision.objects.order_by("at", "id"))


def outcomes(organization: Organization) -> list[str]:
    return [decision.outcome for decision in decisions_of(organization)]


def finish(job: Job, *verdicts: str, **report: Any) -> ComplianceRun:
    """Run the job as a worker would, with this result."""
    lease = lease_job(job.pk, job.organization_id)
    assert lease is not None
    return complete_job(lease, make_report(*verdicts, **report))


def skip_heartbeat(agent_url: str) -> None:
    """A row that says that the agent's heartbeat was skipped."""
    with platform_scope():
        HeartbeatDecision.objects.create(
            agent_url=agent_url, scheduled_for=database_time(), outcome="paused", reason="It is paused."
        )


@pytest.fixture
def monitor(organization: Organization, context: AgentContext, alice: User) -> Monitor:
    return make_monitor(organization, context, alice)


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What would go to Celery."""
    messages: list[tuple[Any, ...]] = []
    monkeypatch.setattr("compliance.celery.app.send_task", lambda name, args: messages.append((name, tuple(args))))
    return messages


PHASES = ("heartbeats", "monitors", "runners")


def arrange(statement: str, value: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT arrange_phases(%s, %s)", [statement, value])


def set_back(by: timedelta, *names: str) -> None:
    """Let phases have completed so much longer ago; needs `arranging`."""
    seconds = f"interval '{by.total_seconds()} seconds'"
    statement = (
        f"UPDATE tick_phases SET made_at = made_at - {seconds}, last_completed_at = last_completed_at - {seconds}"
    )
    arrange(
        "INSERT INTO tick_phases (name) SELECT unnest(string_to_array($1, ',')) ON CONFLICT DO NOTHING",
        ",".join(PHASES),  # which a test that empties tables takes along
    )
    arrange(f"{statement} WHERE name = ANY(string_to_array($1, ','))", ",".join(names or PHASES))
