"""Many rows in one statement: the same rows that the ORM would insert, one by one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import DataError, IntegrityError, connection, models, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from compliance.jobs.models import CredentialChoice
from compliance.models import AgentContext, Job, Monitor, MonitorDecision, Organization, User
from compliance.monitors.heartbeats import create_due_heartbeats
from compliance.monitors.models import Outcome
from compliance.monitors.tick import create_due_monitor_jobs
from compliance.runs.inserting import insert_rows
from compliance.suites.models import Suite
from compliance.tenancy.ids import uuid7
from compliance.tenancy.scope import organization_scope, platform_scope
from tests.compliance.monitors.conftest import make_due, make_monitor
from tests.conftest import AGENT_URL, make_context

# What an array of texts could take for something else.
NAMES = ("Mia", "NULL", 'with "quotes", {braces} and \\', "", "naïve ∑", "a\nb")
OPTIONS = (
    {},
    {"strict": 1},
    {"strict": True},
    {"scenarios": ["a,b", 'c"d'], "note": "∑"},
    {"deep": {"null": None}},
    {},
)


def rows_as_stored(
    insert: Callable[[Sequence[models.Model]], Any], rows: Sequence[models.Model]
) -> list[dict[str, Any]]:
    """Every column of the rows as the database has them then; nothing stays."""
    with transaction.atomic(), connection.cursor() as cursor:
        insert(rows)
        cursor.execute(f"SELECT to_jsonb(r) FROM {rows[0]._meta.db_table} r ORDER BY r.id")
        stored = [row[0] for row in cursor.fetchall()]
        transaction.set_rollback(True)
    return stored


def assert_like_the_orm(rows: Sequence[models.Model]) -> None:
    by_orm = rows_as_stored(type(rows[0])._default_manager.bulk_create, rows)
    assert len(by_orm) == len(rows)
    for row in rows:
        row._state.adding = True
    assert rows_as_stored(insert_rows, rows) == by_orm


def job_by(organization: Organization | None, **fields: Any) -> Job:
    version = Suite.objects.get(slug="baseline").current_version
    given = {"triggered_by": "observer_test", "actor_kind": "user", "actor_id": "1", "actor_name": "Mia"} | fields
    return Job(organization=organization, suite_version=version, **{"agent_id": AGENT_URL} | given)


@pytest.fixture
def monitors(organization: Organization, context: AgentContext, alice: User) -> list[Monitor]:
    return [make_monitor(organization, context, alice, name=f"Monitor {number}") for number in range(len(NAMES))]


@pytest.mark.parametrize("count", [1, 2, len(NAMES)])
def test_jobs_are_those_that_the_orm_inserts(
    organization: Organization, monitors: list[Monitor], count: int
) -> None:  # L2
    now = timezone.now()
    with organization_scope(organization.id):
        assert_like_the_orm(
            [
                job_by(
                    organization,
                    triggered_by="monitor",
                    actor_kind="monitor",
                    actor_name=NAMES[number],
                    monitor_id=monitor.pk,
                    scheduled_for=now - timedelta(minutes=number) if number % 2 else None,
                    options=OPTIONS[number],
                    dry_run=number == 1,
                    attempt=number,
                    credential_choice=CredentialChoice.CHOSEN if number == 1 else CredentialChoice.AUTOMATIC,
                    credential_id=uuid7() if number == 1 else None,
                )
                for number, monitor in enumerate(monitors[:count])
            ]
        )


def test_jobs_of_the_platform_are_those_that_the_orm_inserts(organization: Organization) -> None:
    urls = [f"https://agent-{number}.example/mcp" for number in range(3)]
    for url in urls:
        make_context(organization, url)
    with platform_scope():
        assert_like_the_orm([job_by(None, agent_id=url, triggered_by="heartbeat") for url in urls])


@pytest.mark.parametrize("count", [1, len(NAMES)])
def test_decisions_are_those_that_the_orm_inserts(
    organization: Organization, monitors: list[Monitor], count: int
) -> None:
    now = timezone.now()
    with organization_scope(organization.id):
        decisions = [
            monitor.decision(Outcome.COOLDOWN, NAMES[number], at=now, scheduled_for=now - timedelta(minutes=number))
            for number, monitor in enumerate(monitors[:count])
        ]
        decisions[0].outcome, decisions[0].job_id, decisions[0].scheduled_for = Outcome.ALLOWED, uuid7(), None
        assert_like_the_orm(decisions)


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_too_long_is_refused_and_not_cut(
    organization: Organization, monitors: list[Monitor], count: int
) -> None:
    now = timezone.now()
    with organization_scope(organization.id):
        decisions = [monitor.decision(Outcome.BUDGET, "", at=now) for monitor in monitors[:count]]
        for decision in decisions:
            decision.monitor_name = "x" * 101
        with pytest.raises(DataError, match="too long"), transaction.atomic():
            insert_rows(decisions)
        decisions[0].monitor_name = "x"
        if count > 1:
            with pytest.raises(DataError, match="too long"), transaction.atomic():
                insert_rows(decisions)
        assert not MonitorDecision.objects.exists()


def test_what_a_unique_key_refuses_raises_or_is_left_out(
    organization: Organization, context: AgentContext
) -> None:  # L1
    with organization_scope(organization.id):
        first, second, other = (job_by(organization) for _ in range(3))
        other.dry_run = True
        assert insert_rows([first]) == {first.pk}
        with pytest.raises(IntegrityError), transaction.atomic():
            insert_rows([second, other])
        assert insert_rows([second, other], skip_conflicts=True) == {other.pk}
        assert set(Job.objects.values_list("pk", flat=True)) == {first.pk, other.pk}
        assert insert_rows([]) == set()


def test_a_column_that_only_some_rows_give_is_refused(organization: Organization, context: AgentContext) -> None:
    with organization_scope(organization.id), pytest.raises(TypeError, match="end_reason"):
        insert_rows([job_by(organization, end_reason="Given."), job_by(organization)])


def test_due_heartbeats_are_found_by_an_index_while_the_database_has_not_counted_its_rows(
    organization: Organization, context: AgentContext
) -> None:
    with platform_scope():
        insert_rows([job_by(None, triggered_by="heartbeat")])
        with CaptureQueriesContext(connection) as asked:
            assert create_due_heartbeats() == 0, "one is active"
        [statement] = [query["sql"] for query in asked if '"agents"' in query["sql"]]
        with connection.cursor() as cursor:
            # Reading the whole table once would be right for one row; reading it for each agent never is.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN {statement}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Join" not in plan
    # Several indexes do, alone or behind the organization; which one is cheapest for an empty table is chance.
    assert re.search(r"Index Cond: .*\(agent_url = agents\.agent_url\)", plan), plan


def test_due_monitors_are_found_by_an_index_while_the_database_has_not_counted_its_rows(
    organization: Organization, context: AgentContext, alice: User
) -> None:
    make_due(make_monitor(organization, context, alice))
    with CaptureQueriesContext(connection) as asked:
        assert create_due_monitor_jobs() == {"allowed": 1}
    [statement] = {
        query["sql"] for query in asked if "FOR UPDATE" in query["sql"] and 'FROM "monitors"' in query["sql"]
    }
    with organization_scope(organization.id), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {statement}")
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("SELECT prosrc FROM pg_proc WHERE proname = 'organizations_due'")
        [(source,)] = cursor.fetchall()
    assert "Join" not in plan
    assert re.search(r"Index Cond: \(monitor_id = monitors\.id\)", plan), plan
    assert "NOT EXISTS" not in source, "which may be made into a join"
