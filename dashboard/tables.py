"""Tables: columns, their order, and their rows.

django-tables2 declares the columns and sorts by them. The rows of pages that show forty or fifty of six cells are
written by one function each, as text with everything foreign escaped: rendering them cell by cell and template by
template costs more than all the page's queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from html import escape  # Django's own does the same by way of lazy strings, at four times the price
from typing import Any

import django_tables2 as tables
from django.db.models import F, QuerySet
from django.db.models.functions import Lower
from django.http import QueryDict
from django.utils.safestring import SafeString

from compliance.models import TriggeredBy
from compliance.runs.history import HistoryRun
from compliance.runs.records import ExecutorKind
from compliance.runs.status import AgentRow
from dashboard.badges import badge
from dashboard.charts import strip
from dashboard.filters import address
from dashboard.times import duration, instant

AGENTS_PER_PAGE = 40
_KINDS = {str(kind): escape(kind.label) for kind in TriggeredBy}


class Column(tables.Column):
    """Holds only what is declared, so that one serves every table: django-tables2 would copy them for each."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Column:
        return self


def _ordered(agents: QuerySet[Any], descending: bool, *keys: Any) -> tuple[QuerySet[Any], bool]:
    """By the keys, those without a value last, and always by name and id in the end (R5)."""
    order = [key.desc(nulls_last=True) if descending else key.asc(nulls_last=True) for key in keys]
    return agents.order_by(*order, Lower("name"), "id"), True


class AgentTable(tables.Table):
    """An organization's agents with their last tests: what LastTestQuerySet.as_rows gives, or a list of its rows."""

    name = Column(verbose_name="Agent")
    status = Column(verbose_name="Public status")
    tested = Column(verbose_name="Last own test")
    summary = Column(verbose_name="Result", orderable=False)
    trend = Column(verbose_name="Last 30", orderable=False)
    total = Column(verbose_name="Tests")

    class Meta:
        order_by_field = "sort"

    def __init__(self, agents: Any, *, query: QueryDict, base: str) -> None:
        """query: the page's parameters; "sort" is a column's name, such as "-tested". base: such as "/o/alpha/".

        An order that there is not leaves the agents as they are.
        """
        super().__init__(agents, order_by=query.get("sort", ""))
        self.query = query
        self.base = base

    @property
    def sorted_agents(self) -> Any:
        """The agents in the order that was asked for; not fetched yet when they are a queryset."""
        return self.data.data

    def head(self) -> SafeString:
        """The head's cells: links that sort, and the other way round the second time."""
        return SafeString("".join([self._head_cell(column) for column in self.columns]))

    def _head_cell(self, column: Any) -> str:
        words = escape(column.header)
        if not column.orderable:
            return f'<th scope="col">{words}</th>'
        name, sort, sorted_now, then = column.name, self.query.get("sort", ""), "", column.name
        if sort == name:
            sorted_now, then = ' aria-sort="ascending"', f"-{name}"
        elif sort == f"-{name}":
            sorted_now = ' aria-sort="descending"'
        href = escape(address("", self.query, sort=then, page=""))
        return f'<th scope="col"{sorted_now}><a id="by-{name}" href="{href}">{words}</a></th>'

    def html_rows(self, page: Iterable[AgentRow]) -> SafeString:
        """The rows of one page of the agents."""
        return SafeString("".join([_agent_row(row, self.base) for row in page]))

    def order_name(self, agents: QuerySet[Any], descending: bool) -> tuple[QuerySet[Any], bool]:
        return _ordered(agents, descending, Lower("name"))

    def order_status(self, agents: QuerySet[Any], descending: bool) -> tuple[QuerySet[Any], bool]:
        return _ordered(agents, descending, F("status"), F("since"))

    def order_tested(self, agents: QuerySet[Any], descending: bool) -> tuple[QuerySet[Any], bool]:
        return _ordered(agents, descending, F("last_tested_at"))

    def order_total(self, agents: QuerySet[Any], descending: bool) -> tuple[QuerySet[Any], bool]:
        return _ordered(agents, descending, F("total_tests_run"))


# The words of the head go along for narrow screens, where rows become blocks.
# An agent's row stays as it is between its tests, so most are written already. A function of its arguments alone.
@lru_cache(maxsize=4096)  # about a kilobyte each
def _agent_row(row: AgentRow, base: str) -> str:
    if row.status is None:
        status = '<span class="quiet">None yet</span>'
    else:
        status = f'{badge(row.status)}<span class="sub">since {instant(row.since)}</span>'
    if row.last_test_run_id is None:
        tested = str(badge(None))
    else:
        link = f'<a href="{base}runs/{row.last_test_run_id}/">{instant(row.last_tested_at)}</a>'
        tested = f'{badge(row.last_test_status)}<span class="sub">{link}</span>'
    return (
        f'<tr><td><a href="{base}agents/{row.id}/">{escape(row.name)}</a>'
        f'<span class="sub">{escape(row.agent_id)}</span></td>'
        f'<td data-label="Public status">{status}</td>'
        f'<td data-label="Last own test">{tested}</td>'
        f"<td>{escape(row.last_test_summary or '')}</td>"
        f"<td>{strip(row.verdicts.split()[::-1])}</td>"
        f'<td data-label="Tests">{row.total_tests_run:,}</td></tr>\n'
    )


class HistoryTable(tables.Table):
    """Runs of one agent, newest first. Their order is the keyset's: no column sorts."""

    result = Column(verbose_name="Result")
    tested = Column(verbose_name="When")
    cause = Column(verbose_name="Caused by")
    suite = Column(verbose_name="Suite")
    checks = Column(verbose_name="Checks")
    duration = Column(verbose_name="Took")

    class Meta:
        orderable = False

    def __init__(self, runs: Sequence[HistoryRun], *, prefix: str) -> None:
        """prefix: the organization's address, such as "/o/alpha/"."""
        super().__init__(runs)
        self.runs = runs
        self.base = prefix

    def head(self) -> SafeString:
        """The head's cells."""
        return SafeString("".join([f'<th scope="col">{escape(column.header)}</th>' for column in self.columns]))

    def html_rows(self) -> SafeString:
        return SafeString("".join([self._row(run) for run in self.runs]))

    def _row(self, run: HistoryRun) -> str:
        marks = ""
        if run.dry_run:
            marks += ' <span class="v v-plain">Dry run</span>'
        if not run.full_suite:
            marks += ' <span class="v v-plain">Part of the suite</span>'
        if run.executor_kind == ExecutorKind.PRIVATE:
            marks += ' <span class="v v-plain">Private runner</span>'
        by = run.actor_name if run.triggered_org_id else "Platform"
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
