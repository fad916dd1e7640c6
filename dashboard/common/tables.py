"""Tables: columns, their order, and their rows.

Pages show forty or fifty rows of six cells. Each row is written by one function, as text with everything
foreign escaped: what renders a row cell by cell and template by template costs more than all the page's queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from html import escape  # Django's own does the same by way of lazy strings, at four times the price
from typing import Any, NamedTuple

from django.db.models import F, QuerySet
from django.db.models.functions import Lower
from django.http import QueryDict
from django.utils.safestring import SafeString

from compliance.models import TriggeredBy
from compliance.registry.models import ExecutorKind
from compliance.runs.history import HistoryRun
from compliance.runs.models import AgentRow
from dashboard.common.badges import badge
from dashboard.common.charts import strip
from dashboard.common.filters import address
from dashboard.common.formatting import duration, instant
from dashboard.jobs.placement import label_of

AGENTS_PER_PAGE = 40
_KINDS = {str(kind): escape(kind.label) for kind in TriggeredBy}


class Column(NamedTuple):
    name: str
    words: str
    sorts_by: tuple[Any, ...] = ()  # expressions of the queryset; none: the column does not sort


AGENT_COLUMNS = (
    Column("name", "Agent", (Lower("name"),)),
    Column("status", "Public status", (F("status"), F("since"))),
    Column("tested", "Last own test", (F("last_tested_at"),)),
    Column("summary", "Result"),
    Column("trend", "Last 30"),
    Column("total", "Tests", (F("total_tests_run"),)),
)


def sort_agents(agents: QuerySet[Any], sort: str) -> QuerySet[Any]:
    """In the order that an address asks for, such as "-tested"; those without a value last, ties by name and id (R5).

    agents: what LastTestQuerySet.as_rows gives. An order that there is not leaves them as they are.
    """
    for column in AGENT_COLUMNS:
        if column.sorts_by and column.name == sort.removeprefix("-"):
            order = [
                key.desc(nulls_last=True) if sort.startswith("-") else key.asc(nulls_last=True)
                for key in column.sorts_by
            ]
            return agents.order_by(*order, Lower("name"), "id")
    return agents


def agents_head(query: QueryDict) -> SafeString:
    """The head's cells for a page with these parameters: links that sort, and the other way round the second time."""
    sort = query.get("sort", "")
    cells = []
    for column in AGENT_COLUMNS:
        sorted_now, then = "", column.name
        if sort == column.name:
            sorted_now, then = ' aria-sort="ascending"', f"-{column.name}"
        elif sort == f"-{column.name}":
            sorted_now = ' aria-sort="descending"'
        if column.sorts_by:
            href = escape(address("", query, sort=then, page=""))
            cells.append(
                f'<th scope="col"{sorted_now}><a id="by-{column.name}" href="{href}">{escape(column.words)}</a></th>'
            )
        else:
            cells.append(f'<th scope="col">{escape(column.words)}</th>')
    return SafeString("".join(cells))


def agents_rows(rows: Iterable[AgentRow], *, base: str) -> SafeString:
    """The body's rows. base: the organization's address, such as "/o/alpha/"."""
    return SafeString("".join([_agent_row(row, base) for row in rows]))


# The words of the head go along for narrow screens, where rows become blocks.
# An agent's row stays as it is between its tests, so most are written already. A function of its arguments alone.
@lru_cache(maxsize=4096)  # about a kilobyte each
def _agent_row(row: AgentRow, base: str) -> str:
    if row.status is None:
        status = '<span class="quiet">None yet</span>'
    else:
        status = f'{badge(row.status)}<span class="sub">changed {instant(row.since)}</span>'
    if row.last_test_run_id is None:
        tested = str(badge(None))
    else:
        link = f'<a href="{base}runs/{row.last_test_run_id}/">{instant(row.last_tested_at)}</a>'
        tested = f'{badge(row.last_test_status)}<span class="sub">{link}</span>'
        if row.runner is not None:
            key, _, name = row.runner.partition(" ")
            tested += f'{label_of("", f"{base}runners/{key}/")}<span class="sub">{escape(name)}</span>'
    return (
        f'<tr><td><a href="{base}agents/{row.id}/">{escape(row.name)}</a>'
        f'<span class="sub">{escape(row.agent_id)}</span></td>'
        f'<td data-label="Public status">{status}</td>'
        f'<td data-label="Last own test">{tested}</td>'
        f"<td>{escape(row.last_test_summary or '')}</td>"
        f"<td>{strip(row.verdicts.split()[::-1])}</td>"
        f'<td data-label="Tests">{row.total_tests_run:,}</td></tr>\n'
    )


class HistoryTable:
    """Runs of one agent, newest first. Their order is the keyset's: no column sorts."""

    def __init__(self, runs: Sequence[HistoryRun], *, prefix: str) -> None:
        """prefix: the organization's address, such as "/o/alpha/"."""
        self.runs = runs
        self.base = prefix

    def rows(self) -> SafeString:
        return SafeString("".join([self._row(run) for run in self.runs]))

    def _row(self, run: HistoryRun) -> str:
        marks = ""
        if run.dry_run:
            marks += ' <span class="v v-plain">Dry run</span>'
        if not run.full_suite:
            marks += ' <span class="v v-plain">Part of the suite</span>'
        if run.executor_kind == ExecutorKind.PRIVATE:
            marks += f" {label_of(run.executor_name, f'{self.base}runners/{run.executor_id}/')}"
        # A webhook's actor is its source, which an operator named; other runs of the platform have nobody behind them.
        named = run.triggered_org_id or run.triggered_by == TriggeredBy.WEBHOOK
        by = run.actor_name if named else "Platform"
        skipped = f", {run.skipped_count} skipped" if run.skipped_count else ""
        return (
            f"<tr><td>{badge(run.overall_status)}{marks}"
            f'<a class="sub" href="{self.base}runs/{run.pk}/">{escape(run.headline)}</a></td>'
            f'<td data-label="When">{instant(run.tested_at)}</td>'
            f'<td data-label="Caused by">{_KINDS[run.triggered_by]}<span class="sub">{escape(by)}</span></td>'
            f'<td data-label="Suite">{escape(run.suite_title)} {escape(run.suite_version)}</td>'
            f'<td data-label="Checks">{run.passed_count} passed, {run.failed_count} failed{skipped}</td>'
            f'<td data-label="Took">{duration(run.duration_ms)}</td></tr>\n'
        )
