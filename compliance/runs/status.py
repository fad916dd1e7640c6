"""What is derived from the record: an agent's public status, and each organization's last test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from django.db import connection
from django.utils import timezone

from compliance.runs.models import AgentContextWithLatestTest, AgentRow, OverallStatus
from compliance.tenancy.scope import Actor, system_scope


def rebuild_statuses(*, mend: bool, by: Actor) -> list[tuple[str, dict[str, Any] | None, dict[str, Any] | None]]:
    """Compare every agent's stored status with what its runs say (R9); `mend` stores the latter.

    Returns (agent_url, stored, derived) of those that differ.
    """
    with system_scope(by=by, reason="rebuild the agents' statuses"), connection.cursor() as cursor:
        cursor.execute("SELECT agent_url, stored, derived FROM rebuild_agent_status(%s)", [mend])
        return [(url, json.loads(stored or "null"), json.loads(derived or "null")) for url, stored, derived in cursor]


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
