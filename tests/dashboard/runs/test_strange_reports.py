"""What passes the gate can be recorded and shown, whoever wrote it (L16)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from compliance.engines.reports.validation import from_json
from compliance.models import AgentContext, Organization, User
from tests.conftest import make_run
from tests.dashboard.pages import markup

pytestmark = pytest.mark.django_db

ODD = "\x00\x1b[31m<xss>\u202e\"'&\n\ud800/../%00?#"
DEEP: Any = "bottom"
for _ in range(120):
    DEEP = {"a/b~": [DEEP]}
EXCHANGES: list[Any] = [
    {"request": {"url": "http://a.example/", "headers": ["no", "pairs"]}, "response": {"status": {"a": []}, "ms": []}},
    {"request": {"url": ["no", "text"], "headers": "text", "method": None}, "response": []},
    {"request": {"url": ODD, "headers": {ODD: None}, "body": {ODD: 10**300}}, "response": ODD, "pointer": "/" + ODD},
    {"request": {"url": "x", "headers": 1, "body": [1.5e308]}, "response": {"body": DEEP}, "pointer": "/response/body"},
    {"request": [], "response": {"headers": []}, "pointer": "/response/headers/00000000000000000000000000000000009"},
    {"request": None, "response": None, "pointer": "/~2/-1"},
]


def _report(**changes: Any) -> dict[str, Any]:
    steps = [
        {"key": f"{ODD}{n}", "title": ODD, "verdict": "failed", "actual": ODD, "duration_ms": 2**31 - 1, "evidence": e}
        for n, e in enumerate(EXCHANGES)
    ]
    scenarios = [
        {"key": "a/b/../c", "title": ODD, "steps": steps},
        {"key": "nothing", "title": "n", "steps": []},
    ]
    return {
        "schema": "assay-report/1",
        "engine": "outside",
        "engine_version": "1",
        "suite": "baseline",
        "protocol": "mcp",
        "protocol_version": ODD,
        "duration_ms": 2**31 - 1,
        "harness_error": "",
        "runtime": {ODD: ODD, "": ""},
        "observations": {ODD: ODD, "": [DEEP], "n": 10**300, "f": 1e308, "nan": 0, "mixed": {"a": [1, None], "b": {}}},
        "notices": [{"code": ODD, "message": ODD}],
        "tracks": [
            {"key": "empty", "title": "Empty", "scenarios": []},
            {"key": ODD, "title": ODD, "scenarios": scenarios},
        ],
    } | changes


def _lone(value: Any) -> Any:
    # Lone surrogates are no JSON for the validator; the rest of it is.
    return json.loads(json.dumps(value).replace("\\ud800", "s"))


def test_every_page_of_a_run_with_a_strange_report_can_be_read(
    reader: Any, alice: User, organization: Organization, context: AgentContext
) -> None:
    client: Client = reader(alice)
    first = make_run(organization=organization, report=from_json(_lone(_report())))
    second = make_run("passed", "failed", organization=organization)
    third = make_run(organization=organization, report=from_json(_lone(_report(tracks=[]))))
    of = [organization.slug]
    addresses = [reverse("run", args=[*of, run.pk]) for run in (first, second, third)]
    addresses += [reverse("evidence", args=[*of, first.pk, index]) for index in range(len(EXCHANGES))]
    addresses += [
        reverse("compare", args=[*of, a.pk, b.pk]) for a in (first, second, third) for b in (first, second, third)
    ]
    addresses += [reverse("compare_pick", args=[*of, first.pk]), reverse("overview", args=of)]
    addresses += [reverse("history", args=[*of, context.pk]), reverse("agent", args=[*of, context.pk])]

    for address in addresses:
        response = client.get(address)
        assert response.status_code == 200, address
        text = markup(response)
        assert "<xss>" not in text
        assert "\x00" not in text
