"""Credentials in real runs: an agent that wants a token, a token endpoint, owner tests and heartbeats."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from compliance.demo_agents import AGENTS
from compliance.jobs.actions import request_owner_test
from compliance.jobs.models import CredentialChoice
from compliance.jobs.queue import lease_job
from compliance.jobs.tasks import execute_job, run_heartbeats
from compliance.jobs.worker import run_leases
from compliance.models import AgentStatus, ComplianceRun, Job, StepEvidence
from compliance.monitors.heartbeats import create_due_heartbeats
from compliance.monitors.tick import create_due_monitor_jobs
from compliance.tenancy.scope import Actor, organization_scope, system_scope
from compliance.vault.actions import replace_secret, revoke_grant
from tests.compliance.monitors.conftest import jobs_of, make_due, make_monitor
from tests.compliance.vault.conftest import SECRET, World
from tests.compliance.vault.servers import echoing_agent, token_endpoint
from tests.conftest import make_context
from tests.processes import serving_demo_agents

pytestmark = pytest.mark.processes

TOKEN = next(agent.token for agent in AGENTS if agent.name == "payroll")


@pytest.fixture(scope="module")
def payroll(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MCP server that wants a bearer token."""
    with serving_demo_agents(Path(tmp_path_factory.mktemp("agents")) / "log") as addresses:
        yield addresses["payroll"]


def everything(model: Any) -> list[Any]:
    with system_scope(by=Actor.system("tests"), reason="look"):
        return list(model.objects.all())


def owner_test(here: World, **choice: Any) -> ComplianceRun:
    """Ask for a test and run it, as a worker would; the newest run."""
    job, _ = request_owner_test(organization=here.organization, context_id=here.context.pk, by=here.alice, **choice)
    execute_job(str(job.pk), here.organization.id)
    with organization_scope(here.organization.id):
        return ComplianceRun.objects.get(job_id=job.pk)


def heartbeat(here: World) -> ComplianceRun:
    assert create_due_heartbeats() == 1
    run_heartbeats()
    return next(run for run in everything(ComplianceRun) if run.triggered_by == "heartbeat")


def notices(run: ComplianceRun) -> str:
    return " ".join(notice["message"] for notice in run.notices)


def test_a_granted_token_opens_the_agent_for_owner_tests_and_heartbeats_alike(world: Any, payroll: str) -> None:  # R8
    here = world(payroll)
    credential = here.credential(secret=TOKEN)
    here.grant(credential)
    own, beat = owner_test(here), heartbeat(here)
    assert (own.overall_status, beat.overall_status) == ("passing", "passing")
    assert own.counts == beat.counts
    assert own.credential_id == beat.credential_id == credential.pk
    # A heartbeat is read by everybody who has the agent: what Alice calls her credential is hers.
    assert (own.credential_name, beat.credential_name) == ("Test key", "")
    assert [(use.run_id, use.triggered_by, use.result) for use in here.uses()] == [
        (own.pk, "owner_test", "ok"),
        (beat.pk, "heartbeat", "ok"),
    ]
    evidence = [row for row in everything(StepEvidence) if row.run_id == beat.pk]
    assert {row.credential_organization_id for row in evidence} <= {here.organization.id}


@pytest.mark.parametrize(("uses", "status"), [(["monitors"], "passing"), (["owner_tests"], "inconclusive")])
def test_a_monitor_uses_what_was_granted_to_monitors(
    world: Any, payroll: str, uses: list[str], status: str
) -> None:  # V2, V4
    here = world(payroll)
    credential = here.credential(secret=TOKEN)
    here.grant(credential, uses=uses)
    make_due(make_monitor(here.organization, here.context, here.alice))
    assert create_due_monitor_jobs() == {"allowed": 1}
    [job] = jobs_of(here.organization)
    execute_job(str(job.pk), here.organization.id)
    [run] = everything(ComplianceRun)
    assert (run.triggered_by, run.triggered_org_id, run.overall_status) == ("monitor", here.organization.id, status)
    assert run.by_verified_owner is False
    assert run.moves_status is False
    used = [(use.run_id, use.triggered_by, use.actor_kind, use.result) for use in here.uses()]
    assert used == ([(run.pk, "monitor", "monitor", "ok")] if status == "passing" else [])


def test_without_a_grant_a_heartbeat_knocks_and_goes(world: Any, payroll: str) -> None:  # V5
    here = world(payroll)
    here.grant(here.credential(secret=TOKEN), uses=["owner_tests"])
    assert heartbeat(here).overall_status == "inconclusive"
    assert here.uses() == []


def test_an_observers_credential_is_not_used_by_heartbeats(world: Any) -> None:  # V5
    with echoing_agent() as agent:
        here = world(agent.url, verified=False)
        here.grant(here.credential())
        heartbeat(here)
        assert agent.headers
        assert not [sent for sent in agent.headers if "authorization" in sent]
    assert here.uses() == []


def test_a_test_without_credential_uses_none(world: Any, payroll: str) -> None:
    here = world(payroll)
    here.grant(here.credential(secret=TOKEN))
    run = owner_test(here, credential=CredentialChoice.NONE)
    assert (run.overall_status, run.credential_id) == ("inconclusive", None)
    assert here.uses() == []


def test_a_chosen_credential_that_is_refused_ends_the_run_before_it_begins(world: Any) -> None:
    with echoing_agent() as agent:
        here = world(agent.url)
        credential = here.credential()
        run = owner_test(here, credential=credential.pk)
        assert agent.headers == []
    assert run.overall_status == "inconclusive"
    assert "not granted for anything" in run.headline
    assert run.credential_id is None
    assert [use.run_id for use in here.uses()] == [run.pk]


def test_what_nobody_chose_is_done_without_and_said(world: Any, payroll: str, superuser: Any) -> None:
    here = world(payroll)
    here.grant(here.credential(secret=TOKEN))
    superuser.execute("ALTER TABLE credential_grants DISABLE TRIGGER guard_grant")
    superuser.execute(
        "UPDATE credential_grants SET created_at = now() - interval '2 days', expires_at = now() - interval '1 s'"
    )
    superuser.execute("ALTER TABLE credential_grants ENABLE TRIGGER guard_grant")
    run, beat = owner_test(here), heartbeat(here)
    assert (run.overall_status, run.credential_id) == ("inconclusive", None)
    assert "Tested without a credential. The grant of “Test key” has expired." in notices(run)
    assert "Tested without a credential." in notices(beat)
    assert "Test key" not in str(beat.__dict__)
    assert [use.result for use in here.uses()] == ["expired", "expired"]


def test_a_secret_that_the_agent_refuses_moves_no_status_and_tells_others_no_name(
    world: Any, payroll: str
) -> None:  # R4, R7
    here = world(payroll)
    credential = here.credential(secret="expired-yesterday")
    here.grant(credential)
    own, beat = owner_test(here), heartbeat(here)
    for run in (own, beat):
        assert (run.overall_status, run.moves_status, run.failed_count) == ("inconclusive", False, 1)
        assert run.credential_id == credential.pk
    said = "The agent refused the credential{} (HTTP 401). Replace it, or test without one"
    assert own.harness_error == said.format(" “Test key”")
    assert beat.harness_error == said.format("")
    assert "Test key" not in json.dumps([beat.tracks_json, beat.notices, beat.headline])
    with organization_scope(here.organization.id):
        assert not AgentStatus.objects.filter(agent_id=here.agent_url).exists()
        refused = list(StepEvidence.objects.filter(run_id=own.pk))
    assert {row.response["status"] for row in refused} == {401}


def test_what_cannot_be_written_down_is_not_sent(world: Any, superuser: Any) -> None:  # V2
    with echoing_agent() as agent:
        here = world(agent.url)
        here.grant(here.credential())
        superuser.execute("REVOKE INSERT ON credential_uses FROM assay_app")
        try:
            owner_test(here)
        finally:
            superuser.execute("GRANT INSERT ON credential_uses TO assay_app")
        assert agent.headers
        assert not [sent for sent in agent.headers if "authorization" in sent]


def test_a_grant_that_is_revoked_while_the_job_is_leased_is_not_used(world: Any) -> None:
    with echoing_agent() as agent:
        here = world(agent.url)
        grant = here.grant(here.credential())
        job, _ = request_owner_test(organization=here.organization, context_id=here.context.pk, by=here.alice)
        lease = lease_job(job.pk, here.organization.id)
        assert lease is not None
        assert lease.credential is not None
        revoke_grant(organization=here.organization, grant_id=grant.pk, by=here.alice)
        leases = [lease]
        [run] = run_leases(lambda _: [leases.pop()] if leases else [], concurrency=1)
        assert agent.headers
        assert not [sent for sent in agent.headers if "authorization" in sent]
    assert run.credential_id is None
    assert (run.pk, here.uses()) == (lease.run_id, [])


@pytest.mark.parametrize(
    ("kind", "header", "value"),
    [
        ("bearer", "authorization", f"Bearer {SECRET}"),
        ("basic", "authorization", "Basic " + base64.b64encode(f"assay:{SECRET}".encode()).decode()),
        ("api_key", "x-api-key", SECRET),
    ],
)
def test_the_agent_is_sent_the_header_and_nothing_that_is_stored_holds_it(
    world: Any, superuser: Any, caplog: Any, kind: str, header: str, value: str
) -> None:  # V1
    caplog.set_level("DEBUG")
    with echoing_agent() as agent:
        here = world(agent.url)
        here.grant(here.credential(kind=kind))
        owner_test(here)
        heartbeat(here)
        assert value in [sent.get(header) for sent in agent.headers]
        assert [sent for sent in agent.headers if header not in sent]  # it was asked without, too
    kept = everything_as_text(superuser)
    assert "I was sent" in kept  # the agent's echo is there, without the secret
    for text in (SECRET, value, base64.b64encode(f"assay:{SECRET}".encode()).decode()):
        assert text not in kept
        assert text not in caplog.text


def everything_as_text(superuser: Any) -> str:
    tables = superuser.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    ).fetchall()
    rows = []
    for (table,) in tables:
        rows += superuser.execute(f"SELECT row_to_json(t)::text FROM {table} t").fetchall()
    return json.dumps(rows)


class TestOAuth:
    def oauth(self, here: World, address: str, **parameters: str) -> Any:
        credential = here.credential(kind="oauth", parameters={"token_url": address, **parameters})
        return credential, here.grant(credential)

    def test_a_token_is_bought_once_and_kept_encrypted(
        self, world: Any, payroll: str, superuser: Any, stored_secret: Any
    ) -> None:
        here = world(payroll)
        with token_endpoint(TOKEN) as endpoint:
            credential, _ = self.oauth(here, endpoint.url)
            assert owner_test(here).overall_status == "passing"
            assert owner_test(here).overall_status == "passing"
            assert heartbeat(here).overall_status == "passing"
            [form], [headers] = endpoint.forms, endpoint.headers
        assert form == {"grant_type": "client_credentials", "scope": "read"}
        assert headers["authorization"] == "Basic " + base64.b64encode(f"assay:{SECRET}".encode()).decode()
        assert [(use.sent_to, use.result) for use in here.uses()] == [
            ("token_endpoint", "ok"),  # the client's secret, written down before it is sent
            ("agent", "ok"),
            ("agent", "ok"),
            ("agent", "ok"),
        ]
        kept = everything_as_text(superuser)
        assert TOKEN not in kept
        assert SECRET not in kept
        until = stored_secret(credential.pk)["token_expires_at"]
        # An hour, less the margin.
        assert timezone.now() < timezone.datetime.fromisoformat(until) < timezone.now() + timedelta(minutes=58)

    def test_the_client_may_prove_itself_in_the_form(self, world: Any, payroll: str) -> None:
        here = world(payroll)
        with token_endpoint(TOKEN) as endpoint:
            self.oauth(here, endpoint.url, client_authentication="body", scope="")
            assert owner_test(here).overall_status == "passing"
            assert endpoint.forms == [
                {"grant_type": "client_credentials", "client_id": "assay", "client_secret": SECRET}
            ]
            assert "authorization" not in endpoint.headers[0]

    @pytest.mark.parametrize("expires_in", [None, 30, "soon", -1, True, 1e400, "\u00b2", "9" * 5000])
    def test_a_token_that_is_short_lived_or_does_not_say_is_not_kept(
        self, world: Any, payroll: str, expires_in: Any
    ) -> None:
        here = world(payroll)
        with token_endpoint(TOKEN, expires_in) as endpoint:
            self.oauth(here, endpoint.url)
            owner_test(here)
            assert owner_test(here).overall_status == "passing"
            assert len(endpoint.forms) == 2

    def test_a_replaced_client_secret_buys_a_token_of_its_own(self, world: Any, payroll: str) -> None:
        here = world(payroll)
        with token_endpoint(TOKEN) as endpoint:
            credential, _ = self.oauth(here, endpoint.url)
            owner_test(here)
            parameters = {"token_url": endpoint.url, "client_id": "other", "client_authentication": "body"}
            replace_secret(
                organization=here.organization,
                credential_id=credential.pk,
                parameters=parameters,
                secret="other-secret",
                by=here.alice,
            )
            owner_test(here)
            assert endpoint.forms[1]["client_secret"] == "other-secret"

    def test_a_token_that_the_agent_refuses_is_bought_anew(self, world: Any, payroll: str) -> None:
        here = world(payroll)
        with token_endpoint("stale") as endpoint:
            self.oauth(here, endpoint.url)
            assert owner_test(here).overall_status == "inconclusive"
            endpoint.answer = (200, {"access_token": TOKEN, "token_type": "bearer", "expires_in": 3600})
            assert owner_test(here).overall_status == "passing"

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (
                (401, {"error": "invalid_client", "error_description": f"{SECRET} is wrong"}),
                "does not know this client",
            ),
            ((400, {"error": f"{SECRET}"}), "status 400"),
            ((500, [SECRET]), "status 500"),
            ((200, [SECRET]), "something else than a JSON object"),
            ((200, {"access_token": "a b", "token_type": "bearer"}), "no access token"),
            ((200, {"access_token": "abcdef", "token_type": "mac"}), "another type"),
            ((302, {}), "redirects"),
        ],
    )
    def test_a_failure_says_what_to_do_and_no_secret(self, world: Any, superuser: Any, answer: Any, said: str) -> None:
        with echoing_agent() as agent, token_endpoint("t") as endpoint:
            endpoint.answer = answer
            endpoint.location = agent.url if answer[0] == 302 else ""
            here = world(agent.url)
            credential, _ = self.oauth(here, endpoint.url)
            run = owner_test(here, credential=credential.pk)
            assert agent.headers == []
            assert run.overall_status == "inconclusive"
            assert said in run.harness_error
        assert [(use.sent_to, use.result) for use in here.uses()] == [
            ("token_endpoint", "ok"),
            ("agent", "token_failed"),
        ]
        assert SECRET not in everything_as_text(superuser)

    def test_the_token_endpoint_is_behind_the_egress_guard(self, world: Any, payroll: str, settings: Any) -> None:  # V7
        here = world(payroll)
        with token_endpoint(TOKEN) as endpoint:
            credential, _ = self.oauth(here, endpoint.url)
            # What was kept while the operator allowed it is refused on use when they do no more.
            settings.EGRESS_ALLOW = (payroll.split("/")[2],)
            run = owner_test(here, credential=credential.pk)
            assert endpoint.headers == []
        assert "address not allowed" in run.harness_error

    def test_a_grant_that_is_revoked_while_the_token_is_awaited_is_not_used(self, world: Any) -> None:  # V4
        with echoing_agent() as agent, token_endpoint(TOKEN) as endpoint:
            here = world(agent.url)
            credential, grant = self.oauth(here, endpoint.url)
            endpoint.go_on.clear()
            results: list[Any] = []

            def test_it() -> None:
                results.append(owner_test(here, credential=credential.pk))
                connections.close_all()

            thread = threading.Thread(target=test_it)
            thread.start()
            assert endpoint.arrived.wait(20)
            revoke_grant(organization=here.organization, grant_id=grant.pk, by=here.alice)
            endpoint.go_on.set()
            thread.join(30)
            assert agent.headers == []
        assert [use.result for use in here.uses()] == ["ok", "revoked"]
        assert "revoked" in results[0].headline

    def test_a_token_that_a_replaced_secret_bought_is_not_used(self, world: Any) -> None:  # V2
        with echoing_agent() as agent, token_endpoint(TOKEN) as endpoint:
            here = world(agent.url)
            credential, _ = self.oauth(here, endpoint.url)
            endpoint.go_on.clear()
            results: list[Any] = []

            def test_it() -> None:
                results.append(owner_test(here, credential=credential.pk))
                connections.close_all()

            thread = threading.Thread(target=test_it)
            thread.start()
            assert endpoint.arrived.wait(20)
            replace_secret(
                organization=here.organization,
                credential_id=credential.pk,
                parameters=credential.parameters,
                secret="the-next-secret",
                by=here.alice,
            )
            endpoint.go_on.set()
            thread.join(30)
            assert agent.headers == []
        assert [(use.result, use.credential_version) for use in here.uses()] == [("ok", 1), ("token_failed", 2)]
        assert "was replaced while" in results[0].headline

    def test_an_endpoint_whose_address_cannot_be_read_is_a_failure_on_record(self, world: Any) -> None:  # V2
        with echoing_agent() as agent:
            here = world(agent.url)
            credential, _ = self.oauth(here, "https://[v1.a]/token")
            run = owner_test(here, credential=credential.pk)
            assert agent.headers == []
        assert "address cannot be read" in run.harness_error
        assert [use.result for use in here.uses()] == ["ok", "token_failed"]


def test_a_credential_of_another_organization_is_not_used_for_ones_own_job(world: Any) -> None:  # V5
    from compliance.tenancy.actions import create_organization
    from tests.conftest import make_user

    with echoing_agent() as agent:
        here = world(agent.url)
        here.grant(here.credential())
        charlie = make_user("charlie@example.com", "Charlie")
        omega = create_organization(name="Omega", by=charlie)
        context = make_context(omega, agent.url)
        job, _ = request_owner_test(organization=omega, context_id=context.pk, by=charlie)
        execute_job(str(job.pk), omega.id)
        assert agent.headers
        assert not [sent for sent in agent.headers if "authorization" in sent]
    assert here.uses() == []
    assert [row.state for row in everything(Job)] == ["finished"]
