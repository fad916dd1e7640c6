"""Decisions: keyset pages, newest first, which need organization_scope; and the end of those that are old."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection

from compliance.vault.access_log import Place

PAGE_SIZE = 50
FORGOTTEN_AT_ONCE = 5000  # rows of one short transaction
FORGETTING_SECONDS = 20.0  # then the thread is for others; the rest is for the next time


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """What a reader narrows the decisions to. Empty means everything."""

    monitor_id: UUID | None = None
    outcome: str = ""  # a value of Outcome, or NOT_ALLOWED for all but ALLOWED
    since: datetime | None = None  # at or after
    until: datetime | None = None  # before

    def conditions(self) -> Iterator[tuple[str, Any]]:
        """What of it narrows, as pieces of SQL, each with its parameter."""
        if self.monitor_id:
            yield "d.monitor_id = %s", self.monitor_id
        if self.outcome == NOT_ALLOWED:
            yield "d.outcome <> %s", "allowed"
        elif self.outcome:
            yield "d.outcome = %s", self.outcome
        if self.since:
            yield "d.at >= %s", self.since
        if self.until:
            yield "d.at < %s", self.until


NOT_ALLOWED = "not_allowed"


class Decided(NamedTuple):
    """One decision as a list shows it."""

    decision_id: UUID
    at: datetime
    monitor_id: UUID
    monitor_name: str
    agent_url: str
    context_id: UUID | None  # None: the organization no longer has the agent
    agent_name: str
    scheduled_for: datetime | None
    outcome: str
    reason: str
    actor_kind: str
    actor_name: str
    job_id: UUID | None
    run_id: UUID | None
    run_status: str | None  # None: no run came of it, or not yet
    job_state: str | None  # a value of JobState; None: no job, or one that is no longer kept
    end_reason: str  # why the job ended without a run


@dataclass(frozen=True, slots=True)
class DecisionPage:
    decisions: list[Decided]
    newer: Place | None
    older: Place | None


# The places are filled in with text of our own; whatever comes from outside is a parameter.
_SELECT = """
    SELECT p.id, p.at, p.monitor_id, p.monitor_name, p.agent_url, c.id, coalesce(c.name, ''), p.scheduled_for,
        p.outcome, p.reason, p.actor_kind, p.actor_name, p.job_id, q.run_id, r.overall_status,
        q.state, coalesce(q.end_reason, '')
    FROM (
        SELECT d.* FROM monitor_decisions d WHERE d.organization_id = %s{narrowed}
        ORDER BY {order} LIMIT {length:d}
    ) p
    LEFT JOIN agent_contexts c ON c.organization_id = p.organization_id AND c.agent_url = p.agent_url
    LEFT JOIN compliance_jobs q ON q.id = p.job_id
    LEFT JOIN agent_compliance_runs r ON r.id = q.run_id
    ORDER BY {outer}
"""


def decision_page(
    *, organization_id: str, narrowed_to: DecisionFilter, place: Place | None = None, size: int = PAGE_SIZE
) -> DecisionPage:
    """One page of an organization's decisions, newest first. Costs the same at any depth."""
    upwards = place is not None and place.newer
    pieces = list(narrowed_to.conditions())
    narrowed = "".join(f" AND {condition}" for condition, _ in pieces)
    parameters = [organization_id, *(parameter for _, parameter in pieces)]
    if place is not None:
        narrowed += f" AND (d.at, d.id) {'>' if upwards else '<'} (%s, %s)"
        parameters += [place.at, place.use_id]
    order = "{0}.at, {0}.id" if upwards else "{0}.at DESC, {0}.id DESC"
    statement = _SELECT.format(narrowed=narrowed, order=order.format("d"), outer=order.format("p"), length=size + 1)
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        decisions = [Decided(*row) for row in cursor.fetchall()]
    beyond = len(decisions) > size
    decisions = decisions[:size]
    if upwards:
        decisions.reverse()
    first = Place(decisions[0].at, decisions[0].decision_id, newer=True) if decisions else None
    last = Place(decisions[-1].at, decisions[-1].decision_id) if decisions else None
    return DecisionPage(
        decisions=decisions,
        newer=first if (beyond if upwards else place is not None) else None,
        older=last if (upwards or beyond) else None,
    )


def forget_old_decisions() -> int:
    """Delete the decisions of all organizations that are older than DECISION_RETENTION_DAYS; returns how many.

    In short transactions, and for a bounded time. Needs no scope: a function of the owner does it.
    """
    forgotten = 0
    gives_up_at = time.monotonic() + FORGETTING_SECONDS
    while time.monotonic() < gives_up_at:
        with connection.cursor() as cursor:
            cursor.execute("SELECT forget_decisions(%s, %s)", [settings.DECISION_RETENTION_DAYS, FORGOTTEN_AT_ONCE])
            found: int = cursor.fetchone()[0]
        forgotten += found
        if found < FORGOTTEN_AT_ONCE:
            break
    return forgotten
