"""The last-test view of one organization, in tables of different sizes, against a hand-written index probe."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import psycopg

from benchmarks.databases import connect_app, connect_superuser
from benchmarks.load import AGENTS, ORGANIZATION, database_name
from benchmarks.measure import Section, ratio, take_turns
from compliance.embedded.postgres import Postgres
from compliance.tenancy.scope import ORGANIZATION_SETTING

VIEW = """
    SELECT id, organization_id, agent_url, name, relation, created_at, last_test_run_id, last_test_status,
        last_test_passed, last_test_scenario, last_test_summary, last_tested_at, total_tests_run, inconclusive_since
    FROM agent_context_with_latest_test WHERE organization_id = %s
"""

# The same rows and columns without row-level security, asked by somebody who knows every index by heart.
FLOOR = """
    SELECT c.id, c.organization_id, c.agent_url, c.name, c.relation, c.created_at, r.id, r.overall_status,
        r.overall_status = 'passing', r.first_track, r.headline, r.tested_at, coalesce(t.total, 0),
        (
            SELECT i.tested_at FROM agent_compliance_runs i
            WHERE i.triggered_org_id = c.organization_id AND i.agent_url = c.agent_url
                AND i.triggered_org_id IS NOT NULL AND NOT i.dry_run AND i.overall_status = 'inconclusive'
                AND i.tested_at >= r.tested_at AND i.id <> r.id
            ORDER BY i.tested_at, i.id LIMIT 1
        )
    FROM agent_contexts c
    LEFT JOIN LATERAL (
        SELECT id, overall_status, first_track, headline, tested_at FROM agent_compliance_runs
        WHERE triggered_org_id = c.organization_id AND agent_url = c.agent_url
            AND triggered_org_id IS NOT NULL AND NOT dry_run AND overall_status <> 'inconclusive'
        ORDER BY tested_at DESC, id DESC LIMIT 1
    ) r ON true
    LEFT JOIN agent_run_totals t ON t.organization_id = c.organization_id AND t.agent_url = c.agent_url
    WHERE c.organization_id = %s
"""

RATIO_OF_SIZES, RATIO_TO_FLOOR = 1.3, 2.0


def measure(postgres: Postgres, sizes: list[int], *, rounds: int) -> Section:
    section = Section(
        f"The last-test view of an organization with {AGENTS} agents",
        "Every row of the view for one organization, fetched as the app role inside the organization's scope, and the "
        "same rows and columns fetched by index probes as a role that no policy binds. Prepared: both as prepared "
        "statements, which leaves planning out. Planned: both planned at every call, as Django sends them. "
        "The cases take turns; a ratio is the median of the rounds' ratios.",
    )
    cases: dict[str, Callable[[], object]] = {}
    with ExitStack() as stack:
        for size in sizes:
            app = stack.enter_context(connect_app(postgres, database_name(size)))
            app.execute("SELECT set_config(%s, %s, false)", [ORGANIZATION_SETTING, ORGANIZATION])
            superuser = stack.enter_context(connect_superuser(postgres, database_name(size)))
            superuser.autocommit = False
            expected = sorted(superuser.execute(FLOOR, [ORGANIZATION]).fetchall())
            found = sorted(app.execute(VIEW, [ORGANIZATION]).fetchall())
            assert found == expected, "the view and the floor differ"
            assert len(found) == AGENTS, "the organization does not have its agents"
            assert all(row[6] for row in found), "an agent was never tested"
            for words, prepare in (("prepared", True), ("planned", False)):
                cases[f"view {size} {words}"] = _asking(app, VIEW, prepare)
                cases[f"floor {size} {words}"] = _asking(superuser, FLOOR, prepare)
        samples = take_turns(cases, rounds=rounds, warm_up=20)
    smallest, largest = min(sizes), max(sizes)
    for words in ("prepared", "planned"):
        for size in sizes:
            section.add(f"view, {size:,} runs, {words}", str(samples[f"view {size} {words}"]))
            section.add(f"floor, {size:,} runs, {words}", str(samples[f"floor {size} {words}"]))
        for size in sizes:
            section.at_most(
                f"view over floor, {size:,} runs, {words}",
                ratio(samples[f"view {size} {words}"], samples[f"floor {size} {words}"]),
                RATIO_TO_FLOOR,
            )
        if largest > smallest:
            section.at_most(
                f"view, {largest:,} over {smallest:,} runs, {words}",
                ratio(samples[f"view {largest} {words}"], samples[f"view {smallest} {words}"]),
                RATIO_OF_SIZES,
            )
    return section


def _asking(connection: psycopg.Connection[Any], question: str, prepare: bool) -> Callable[[], object]:
    # Planned: parameters bound by the client, as Django does.
    cursor = connection.cursor() if prepare else psycopg.ClientCursor(connection)

    def ask() -> object:
        return cursor.execute(question, [ORGANIZATION], prepare=prepare).fetchall()

    return ask
