"""The API as programs call it: keys of several kinds, and a client that shows one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from compliance.engines.reports.model import Evidence
from compliance.jobs.actions import request_owner_test
from compliance.models import AgentContext, ApiKey, ComplianceRun, Job, Monitor, Organization, User
from compliance.monitors.actions import run_monitor_now
from compliance.tenancy.api_key_actions import create_key
from compliance.tenancy.api_keys import hash_of, new_token
from compliance.tenancy.scope import organization_scope
from dashboard.api import limits
from tests.compliance.monitors.conftest import make_monitor
from tests.compliance.runners.conftest import make_runner
from tests.conftest import make_report, make_run

EVERYTHING = ("read", "test", "manage")


def make_key(organization: Organization, by: User, *scopes: str, name: str = "CI") -> tuple[ApiKey, str]:
    return create_key(organization=organization, name=name, scopes=scopes or EVERYTHING, by=by)


def make_expired_key(organization: Organization, by: User) -> str:
    """The token of a key whose time has passed; the database lets nobody change when one ends."""
    token, prefix = new_token("ask")
    key = ApiKey(organization=organization, name="Old", prefix=prefix, secret_hash=hash_of(token))
    key.scopes, key.created_by = list(EVERYTHING), by.get_full_name()
    key.created_at, key.expires_at = (timezone.now() - timedelta(days=days) for days in (2, 1))
    with organization_scope(organization.id):
        key.save(force_insert=True)
    return token


class Caller:
    """A program with a token; each answer is a response with `data` at hand."""

    def __init__(self, token: str = "", **environ: Any) -> None:
        self._client = Client(raise_request_exception=False)
        self._environ = environ | ({"HTTP_AUTHORIZATION": f"Bearer {token}"} if token else {})

    def __call__(self, method: str, path: str, body: Any = None, **environ: Any) -> Any:
        content = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        response: Any = self._client.generic(method, f"/api/v1{path}", **content, **self._environ, **environ)
        response.data = json.loads(response.content) if response.content else None
        return response

    def get(self, path: str, **environ: Any) -> Any:
        return self("GET", path, **environ)

    def post(self, path: str, body: Any = None, **environ: Any) -> Any:
        return self("POST", path, {} if body is None else body, **environ)

    def patch(self, path: str, body: Any) -> Any:
        return self("PATCH", path, body)


@pytest.fixture(autouse=True)
def empty_limits() -> None:
    """Each test begins with nothing counted, under whatever limits those before it had set."""
    limits.breaker.until = 0.0
    limits.limiter(settings.REDIS_URL).storage.reset()


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What would go to Celery."""
    messages: list[tuple[Any, ...]] = []
    monkeypatch.setattr("compliance.celery.app.send_task", lambda name, args: messages.append((name, tuple(args))))
    return messages


@pytest.fixture
def alphas(organization: Organization, alice: User) -> Caller:
    """A program of Alice's organization that may do everything."""
    return Caller(make_key(organization, alice)[1])


@pytest.fixture
def omegas(other_organization: Organization, charlie: User) -> Caller:
    """A program of Charlie's organization that may do everything."""
    return Caller(make_key(other_organization, charlie)[1])


@pytest.fixture
def with_scopes(organization: Organization, alice: User) -> Callable[..., Caller]:
    return lambda *scopes: Caller(make_key(organization, alice, *scopes)[1])


@pytest.fixture
def a_runners(organization: Organization, alice: User) -> Caller:
    """A private runner of Alice's organization."""
    return Caller(make_runner(organization, alice).token)


def change_key(key: ApiKey, **values: Any) -> None:
    with organization_scope(key.organization_id):
        ApiKey.objects.filter(pk=key.pk).update(**values)


@pytest.fixture
def queries() -> Callable[[], Any]:
    """Counts the queries of a block, without those that open and close scopes."""

    @contextmanager
    def counted() -> Iterator[list[str]]:
        asked: list[str] = []
        with CaptureQueriesContext(connection) as captured:
            yield asked
        asked += [
            query["sql"]
            for query in captured.captured_queries
            if not query["sql"].startswith(("SAVEPOINT", "RELEASE", "ROLLBACK", "SELECT set_config"))
        ]

    return counted


class Things(NamedTuple):
    """One of each of what an organization has."""

    context: AgentContext
    run: ComplianceRun
    job: Job
    monitor: Monitor


def make_things(organization: Organization, by: User, context: AgentContext) -> Things:
    """An agent with a run whose only step failed, a test under way, and a monitor with a decision."""
    evidence = Evidence(request={"of": organization.id}, response={"result": organization.id})
    run = make_run(organization=organization, report=make_report("failed", evidence=evidence))
    job, _ = request_owner_test(organization=organization, context_id=context.pk, by=by)
    monitor = make_monitor(organization, context, by, name=f"Monitor of {organization.id}")
    run_monitor_now(organization=organization, monitor_id=monitor.pk, by=by)
    return Things(context, run, job, monitor)


@pytest.fixture
def things(organization: Organization, alice: User, context: AgentContext) -> Things:
    return make_things(organization, alice, context)


@pytest.fixture
def other_things(other_organization: Organization, charlie: User, other_context: AgentContext) -> Things:
    return make_things(other_organization, charlie, other_context)
