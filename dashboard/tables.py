"""Tables: columns, their order, and their cells.

Pages show forty rows of six cells. django-tables2 declares the columns, headers and orders here; its rows
look up and inspect each cell's renderer anew, which costs more than all the page's queries, so html_rows
calls the renderers directly.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from html import escape  # Django's own does the same by way of lazy strings, at four times the price
from typing import Any

import django_tables2 as tables
from django.db.models import F, QuerySet
from django.db.models.functions import Lower
from django.http import QueryDict
from django.utils.safestring import SafeString

from compliance.models import TriggeredBy
from compliance.runs.history import HistoryRun, recent_verdicts
from compliance.runs.records import ExecutorKind
from dashboard.badges import badge
from dashboard.charts import strip
from dashboard.filters import address
from dashboard.times import duration, instant

AGENTS_PER_PAGE = 40
_KINDS = {str(kind): escape(kind.label) for kind in TriggeredBy}


def _ordered(agents: QuerySet[Any], descending: bool, *keys: Any) -> tuple[QuerySet[Any], bool]:
    """By the keys, those without a value last, and always by name and id in the end (R5)."""
    order = [key.desc(nulls_last=True) if descending else key.asc(nulls_last=True) for key in keys]
    return agents.order_by(*order, Lower("name"), "id"), True


class Column(tables.Column):
    """Holds only what is declared, so that one serves every table: django-tables2 would copy them for each."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Column:
        return self


class LeanTable(tables.Table):
    """A table each of whose columns has its render_<column>(record), which returns safe HTML."""

    @cached_property
    def records(self) -> list[Any]:
        """The records of the page."""
        return list(self.paginated_rows.data)

    def html_head(self) -> SafeString:
        """The cells of the head, with links that sort where the column can."""
        return SafeString("".join([self._head_cell(column) for column in self.columns]))

    def _head_cell(self, column: Any) -> str:
        words = escape(column.header)
        if not column.orderable:
            return f'<th scope="col">{words}</th>'
        order = column.order_by_alias
        sorted_now = f' aria-sort="{"descending" if order.is_descending else "ascending"}"' if column.is_ordered else ""
        href = escape(address("", self.query, sort=order.next, page=""))
        return f'<th scope="col"{sorted_now}><a id="by-{column.name}" href="{href}">{words}</a></th>'

    def html_rows(self) -> SafeString:
        """The page's rows. The header's words go along for narrow screens, where rows become blocks."""
        cells = []
        for column in self.columns:
            label = "" if column.name in self.unlabelled else f' data-label="{escape(column.header)}"'
            cells.append((f"<td{label}>", getattr(self, f"render_{column.name}")))
        rows = ["</td>".join([td + render(record) for td, render in cells]) for record in self.records]
        return SafeString("".join([f"<tr>{row}</td></tr>\n" for row in rows]))

    unlabelled: frozenset[str] = frozenset()
    query: QueryDict = QueryDict()  # the page's, which the links of the head change


class AgentTable(LeanTable):
    """An organization's agents with their last tests: the rows of LastTestQuerySet.as_rows."""

    unlabelled = frozenset({"name", "summary", "trend"})

    name = Column(verbose_name="Agent")
    status = Column(verbose_name="Public status", accessor="agent__status")
    tested = Column(verbose_name="Last own test", accessor="last_tested_at")
    summary = Column(verbose_name="Result", accessor="last_test_summary", orderable=False)
    trend = Column(verbose_name="Last 30", accessor="agent_id", orderable=False)
    total = Column(verbose_name="Tests", accessor="total_tests_run")

    class Meta:
        order_by_field = "sort"

    def __init__(self, rows: Any, *, organization_id: str, prefix: str, query: QueryDict) -> None:
        """organization_id: whose runs the strips show. prefix: the organization's address, such as "/o/alpha/"."""
        super().__init__(rows, order_by=query.get("sort") or None)
        self.query = query
        self.organization_id = organization_id
        self.base = prefix

    @cached_property
    def strips(self) -> dict[str, list[str]]:
        urls = [record.agent_id for record in self.records]
        return recent_verdicts(organization_id=self.organization_id, agent_urls=urls)

    def render_name(self, record: Any) -> SafeString:
        name, url = escape(record.name), escape(record.agent_id)
        return SafeString(f'<a href="{self.base}agents/{record.id}/">{name}</a><span class="sub">{url}</span>')

    def render_status(self, record: Any) -> SafeString:
        if record.status is None:
            return SafeString('<span class="quiet">None yet</span>')
        return SafeString(f'{badge(record.status)}<span class="sub">since {instant(record.since)}</span>')

    def render_tested(self, record: Any) -> SafeString:
        if record.last_test_run_id is None:
            return badge(None)
        link = f'<a href="{self.base}runs/{record.last_test_run_id}/">{instant(record.last_tested_at)}</a>'
        return SafeString(f'{badge(record.last_test_status)}<span class="sub">{link}</span>')

    def render_summary(self, record: Any) -> str:
        return escape(record.last_test_summary) if record.last_test_summary else ""

    def render_trend(self, record: Any) -> SafeString:
        return strip(self.strips[record.agent_id])

    def render_total(self, record: Any) -> str:
        return f"{record.total_tests_run:,}"

    def order_name(self, agents: QuerySet[Any], descending: bool) -> tuple[QuerySet[Any], bool]:
        return _ordered(agents, descending, Lower("name"))

    def order_status(self, agents: QuerySet[Any], descending: bool) -> tuple[QuerySet[Any], bool]:
        return _ordered(agents, descending, F("status"), F("since"))

    def order_tested(self, agents: QuerySet[Any], descending: bool) -> tuple[QuerySet[Any], bool]:
        return _ordered(agents, descending, F("last_tested_at"))

    def order_total(self, agents: QuerySet[Any], descending: bool) -> tuple[QuerySet[Any], bool]:
        return _ordered(agents, descending, F("total_tests_run"))


class HistoryTable(LeanTable):
    """Runs of one agent, newest first. Their order is the keyset's: no column sorts."""

    unlabelled = frozenset({"result"})

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
        self.base = prefix

    def render_result(self, run: HistoryRun) -> SafeString:
        marks = "".join(
            f' <span class="v v-plain">{words}</span>'
            for words, holds in (
                ("Dry run", run.dry_run),
                ("Part of the suite", not run.full_suite),
                ("Private runner", run.executor_kind == ExecutorKind.PRIVATE),
            )
            if holds
        )
        link = f'<a class="sub" href="{self.base}runs/{run.pk}/">{escape(run.headline)}</a>'
        return SafeString(f"{badge(run.overall_status)}{marks}{link}")

    def render_tested(self, run: HistoryRun) -> SafeString:
        return instant(run.tested_at)

    def render_cause(self, run: HistoryRun) -> SafeString:
        by = run.actor_name if run.triggered_org_id else "Platform"
        return SafeString(f'{_KINDS[run.triggered_by]}<span class="sub">{escape(by)}</span>')

    def render_suite(self, run: HistoryRun) -> str:
        return escape(f"{run.suite_title} {run.suite_version}")

    def render_checks(self, run: HistoryRun) -> str:
        skipped = f", {run.skipped_count} skipped" if run.skipped_count else ""
        return f"{run.passed_count} passed, {run.failed_count} failed{skipped}"

    def render_duration(self, run: HistoryRun) -> str:
        return duration(run.duration_ms)
