"""The table of odd agents once more: the same verdict whoever causes a run, and however often it is run (E6, R8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from django.utils import timezone

from compliance.engines import Overall
from compliance.jobs.actions import request_owner_test
from compliance.jobs.leases import Lease
from compliance.jobs.queue import lease_heartbeats, lease_job
from compliance.jobs.worker import run_leases
from compliance.models import Agent, AgentContext, ComplianceRun, Job, Organization, User
from compliance.monitors.heartbeats import create_due_heartbeats
from compliance.monitors.tick import create_due_monitor_jobs
from compliance.tenancy.actions import create_organization
from compliance.tenancy.scope import platform_scope
from tests.agents.odd import a2a, mcp
from tests.agents.odd.table import OddAgent, served
from tests.compliance.monitors.conftest import jobs_of, make_due, make_monitor
from tests.compliance.runners.program.assay import loop
from tests.compliance.vault.conftest import make_credential, make_grant
from tests.conftest import make_context, make_user

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

ROWS = [*mcp.ROWS, *a2a.ROWS]
CONCURRENCY = 6


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, OddAgent]]:
    """Every agent of the table, served on a port of its own, by its address."""
    with loop() as background:
        yield {background.enter(served(row)): row for row in ROWS}


class World:
    """An organization that is the verified owner of all of them, with their credentials."""

    def __init__(self, addresses: Mapping[str, OddAgent]) -> None:
        self.alice: User = make_user("alice@example.org", "Alice Owner")
        self.organization: Organization = create_organization(name="Alpha", by=self.alice)
        self.contexts: list[AgentContext] = []
        for url, row in addresses.items():
            context = make_context(self.organization, url, name=row.name, verified=True)
            self.contexts.append(context)
            if row.token is not None:
                key = make_credential(self.organization, self.alice, name=row.name, secret=row.token)
                make_grant(key, context, self.alice)

    def run(self, jobs: list[Job]) -> list[ComplianceRun]:
        waiting = list(jobs)

        def lease_more(at_most: int) -> list[Lease]:
            taken, waiting[:] = waiting[:at_most], waiting[at_most:]
            return [lease for job in taken if (lease := lease_job(job.pk, job.organization_id))]

        return run_leases(lease_more, concurrency=CONCURRENCY)

    def owner_tests(self) -> list[ComplianceRun]:
        return self.run(
            [
                request_owner_test(organization=self.organization, context_id=context.pk, by=self.alice)[0]
                for context in self.contexts
            ]
        )

    def monitors(self) -> list[ComplianceRun]:
        for context in self.contexts:
            make_due(make_monitor(self.organization, context, self.alice, name=context.name))
        create_due_monitor_jobs()
        return self.run(jobs_of(self.organization))

    def heartbeats(self) -> list[ComplianceRun]:
        with platform_scope():
            Agent.objects.update(next_heartbeat_at=timezone.now())
        create_due_heartbeats()
        return run_leases(lease_heartbeats, concurrency=CONCURRENCY)


def outcomes(runs: list[ComplianceRun]) -> dict[str, tuple[str, list[Any]]]:
    """What each run says, but for how long anything took."""
    return {
        run.agent_url: (
            run.overall_status,
            [
                (scenario["key"], step["key"], step["verdict"])
                for track in run.tracks_json
                for scenario in track["scenarios"]
                for step in scenario["steps"]
            ],
        )
        for run in runs
    }


@pytest.fixture
def patient(settings: Any) -> None:
    settings.STEP_TIMEOUT_SECONDS = 8
    settings.MONITOR_ORGANIZATION_CONCURRENCY = 500
    settings.MONITOR_COOLDOWN_SECONDS = 0


def test_verdict_is_the_same_whoever_causes_the_run_and_the_tenth_time(
    committed_db: None, patient: None, addresses: dict[str, OddAgent], monkeypatch: pytest.MonkeyPatch
) -> None:  # E6, R8
    monkeypatch.setattr("compliance.celery.app.send_task", lambda *args, **more: None)
    world = World(addresses)
    first = outcomes(world.owner_tests())
    deserved = {url: row.verdict.value for url, row in addresses.items()}
    assert _wrong(addresses, {url: status for url, (status, _) in first.items()}, deserved) == {}
    for again in (world.heartbeats, world.monitors, *[world.owner_tests] * 7):
        assert _wrong(addresses, outcomes(again()), first) == {}


def _wrong(addresses: Mapping[str, OddAgent], seen: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """By the agent's name, what came and what was wanted, where that differs."""
    return {
        row.name: (seen.get(url), wanted.get(url))
        for url, row in addresses.items()
        if url not in seen or seen[url] != wanted[url]
    }


def test_the_table_has_agents_enough() -> None:
    assert len(mcp.ROWS) >= 30
    assert {row.verdict for row in ROWS} == set(Overall)
