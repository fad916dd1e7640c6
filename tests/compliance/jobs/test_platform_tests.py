"""Tests that staff ask for: what they are on record, what they move and what they leave as it is."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.utils import timezone

from compliance.engines.contract import Report
from compliance.jobs.completion import complete_job
from compliance.jobs.platform_tests import request_platform_test
from compliance.jobs.queue import lease_heartbeats
from compliance.models import Agent, AgentContext, AgentStatus, ComplianceRun, Job, Organization
from compliance.monitors.heartbeats import create_due_heartbeats
from compliance.tenancy.actions import create_organization
from compliance.tenancy.errors import Refused
from compliance.tenancy.scope import Actor, organization_scope, platform_scope, system_scope
from tests.conftest import AGENT_URL, make_context, make_report, make_user
from tests.processes import serving_demo_agents, wait_for, worker

SAM = Actor("user", "7", "Sam Staff")


def look(model: Any) -> list[Any]:
    with system_scope(by=Actor.system("tests"), reason="look"):
        return list(model.objects.all())


def set_agent(**values: Any) -> None:
    with system_scope(by=Actor.system("tests"), reason="arrange"):
        Agent.objects.filter(pk=AGENT_URL).update(**values)


def run_it(report: Report | None = None) -> ComplianceRun:
    [lease] = lease_heartbeats(10)
    return complete_job(lease, report or make_report("passed"))


@pytest.mark.processes
def test_a_worker_runs_what_the_command_asked_for_and_the_heartbeat_comes_when_it_would_have(
    committed_db: None, tmp_path: Path, alpha_of: Any
) -> None:
    """Over a real worker and a real agent: on record for everybody who has the agent, and the status moves."""
    with serving_demo_agents(tmp_path / "agents.log") as addresses, worker(tmp_path / "worker.log"):
        url = addresses["library"]
        organization = alpha_of(url)
        [before] = look(Agent)
        printed = StringIO()
        call_command("test_agent", url.upper().replace("HTTP", "http").replace("/MCP", "/mcp"), stdout=printed)
        [run] = wait_for(lambda: look(ComplianceRun), what="a run on record")
    [job] = look(Job)
    assert str(job.pk) in printed.getvalue()
    assert (run.triggered_by, run.triggered_org_id, run.executor_kind) == ("manual", None, "hosted")
    assert (run.actor_kind, run.actor_name) == ("system", "command line")
    assert (run.overall_status, run.full_suite, run.moves_status) == ("passing", True, True)
    [status] = look(AgentStatus)
    assert (status.agent_id, status.status, status.last_run_id) == (url, "passing", run.pk)
    [after] = look(Agent)
    assert (after.next_heartbeat_at, after.last_checked_at) == (before.next_heartbeat_at, None)
    assert after.protocol == "mcp"
    with organization_scope(organization.id):
        assert ComplianceRun.objects.filter(pk=run.pk).exists()


@pytest.fixture
def alpha_of() -> Any:
    def make(url: str) -> Organization:
        organization = create_organization(name="Alpha", by=make_user("alice@example.org", "Alice Owner"))
        make_context(organization, url)
        return organization

    return make


@pytest.mark.django_db
class TestOnRecord:
    @pytest.fixture(autouse=True)
    def sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("compliance.celery.app.send_task", lambda name, args: None)

    def test_the_run_names_who_asked(self, context: AgentContext) -> None:  # R2
        job, created = request_platform_test(agent_url=AGENT_URL, by=SAM)
        assert created
        assert (job.triggered_by, job.organization_id, job.actor_name) == ("manual", None, "Sam Staff")
        run = run_it()
        assert (run.triggered_by, run.triggered_org_id, run.actor_name) == ("manual", None, "Sam Staff")

    def test_a_job_of_staff_has_no_organization(self, organization: Organization, context: AgentContext) -> None:  # R2
        job, _ = request_platform_test(agent_url=AGENT_URL, by=SAM)
        with (
            system_scope(by=Actor.system("tests"), reason="try"),
            pytest.raises(IntegrityError, match="job_organization_iff_it_caused_it"),
            transaction.atomic(),
        ):
            Job.objects.filter(pk=job.pk).update(organization=organization)

    def test_asked_twice_it_is_one(self, context: AgentContext) -> None:
        first, created = request_platform_test(agent_url=AGENT_URL, by=SAM)
        again, created_again = request_platform_test(agent_url=AGENT_URL, by=Actor.system("command line"))
        assert (first.pk, created, created_again) == (again.pk, True, False)
        run_it()
        assert request_platform_test(agent_url=AGENT_URL, by=SAM)[1]

    @pytest.mark.parametrize("verdict", ["passed", "failed", "silent"])
    def test_no_heartbeat_moves(self, context: AgentContext, verdict: str) -> None:
        due = timezone.now() + timedelta(hours=3)
        checked = timezone.now() - timedelta(hours=9)
        set_agent(next_heartbeat_at=due, last_checked_at=checked)
        request_platform_test(agent_url=AGENT_URL, by=SAM)
        run_it(make_report(verdict))
        [agent] = look(Agent)
        assert (agent.next_heartbeat_at, agent.last_checked_at) == (due, checked)

    def test_a_heartbeat_that_is_due_still_comes(self, context: AgentContext) -> None:
        set_agent(next_heartbeat_at=timezone.now() - timedelta(minutes=1))
        request_platform_test(agent_url=AGENT_URL, by=SAM)
        run_it()
        assert create_due_heartbeats() == 1

    def test_the_protocol_that_it_proves_is_kept(self, context: AgentContext) -> None:  # E5
        request_platform_test(agent_url=AGENT_URL, by=SAM)
        run_it()
        [agent] = look(Agent)
        assert agent.protocol == "mcp"

    def test_it_can_be_asked_for_while_automatic_tests_are_paused(self, context: AgentContext) -> None:
        set_agent(paused=True, opted_out=True)
        assert request_platform_test(agent_url=AGENT_URL, by=SAM)[1]

    def test_the_owners_limit_holds(self, context: AgentContext) -> None:  # G5
        set_agent(max_at_once=1, next_heartbeat_at=timezone.now())
        assert create_due_heartbeats() == 1
        with pytest.raises(Refused, match="allows 1 of its tests at once"):
            request_platform_test(agent_url=AGENT_URL, by=SAM)
        run_it()
        assert request_platform_test(agent_url=AGENT_URL, by=SAM)[1]

    def test_an_agent_that_nobody_has_is_refused(self, context: AgentContext) -> None:
        with organization_scope(context.organization_id):
            context.delete()
        with pytest.raises(Refused, match="No organization has registered"):
            request_platform_test(agent_url=AGENT_URL, by=SAM)

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (["not an address"], "space"),
            (["https://unknown.example/mcp"], "No organization has registered https://unknown.example/mcp"),
            ([AGENT_URL, "--suite", "nothing"], "There is no suite “nothing”"),
        ],
    )
    def test_the_command_says_why_not(self, context: AgentContext, arguments: list[str], why: str) -> None:
        with pytest.raises(CommandError, match=why):
            call_command("test_agent", *arguments)

    def test_members_do_not_read_who_of_the_staff_it_was(
        self, organization: Organization, context: AgentContext, alice: Any, log_in: Any
    ) -> None:
        request_platform_test(agent_url=AGENT_URL, by=SAM)
        run = run_it()
        client = log_in(alice)
        for address in (f"runs/{run.pk}/", f"agents/{context.pk}/", f"agents/{context.pk}/history/"):
            page = client.get(f"/o/{organization.slug}/{address}")
            assert page.status_code == 200, address
            assert "Manual" in page.content.decode()
            assert "Sam Staff" not in page.content.decode()

    def test_only_the_platform_writes_it(self, organization: Organization, context: AgentContext) -> None:  # I1
        job, _ = request_platform_test(agent_url=AGENT_URL, by=SAM)
        with organization_scope(organization.id):
            assert not Job.objects.filter(pk=job.pk).exists()
        with platform_scope():
            assert Job.objects.filter(pk=job.pk).exists()
