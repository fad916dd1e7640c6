"""An agent's history: pages, filters, cost."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.urls import reverse

from compliance.engines.reports.model import Track
from compliance.models import AgentContext, Organization, SuiteVersion, User
from compliance.runs.history import PAGE_SIZE
from compliance.runs.recording import record_run
from compliance.tenancy.scope import Actor, organization_scope
from tests.conftest import make_report, make_run
from tests.dashboard.pages import markup

pytestmark = pytest.mark.django_db

DAY = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def page(organization: Organization, context: AgentContext, alice: User, reader: Any) -> Any:
    client = reader(alice)
    base = reverse("history", args=[organization.slug, context.pk])

    def get(address: str = "", **headers: str) -> str:
        response = client.get(address if address.startswith("/") else base + address, headers=headers)
        assert response.status_code == 200
        return markup(response)

    return get


def runs(text: str) -> list[str]:
    return re.findall(r'href="/o/[^/]+/runs/([0-9a-f-]{36})/"', text)


def link(text: str, name: str) -> str | None:
    found = re.search(rf'<a id="{name}"[^>]* href="([^"]+)"', text)
    return unescape(found[1]) if found else None


def test_an_empty_history_says_what_to_do(page: Any, organization: Organization, context: AgentContext) -> None:
    assert reverse("agent", args=[organization.slug, context.pk]) in page()


def test_pages_lead_down_and_up_again(page: Any, organization: Organization) -> None:  # R5
    made = []
    for number in range(PAGE_SIZE + 20):  # many of one instant
        owner = organization if number % 2 else None
        made.append(make_run(organization=owner, tested_at=DAY + timedelta(minutes=number // 30)))
    expected = [str(run.pk) for run in sorted(made, key=lambda run: (run.tested_at, run.pk), reverse=True)]
    first = page()
    assert link(first, "newer") is None
    second = page(link(first, "older"))
    assert runs(first) + runs(second) == expected
    assert link(second, "older") is None
    assert runs(page(link(second, "newer"))) == runs(first)
    assert runs(page(link(second, "newest"))) == runs(first)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?trigger=own", {"test", "bad", "late"}),
        ("?trigger=platform", {"beat"}),
        ("?trigger=heartbeat", {"beat"}),
        ("?trigger=owner_test", set()),
        ("?verdict=failing", {"bad"}),
        ("?verdict=inconclusive", {"late"}),
        ("?suite=baseline", {"test", "bad", "late", "beat"}),
        ("?since=2026-03-11", {"late"}),
        ("?until=2026-03-10", {"test", "bad", "beat"}),
        ("?since=2026-03-10&until=2026-03-10&verdict=passing&trigger=own", {"test"}),
        ("?trigger=nonsense&since=nonsense&at=nonsense", {"test", "bad", "late", "beat"}),
        ("?until=9999-12-31", {"test", "bad", "late", "beat"}),
    ],
)
def test_narrowing(page: Any, organization: Organization, query: str, expected: set[str]) -> None:
    made = {
        "test": make_run(organization=organization, tested_at=DAY),
        "bad": make_run("failed", organization=organization, tested_at=DAY),
        "late": make_run("skipped", organization=organization, tested_at=DAY + timedelta(days=1)),
        "beat": make_run(tested_at=DAY),
    }
    assert set(runs(page(query))) == {str(made[name].pk) for name in expected}


@pytest.mark.parametrize("kind", ["manual", "webhook"])
def test_each_kind_of_the_platforms_tests_is_found_by_itself(page: Any, context: AgentContext, kind: str) -> None:
    make_run()
    run = make_run(triggered_by=kind)
    assert runs(page(f"?trigger={kind}")) == [str(run.pk)]
    assert f'value="{kind}" selected' in page(f"?trigger={kind}")


def test_a_page_that_stops_looking_says_so_and_leads_on(
    page: Any, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compliance.runs.history.SEARCH_AT_MOST", 3)
    oldest = make_run("failed", organization=organization, tested_at=DAY)
    for number in range(1, 5):
        make_run(organization=organization, tested_at=DAY + timedelta(minutes=number))
    text = page("?verdict=failing")
    assert not runs(text)
    assert "No run matches so far" in text
    assert "Look further back" in text
    assert "verdict=failing" in str(link(text, "older"))
    text = page(link(text, "older"))
    assert runs(text) == [str(oldest.pk)]
    assert link(text, "older") is None
    assert link(text, "newest") is not None


def test_filters_stay_when_turning_the_page(page: Any, organization: Organization) -> None:
    for number in range(PAGE_SIZE + 5):
        make_run(organization=organization, tested_at=DAY + timedelta(minutes=number))
        make_run(tested_at=DAY + timedelta(minutes=number))
    older = link(page("?trigger=own"), "older")
    assert older is not None
    assert "trigger=own" in older
    assert len(runs(page(older))) == 5


def test_a_page_of_fifty_costs_as_many_queries_as_one_of_one(
    page: Any, organization: Organization, queries: Any
) -> None:
    make_run(organization=organization)
    page()
    with queries() as few:
        page()
    for _ in range(PAGE_SIZE):
        make_run(organization=organization)
        make_run()
    with queries() as many:
        text = page()
    assert len(runs(text)) == PAGE_SIZE
    assert len(many) == len(few) <= 12, "\n".join(many)


def test_a_part_is_answered_to_htmx(page: Any, organization: Organization) -> None:
    make_run(organization=organization)
    part = page("", **{"HX-Request": "true", "HX-Target": "history"})
    assert "<html" not in part
    assert 'data-announce="1 run on this page"' in part


def test_what_agents_and_people_are_called_is_text_everywhere(
    page: Any, organization: Organization, context: AgentContext, alice: User
) -> None:
    """Tables write their own HTML, so each of their cells must escape for itself."""
    report = replace(make_report(), harness_error="<script>headline</script>")
    failing = replace(make_report("failed").tracks[0].scenarios[0].steps[0], title="<script>title</script>")
    scenario = replace(make_report().tracks[0].scenarios[0], steps=(failing,))
    tracks = (Track("protocol", "<script>track</script>", (scenario,)),)
    for made in (report, replace(make_report(), tracks=tracks)):
        with organization_scope(organization.id):
            run = record_run(
                report=made,
                agent_url=context.agent_url,
                suite_version=SuiteVersion.objects.get(suite__slug="baseline"),
                triggered_by="observer_test",
                by=Actor("user", "1", "<script>actor</script>"),
                organization_id=organization.id,
                lifecycle_stage="production",
                requested_at=DAY,
            )
    addresses = [
        "",
        reverse("overview", args=[organization.slug]),
        reverse("agent", args=[organization.slug, context.pk]),
        reverse("run", args=[organization.slug, run.pk]),
    ]
    texts = [page(address) for address in addresses]
    assert [text.count("<script>") for text in texts] == [0, 0, 0, 0]
    assert "&lt;script&gt;actor" in texts[0]
    assert "&lt;script&gt;headline" in texts[0]
    assert "&lt;script&gt;title" in texts[1]
