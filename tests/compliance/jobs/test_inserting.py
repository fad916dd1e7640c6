"""Jobs and decisions that are inserted together, and how what is due is found."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import DataError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from compliance.jobs.queue import insert_jobs
from compliance.models import AgentContext, Job, Monitor, MonitorDecision, Organization, User
from compliance.monitors.heartbeats import create_due_heartbeats
from compliance.monitors.models import Outcome
from compliance.monitors.tick import create_due_monitor_jobs
from compliance.suites.models import Suite
from compliance.tenancy.scope import organization_scope, platform_scope
from tests.compliance.monitors.conftest import make_due, make_monitor
from tests.conftest import AGENT_URL


def job_by(organization: Organization | None, **fields: Any) -> Job:
    version = Suite.objects.get(slug="baseline").current_version
    given = {"triggered_by": "observer_test", "actor_kind": "user", "actor_id": "1", "actor_name": "Mia"} | fields
    return Job(organization=organization, suite_version=version, **{"agent_id": AGENT_URL} | given)


@pytest.fixture
def monitors(organization: Organization, context: AgentContext, alice: User) -> list[Monitor]:
    return [make_monitor(organization, context, alice, name=f"Monitor {number}") for number in range(2)]


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
            MonitorDecision.objects.bulk_create(decisions)
        decisions[0].monitor_name = "x"
        if count > 1:
            with pytest.raises(DataError, match="too long"), transaction.atomic():
                MonitorDecision.objects.bulk_create(decisions)
        assert not MonitorDecision.objects.exists()


def test_what_a_unique_key_refuses_raises_or_is_left_out(
    organization: Organization, context: AgentContext
) -> None:  # L1
    with organization_scope(organization.id):
        first, second, other = (job_by(organization) for _ in range(3))
        other.dry_run = True
        assert insert_jobs([first]) == [first.pk]
        with pytest.raises(IntegrityError), transaction.atomic():
            Job.objects.bulk_create([second, other])
        assert insert_jobs([second, other]) == [other.pk]
        assert set(Job.objects.values_list("pk", flat=True)) == {first.pk, other.pk}
        assert insert_jobs([]) == []


def test_due_heartbeats_are_found_by_an_index_while_the_database_has_not_counted_its_rows(
    organization: Organization, context: AgentContext
) -> None:
    with platform_scope():
        insert_jobs([job_by(None, triggered_by="heartbeat")])
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
