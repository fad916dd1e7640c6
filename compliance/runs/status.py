"""What is derived from the record: an agent's public status, and each organization's last test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, models
from django.db.models import F
from django.db.models.expressions import RawSQL
from django.utils import timezone

from compliance.registry.models import Agent, Relation
from compliance.runs.history import STRIP_LENGTH
from compliance.runs.models import OverallStatus
from compliance.tenancy.scope import Actor, system_scope


class AgentStatus(models.Model):
    """One row an agent, derived from the runs that move a status; written by the database only."""

    agent = models.OneToOneField(
        Agent, on_delete=models.CASCADE, primary_key=True, db_column="agent_url", related_name="status"
    )
    status = models.CharField(max_length=14, choices=OverallStatus.choices)
    since = models.DateTimeField(help_text="The first run of the unbroken streak of this status.")
    last_run_id = models.UUIDField()
    last_run_at = models.DateTimeField()
    last_passed_at = models.DateTimeField(null=True)
    last_failed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "agent_status"

    def __str__(self) -> str:
        return f"{self.agent_id}: {self.status}"


def rebuild_statuses(*, mend: bool, by: Actor) -> list[tuple[str, dict[str, Any] | None, dict[str, Any] | None]]:
    """Compare every agent's stored status with what its runs say (R9); `mend` stores the latter.

    Returns (agent_url, stored, derived) of those that differ.
    """
    with system_scope(by=by, reason="rebuild the agents' statuses"), connection.cursor() as cursor:
        cursor.execute("SELECT agent_url, stored, derived FROM rebuild_agent_status(%s)", [mend])
        return [(url, json.loads(stored or "null"), json.loads(derived or "null")) for url, stored, derived in cursor]


class _Rank(models.Func):
    """How soon somebody should look. A template, because Case and When take longer to compile than the query to run."""

    template = "CASE %(expressions)s WHEN 'failing' THEN 0 WHEN 'partial' THEN 1 WHEN 'passing' THEN 3 ELSE 2 END"
    output_field = models.IntegerField()


@dataclass(frozen=True, slots=True)
class Facets:
    """How many of an organization's agents are in which state of their last test."""

    everything: int
    failing: int
    partial: int
    passing: int
    never: int
    stale: int


# Plain SQL: the page that asks is the busiest one, and six filtered counts take the ORM longer to compose than to run.
_FACETS = """
    SELECT count(*),
        count(*) FILTER (WHERE last_test_status = 'failing'),
        count(*) FILTER (WHERE last_test_status = 'partial'),
        count(*) FILTER (WHERE last_test_status = 'passing'),
        count(*) FILTER (WHERE last_test_run_id IS NULL),
        count(*) FILTER (WHERE last_tested_at < %(long_ago)s)
    FROM agent_context_with_latest_test
    WHERE organization_id = %(organization_id)s
        AND (%(sought)s = '' OR strpos(upper(name), upper(%(sought)s)) > 0
             OR strpos(upper(agent_url), upper(%(sought)s)) > 0)
"""


def facets(*, organization_id: str, sought: str = "", stale_days: int) -> Facets:
    """Count an organization's agents by the state of their last test; one query. Needs organization_scope.

    sought: only agents with this in their name or URL, in any case.
    stale_days: how many days without a test make an agent stale.
    """
    long_ago = timezone.now() - timedelta(days=stale_days)
    with connection.cursor() as cursor:
        cursor.execute(_FACETS, {"organization_id": organization_id, "sought": sought, "long_ago": long_ago})
        return Facets(*cursor.fetchone())


class AgentRow(NamedTuple):
    """An agent as a list shows it."""

    id: UUID
    name: str
    agent_id: str
    last_test_run_id: UUID | None
    last_test_status: str | None
    last_test_summary: str | None
    last_tested_at: datetime | None
    total_tests_run: int
    status: str | None
    since: datetime | None
    verdicts: str  # the statuses of its last tests, the newest first, with blanks between
    runner: str | None  # the key and the name of the private runner that ran the last test; None for a hosted worker


def facets_of(rows: Sequence[AgentRow], *, stale_days: int) -> Facets:
    """What `facets` counts, from all of an organization's rows."""
    long_ago = timezone.now() - timedelta(days=stale_days)
    statuses = [row.last_test_status for row in rows]
    return Facets(
        everything=len(rows),
        failing=statuses.count(OverallStatus.FAILING),
        partial=statuses.count(OverallStatus.PARTIAL),
        passing=statuses.count(OverallStatus.PASSING),
        never=statuses.count(None),
        stale=sum(row.last_tested_at is not None and row.last_tested_at < long_ago for row in rows),
    )


# Read by an index alone, for the rows of the page only. One text: thirty values each would cost more to take apart.
_VERDICTS = """
    array_to_string(ARRAY(
        SELECT overall_status FROM agent_compliance_runs
        WHERE triggered_org_id = agent_context_with_latest_test.organization_id
            AND agent_url = agent_context_with_latest_test.agent_url
            AND triggered_org_id IS NOT NULL AND NOT dry_run AND overall_status <> 'inconclusive'
        ORDER BY tested_at DESC, id DESC LIMIT %s
    ), ' ')
"""


# By the run's key, for the rows of the page only.
_RUNNER = """(
    SELECT executor_id || ' ' || executor_name FROM agent_compliance_runs
    WHERE id = agent_context_with_latest_test.last_test_run_id AND executor_kind = 'private'
)"""


class LastTestQuerySet(models.QuerySet["AgentContextWithLatestTest"]):
    """Questions about an organization's last tests."""

    def of_organization(self, organization_id: str) -> LastTestQuerySet:
        """Every agent of the organization with its last test and its public status, by name."""
        return self.filter(organization_id=organization_id).select_related("agent__status").order_by("name", "id")

    def as_rows(self) -> models.QuerySet[Any, Any]:
        """What a list shows, with the fields of AgentRow: making model instances costs a page more than the query."""
        told = self.annotate(
            status=F("agent__status__status"),
            since=F("agent__status__since"),
            verdicts=RawSQL(_VERDICTS, [STRIP_LENGTH], models.TextField()),  # noqa: S611 - text of our own
            runner=RawSQL(_RUNNER, [], models.TextField()),  # noqa: S611 - text of our own
        )
        return told.values_list(*AgentRow._fields, named=True)

    def never_tested(self) -> LastTestQuerySet:
        return self.filter(last_test_run_id__isnull=True)

    def not_tested_for(self, days: int) -> LastTestQuerySet:
        """Tested once, and not in the last `days` days."""
        return self.filter(last_tested_at__lt=timezone.now() - timedelta(days=days))

    def failing_first(self) -> LastTestQuerySet:
        """Failing, partial, never tested, passing; inside each the newest first."""
        return self.order_by(_Rank(F("last_test_status")), F("last_tested_at").desc(nulls_last=True), "name", "id")


class AgentContextWithLatestTest(models.Model):
    """The view agent_context_with_latest_test: a context and the organization's own last conclusive test (R3, R4)."""

    id = models.UUIDField(primary_key=True)
    organization_id = models.CharField(max_length=68)
    agent = models.ForeignKey(Agent, on_delete=models.DO_NOTHING, db_column="agent_url", related_name="+")
    name = models.CharField(max_length=100)
    relation = models.CharField(max_length=14, choices=Relation.choices)
    created_at = models.DateTimeField()
    last_test_run_id = models.UUIDField(null=True)
    last_test_status = models.CharField(max_length=14, choices=OverallStatus.choices, null=True)
    last_test_passed = models.BooleanField(null=True)
    last_test_scenario = models.CharField(max_length=150, null=True)
    last_test_summary = models.CharField(max_length=300, null=True)
    last_tested_at = models.DateTimeField(null=True)
    total_tests_run = models.PositiveBigIntegerField()

    objects = LastTestQuerySet.as_manager()

    class Meta:
        managed = False
        db_table = "agent_context_with_latest_test"

    def __str__(self) -> str:
        return self.name


_ANY_ORGANIZATION = "any organization"


@cache
def _first_rows(length: int) -> tuple[str, tuple[Any, ...]]:
    agents = AgentContextWithLatestTest.objects.of_organization(_ANY_ORGANIZATION).failing_first()
    return agents.as_rows()[:length].query.sql_with_params()


def first_rows(*, organization_id: str, length: int) -> list[AgentRow]:
    """The first of an organization's agents in the order of failing_first, at most `length`; one query.

    The ORM composes it once a process: that takes longer than to run it. Needs organization_scope.
    """
    sql, parameters = _first_rows(length)
    with connection.cursor() as cursor:
        cursor.execute(sql, [organization_id if value == _ANY_ORGANIZATION else value for value in parameters])
        return [AgentRow(*row) for row in cursor.fetchall()]
