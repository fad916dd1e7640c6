"""Pages of the history of an agent with very many runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.db import connection

from benchmarks.databases import use_database
from benchmarks.load import HEAVY_RUNS, HEAVY_URL, ORGANIZATION, database_name
from benchmarks.measure import Section, ratio, take_turns
from compliance.models import ComplianceRun
from compliance.pagination import Cursor
from compliance.runs.history import PAGE_SIZE, HistoryFilter, history_page
from compliance.tenancy.scope import organization_scope

DEEP_PAGE = 1000
NO_SLOWER = 1.15  # "no slower", and what the clock gives or takes


def cursor_of_page(number: int) -> Cursor | None:
    """Where a page of the long history begins: found as no reader would, by counting. Needs organization_scope."""
    if number <= 1:
        return None
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tested_at, id FROM agent_compliance_runs WHERE agent_url = %s"
            " AND (triggered_org_id = %s OR triggered_org_id IS NULL)"
            " ORDER BY tested_at DESC, id DESC OFFSET %s LIMIT 1",
            [HEAVY_URL, ORGANIZATION, (number - 1) * PAGE_SIZE - 1],
        )
        row = cursor.fetchone()
    if row is None:
        raise SystemExit(f"the history has no page {number:,}")
    return Cursor(row[0], row[1])


def deep_page(runs: int) -> int:
    """The deep page to measure: the 1,000th where the history is long enough."""
    return min(DEEP_PAGE, min(HEAVY_RUNS, runs // 10) // PAGE_SIZE // 2)


def measure(runs: int, *, rounds: int) -> Section:
    use_database(database_name(runs))
    deep = deep_page(runs)
    section = Section(
        f"History pages of an agent with {min(HEAVY_RUNS, runs // 10):,} runs, {runs:,} in the table",
        f"history_page as the dashboard calls it: {PAGE_SIZE} rows, as the app role inside the "
        "organization's scope, which is opened outside the measurement. The pages take turns.",
    )
    with organization_scope(ORGANIZATION):
        place = cursor_of_page(deep)
        oldest = cursor_of_page(deep * 2 - 1)
        upwards = None if place is None else Cursor(place.at, place.key, backwards=True)
        cases: dict[str, Callable[[], object]] = {
            "first page": _page(),
            f"page {deep:,}": _page(cursor=place),
            f"page {deep:,}, upwards": _page(cursor=upwards),
            f"page {deep * 2 - 1:,}": _page(cursor=oldest),
            "first page, inconclusive only (1 run in 100)": _page(HistoryFilter(statuses=["inconclusive"])),
            "first page, monitors only (none matches)": _page(HistoryFilter(triggers=["monitor"])),
            "first page, only the oldest day": _page(HistoryFilter(until=_second_day())),
        }
        samples = take_turns(cases, rounds=rounds)
    for name, sample in samples.items():
        section.add(name, str(sample))
    section.at_most(
        f"page {deep:,} over first page", ratio(samples[f"page {deep:,}"], samples["first page"]), NO_SLOWER
    )
    return section


def _page(narrowed_to: HistoryFilter | None = None, cursor: Cursor | None = None) -> Callable[[], object]:
    return lambda: history_page(
        organization_id=ORGANIZATION, agent_url=HEAVY_URL, narrowed_to=narrowed_to, cursor=cursor
    )


def _second_day() -> datetime:
    from datetime import timedelta

    first = ComplianceRun.objects.own(ORGANIZATION).for_agent(HEAVY_URL).order_by("tested_at").first()
    assert first is not None
    return first.tested_at + timedelta(days=1)
