"""Registering, looking at, testing, changing and removing an agent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from compliance.jobs import dispatch
from compliance.jobs.actions import request_owner_test
from compliance.models import Agent, AgentContext, Job, Organization, User
from compliance.tenancy.scope import organization_scope, platform_scope
from tests.conftest import AGENT_URL, make_context, make_run
from tests.dashboard.pages import markup

pytestmark = pytest.mark.django_db


@pytest.fixture
def alices(alice: User, organization: Organization, reader: Any) -> Client:
    client: Client = reader(alice)
    return client


def url(name: str, organization: Organization, *args: object) -> str:
    return reverse(name, args=[organization.slug, *args])


class TestAdding:
    def test_leads_to_the_agent_and_asks_for_its_protocol(
        self, alices: Client, organization: Organization, sent: list[Any], django_capture_on_commit_callbacks: Any
    ) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            response = alices.post(url("agent_add", organization), {"url": "HTTPS://New.Example:443/mcp"})
        assert sent == [(dispatch.DETECT, "https://new.example/mcp")]
        page = markup(alices.get(response["Location"]))
        assert "Asking the agent" in page
        assert "new.example/mcp" in page

    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            ("", "Enter the agent"),
            ("nonsense", "must begin with https://"),
            ("https://u:p@a.example/", "Remove the user name"),
            ("https://a.example:99999/", "1 to 65535"),
            ("https://a.example/" + "x" * 10_000, "at most 2,048"),
        ],
    )
    def test_says_what_is_wrong_with_an_address(
        self, alices: Client, organization: Organization, typed: str, said: str
    ) -> None:
        response = alices.post(url("agent_add", organization), {"url": typed})
        assert response.status_code == 422
        assert said in markup(response)

    def test_links_to_the_one_that_exists(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        page = markup(alices.post(url("agent_add", organization), {"url": AGENT_URL}))
        assert f'href="{url("agent", organization, context.pk)}"' in page

    def test_says_nothing_of_others_who_have_it(
        self, alices: Client, organization: Organization, other_context: AgentContext
    ) -> None:  # I6
        assert alices.post(url("agent_add", organization), {"url": AGENT_URL}).status_code == 302


class TestProtocol:
    def test_stops_asking_once_it_is_known(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        address = url("agent_protocol", organization, context.pk)
        assert "hx-get" in markup(alices.get(address, headers={"HX-Request": "true"}))
        with platform_scope():
            Agent.objects.update(protocol="mcp")
        part = markup(alices.get(address, headers={"HX-Request": "true"}))
        assert "hx-get" not in part
        assert "MCP" in part

    def test_shows_why_it_was_not_found(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        with platform_scope():
            Agent.objects.update(protocol_note="<b>It refused the connection")
        page = markup(alices.get(url("agent", organization, context.pk)))
        assert "&lt;b&gt;It refused the connection" in page


class TestPage:
    def test_two_organizations_with_one_agent_see_their_own_tests_and_the_heartbeats(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        other_organization: Organization,
        other_context: AgentContext,
        charlie: User,
        reader: Any,
    ) -> None:
        mine = make_run("passed", organization=organization)
        theirs = make_run("failed", organization=other_organization)
        heartbeat = make_run("passed", "failed")
        charlies = reader(charlie)
        for client, whose, entry, seen, unseen in (
            (alices, organization, context, mine, theirs),
            (charlies, other_organization, other_context, theirs, mine),
        ):
            for name in ("agent", "history"):
                page = markup(client.get(url(name, whose, entry.pk)))
                assert str(seen.pk) in page
                assert str(heartbeat.pk) in page
                assert str(unseen.pk) not in page
            assert client.get(url("run", whose, seen.pk)).status_code == 200
            assert client.get(url("run", whose, heartbeat.pk)).status_code == 200
            assert client.get(url("run", whose, unseen.pk)).status_code == 404

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"paused": True}, "Paused"),
            ({"opted_out": True}, "Opted out"),
            ({"lifecycle_stage": "retired"}, "None in the stage retired"),
            ({"next_heartbeat_at": timezone.now() - timedelta(hours=2)}, "Overdue"),
        ],
    )
    def test_says_how_the_heartbeats_are(
        self, alices: Client, organization: Organization, context: AgentContext, change: dict[str, Any], said: str
    ) -> None:  # L18
        with platform_scope():
            Agent.objects.update(**change)
        assert said in markup(alices.get(url("agent", organization, context.pk)))

    def test_costs_the_same_with_more_history(
        self, alices: Client, organization: Organization, context: AgentContext, queries: Any
    ) -> None:
        make_run(organization=organization)
        make_run()
        address = url("agent", organization, context.pk)
        alices.get(address)
        with queries() as few:
            alices.get(address)
        for _ in range(15):
            make_run(organization=organization)
            make_run()
        with queries() as many:
            alices.get(address)
        assert len(many) == len(few) <= 21


class TestTesting:
    def test_two_presses_lead_to_one_job(
        self, alices: Client, organization: Organization, context: AgentContext, bob: User, reader: Any
    ) -> None:
        address = url("agent_test", organization, context.pk)
        first, second = alices.post(address), reader(bob).post(address)
        assert first["Location"] == second["Location"]
        with organization_scope(organization.id):
            assert Job.objects.count() == 1

    def test_options_are_passed_on(self, alices: Client, organization: Organization, context: AgentContext) -> None:
        alices.post(url("agent_test", organization, context.pk), {"suite": "baseline", "dry_run": "on"})
        with organization_scope(organization.id):
            assert Job.objects.get().dry_run

    def test_a_suite_that_is_not_there_is_refused(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        response = alices.post(url("agent_test", organization, context.pk), {"suite": "nonsense"})
        assert "There is no suite “nonsense”" in markup(response)


class TestProgress:
    @pytest.fixture
    def job(self, organization: Organization, context: AgentContext, alice: User) -> Job:
        return request_owner_test(organization=organization, context_id=context.pk, by=alice)[0]

    def change(self, organization: Organization, **fields: Any) -> None:
        with organization_scope(organization.id):
            Job.objects.update(**fields)

    def part(self, client: Client, organization: Organization, job: Job, on: str = "") -> Any:
        address = url("job", organization, job.pk)
        headers = {"HX-Request": "true", "HX-Current-URL": f"http://testserver{on or address}"}
        return client.get(address, headers=headers)

    def test_works_without_scripts(self, alices: Client, organization: Organization, job: Job) -> None:
        page = markup(alices.get(url("job", organization, job.pk)))
        assert '<noscript><meta http-equiv="refresh"' in page
        assert "Queued" in page

    def test_says_when_no_worker_comes(self, alices: Client, organization: Organization, job: Job) -> None:
        assert "No worker has picked" not in markup(self.part(alices, organization, job))
        self.change(organization, created_at=timezone.now() - timedelta(seconds=31))
        assert "No worker has picked" in markup(self.part(alices, organization, job))

    def test_shows_the_step_at_hand(self, alices: Client, organization: Organization, job: Job) -> None:
        self.change(
            organization,
            state="leased",
            lease_token=job.pk,
            lease_expires_at=timezone.now() + timedelta(minutes=1),
            progress={"step": "<i>Tools are listed", "done": 3, "total": 12},
        )
        part = markup(self.part(alices, organization, job))
        assert 'value="3" max="12"' in part
        assert "&lt;i&gt;Tools are listed" in part
        assert 'hx-trigger="every 1s"' in part

    @pytest.mark.parametrize("progress", [{}, {"done": "x", "total": None}, {"done": 9, "total": 3}, {"done": -1}])
    def test_survives_any_progress(
        self, alices: Client, organization: Organization, job: Job, progress: dict[str, Any]
    ) -> None:
        self.change(
            organization,
            state="leased",
            lease_token=job.pk,
            lease_expires_at=timezone.now() - timedelta(minutes=1),
            progress=progress,
        )
        assert "gone silent" in markup(self.part(alices, organization, job))

    def test_leads_to_the_run(
        self, alices: Client, organization: Organization, context: AgentContext, job: Job
    ) -> None:
        run = make_run(organization=organization)
        self.change(organization, state="finished", run_id=run.pk)
        run_url = url("run", organization, run.pk)
        assert alices.get(url("job", organization, job.pk))["Location"] == run_url
        assert self.part(alices, organization, job)["HX-Redirect"] == run_url
        elsewhere = self.part(alices, organization, job, on=url("agent", organization, context.pk))
        assert elsewhere["HX-Refresh"] == "true"

    def test_stops_when_it_ended_without_a_run(
        self, alices: Client, organization: Organization, context: AgentContext, job: Job
    ) -> None:
        self.change(organization, state="cancelled")
        elsewhere = self.part(alices, organization, job, on=url("agent", organization, context.pk))
        assert self.part(alices, organization, job)["HX-Refresh"] == "true"
        whole = alices.get(url("job", organization, job.pk))
        for answer in (elsewhere, whole):
            part = markup(answer).split('id="progress"')[1].split("</section>")[0]
            assert "hx-get" not in part
            assert "Cancelled" in part


class TestSettings:
    def test_renaming(self, alices: Client, organization: Organization, context: AgentContext) -> None:
        alices.post(url("agent_settings", organization, context.pk), {"rename": "1", "name": "Renamed"})
        assert "Renamed" in markup(alices.get(url("agent", organization, context.pk)))

    def test_an_observer_is_told_who_decides(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        address = url("agent_settings", organization, context.pk)
        assert "Only its verified owner decides" in markup(alices.get(address))
        fields = {"heartbeats": "1", "heartbeat_interval_hours": "6", "lifecycle_stage": "production"}
        assert alices.post(address, fields).status_code == 403

    def test_the_verified_owner_sets_the_heartbeats(self, alices: Client, organization: Organization) -> None:
        context = make_context(organization, verified=True)
        address = url("agent_settings", organization, context.pk)
        fields = {"heartbeats": "1", "heartbeat_interval_hours": "5", "lifecycle_stage": "testing", "paused": "on"}
        response = alices.post(address, fields)
        assert response.status_code == 422
        alices.post(address, {**fields, "heartbeat_interval_hours": "24"})
        with organization_scope(organization.id):
            agent = Agent.objects.get()
        assert (agent.heartbeat_interval_hours, agent.lifecycle_stage, agent.paused) == (24, "testing", True)

    def test_removing_asks_first(self, alices: Client, organization: Organization, context: AgentContext) -> None:
        run = make_run(organization=organization)
        address = url("agent_remove", organization, context.pk)
        assert "stay in the record" in markup(alices.post(address))
        assert alices.get(url("agent", organization, context.pk)).status_code == 200
        alices.post(address, {"confirmed": "1"})
        assert alices.get(url("agent", organization, context.pk)).status_code == 404
        assert alices.get(url("run", organization, run.pk)).status_code == 200
