"""Reads of the record for pages: keyset pages of one agent's history, and strips of recent verdicts.

History is the merge of two index scans, the organization's own runs and the platform's; never an OR
over everything, which a URL shared by many organizations would make slow. Needs organization_scope.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from compliance.runs.models import (
    BY_ORGANIZATION,
    BY_PLATFORM,
    NEWEST_FIRST,
    STRIP_LENGTH,
    ComplianceRun,
    OverallStatus,
    TriggeredBy,
)

PAGE_SIZE = 50


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
        except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError):
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

    def of(self, kinds: Collection[str]) -> bool:
        """Whether runs of some of the kinds (values of TriggeredBy) can match."""
        return not self.triggers or any(kind in self.triggers for kind in kinds)

    def picks_from(self, kinds: Collection[str]) -> bool:
        """Whether it takes single runs out of those of the kinds, which no index can find; days only cut them off."""
        all_kinds = not self.triggers or all(kind in self.triggers for kind in kinds)
        return bool(self.statuses or self.suite or not all_kinds)

    def days(self) -> Iterator[tuple[str, Any]]:
        """Where it begins and ends, as pieces of SQL over a run, each with its parameter."""
        if self.since:
            yield "tested_at >= %s", self.since
        if self.until:
            yield "tested_at < %s", self.until

    def conditions(self) -> Iterator[tuple[str, Any]]:
        """What else of it narrows, likewise."""
        if self.triggers:
            yield "triggered_by = ANY(%s)", [str(trigger) for trigger in self.triggers]
        if self.statuses:
            yield "overall_status = ANY(%s)", [str(status) for status in self.statuses]
        if self.suite:
            # Looked up once, beforehand: a join might leave the index that has the page's order.
            yield (
                "suite_version_id = ANY(ARRAY(SELECT v.id FROM suite_versions v JOIN suites s ON s.id = v.suite_id"
                " WHERE s.slug = %s))",
                self.suite,
            )


class HistoryRun(NamedTuple):
    """A run as a list shows it: model instances would cost a page more than the query."""

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


@dataclass(frozen=True, slots=True)
class HistoryPage:
    runs: Sequence[HistoryRun]
    newer: Cursor | None  # where the page above begins; None on the first
    older: Cursor | None  # where the page below begins; None on the last
    looked_to: datetime | None = None  # how far was looked for runs that match, when that was not the whole history


# One of the two scans. The places for the rest of its conditions, its order and its length are filled in by
# history_page with text of its own; whatever comes from outside is a parameter.
_SCAN = """(
        SELECT id, tested_at, overall_status, headline, triggered_by, triggered_org_id, actor_name, executor_kind,
            executor_name, executor_id, dry_run, full_suite, passed_count, failed_count, skipped_count, duration_ms,
            suite_version_id
        FROM agent_compliance_runs WHERE {whose}{beyond} ORDER BY {order} LIMIT {length:d}
    )"""
# The same for a filter that picks single runs out: it stops when it has found enough, or has looked at so many.
_PICKING = """(
        SELECT found.*, count(*) OVER () AS found_here FROM (
            SELECT * FROM {scan} looked_at WHERE {picked} ORDER BY {order} LIMIT {length:d}
        ) found
    )"""
# Plain SQL: the ORM takes longer to compose the union of two querysets than the database to answer it.
_PAGE = """
    SELECT r.id, r.tested_at, r.overall_status, r.headline, r.triggered_by, r.triggered_org_id, r.actor_name,
        r.executor_kind, r.executor_name, r.executor_id, r.dry_run, r.full_suite,
        r.passed_count, r.failed_count, r.skipped_count, r.duration_ms,
        s.title, v.version{counted}
    FROM (
        SELECT * FROM ({scans}) all_scans ORDER BY {order} LIMIT {length:d}
    ) r
    JOIN suite_versions v ON v.id = r.suite_version_id
    JOIN suites s ON s.id = v.suite_id
    ORDER BY {order}
"""
# How many runs of each scan are looked at for those that match. A filter that nothing matches would read an
# agent's whole history; the next page goes on where this one stopped.
LOOK_AT = 10_000
# The last place that was looked at: where the first of the scans stopped.
_EDGE = """
    SELECT tested_at, id FROM ({scans}) edges ORDER BY {order} LIMIT 1
"""
_EDGE_OF_SCAN = """(
        SELECT tested_at, id FROM agent_compliance_runs WHERE {whose}{beyond}
        ORDER BY {order} OFFSET {last:d} LIMIT 1
    )"""


class _Scan(NamedTuple):
    own: bool
    whose: str
    keys: list[Any]
    picks: bool


def history_page(
    *,
    organization_id: str,
    agent_url: str | None,
    narrowed_to: HistoryFilter | None = None,
    cursor: Cursor | None = None,
    size: int = PAGE_SIZE,
) -> HistoryPage:
    """One page of an agent's history as the organization may see it, newest first.

    agent_url: None for the organization's own runs of all agents, without the platform's.
    Ties in tested_at are decided by the run's id (R5). Costs the same at any depth, and of a narrowed
    history no more than looking at LOOK_AT runs of each kind.
    """
    narrowed_to = narrowed_to or HistoryFilter()
    upwards = cursor is not None and cursor.newer
    order = "tested_at, id" if upwards else "tested_at DESC, id DESC"
    scans = []
    if narrowed_to.of(BY_ORGANIZATION):
        picks = narrowed_to.picks_from(BY_ORGANIZATION)
        whose, keys = "triggered_org_id = %s", [organization_id]
        if agent_url is not None:
            whose, keys = f"{whose} AND agent_url = %s", [organization_id, agent_url]
        scans.append(_Scan(True, whose, keys, picks))
    if narrowed_to.of(BY_PLATFORM) and agent_url is not None:
        picks = narrowed_to.picks_from(BY_PLATFORM)
        scans.append(_Scan(False, "triggered_org_id IS NULL AND agent_url = %s", [agent_url], picks))
    if not scans:
        return HistoryPage([], None, None)

    days = list(narrowed_to.days())
    beyond = "".join(f" AND {condition}" for condition, _ in days)
    place = [day for _, day in days]
    if cursor is not None:
        beyond += f" AND (tested_at, id) {'>' if upwards else '<'} (%s, %s)"
        place += [cursor.tested_at, cursor.run_id]

    # The lengths are text, not parameters: a prepared plan for any length at all would expect thousands of rows.
    picking = any(scan.picks for scan in scans)
    conditions = list(narrowed_to.conditions())
    texts, parameters = [], []
    for scan in scans:
        text = _SCAN.format(whose=scan.whose, beyond=beyond, order=order, length=LOOK_AT if picking else size + 1)
        parameters += [*scan.keys, *place]
        if picking:
            picked = " AND ".join(condition for condition, _ in conditions)
            text = _PICKING.format(scan=text, picked=picked, order=order, length=size + 1)
            parameters += [value for _, value in conditions]
        texts.append(text)
    with connection.cursor() as statement:
        statement.execute(
            _PAGE.format(
                scans=" UNION ALL ".join(texts),
                order=order,
                length=size + 1,
                counted=", r.found_here" if picking else "",
            ),
            parameters,
        )
        rows = statement.fetchall()
    edge: tuple[Any, ...] | None = None
    if picking:
        runs = [HistoryRun(*row[:-1]) for row in rows]
        found = {run.triggered_org_id is not None: row[-1] for run, row in zip(runs, rows, strict=True)}
        # A scan that found a page of its own left out nothing. Another one may have stopped, and where it did the
        # page ends: what the other found beyond is not all that there is.
        short = [scan for scan in scans if found.get(scan.own, 0) <= size]
        edge = _edge(short, beyond, place, order) if short else None
        if edge is not None:
            runs = [
                run for run in runs if ((run.tested_at, run.pk) <= edge if upwards else (run.tested_at, run.pk) >= edge)
            ]
    else:
        runs = [HistoryRun(*row) for row in rows]

    more = len(runs) > size
    runs = runs[:size]
    if upwards:
        runs.reverse()
    first = Cursor(runs[0].tested_at, runs[0].pk, newer=True) if runs else None
    last = Cursor(runs[-1].tested_at, runs[-1].pk) if runs else None
    if edge is not None and not more:  # what matches may go on beyond the edge
        going_on = Cursor(edge[0], edge[1], newer=upwards)
        return HistoryPage(
            runs=runs,
            newer=going_on if upwards else first if cursor is not None else None,
            older=last if upwards else going_on,
            looked_to=edge[0],
        )
    return HistoryPage(
        runs=runs,
        newer=first if (more if upwards else cursor is not None) else None,
        older=last if (upwards or more) else None,
    )


def _edge(scans: Sequence[_Scan], beyond: str, place: list[Any], order: str) -> tuple[Any, ...] | None:
    """Where the first of the scans stopped looking; None when all came to their ends."""
    union = " UNION ALL ".join(
        _EDGE_OF_SCAN.format(whose=scan.whose, beyond=beyond, order=order, last=LOOK_AT - 1) for scan in scans
    )
    with connection.cursor() as statement:
        statement.execute(
            _EDGE.format(scans=union, order=order), [value for scan in scans for value in (*scan.keys, *place)]
        )
        return statement.fetchone()


# One row an agent: a row a verdict would be twelve hundred for a page of forty.
_STRIPS = """
    SELECT u.agent_url, array_to_string(ARRAY(
        SELECT overall_status FROM agent_compliance_runs
        WHERE triggered_org_id = %s AND agent_url = u.agent_url
            AND triggered_org_id IS NOT NULL AND NOT dry_run AND overall_status <> 'inconclusive'
        ORDER BY tested_at DESC, id DESC LIMIT %s
    ), ' ') FROM unnest(%s::text[]) AS u(agent_url)
"""


def recent_verdicts(*, organization_id: str, agent_urls: Sequence[str]) -> dict[str, list[str]]:
    """The statuses of the organization's own last tests of each agent, oldest first, at most STRIP_LENGTH each."""
    if not agent_urls:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_STRIPS, [organization_id, STRIP_LENGTH, list(agent_urls)])
        return {agent_url: verdicts.split()[::-1] for agent_url, verdicts in cursor.fetchall()}


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


_NEIGHBOURS = """
    (SELECT id, false FROM agent_compliance_runs WHERE {whose} AND agent_url = %s AND (tested_at, id) < (%s, %s)
     ORDER BY tested_at DESC, id DESC LIMIT 1)
    UNION ALL
    (SELECT id, true FROM agent_compliance_runs WHERE {whose} AND agent_url = %s AND (tested_at, id) > (%s, %s)
     ORDER BY tested_at, id LIMIT 1)
"""


def neighbours_of(run: ComplianceRun) -> dict[str, UUID]:
    """The keys of the runs "before" and "after" this one on its agent, of the same organization or the platform."""
    own = run.triggered_org_id is not None
    side: list[Any] = [run.triggered_org_id] * own + [run.agent_url, run.tested_at, run.pk]
    whose = "triggered_org_id = %s" if own else "triggered_org_id IS NULL"
    with connection.cursor() as cursor:
        cursor.execute(_NEIGHBOURS.format(whose=whose), side * 2)
        return {"after" if later else "before": run_id for run_id, later in cursor.fetchall()}
