"""Reads of the record for pages: keyset pages of one agent's history, and strips of recent verdicts.

History is the merge of two index scans, the organization's own runs and the platform's; never an OR
over everything, which a URL shared by many organizations would make slow. Needs organization_scope.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection

from compliance.runs.records import NEWEST_FIRST, ComplianceRun, ComplianceRunQuerySet, OverallStatus, TriggeredBy

PAGE_SIZE = 50
STRIP_LENGTH = 30


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place on a newest-first page: beside which run, and on which side of it."""

    tested_at: datetime
    run_id: UUID
    newer: bool = False  # True: the page above this place

    def encode(self) -> str:
        text = json.dumps([self.tested_at.isoformat(), str(self.run_id), int(self.newer)])
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor | None:
        """The cursor, or None when the text is not one: a damaged link shows the first page."""
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            tested_at, run_id, newer = json.loads(raw)
            place = cls(datetime.fromisoformat(tested_at), UUID(run_id), bool(newer))
        except (binascii.Error, ValueError, TypeError, AttributeError):
            return None
        return place if place.tested_at.tzinfo else None


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """What a reader narrows an agent's history to. Empty means everything."""

    triggers: Collection[str] = ()  # values of TriggeredBy
    statuses: Collection[str] = ()  # values of OverallStatus
    suite: str = ""  # slug
    since: datetime | None = None  # tested at or after
    until: datetime | None = None  # tested before

    def apply(self, runs: ComplianceRunQuerySet) -> ComplianceRunQuerySet:
        if self.triggers:
            runs = runs.filter(triggered_by__in=self.triggers)
        if self.statuses:
            runs = runs.filter(overall_status__in=self.statuses)
        if self.suite:
            runs = runs.filter(suite_version__suite__slug=self.suite)
        if self.since:
            runs = runs.filter(tested_at__gte=self.since)
        if self.until:
            runs = runs.filter(tested_at__lt=self.until)
        return runs


@dataclass(frozen=True, slots=True)
class HistoryPage:
    runs: Sequence[ComplianceRun]
    newer: Cursor | None  # where the page above begins; None on the first
    older: Cursor | None  # where the page below begins; None on the last


def history_page(
    *,
    organization_id: str,
    agent_url: str,
    narrowed_to: HistoryFilter | None = None,
    cursor: Cursor | None = None,
    size: int = PAGE_SIZE,
) -> HistoryPage:
    """One page of an agent's history as the organization may see it, newest first.

    Ties in tested_at are decided by the run's id (R5). Costs the same at any depth.
    """
    narrowed_to = narrowed_to or HistoryFilter()
    upwards = cursor is not None and cursor.newer
    order = ("tested_at", "id") if upwards else NEWEST_FIRST

    def scan(runs: ComplianceRunQuerySet) -> ComplianceRunQuerySet:
        runs = narrowed_to.apply(runs.for_agent(agent_url))
        if cursor is not None:
            side = runs.after if upwards else runs.before
            runs = side(cursor.tested_at, cursor.run_id)
        return runs.order_by(*order)[: size + 1]

    everything = ComplianceRun.objects.narrow()
    merged = scan(everything.own(organization_id)).union(scan(everything.of_platform()), all=True)
    runs = list(merged.order_by(*order)[: size + 1])
    beyond = len(runs) > size
    runs = runs[:size]
    if upwards:
        runs.reverse()
    first = Cursor(runs[0].tested_at, runs[0].pk, newer=True) if runs else None
    last = Cursor(runs[-1].tested_at, runs[-1].pk) if runs else None
    return HistoryPage(
        runs=runs,
        newer=first if (beyond if upwards else cursor is not None) else None,
        older=last if (upwards or beyond) else None,
    )


# One row an agent: a row a verdict would be twelve hundred for a page of forty.
_STRIPS = """
    SELECT u.agent_url, r.verdicts
    FROM unnest(%s::text[]) AS u(agent_url)
    CROSS JOIN LATERAL (
        SELECT array_agg(newest.overall_status::text ORDER BY newest.tested_at, newest.id) AS verdicts
        FROM (
            SELECT overall_status, tested_at, id FROM agent_compliance_runs
            WHERE triggered_org_id = %s AND agent_url = u.agent_url
                AND triggered_org_id IS NOT NULL AND NOT dry_run AND overall_status <> 'inconclusive'
            ORDER BY tested_at DESC, id DESC LIMIT %s
        ) newest
    ) r
"""


def recent_verdicts(*, organization_id: str, agent_urls: Sequence[str]) -> dict[str, list[str]]:
    """The statuses of the organization's own last tests of each agent, oldest first, at most STRIP_LENGTH each."""
    if not agent_urls:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_STRIPS, [list(agent_urls), organization_id, STRIP_LENGTH])
        return {agent_url: verdicts or [] for agent_url, verdicts in cursor.fetchall()}


def recent_heartbeat_verdicts(agent_url: str) -> list[str]:
    """The statuses of an agent's last heartbeats, oldest first, at most STRIP_LENGTH."""
    heartbeats = ComplianceRun.objects.of_platform().for_agent(agent_url).filter(triggered_by=TriggeredBy.HEARTBEAT)
    conclusive = heartbeats.filter(dry_run=False).exclude(overall_status=OverallStatus.INCONCLUSIVE)
    newest = conclusive.order_by(*NEWEST_FIRST).values_list("overall_status", flat=True)[:STRIP_LENGTH]
    return list(newest)[::-1]


def last_of_each_kind(*, organization_id: str, agent_url: str) -> dict[str, ComplianceRun | None]:
    """The newest run that the organization caused ("own") and the newest heartbeat ("platform"), conclusive or not."""
    runs = ComplianceRun.objects.narrow().for_agent(agent_url).order_by(*NEWEST_FIRST)
    return {
        "own": runs.own(organization_id).first(),
        "platform": runs.of_platform().filter(triggered_by=TriggeredBy.HEARTBEAT).first(),
    }
