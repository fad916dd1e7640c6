"""Evidence as people read it: the failing place, the curl command, and what is left when it has expired."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from compliance.engines.http.exchange import HIDDEN
from compliance.engines.reports.model import Evidence
from compliance.models import AgentContext, ComplianceRun, Organization, User
from dashboard.runs.exchanges import as_curl, expires_at, lines_of
from tests.conftest import make_report, make_run
from tests.dashboard.pages import markup

PAYLOAD = {"status": 200, "body": {"tools": [{"name": "a"}, {"name": "b", "a/b": {"x~y": 1}}]}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)


def marked(payload: Any, pointer: str) -> list[str]:
    return [line.text.strip() for line in lines_of(payload, "/response", pointer) if line.marked]


@pytest.mark.parametrize(
    ("pointer", "lines"),
    [
        ("/response/status", ['"status": 200,']),
        ("/response/body/tools/0", ["{", '"name": "a"', "},"]),
        ("/response/body/tools/1/name", ['"name": "b",']),
        ("/response/body/tools/1/a~1b/x~0y", ['"x~y": 1']),
        # What is missing is marked where it should have been.
        ("/response/body/tools/0/inputSchema/type", ["{", '"name": "a"', "},"]),
        ("/response/nothing", []),
        ("/request/body", []),
        ("", []),
    ],
)
def test_the_failing_place_is_marked(pointer: str, lines: list[str]) -> None:
    assert marked(PAYLOAD, pointer) == lines


@given(JSON)
def test_pretty_printing_changes_nothing(payload: Any) -> None:
    if payload is None or isinstance(payload, str):
        return
    assert json.loads("\n".join(line.text for line in lines_of(payload, "/response", "/response/0"))) == payload


def test_curl_says_the_job_and_not_the_secret() -> None:
    request = {
        "method": "POST",
        "url": "https://a.example/mcp?q='1'",
        "headers": {"authorization": HIDDEN, "content-type": "application/json", "host": "a.example", "x": "$(id)"},
        "body": {"jsonrpc": "2.0", "method": "it's"},
    }
    words = shlex.split(as_curl(request).replace("\\\n", " "))
    assert words[:5] == ["curl", "-i", "-X", "POST", "https://a.example/mcp?q='1'"]
    assert words[words.index("-H") + 1] == "authorization: $SECRET"
    assert "x: $(id)" in words
    assert not any(word.startswith("host") for word in words)
    assert json.loads(words[-1]) == request["body"]
    assert '"$(id)"' not in as_curl(request)


def test_there_is_no_curl_for_a_body_that_was_cut() -> None:
    assert as_curl({"method": "POST", "url": "https://a.example", "body": "abc\n[cut: 70,000 bytes in all]"}) == ""
    assert as_curl(None) == ""


@pytest.mark.parametrize(
    ("recorded", "gone"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 3, 1, tzinfo=UTC)),
        (datetime(2025, 11, 30, 23, 59, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
        (datetime(2025, 10, 31, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)),
    ],
)
def test_evidence_goes_with_its_whole_month(settings: Any, recorded: datetime, gone: datetime) -> None:
    settings.EVIDENCE_RETENTION_MONTHS = 13
    assert expires_at(ComplianceRun(recorded_at=recorded)) == gone


@pytest.mark.django_db
class TestPage:
    @pytest.fixture
    def alices(self, alice: User, organization: Organization, reader: Any) -> Client:
        client: Client = reader(alice)
        return client

    def test_shows_status_time_pointer_and_curl(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        evidence = Evidence(
            {"method": "GET", "url": "https://a.example", "headers": {"authorization": HIDDEN}},
            {"status": 503, "ms": 41, "body": {"error": "<b>down"}},
            "/response/body/error",
        )
        run = make_run(organization=organization, report=make_report("failed", evidence=evidence))
        response = alices.get(reverse("evidence", args=[organization.slug, run.pk, 0]))
        assert "<h3>Response · 503 · 41 ms</h3>" in markup(response)
        text = response.content.decode()
        assert "{\n<mark>    &quot;error&quot;: &quot;&lt;b&gt;down&quot;\n</mark>  }\n" in text
        assert "/response/body/error" in text
        assert "curl -i -X GET https://a.example" in text
        assert "$SECRET" in text

    def test_that_has_expired_says_so(
        self, alices: Client, organization: Organization, context: AgentContext, superuser: Any, settings: Any
    ) -> None:
        run = make_run(organization=organization, report=make_report("failed", "passed"))
        # As if the month were long over: no evidence, and a retention that the run is beyond.
        settings.EVIDENCE_RETENTION_MONTHS = -1
        page = markup(alices.get(reverse("run", args=[organization.slug, run.pk])))
        assert "The evidence has expired." in page
        gone = alices.get(reverse("evidence", args=[organization.slug, run.pk, 0]))
        assert gone.status_code == 410
        assert "runs for ever" in gone.content.decode()
        assert alices.get(reverse("evidence", args=[organization.slug, run.pk, 9])).status_code == 404
