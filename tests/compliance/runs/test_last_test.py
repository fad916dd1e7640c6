"""The questions that the view of last tests answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from compliance.models import AgentContext, AgentContextWithLatestTest, ComplianceRun, Organization
from compliance.runs.models import LastTestQuerySet
from compliance.tenancy.scope import organization_scope
from tests.conftest import make_context, make_run


@pytest.fixture
def agents(organization: Organization) -> Organization:
    """One agent of each kind; the failing one was tested long ago."""
    now = timezone.now()
    for name, verdicts, age in (
        ("passing", ["passed"], 1),
        ("partial", ["passed", "failed"], 2),
        ("failing", ["failed"], 100),
        ("failing lately", ["failed"], 3),
        ("never", [], 0),
        ("broken off", ["silent"], 1),
    ):
        url = f"https://{name.replace(' ', '-')}.example/mcp"
        make_context(organization, url, name=name)
        if verdicts:
            make_run(*verdicts, organization=organization, agent_url=url, tested_at=now - timedelta(days=age))
    return organization


def names(agents: LastTestQuerySet) -> list[str]:
    return [row.name for row in agents]


def test_failing_agents_come_first_and_the_newest_of_them_first(agents: Organization) -> None:
    with organization_scope(agents.id):
        ordered = names(AgentContextWithLatestTest.objects.of_organization(agents.id).failing_first())
    assert ordered == ["failing lately", "failing", "partial", "broken off", "never", "passing"]


def test_an_agent_with_only_inconclusive_tests_counts_as_never_tested(agents: Organization) -> None:  # R4
    with organization_scope(agents.id):
        assert names(AgentContextWithLatestTest.objects.of_organization(agents.id).never_tested()) == [
            "broken off",
            "never",
        ]


def test_agents_without_a_test_for_long_are_found(agents: Organization) -> None:
    with organization_scope(agents.id):
        assert names(AgentContextWithLatestTest.objects.not_tested_for(30)) == ["failing"]


def test_the_counts_say_the_same_as_the_lists(agents: Organization) -> None:  # I6
    with organization_scope(agents.id):
        counted = AgentContextWithLatestTest.objects.of_organization(agents.id).facets(stale_days=30)
        searched = AgentContextWithLatestTest.objects.of_organization(agents.id).facets(stale_days=30, sought="FAILING")
    assert (counted.everything, counted.failing, counted.partial, counted.passing, counted.never, counted.stale) == (
        6,
        2,
        1,
        1,
        2,
        1,
    )
    assert (searched.everything, searched.failing) == (2, 2)


def test_counts_of_another_organization_are_zero(agents: Organization, other_organization: Organization) -> None:  # I6
    with organization_scope(other_organization.id):
        assert AgentContextWithLatestTest.objects.of_organization(agents.id).facets(stale_days=30).everything == 0


class TestWithoutVerdict:
    """Since when an organization's tests came without a verdict."""

    NOW = timezone.now()

    def row(self, organization: Organization) -> AgentContextWithLatestTest:
        with organization_scope(organization.id):
            return AgentContextWithLatestTest.objects.get(organization_id=organization.id)

    def run(self, verdict: str, hours_ago: float, **fields: Any) -> None:
        make_run(verdict, tested_at=self.NOW - timedelta(hours=hours_ago), **fields)

    def test_it_is_the_first_after_the_latest_conclusive_one(  # R4, R13
        self, organization: Organization, context: AgentContext
    ) -> None:
        for verdict, age in (("silent", 9), ("passed", 8), ("silent", 7), ("failed", 6), ("silent", 5), ("silent", 4)):
            self.run(verdict, age, organization=organization)
        row = self.row(organization)
        assert (row.last_test_status, row.inconclusive_since) == ("failing", self.NOW - timedelta(hours=5))

    def test_it_is_null_when_the_newest_is_conclusive(self, organization: Organization, context: AgentContext) -> None:
        self.run("silent", 2, organization=organization)
        self.run("passed", 1, organization=organization)
        assert self.row(organization).inconclusive_since is None

    def test_of_an_agent_that_never_had_a_verdict_it_is_the_first(
        self, organization: Organization, context: AgentContext
    ) -> None:
        assert self.row(organization).inconclusive_since is None
        for age in (3, 2):
            self.run("silent", age, organization=organization)
        row = self.row(organization)
        assert (row.last_test_status, row.inconclusive_since) == (None, self.NOW - timedelta(hours=3))

    def test_at_the_same_instant_the_key_decides(self, organization: Organization, context: AgentContext) -> None:
        for verdict in ("passed", "silent"):
            self.run(verdict, 1, organization=organization)
        assert self.row(organization).inconclusive_since == self.NOW - timedelta(hours=1)
        self.run("passed", 1, organization=organization)
        assert self.row(organization).inconclusive_since is None

    def test_dry_runs_heartbeats_and_others_runs_do_not_count(
        self,
        organization: Organization,
        other_organization: Organization,
        context: AgentContext,
        other_context: AgentContext,
    ) -> None:
        self.run("passed", 9, organization=organization)
        self.run("silent", 1, organization=organization, dry_run=True)
        self.run("silent", 1)
        self.run("silent", 1, organization=other_organization)
        assert self.row(organization).inconclusive_since is None
        assert self.row(other_organization).inconclusive_since is not None


def test_the_view_takes_one_index_entry_of_each_kind_however_long_the_history_is(
    organization: Organization, context: AgentContext
) -> None:
    make_run("passed", organization=organization)
    columns = [field.column for field in ComplianceRun._meta.concrete_fields if field.column != "moves_status"]
    changed = {
        "id": "uuidv7()",
        "tested_at": "tested_at + n * interval '1 second'",
        "overall_status": "CASE WHEN n > 1500 THEN 'inconclusive' ELSE 'passing' END",
    }
    copied = ", ".join(changed.get(column, column) for column in columns)
    with organization_scope(organization.id), connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO agent_compliance_runs ({', '.join(columns)})"
            f" SELECT {copied} FROM agent_compliance_runs, generate_series(1, 3000) n"
        )
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM agent_context_with_latest_test")
        [[[explained]]] = cursor.fetchall()
    scans = [node for node in nodes(explained["Plan"]) if node.get("Relation Name") == "agent_compliance_runs"]
    assert sorted(node.get("Index Name", node["Node Type"]) for node in scans) == [
        "runs_last_test",
        "runs_without_verdict",
    ]
    for node in scans:
        assert (node["Actual Rows"], node.get("Rows Removed by Filter", 0)) == (1, 0), node


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)
