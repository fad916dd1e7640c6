"""Reads of the record for pages: keyset pages of one agent's history, and strips of recent verdicts.

History is the merge of two index scans, the organization's own runs and the platform's; never an OR
over everything, which a URL shared by many organizations would make slow. Needs organization_scope.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db.models import Q

from compliance.pagination import Cursor, Keyset, Page
from compliance.runs.models import (
    BY_ORGANIZATION,
    BY_PLATFORM,
    NEWEST_FIRST,
    STRIP_LENGTH,
    ComplianceRun,
    ComplianceRunQuerySet,
    TriggeredBy,
)
from compliance.suites.models import SuiteVersion

PAGE_SIZE = 50
HISTORY = Keyset("tested_at")
# How many runs of each scan are searched for those that match a filter. One that matches nothing would read an
# agent's whole history; the next page goes on where this one stopped.
SEARCH_AT_MOST = 10_000


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """What a reader narrows an agent's history to. Empty means everything."""

    triggers: Collection[str] = ()  # values of TriggeredBy
    statuses: Collection[str] = ()  # values of OverallStatus
    suite: str = ""  # slug
    since: datetime | None = None  # tested at or after
    until: datetime | None = None  # tested before

    def allows_any_of(self, kinds: Collection[str]) -> bool:
        """Whether runs of some of the kinds (values of TriggeredBy) can match."""
        return not self.triggers or any(kind in self.triggers for kind in kinds)

    def searches(self, kinds: Collection[str]) -> bool:
        """Whether it takes single runs out of those of the kinds, which no index finds."""
        all_kinds = not self.triggers or all(kind in self.triggers for kind in kinds)
        return bool(self.statuses or self.suite or not all_kinds)

    def days(self) -> Q:
        """Where the history begins and ends: the index finds both."""
        since = Q(tested_at__gte=self.since) if self.since else Q()
        return since & Q(tested_at__lt=self.until) if self.until else since

    def conditions(self) -> Q:
        """Everything else that narrows."""
        conditions = Q()
        if self.triggers:
            conditions &= Q(triggered_by__in=[*self.triggers])
        if self.statuses:
            conditions &= Q(overall_status__in=[*self.statuses])
        if self.suite:
            # Read beforehand: a join might leave the index that has the page's order.
            versions = SuiteVersion.objects.filter(suite__slug=self.suite)
            conditions &= Q(suite_version__in=list(versions.values_list("pk", flat=True)))
        return conditions


class HistoryRun(NamedTuple):
    """A run as a list shows it."""

    pk: UUID
    tested_at: datetime
    overall_status: str
    headline: str
    triggered_by: str
    triggered_org_id: str | None
    actor_name: str
    executor_kind: str
    executor_name: str
    executor_id: UUID | None
    dry_run: bool
    full_suite: bool
    passed_count: int
    failed_count: int
    skipped_count: int
    duration_ms: int
    suite_title: str
    suite_version: str


_COLUMNS = [*HistoryRun._fields[:-2], "suite_version"]


def history_page(
    *,
    organization_id: str,
    agent_url: str | None,
    narrowed_to: HistoryFilter | None = None,
    cursor: Cursor | None = None,
    size: int = PAGE_SIZE,
) -> Page[HistoryRun]:
    """One page of an agent's history as the organization may see it, newest first.

    agent_url: None for the organization's own runs of all agents, without the platform's.
    A filter searches at most SEARCH_AT_MOST runs of each kind; then the page ends, and its `next` goes on there.
    """
    narrowed_to = narrowed_to or HistoryFilter()
    scans: list[ComplianceRunQuerySet] = []
    searches = False
    if narrowed_to.allows_any_of(BY_ORGANIZATION):
        own = ComplianceRun.objects.own(organization_id)
        scans.append(own if agent_url is None else own.for_agent(agent_url))
        searches |= narrowed_to.searches(BY_ORGANIZATION)
    if agent_url is not None and narrowed_to.allows_any_of(BY_PLATFORM):
        scans.append(ComplianceRun.objects.of_platform().for_agent(agent_url))
        searches |= narrowed_to.searches(BY_PLATFORM)
    scans = [scan.filter(narrowed_to.days()) for scan in scans]
    backwards = cursor is not None and cursor.backwards

    search_ended: Cursor | None = None
    if searches:
        ends = [HISTORY.end_of_search(scan, cursor, at_most=SEARCH_AT_MOST) for scan in scans]
        nearest = min if backwards else max
        search_ended = nearest((end for end in ends if end), key=_position, default=None)
        conditions = narrowed_to.conditions()
        if search_ended:
            conditions &= HISTORY.until(search_ended)
        scans = [scan.filter(conditions) for scan in scans]
    rows = [row for scan in scans for row in HISTORY.after(scan, cursor).values_list(*_COLUMNS)[: size + 1]]
    # Suites are read apart: with a join, a prepared plan sorts an agent's whole history instead of walking the index
    # (benchmarks/history.py: 150 ms instead of 10).
    versions = SuiteVersion.objects.filter(pk__in={row[-1] for row in rows}).values_list(
        "pk", "suite__title", "version"
    )
    suites = {pk: suite for pk, *suite in versions}
    found = [HistoryRun(*row[:-1], *suites[row[-1]]) for row in rows]
    found.sort(key=_position, reverse=not backwards)
    return HISTORY.page_of(found, cursor, size=size, search_ended=search_ended)


def _position(row: HistoryRun | Cursor) -> tuple[datetime, UUID]:
    if isinstance(row, Cursor):
        assert row.at is not None
        return row.at, row.key
    return row.tested_at, row.pk


def recent_verdicts(*, organization_id: str, agent_urls: Collection[str]) -> dict[str, list[str]]:
    """The statuses of the organization's own last tests of each agent, oldest first, at most STRIP_LENGTH each."""
    conclusive = ComplianceRun.objects.own(organization_id).conclusive().order_by(*NEWEST_FIRST)
    statuses = conclusive.values_list("overall_status", flat=True)
    return {url: list(statuses.filter(agent_url=url)[:STRIP_LENGTH])[::-1] for url in agent_urls}


def recent_heartbeat_verdicts(agent_url: str) -> list[str]:
    """The statuses of an agent's last heartbeats, oldest first, at most STRIP_LENGTH."""
    heartbeats = ComplianceRun.objects.of_platform().for_agent(agent_url).filter(triggered_by=TriggeredBy.HEARTBEAT)
    newest = heartbeats.conclusive().order_by(*NEWEST_FIRST).values_list("overall_status", flat=True)[:STRIP_LENGTH]
    return list(newest)[::-1]


def newest_without_verdict(*, organization_id: str, agent_url: str) -> ComplianceRun | None:
    """The organization's newest test of the agent that was inconclusive, and not dry."""
    inconclusive = ComplianceRun.objects.narrow().own(organization_id).for_agent(agent_url)
    return inconclusive.without_verdict().order_by(*NEWEST_FIRST).first()


def last_of_each_kind(*, organization_id: str, agent_url: str) -> dict[str, ComplianceRun | None]:
    """The newest run that the organization caused ("own") and the newest heartbeat ("platform"), conclusive or not."""
    runs = ComplianceRun.objects.narrow().for_agent(agent_url).order_by(*NEWEST_FIRST)
    return {
        "own": runs.own(organization_id).first(),
        "platform": runs.of_platform().filter(triggered_by=TriggeredBy.HEARTBEAT).first(),
    }


def neighbours_of(run: ComplianceRun) -> dict[str, UUID]:
    """The keys of the runs "before" and "after" this one on its agent, of the same organization or the platform."""
    runs = ComplianceRun.objects.for_agent(run.agent_url)
    runs = runs.of_platform() if run.triggered_org_id is None else runs.own(run.triggered_org_id)
    sides = {"before": Cursor(run.tested_at, run.pk), "after": Cursor(run.tested_at, run.pk, backwards=True)}
    found = {side: HISTORY.after(runs, cursor).values_list("pk", flat=True).first() for side, cursor in sides.items()}
    return {side: key for side, key in found.items() if key}
