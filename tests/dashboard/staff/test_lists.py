"""The lists of the staff site: right, and as fast with ten million runs as with ten."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from compliance.models import AgentContext, Job, Organization, TriggeredBy, WebhookDelivery
from compliance.pagination import Cursor
from compliance.suites.health import record_engine_health
from compliance.tenancy.scope import Actor, platform_scope, system_scope
from compliance.webhooks.actions import take_delivery
from dashboard.staff import history
from tests.conftest import AGENT_URL, make_context, make_run

RUNS = "/staff/compliance/compliancerun/"
LISTS = ["compliancerun", "job", "systemscopeuse", "monitor", "monitordecision", "webhookdelivery"]


@pytest.fixture
def many_runs(organization: Organization, other_organization: Organization, context: AgentContext) -> list[Any]:
    """Seven runs, the newest first: of both organizations and of nobody, two at the same instant."""
    start = timezone.now() - timedelta(hours=1)
    runs = []
    for number, owner in enumerate([organization, other_organization, None, organization, None, organization, None]):
        at = start + timedelta(minutes=number // 2)
        runs.append(make_run("passed" if number % 2 else "failed", organization=owner, tested_at=at))
    return sorted(runs, key=lambda run: (run.tested_at, run.pk), reverse=True)


def rows(response: Any) -> list[Any]:
    assert response.status_code == 200, response
    return [row.pk for row in response.context["cl"].result_list]


def pages(staff: Any, address: str) -> list[list[Any]]:
    found = []
    following: str | None = address
    while following is not None:
        response = staff.get(following)
        found.append(rows(response))
        older = response.context["cl"].older
        following = address.partition("?")[0] + older if older else None
        assert len(found) < 50
    return found


def test_pages_hold_every_run_once_in_order(staff: Any, many_runs: list[Any], monkeypatch: Any) -> None:  # R5
    monkeypatch.setattr("dashboard.staff.runs.RunAdmin.list_per_page", 2)
    found = pages(staff, RUNS)
    assert [len(page) for page in found] == [2, 2, 2, 1]
    assert [key for page in found for key in page] == [run.pk for run in many_runs]
    response = staff.get(RUNS + "?before=damaged")
    assert rows(response) == found[0]


def test_a_rare_value_reads_a_bounded_part_and_offers_to_go_on(
    staff: Any, many_runs: list[Any], monkeypatch: Any
) -> None:
    monkeypatch.setattr(history, "SEARCH_AT_MOST", 3)
    found = pages(staff, RUNS + "?overall_status__exact=failing")
    assert len(found) == 3
    assert [key for page in found for key in page] == [r.pk for r in many_runs if r.overall_status == "failing"]
    first = staff.get(RUNS + "?triggered_by__exact=webhook")
    assert rows(first) == []
    assert "Search further back" in first.content.decode()


@pytest.mark.parametrize("size", [2, 50])
def test_search_finds_by_agent_organization_and_run(
    staff: Any, many_runs: list[Any], organization: Organization, monkeypatch: Any, size: int
) -> None:
    monkeypatch.setattr("dashboard.staff.runs.RunAdmin.list_per_page", size)
    other = make_run("passed", organization=organization, agent_url="https://elsewhere.example/")
    make_context(organization, "https://elsewhere.example/", name="Elsewhere")

    def found(query: str) -> list[Any]:
        return [key for page in pages(staff, f"{RUNS}?q={query}") for key in page]

    assert found(AGENT_URL) == [run.pk for run in many_runs]
    assert found("HTTPS://Agent.example:443/mcp") == [run.pk for run in many_runs]
    own = [run.pk for run in many_runs if run.triggered_org_id == organization.id]
    assert found(organization.id) == [other.pk, *own]
    assert found(str(other.pk)) == [other.pk]
    assert found("nothing of the kind") == []
    assert found("org_unknown") == []


def test_search_and_filter_together(staff: Any, many_runs: list[Any], organization: Organization) -> None:
    response = staff.get(f"{RUNS}?q={AGENT_URL}&overall_status__exact=failing&triggered_by__exact=heartbeat")
    wanted = [r.pk for r in many_runs if r.overall_status == "failing" and r.triggered_by == TriggeredBy.HEARTBEAT]
    assert rows(response) == wanted


@pytest.mark.parametrize("query", ["", "?overall_status__exact=failing", "?q=org_unknown", "?o=-1.3"])
@pytest.mark.parametrize("name", LISTS)
def test_a_growing_list_is_neither_counted_nor_skipped_through(
    staff: Any, many_runs: list[Any], name: str, query: str
) -> None:
    if "overall" in query and name != "compliancerun":
        pytest.skip("only runs have a status")
    with CaptureQueriesContext(connection) as queries:
        response = staff.get(f"/staff/compliance/{name}/{query}")
    assert response.status_code == 200
    for query_ in queries.captured_queries:
        statement = query_["sql"].upper()
        assert "COUNT(" not in statement
        assert "ORDER BY" not in statement or "LIMIT" in statement or "AGENT_COMPLIANCE_RUNS" not in statement


@pytest.mark.parametrize("name", ["compliancerun", "job", "agentcontext", "membership", "agent"])
def test_a_row_more_costs_no_query_more(
    staff: Any, organization: Organization, other_organization: Organization, context: AgentContext, name: str
) -> None:
    def add(number: int) -> None:
        url = f"https://number-{number}.example/"
        owner = organization if number % 2 else other_organization
        extra = make_context(owner, url, name=f"Number {number}")
        run = make_run("passed", organization=owner, agent_url=url)
        with system_scope(by=Actor.system("tests"), reason="arrange"):
            Job.objects.create(
                organization=owner,
                agent_id=extra.agent_id,
                triggered_by=TriggeredBy.OBSERVER_TEST,
                actor_kind="user",
                actor_id="1",
                actor_name="Alice",
                suite_version_id=run.suite_version_id,
            )

    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert staff.get(f"/staff/compliance/{name}/").status_code == 200
        return len(queries)

    add(1)
    cost()
    before = cost()
    for number in range(2, 8):
        add(number)
    assert cost() == before
    assert before <= 14


def plan(statement: str, parameters: Any) -> str:
    with system_scope(by=Actor.system("tests"), reason="read a plan"), connection.cursor() as cursor:
        # A few rows would rightly be read by a sequential scan; this asks what a large table gets.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
        cursor.execute("EXPLAIN " + statement, parameters)
        return "\n".join(row[0] for row in cursor.fetchall())


@pytest.mark.parametrize("query", ["", "?before=", "?triggered_by__exact=webhook", f"?q={AGENT_URL}"])
def test_the_run_list_reads_by_index(staff: Any, many_runs: list[Any], query: str) -> None:
    if query.endswith("="):
        query += Cursor(many_runs[2].tested_at, many_runs[2].pk).encode()
    with CaptureQueriesContext(connection) as queries:
        staff.get(RUNS + query)
    read = [q["sql"] for q in queries.captured_queries if "agent_compliance_runs" in q["sql"]]
    assert read
    for statement in read:
        explained = plan(statement, None)
        runs = [line for line in explained.splitlines() if " on agent_compliance_runs" in line]
        assert runs
        assert all("Index" in line for line in runs), explained
        assert "Aggregate" not in explained.replace("HashAggregate", "") or "agent_contexts" in explained, explained


def test_deliveries_of_webhooks_are_found_by_agent_and_by_either_id_and_can_only_be_read(staff: Any) -> None:
    address = reverse("admin:compliance_webhookdelivery_changelist")
    for number in (1, 2):
        take_delivery(
            source="registry", delivery_id=f"msg_{number}", kind="agent.deployed", agent_url=f"https://{number}.example"
        )
    with platform_scope():
        first, second = WebhookDelivery.objects.order_by("delivery_id")
    assert {*rows(staff.get(address))} == {first.pk, second.pk}
    for asked in ("msg_1", str(first.pk), "HTTPS://1.example/"):
        with CaptureQueriesContext(connection) as queries:
            assert rows(staff.get(address, {"q": asked})) == [first.pk]
        for read in [q["sql"] for q in queries.captured_queries if 'FROM "webhook_deliveries"' in q["sql"]]:
            assert "Seq Scan" not in plan(read, None)
    assert rows(staff.get(address, {"q": "nothing of the kind"})) == []
    page = staff.get(reverse("admin:compliance_webhookdelivery_change", args=[first.pk]))
    assert "Nobody has the agent" in page.content.decode()
    assert staff.get(reverse("admin:compliance_webhookdelivery_add")).status_code == 403


def test_an_access_is_in_the_list_of_access_records(staff: Any) -> None:
    staff.get("/staff/compliance/organization/?q=alpha")
    page = staff.get("/staff/compliance/systemscopeuse/").content.decode()
    assert "/staff/compliance/organization/?q=alpha" in page


def test_the_run_page_shows_its_tracks(staff: Any, many_runs: list[Any]) -> None:
    page = staff.get(reverse("admin:compliance_compliancerun_change", args=[many_runs[0].pk])).content.decode()
    assert "protocol/basic" in page
    assert "Check 0" in page


def test_the_list_of_workers_engines_says_what_each_can_run_and_can_only_be_read(staff: Any) -> None:
    address = reverse("admin:compliance_enginehealth_changelist")
    assert "0 engines of workers" in staff.get(address).content.decode()
    record_engine_health("hosted@one")
    page = staff.get(address).content.decode()
    assert "hosted@one" in page
    assert "baseline" in page
    assert staff.get(reverse("admin:compliance_enginehealth_add")).status_code == 403


def test_every_time_says_which_zone_it_is_in(staff: Any, many_runs: list[Any]) -> None:
    page = staff.get(RUNS).content.decode()
    assert f"{many_runs[0].tested_at:%Y-%m-%d %H:%M} UTC" in page
    assert "a.m." not in page
    assert "p.m." not in page
