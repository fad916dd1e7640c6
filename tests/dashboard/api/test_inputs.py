"""What operations refuse of what they are sent, and what they read in more than one spelling."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.urls import reverse

from compliance.models import Organization, User
from compliance.tenancy.scope import Actor
from dashboard.api.urls import api
from tests.compliance.runners.conftest import make_runner
from tests.conftest import make_context, make_run
from tests.dashboard.api.conftest import Caller, Things
from tests.dashboard.api.test_access import OF_OTHERS

LISTS_WITH_TIMES = ["/runs", "/decisions"]


def query_parameters() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Of every GET without ids in its path: its path, and the name and schema of each parameter."""
    for path, operations in api.get_openapi_schema()["paths"].items():
        if "{" in path or path.startswith(OF_OTHERS):
            continue
        for parameter in operations.get("get", {}).get("parameters", ()):
            if parameter["in"] == "query":
                yield path.removeprefix("/api/v1"), parameter["name"], parameter["schema"]


PARAMETERS = list(query_parameters())
SINGLE = [(path, name) for path, name, schema in PARAMETERS if schema.get("type") != "array"]
TEXTS = [(path, name) for path, name, schema in PARAMETERS if schema.get("type") == "string"]


def is_refused(answer: Any, name: str) -> bool:
    assert (answer.status_code, answer.data["type"]) == (422, "/problems/invalid"), answer.content
    return {(wrong["where"], wrong["field"].split(".")[0]) for wrong in answer.data["errors"]} == {("query", name)}


@pytest.mark.parametrize("path", LISTS_WITH_TIMES)
@pytest.mark.parametrize("name", ["since", "until"])
class TestTimes:
    @pytest.mark.parametrize(
        "value",
        [
            *("20270101", "20261130", "2026", "0", "-1", "1796000000", "1796000000000", "1.5", "1e9", "NaN", "P1D"),
            *("2026-11-21", "2026-11-21T10:00:00", "2026-11-21T10:00Z", "20261121T100000Z", "2026-W47-6T10:00:00Z"),
            *("2026-11-21T10:00:00+0100", "2026-11-21T10:00:00 01:00", "2026-02-30T10:00:00Z", "2026-11-21T24:00:00Z"),
            *("٢٠٢٦-11-21T10:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00%2B14:00", "", "now"),
        ],
    )
    def test_what_is_no_time_with_an_offset_is_refused(
        self, alphas: Caller, things: Things, path: str, name: str, value: str
    ) -> None:
        assert is_refused(alphas.get(f"{path}?{name}={value}"), name)

    @pytest.mark.parametrize(
        "value",
        [
            *("2026-11-21T10:00:00Z", "2026-11-21t10:00:00.123456z", "2026-11-21T10:00:00%2B01:00"),
            *("2026-11-21T10:00:00-00:00", "2026-11-21T10:00:00-23:59", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
        ],
    )
    def test_every_offset_is_taken(self, alphas: Caller, things: Things, path: str, name: str, value: str) -> None:
        assert alphas.get(f"{path}?{name}={value}").status_code == 200


def test_an_offset_counts(alphas: Caller, organization: Organization) -> None:
    run = make_run(organization=organization, tested_at=datetime(2026, 11, 21, 10, 30, tzinfo=UTC))
    for since, found in (("2026-11-21T11:30:00%2B01:00", [str(run.pk)]), ("2026-11-21T11:30:01%2B01:00", [])):
        assert [item["id"] for item in alphas.get(f"/runs?since={since}").data["items"]] == found


@pytest.mark.parametrize("clock", [1796000000, "1796000000", "2026-11-21T10:00:00", "2026-11-21"])
def test_a_runners_clock_is_no_number(organization: Organization, alice: User, clock: Any) -> None:
    runner = make_runner(organization, alice)
    assert runner.post("poll", {"at_most": 0, "clock": clock}).status_code == 422
    assert runner.post("poll", {"at_most": 0, "clock": "2026-11-21T10:00:00+05:45"}).status_code == 200


@pytest.mark.parametrize(("path", "name"), SINGLE)
def test_a_parameter_with_one_value_is_given_once(alphas: Caller, things: Things, path: str, name: str) -> None:
    value = {"limit": "5", "since": "2026-11-21T10:00:00Z", "until": "2026-11-21T10:00:00Z", "cursor": ""}.get(name, "")
    if name in ("agent", "monitor"):
        value = str(things.context.pk if name == "agent" else things.monitor.pk)
    if name in ("status", "state", "outcome"):
        value = {"status": "passing", "state": "active", "outcome": "allowed"}[name]
    assert alphas.get(f"{path}?{name}={value}").status_code == 200
    assert is_refused(alphas.get(f"{path}?{name}={value}&{name}={value}"), name)


def test_a_parameter_with_several_values_may_be_given_again(alphas: Caller, things: Things) -> None:
    answer = alphas.get(f"/runs?status=failing&status=passing&agent={things.context.pk}&triggered_by=monitor")
    assert answer.status_code == 200


@pytest.mark.parametrize(("path", "name"), TEXTS)
def test_a_text_that_the_database_cannot_keep_is_refused_where_it_is_sought(
    alphas: Caller, things: Things, path: str, name: str
) -> None:
    assert is_refused(alphas.get(f"{path}?{name}=a%00b"), name)


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/agents", {"agent_url": "https://new.example/{}"}),
        ("POST", "/agents", {"agent_url": "https://new.example/mcp", "name": "{}"}),
        ("POST", "/agents/{agent}/tests", {"suite": "{}"}),
        ("POST", "/agents/{agent}/tests", {"scenarios": ["{}"]}),
        ("POST", "/agents/{agent}/tests", {"options": {"{}": 1}}),
        ("POST", "/agents/{agent}/tests", {"placement": {"pool": "{}"}}),
        ("PATCH", "/monitors/{monitor}", {"name": "{}"}),
        ("PATCH", "/monitors/{monitor}", {"schedule": {"cron": "{}"}}),
        ("PATCH", "/monitors/{monitor}", {"schedule": {"interval_minutes": 60, "timezone": "{}"}}),
    ],
)
def test_a_text_that_the_database_cannot_keep_is_refused_in_a_body(
    alphas: Caller, things: Things, method: str, path: str, body: Any, text: str
) -> None:
    path = path.format(agent=things.context.pk, monitor=things.monitor.pk)
    answer = alphas(method, path, filled(body, text))
    assert (answer.status_code, answer.data["type"]) == (422, "/problems/invalid"), answer.content


def filled(value: Any, text: str) -> Any:
    if isinstance(value, dict):
        return {filled(key, text): filled(each, text) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, text) for each in value]
    return value.replace("{}", text) if isinstance(value, str) else value


def in_capitals(key: UUID) -> str:
    return str(key).upper()


def test_an_id_is_read_in_any_case_in_paths_and_filters(alphas: Caller, things: Things) -> None:
    agent, run = in_capitals(things.context.pk), in_capitals(things.run.pk)
    job, monitor = in_capitals(things.job.pk), in_capitals(things.monitor.pk)
    for path, found in (
        (f"/agents/{agent}", things.context.pk),
        (f"/runs/{run}", things.run.pk),
        (f"/jobs/{job}", things.job.pk),
        (f"/monitors/{monitor}", things.monitor.pk),
    ):
        answer = alphas.get(path)
        assert (answer.status_code, answer.data["id"]) == (200, str(found))
    for path in (f"/runs?agent={agent}", f"/monitors?agent={agent}", f"/decisions?monitor={monitor}"):
        assert len(alphas.get(path).data["items"]) == 1
    answer = alphas.post(f"/jobs/{job}/cancel")
    assert answer.status_code == 200


def test_no_address_reads_ids_in_small_letters_alone() -> None:
    written = [path.read_text() for path in Path(settings.BASE_DIR, "dashboard").rglob("*.py")]
    assert [found for text in written for found in re.findall(r"[<{]uuid:\w+[>}]", text)] == []


def test_pages_read_an_id_in_any_case_and_write_it_in_small_letters(
    log_in: Any, alice: User, organization: Organization, things: Things
) -> None:
    client = log_in(alice)
    for name, key in (("agent", things.context.pk), ("run", things.run.pk), ("job", things.job.pk)):
        address = reverse(name, args=[organization.slug, key])
        assert str(key) in address
        assert client.get(address.replace(str(key), in_capitals(key))).status_code == 200


def test_who_of_the_staff_asked_for_a_test_is_not_told(alphas: Caller, things: Things) -> None:
    run = make_run("passed", triggered_by="manual", by=Actor("user", "7", "Sam Staff"))
    answer = alphas.get(f"/runs/{run.pk}")
    assert (answer.data["triggered_by"], answer.data["actor"]) == ("manual", {"kind": "system", "name": "Platform"})
    assert "Sam Staff" not in answer.content.decode()


@pytest.mark.parametrize("sought", ["bücher", "BÜCH", "bu\u0308cher", "xn--bcher-kva", "cher.exa"])
def test_an_agent_is_found_by_either_spelling_of_its_host(
    alphas: Caller, organization: Organization, sought: str
) -> None:
    make_context(organization, "https://buecher.example/mcp", name="Another")
    context = make_context(organization, "https://xn--bcher-kva.example/mcp", name="Books")
    found = alphas._client.get("/api/v1/agents", {"q": sought}, **alphas._environ).json()["items"]
    also = ["https://buecher.example/mcp"] if sought == "cher.exa" else []
    assert [item["agent_url"] for item in found] == [*also, context.agent_id]


def test_a_name_is_a_part_of_the_search_too(alphas: Caller, organization: Organization) -> None:
    make_context(organization, "https://one.example/mcp", name="Übersetzer")
    make_context(organization, "https://two.example/mcp", name="Other")
    for sought in ("übersetz", "one.example"):
        found = alphas._client.get("/api/v1/agents", {"q": sought}, **alphas._environ).json()["items"]
        assert [item["name"] for item in found] == ["Übersetzer"]


def test_an_agent_is_named_after_its_host_in_unicode(alphas: Caller) -> None:
    answer = alphas.post("/agents", {"agent_url": "https://bücher.example/mcp"})
    assert (answer.status_code, answer.data["name"]) == (201, "bücher.example/mcp")
    assert answer.data["agent_url"] == "https://xn--bcher-kva.example/mcp"


def test_times_of_lists_reach_to_the_ends_of_time(alphas: Caller, things: Things) -> None:
    far = "9999-12-31T23:59:59Z"
    soon = (datetime.now(UTC) - timedelta(days=365)).isoformat().replace("+00:00", "Z")
    assert len(alphas.get(f"/runs?since={soon}&until={far}").data["items"]) == 1
