"""Private runners, and what one would send."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from django.http import HttpResponse
from django.test import Client

from compliance.engines.reports.model import Report
from compliance.jobs.actions import request_owner_test
from compliance.models import AgentContext, Job, Organization, Runner, User
from compliance.registry.models import Placement
from compliance.runners.actions import create_runner
from compliance.tenancy.scope import organization_scope
from tests.conftest import make_report

ENGINES = {"baseline": "1.0"}


@dataclass
class Calling:
    """A runner that calls the API with its token."""

    runner: Runner
    token: str

    def post(self, path: str, body: Any, **headers: str) -> HttpResponse:
        return Client().post(
            f"/api/v1/runner/{path}",
            data=json.dumps(body),
            content_type="application/json",
            headers={"Authorization": f"Bearer {self.token}", **headers},
        )

    def poll(self, at_most: int = 1, **about: Any) -> list[dict[str, Any]]:
        answer = self.post("poll", {"at_most": at_most, "engines": ENGINES, "version": "1.0.0", **about})
        assert answer.status_code == 200, answer.content
        leases: list[dict[str, Any]] = answer.json()["leases"]
        return leases

    def complete(self, lease: dict[str, Any], *verdicts: str, report: Any = None, **more: Any) -> HttpResponse:
        body = {"token": lease["token"], "report": report or plain(make_report(*verdicts)), **more}
        return self.post(f"jobs/{lease['job_id']}/complete", body)

    def placement(self) -> Placement:
        return Placement(runner_id=self.runner.pk)

    def row(self) -> Runner:
        with organization_scope(self.runner.organization_id):
            return Runner.objects.get(pk=self.runner.pk)


def plain(report: Report) -> dict[str, Any]:
    """As it goes over the wire."""
    data: dict[str, Any] = json.loads(json.dumps(report.to_json()))
    return data


def make_runner(organization: Organization, by: User, name: str = "lab", pool: str = "") -> Calling:
    return Calling(*create_runner(organization=organization, name=name, pool=pool, by=by))


def ask(organization: Organization, context: AgentContext, by: User, placement: Placement, **more: Any) -> Job:
    """A test that somebody asks for, to be run there."""
    return request_owner_test(organization=organization, context_id=context.pk, by=by, placement=placement, **more)[0]


def job_row(organization: Organization, job_id: UUID | str) -> Job:
    with organization_scope(organization.id):
        return Job.objects.get(pk=job_id)


@pytest.fixture
def lab(organization: Organization, alice: User) -> Calling:
    return make_runner(organization, alice)


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What would go to Celery."""
    messages: list[tuple[Any, ...]] = []
    monkeypatch.setattr("compliance.celery.app.send_task", lambda name, args: messages.append((name, tuple(args))))
    return messages
