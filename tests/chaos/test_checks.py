"""The checks of a chaos run can fail: each is shown a record in which one thing is wrong, and names it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection

from compliance.database import database_time
from compliance.engines.reports.model import Evidence
from compliance.jobs.completion import complete_job
from compliance.jobs.queue import lease_heartbeats, lease_job
from compliance.models import AgentContext, ComplianceRun, Job, Monitor, Organization, User
from compliance.monitors.heartbeats import create_due_heartbeats
from compliance.monitors.models import Outcome
from compliance.monitors.tick import create_due_monitor_jobs
from compliance.registry.models import Placement
from compliance.runners.actions import create_runner
from compliance.runners.leasing import About, at_work, complete, poll
from compliance.tenancy.actions import create_organization
from compliance.tenancy.api_keys import actor_of
from compliance.tenancy.scope import organization_scope
from tests.chaos.checks import checks
from tests.chaos.relay import Answered, Books, Leased
from tests.chaos.witness import Witness
from tests.compliance.monitors.conftest import jobs_of, make_due, make_monitor
from tests.compliance.runners.conftest import plain
from tests.conftest import SUPERUSER_URL, make_context, make_report, make_user
from tests.services_plugin import DATABASE

MOST = 3


@pytest.fixture(autouse=True)
def _no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compliance.celery.app.send_task", lambda name, args: None)


@pytest.fixture
def witness(committed_db: None, superuser: psycopg.Connection[Any]) -> Iterator[Witness]:
    witness = Witness(SUPERUSER_URL, DATABASE)
    witness.install()
    yield witness
    witness.close()
    superuser.execute("DROP SCHEMA witness CASCADE")


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
def monitor(witness: Witness, organization: Organization, context: AgentContext, alice: User) -> Monitor:
    """A monitor of which one occurrence was run, after a heartbeat of its agent was."""
    assert create_due_heartbeats() == 1
    [lease] = lease_heartbeats(1)
    complete_job(lease, make_report("passed", "failed", evidence=Evidence({"a": 1}, {"b": 2}, "/c")))
    monitor = make_monitor(organization, context, alice)
    hurry(monitor)
    assert create_due_monitor_jobs() == {"allowed": 1}
    return monitor


@pytest.fixture
def run(monitor: Monitor, organization: Organization) -> ComplianceRun:
    [job] = jobs_of(organization)
    lease = lease_job(job.pk, organization.id)
    assert lease is not None
    return complete_job(lease, make_report())


def speak_as(name: str) -> None:
    """As which process this connection is known to the witness."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('application_name', %s, false)", [name])


def hurry(monitor: Monitor) -> None:
    speak_as("people.0")
    make_due(monitor)
    speak_as("hosted-1.1")


def failing(witness: Witness, books: Books | None = None) -> set[str]:
    """The checks that find something."""
    return {name for name, look in checks(most_attempts=MOST).items() if look(witness, books or Books())}


def forge(superuser: psycopg.Connection[Any], statement: str, *values: Any) -> None:
    """What neither the application nor the database's triggers would do."""
    superuser.execute("SET session_replication_role = replica")
    superuser.execute(statement.encode(), values)
    superuser.execute("SET session_replication_role = origin")


def test_a_record_in_good_order_passes_every_check(witness: Witness, run: ComplianceRun) -> None:
    assert failing(witness) == set()


def test_an_occurrence_that_was_skipped_is_found(witness: Witness, run: ComplianceRun, monitor: Monitor) -> None:  # L1
    hurry(monitor)
    with organization_scope(monitor.organization_id):
        row = monitor.locked()
        row.advance(database_time())
        row.save(update_fields=["next_run_at"])
    assert failing(witness) == {
        "each due occurrence has one result or one visible reason",
        "a schedule moves in the transaction that records why",
    }


def test_an_occurrence_that_was_decided_about_twice_is_found(
    witness: Witness, run: ComplianceRun, monitor: Monitor, organization: Organization
) -> None:  # G4
    [job] = jobs_of(organization)
    with organization_scope(organization.id):
        twice = monitor.decision(Outcome.BUDGET, "Once more.", at=database_time(), scheduled_for=job.scheduled_for)
        twice.save(force_insert=True)
    assert failing(witness) == {
        "each due occurrence has one result or one visible reason",
        "an occurrence is decided about again for a reason only",
    }


def test_two_runs_of_an_occurrence_are_found(
    witness: Witness,
    run: ComplianceRun,
    monitor: Monitor,
    organization: Organization,
    superuser: psycopg.Connection[Any],
    settings: Any,
) -> None:  # L1
    settings.MONITOR_COOLDOWN_SECONDS = 0
    [first] = jobs_of(organization)
    superuser.execute("DROP INDEX one_job_per_occurrence")
    try:
        forge(superuser, "UPDATE monitors SET next_run_at = %s WHERE id = %s", first.scheduled_for, monitor.pk)
        with organization_scope(organization.id):
            Job.objects.filter(pk=first.pk).update(scheduled_for=None)
        create_due_monitor_jobs()
        second = jobs_of(organization)[1]
        lease = lease_job(second.pk, organization.id)
        assert lease is not None
        complete_job(lease, make_report())
        with organization_scope(organization.id):
            Job.objects.filter(pk=first.pk).update(scheduled_for=first.scheduled_for)
        found = failing(witness)
    finally:
        forge(superuser, "DELETE FROM compliance_jobs")
        superuser.execute(
            "CREATE UNIQUE INDEX one_job_per_occurrence ON compliance_jobs (monitor_id, scheduled_for)"
            " WHERE state <> 'expired' AND scheduled_for IS NOT NULL"
        )
    assert "each due occurrence has one result or one visible reason" in found
    assert "an occurrence is decided about again for a reason only" in found


def test_a_job_that_nobody_ends_is_found(witness: Witness, monitor: Monitor) -> None:  # L12
    assert failing(witness) == {"no job is stuck", "nothing is left due"}


def test_a_result_of_a_process_that_had_lost_its_lease_is_found(
    witness: Witness, monitor: Monitor, organization: Organization
) -> None:  # L6
    [job] = jobs_of(organization)
    lease = lease_job(job.pk, organization.id)
    assert lease is not None
    speak_as("hosted-2.4")
    complete_job(lease, make_report())
    assert failing(witness) == {"hosted leases are fenced"}


def test_too_many_attempts_are_found(
    witness: Witness, run: ComplianceRun, superuser: psycopg.Connection[Any]
) -> None:  # L12
    forge(superuser, "UPDATE compliance_jobs SET attempt = 4 WHERE id = %s", run.job_id)
    assert failing(witness) == {"no more attempts than configured"}


def test_a_run_without_its_job_and_evidence_without_its_run_are_found(
    witness: Witness, run: ComplianceRun, superuser: psycopg.Connection[Any]
) -> None:
    forge(superuser, "DELETE FROM agent_compliance_runs")
    assert {"no evidence without a run", "one run for each finished job"} <= failing(witness)


def test_a_schedule_that_goes_back_is_found(witness: Witness, run: ComplianceRun, monitor: Monitor) -> None:  # L19
    make_due(monitor)
    assert "a schedule moves forward, to a time of its own" in failing(witness)


def test_a_heartbeat_that_was_skipped_is_found(witness: Witness, run: ComplianceRun, superuser: Any) -> None:  # L8
    superuser.execute("UPDATE agents SET next_heartbeat_at = next_heartbeat_at + interval '1 hour'")
    assert failing(witness) == {"heartbeats move on with their run"}


def test_two_active_heartbeats_are_found(witness: Witness, run: ComplianceRun, superuser: Any) -> None:  # L1
    superuser.execute("DROP INDEX one_active_job_of_platform")
    try:
        superuser.execute("UPDATE agents SET next_heartbeat_at = now()")
        assert create_due_heartbeats() == 1
        superuser.execute(
            "INSERT INTO compliance_jobs SELECT (jsonb_populate_record(q, jsonb_build_object('id', %s::text))).*"
            " FROM compliance_jobs q WHERE q.state = 'queued'",
            [str(uuid4())],
        )
        found = failing(witness)
    finally:
        forge(superuser, "DELETE FROM compliance_jobs")
        superuser.execute(
            "CREATE UNIQUE INDEX one_active_job_of_platform ON compliance_jobs"
            " (agent_url, suite_version_id, triggered_by)"
            " WHERE state IN ('queued', 'leased') AND organization_id IS NULL"
        )
    assert "one active job at a time" in found


def test_what_a_runner_should_not_have_brought_is_found(
    witness: Witness, organization: Organization, context: AgentContext, alice: User, superuser: Any
) -> None:  # L3 L6
    lab, shown = create_runner(organization=organization, name="lab", by=alice)
    key = actor_of(shown)
    with at_work(key) as at:
        poll(at.runner, at_most=0, engines=["baseline"], about=About(engines={"baseline": "1.0"}))
    hurry(make_monitor(organization, context, alice, placement=Placement(runner_id=lab.pk)))
    assert create_due_monitor_jobs() == {"allowed": 1}
    with at_work(key) as at:
        [lease] = poll(at.runner, at_most=1, engines=["baseline"], about=About())
    with at_work(key, lease.job_id) as at:
        run = complete(at, token=lease.token, report=plain(make_report()))
    job, token = str(lease.job_id), str(lease.token)
    taken = Answered("lab", "complete", job, token, 200, str(run.pk))
    good = Books([Leased("lab", job, token)], [taken])
    ignored = {"nothing is left due"}  # no heartbeat was run here
    assert failing(witness, good) == ignored
    late = Answered("lab", "complete", job, str(uuid4()), 200, str(run.pk))
    other = Answered("pub", "complete", job, token, 200, str(run.pk))
    for wrong in (late, other):
        assert failing(witness, Books(good.leased, [taken, wrong])) == {"private leases are fenced", *ignored}
    forge(superuser, "UPDATE agent_compliance_runs SET executor_name = 'pub'")
    assert failing(witness) == {"runs carry the right executor", *ignored}
