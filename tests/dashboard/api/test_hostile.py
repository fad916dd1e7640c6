"""Whatever a program sends to an operation: it is answered, and nothing breaks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from compliance.models import AgentContext, Organization, User
from dashboard.api.urls import api
from tests.compliance.runners.conftest import ask, make_runner
from tests.compliance.webhooks.conftest import Source, registry
from tests.dashboard.api.conftest import Caller, Things
from tests.dashboard.forms_in import escaped

__all__ = ["registry"]  # a fixture

HOSTILE: dict[str, Any] = {
    "NUL": "a\x00b",
    "half of a surrogate pair": "a\ud800b",
    "long": "x" * 100_000,
    "right to left": "\u202eevil\u2066",
    "emoji": "\U0001f9ea\u200d\U0001f469",
    "broken address": "http://[",
    "first instant": "0001-01-01T00:00:00+14:00",
    "last instant": "9999-12-31T23:59:59-14:00",
    "huge number": 10**30,
    "negative": -(2**63),
    "NaN": float("nan"),
    "infinity": float("inf"),
    "nothing": None,
    "list": ["a\x00b"],
    "object": {"a\x00b": "\ud800"},
}
LIMITS = ("API_RATE_PER_MINUTE", "RUNNER_RATE_PER_MINUTE", "WEBHOOK_RATE_PER_MINUTE", "API_FAILED_KEYS_PER_MINUTE")
SCHEMA = api.get_openapi_schema()


@pytest.fixture
def without_limits(settings: Any) -> None:
    for name in LIMITS:
        setattr(settings, name, 1_000_000)


def operations(*prefixes: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of those whose path begins with one of the prefixes, or of all others."""
    special = ("/runner", "/webhooks")
    for path, methods in SCHEMA["paths"].items():
        path = path.removeprefix("/api/v1")
        if path.startswith(prefixes) if prefixes else not path.startswith(special):
            for method, operation in methods.items():
                yield method.upper(), path, operation


def fields_of(operation: dict[str, Any]) -> list[str]:
    """The fields of its body."""
    content = operation.get("requestBody", {}).get("content", {})
    if not content:
        return []
    reference = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    return [*SCHEMA["components"]["schemas"][reference]["properties"]]


class Attacker:
    """Calls operations, takes back what they did, and keeps what broke."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.broken: list[str] = []
        self.asked = 0

    def ask(self, method: str, path: str, body: Any = None, what: str = "") -> None:
        self.asked += 1
        with transaction.atomic():
            answer = self.caller(method, path, body)
            transaction.set_rollback(True)
        if answer.status_code >= 500:
            self.broken.append(f"{method} {path[:100]} {what}")

    def attack(self, method: str, path: str, operation: dict[str, Any], good: dict[str, Any]) -> None:
        """Everything hostile in each field of the body, in each parameter, and in the path."""
        for field in fields_of(operation):
            for what, value in HOSTILE.items():
                self.ask(method, path, good | {field: value}, f"{field}: {what}")
        texts = {what: str(value)[:2000] for what, value in HOSTILE.items()}
        for parameter in operation.get("parameters", []):
            for what, text in texts.items():
                if parameter["in"] == "query":
                    self.ask(method, f"{path}?{parameter['name']}={escaped(text)}", what=what)
        head, _, last = path.rpartition("/")
        for what in ("NUL", "half of a surrogate pair", "huge number"):
            text = texts[what]
            self.ask(method, f"{head}/{escaped(text)}", good)
            self.ask(method, f"{escaped(text)}/{last}", good)


def test_no_operation_breaks_over_what_it_is_sent(alphas: Caller, things: Things, without_limits: None) -> None:
    attacker = Attacker(alphas)
    ids = {
        "agent": things.context.pk,
        "run": things.run.pk,
        "job": things.job.pk,
        "monitor": things.monitor.pk,
        "slug": "baseline",
        "step": 0,
    }
    good = {"agent_url": "https://new.example/mcp", "agent_id": str(things.context.pk), "name": "New"}
    for method, path, operation in operations():
        named = {one["name"]: ids[one["name"]] for one in operation.get("parameters", []) if one["in"] == "path"}
        fields = fields_of(operation)
        sent = {name: value for name, value in good.items() if name in fields}
        if path == "/monitors":
            sent["schedule"] = {"interval_minutes": 60}
        attacker.attack(method, path.format(**named), operation, sent)
    assert attacker.broken == []
    assert attacker.asked > 500


def test_no_call_of_a_runner_breaks_over_what_it_is_sent(
    organization: Organization, alice: User, context: AgentContext, without_limits: None
) -> None:
    lab = make_runner(organization, alice)
    ask(organization, context, alice, lab.placement())
    lease = lab.poll()[0]
    job, token = lease["job_id"], lease["token"]
    attacker = Attacker(Caller(lab.token))
    good = {"token": token, "report": {}, "leases": [{"job_id": job, "token": token}], "at_most": 1}
    for method, path, operation in operations("/runner"):
        fields = fields_of(operation)
        sent = {name: value for name, value in good.items() if name in fields}
        attacker.attack(method, path.format(job_id=job), operation, sent)
        if "leases" in fields:
            for value in HOSTILE.values():
                progress = {"step": value, "done": value, "total": value}
                attacker.ask(method, path, {"leases": [{"job_id": job, "token": token, "progress": progress}]})
                attacker.ask(method, path, {"leases": [{"job_id": value, "token": value}]})
        if "engines" in fields:
            for value in HOSTILE.values():
                attacker.ask(method, path, sent | {"engines": {"baseline": value, str(value)[:100]: "1"}})
    assert attacker.broken == []


def test_no_delivery_of_a_webhook_breaks_anything(registry: Source, things: Things, without_limits: None) -> None:
    for what, value in HOSTILE.items():
        for body in (
            {"type": value, "data": {"agent_url": "https://agent.example/mcp"}},
            {"type": "agent.deployed", "data": {"agent_url": value}},
            {"type": "agent.deployed", "data": value},
        ):
            with transaction.atomic():
                assert registry.send(event=body).status_code < 500, what
                transaction.set_rollback(True)
