"""The questions that the view of last tests answers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from compliance.models import AgentContextWithLatestTest, Organization
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
