"""What the record says of an agent's protocol is what the agent proved, whichever suite was chosen (E5)."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from compliance.engines import Report, Target, get_engine
from compliance.jobs.actions import request_owner_test
from compliance.jobs.completion import complete_job
from compliance.jobs.queue import lease_job
from compliance.models import Agent, Organization, User
from compliance.tenancy.scope import Actor, system_scope
from tests.agents.odd import mcp
from tests.agents.odd.table import served
from tests.compliance.engines.servers import target
from tests.conftest import make_context


@pytest.fixture(autouse=True)
def _unsent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compliance.celery.app.send_task", lambda *args, **more: None)


def on_record(url: str) -> str:
    with system_scope(by=Actor.system("tests"), reason="look"):
        return Agent.objects.get(pk=url).protocol


def set_on_record(url: str, protocol: str) -> None:
    with system_scope(by=Actor.system("tests"), reason="arrange"):
        Agent.objects.filter(pk=url).update(protocol=protocol)


def record(organization: Organization, by: User, context_id: Any, suite: str, report: Report) -> None:
    """A test by this suite, with the report that its engine made."""
    job, _ = request_owner_test(organization=organization, context_id=context_id, by=by, suite_slug=suite)
    lease = lease_job(job.pk, organization.id)
    assert lease is not None
    complete_job(lease, report)


def test_suite_of_another_protocol_at_a_closed_port_teaches_nothing(organization: Organization, alice: User) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        context = make_context(organization, agent_url=url)
        asked = Target(url, suite="mcp-conformance", deadline=20.0, allow=("127.0.0.1",))
        report = asyncio.run(get_engine("mcp-conformance").run(asked))

    assert report.overall().value == "failing"
    record(organization, alice, context.pk, "mcp-conformance", report)
    assert on_record(url) == ""


def test_wrong_protocol_on_record_is_mended_by_the_next_baseline(organization: Organization, alice: User) -> None:
    async def run() -> tuple[str, Report]:
        async with served(mcp.ROWS[0]) as url:
            return url, await get_engine("baseline").run(target(url, protocol="a2a"))

    url, report = asyncio.run(run())
    context = make_context(organization, agent_url=url)
    set_on_record(url, "a2a")
    record(organization, alice, context.pk, "baseline", report)
    assert on_record(url) == "mcp"
