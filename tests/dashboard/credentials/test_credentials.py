"""The vault's pages as their readers see them."""

from __future__ import annotations

import csv
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from compliance.models import (
    AgentContext,
    Credential,
    CredentialGrant,
    CredentialUse,
    Job,
    Organization,
    TriggeredBy,
    User,
)
from compliance.runs.recording import UsedCredential
from compliance.tenancy.ids import uuid7
from compliance.tenancy.scope import organization_scope
from compliance.vault.access_log import access_page
from compliance.vault.kinds import Kind
from compliance.vault.use import use_credential
from tests.compliance.vault.conftest import PARAMETERS, SECRET, attempt, make_credential, make_grant
from tests.conftest import AGENT_URL, make_context, make_run
from tests.dashboard.pages import markup


def at(name: str, organization: Organization, *args: Any) -> str:
    return reverse(name, args=[organization.slug, *args])


@pytest.fixture
def credential(organization: Organization, alice: User) -> Credential:
    return make_credential(organization, alice)


@pytest.fixture
def grant(credential: Credential, context: AgentContext, alice: User) -> CredentialGrant:
    return make_grant(credential, context, alice)


@pytest.fixture
def alices(reader: Any, alice: User) -> Client:
    return reader(alice)


def make_uses(organization: Organization, count: int, **changes: Any) -> None:
    now = timezone.now()
    values: dict[str, Any] = {
        "organization_id": organization.id,
        "sent_to": "agent",
        "result": "ok",
        "credential_id": uuid4(),
        "credential_name": "Test key",
        "credential_version": 1,
        "agent_url": AGENT_URL,
        "triggered_by": "owner_test",
        "actor_kind": "user",
        "actor_id": "1",
        "actor_name": "Alice Owner",
    } | changes
    with organization_scope(organization.id):
        CredentialUse.objects.bulk_create(
            CredentialUse(**({"at": now - timedelta(minutes=n), "job_id": uuid4(), "run_id": uuid7()} | values))
            for n in range(count)
        )


class TestKeeping:
    @pytest.mark.parametrize("kind", Kind.values)
    def test_a_secret_goes_in_and_never_comes_out(
        self, alices: Client, organization: Organization, context: AgentContext, kind: str
    ) -> None:  # V1
        address = at("credential_add", organization)
        form = markup(alices.get(address, {"kind": kind}))
        assert 'type="password"' in form
        assert 'autocomplete="new-password"' in form
        data = {"kind": kind, "name": "Key", "secret": SECRET, "client_authentication": "header", **PARAMETERS[kind]}
        added = alices.post(address, data, follow=True)
        assert "is kept. Grant it now" in markup(added)
        with organization_scope(organization.id):
            kept = Credential.objects.get()
        for page in ("credentials", "credential", "credential_replace", "grant_add", "credential_access"):
            arguments = [kept.pk] if page not in ("credentials", "credential_access") else []
            assert SECRET not in markup(alices.get(at(page, organization, *arguments))), page

    def test_a_refused_form_does_not_give_the_secret_back(self, alices: Client, organization: Organization) -> None:
        data = {"kind": "api_key", "name": "Key", "secret": SECRET, "header": "Host"}
        response = alices.post(at("credential_add", organization), data)
        page = markup(response)
        assert response.status_code == 422
        assert "has a meaning of its own" in page
        assert "The secret has to be entered again." in page
        assert SECRET not in page

    def test_granting_to_an_agent_without_tls_is_warned_about(
        self, alices: Client, organization: Organization, context: AgentContext, credential: Credential
    ) -> None:
        address = at("grant_add", organization, credential.pk)
        assert "anybody on the way" not in markup(alices.get(address))
        make_context(organization, "http://plain.example/mcp", name="Plain")
        page = markup(alices.get(address))
        assert "<strong>Plain</strong> has an address that begins with http://." in page
        assert "anybody on the way can read the credential" in page

    def test_a_token_endpoint_inside_is_refused_beside_the_form(
        self, alices: Client, organization: Organization, settings: Any
    ) -> None:  # V7
        settings.EGRESS_ALLOW = ()
        parameters = {"token_url": "https://10.0.0.7/token", "client_id": "assay", "client_authentication": "header"}
        data = {"kind": "oauth", "name": "Key", "secret": SECRET, **parameters}
        response = alices.post(at("credential_add", organization), data)
        assert response.status_code == 422
        assert "Assay does not connect to 10.0.0.7 (private)." in markup(response)

    def test_only_managers_see_the_hint(
        self,
        alices: Client,
        organization: Organization,
        credential: Credential,
        bob: User,
        reader: Any,
    ) -> None:
        for address in (at("credentials", organization), at("credential", organization, credential.pk)):
            assert "<code>XYZW</code>" in markup(alices.get(address))
            members = markup(reader(bob).get(address))
            assert "Test key" in members
            assert "XYZW" not in members

    def test_replacing_renaming_and_deleting(
        self, alices: Client, organization: Organization, credential: Credential, grant: CredentialGrant
    ) -> None:
        address = at("credential", organization, credential.pk)
        alices.post(at("credential_replace", organization, credential.pk), {"secret": "another-secret-of-2027"})
        alices.post(address, {"name": "Staging key"})
        page = markup(alices.get(address))
        assert "version 2" in page
        assert "<h1>Staging key</h1>" in page
        deleting = at("credential_delete", organization, credential.pk)
        asked = markup(alices.post(deleting))
        assert "The secret is destroyed" in asked
        assert "is deleted" in markup(alices.post(deleting, {"confirmed": "1"}, follow=True))
        gone = markup(alices.get(address))
        assert "A deleted credential is not used." in gone
        assert "Replace the secret" not in gone
        assert alices.get(at("credential_replace", organization, credential.pk)).status_code == 404

    def test_a_taken_name_is_named_beside_the_field(
        self, alices: Client, organization: Organization, alice: User, credential: Credential
    ) -> None:
        other = make_credential(organization, alice, name="Other")
        response = alices.post(at("credential", organization, other.pk), {"name": "Test key"})
        assert response.status_code == 422
        assert "Choose another name" in markup(response)

    def test_an_empty_list_says_what_to_do(self, alices: Client, organization: Organization) -> None:
        page = markup(alices.get(at("credentials", organization)))
        assert "No credentials yet." in page
        assert at("credential_add", organization) in page


class TestGranting:
    def test_the_page_says_what_it_means_and_grants(
        self, alices: Client, organization: Organization, credential: Credential, context: AgentContext
    ) -> None:
        address = at("grant_add", organization, credential.pk)
        form = markup(alices.get(address))
        assert "With a grant you consent" in form
        assert 'value="90"' in form
        data = {"uses": ["owner_tests", "heartbeats"], "agents": [str(context.pk)], "days": "30"}
        page = markup(alices.post(address, data, follow=True))
        assert "is granted" in page
        assert "Tests that somebody asks for, Heartbeats" in page
        assert at("agent", organization, context.pk) in page
        with organization_scope(organization.id):
            grant = CredentialGrant.objects.get()
        assert (grant.for_owner_tests, grant.for_monitors, grant.for_heartbeats) == (True, False, True)
        assert grant.expires_at - grant.created_at == timedelta(days=30)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"uses": []}, "Choose at least one use"),
            ({"agents": []}, "Choose at least one agent"),
            ({"agents": [str(uuid4())]}, "not one of the available choices"),
            ({"days": "9999"}, "1 to 365 days"),
            ({"days": "0"}, "greater than or equal to 1"),
        ],
    )
    def test_what_cannot_be_granted_is_said(
        self,
        alices: Client,
        organization: Organization,
        credential: Credential,
        context: AgentContext,
        changes: Any,
        said: str,
    ) -> None:
        data = {"uses": ["owner_tests"], "agents": [str(context.pk)], "days": "30"} | changes
        response = alices.post(at("grant_add", organization, credential.pk), data)
        assert response.status_code == 422
        assert said in markup(response)

    def test_revoking_asks_first(
        self, alices: Client, organization: Organization, credential: Credential, grant: CredentialGrant
    ) -> None:
        address = at("grant_revoke", organization, grant.pk)
        assert "Whatever begins from now on" in markup(alices.post(address))
        page = markup(alices.post(address, {"confirmed": "1"}, follow=True))
        assert "Nothing may use it now." in page
        assert "Ended grants (1)" in page

    def test_a_change_needs_a_post(
        self, alices: Client, organization: Organization, credential: Credential, grant: CredentialGrant
    ) -> None:
        alices.get(at("grant_revoke", organization, grant.pk), {"confirmed": "1"})
        alices.get(at("credential_delete", organization, credential.pk), {"confirmed": "1"})
        with organization_scope(organization.id):
            assert CredentialGrant.objects.get().revoked_at is None
            assert Credential.objects.get().deleted_at is None


class TestTesting:
    def test_the_form_offers_what_is_granted_and_none(
        self, alices: Client, organization: Organization, context: AgentContext, grant: CredentialGrant, alice: User
    ) -> None:
        make_credential(organization, alice, name="Not granted")
        address = at("agent_test", organization, context.pk)
        page = markup(alices.get(address))
        assert "Automatic: Test key" in page
        assert "Without a credential" in page
        assert "Not granted" not in page

    @pytest.mark.parametrize("choice", ["automatic", "none", "chosen"])
    def test_the_choice_is_kept_with_the_job(
        self, alices: Client, organization: Organization, context: AgentContext, grant: CredentialGrant, choice: str
    ) -> None:
        chosen = {"automatic": "", "none": "none", "chosen": str(grant.credential_id)}[choice]
        alices.post(at("agent_test", organization, context.pk), {"suite": "baseline", "credential": chosen})
        with organization_scope(organization.id):
            request = Job.objects.get()
        assert request.credential_choice == choice
        assert request.credential_id == (grant.credential_id if choice == "chosen" else None)

    def test_a_test_with_another_credential_under_way_is_said(
        self, alices: Client, organization: Organization, context: AgentContext, grant: CredentialGrant
    ) -> None:
        address = at("agent_test", organization, context.pk)
        alices.post(address, {"suite": "baseline"})
        page = markup(alices.post(address, {"suite": "baseline", "credential": "none"}, follow=True))
        assert "A test with another credential is under way." in page


class TestRunPage:
    def test_ones_own_run_links_to_the_credential(
        self, alices: Client, organization: Organization, credential: Credential
    ) -> None:
        used = UsedCredential(organization.id, credential.pk, "Old name")
        run = make_run(organization=organization, credential=used)
        page = markup(alices.get(at("run", organization, run.pk)))
        assert f'<a href="{at("credential", organization, credential.pk)}">Old name</a>' in page

    def test_a_heartbeat_tells_others_no_name(
        self,
        organization: Organization,
        context: AgentContext,
        credential: Credential,
        alices: Client,
        other_organization: Organization,
        other_context: AgentContext,
        charlie: User,
        reader: Any,
    ) -> None:  # I6
        run = make_run(credential=UsedCredential(organization.id, credential.pk, credential.name))
        others = markup(reader(charlie).get(at("run", other_organization, run.pk)))
        assert "with a credential of its verified owner" in others
        assert "Test key" not in others
        assert str(credential.pk) not in others
        assert "Test key" in markup(alices.get(at("run", organization, run.pk)))


class TestAccess:
    def test_who_used_what_for_which_run_and_with_what_result(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        credential: Credential,
        grant: CredentialGrant,
    ) -> None:  # V3
        wanted = attempt(organization)
        use_credential(wanted)
        make_run(organization=organization, triggered_by=TriggeredBy.OBSERVER_TEST, run_id=wanted.run_id)
        page = markup(alices.get(at("credential_access", organization)))
        for part in (
            at("credential", organization, credential.pk),
            at("agent", organization, context.pk),
            at("run", organization, wanted.run_id),
            "Alice Owner",
            "Owner test",
            '<span class="v v-passed">Used</span>',
            "to the agent",
        ):
            assert part in page

    def test_members_see_it_too(
        self,
        organization: Organization,
        bob: User,
        reader: Any,
        credential: Credential,
        grant: CredentialGrant,
    ) -> None:
        use_credential(attempt(organization))
        assert "Test key" in markup(reader(bob).get(at("credential_access", organization)))

    def test_another_organization_sees_none_of_it(
        self,
        organization: Organization,
        other_organization: Organization,
        charlie: User,
        reader: Any,
    ) -> None:  # V3
        make_uses(organization, 3)
        client = reader(charlie)
        assert "No credential has been used yet." in markup(client.get(at("credential_access", other_organization)))
        exported = b"".join(client.get(at("credential_access_csv", other_organization)).streaming_content)
        assert len(exported.splitlines()) == 1

    def test_filters(
        self, alices: Client, organization: Organization, context: AgentContext, credential: Credential, alice: User
    ) -> None:
        other = make_context(organization, "https://other.example/", name="Other agent")
        make_uses(organization, 2, credential_id=credential.pk, actor_name="By name")
        make_uses(organization, 1, agent_url=other.agent_id, actor_name="By agent")
        make_uses(organization, 1, result="expired", reason="Too late.", actor_name="By result")
        make_uses(organization, 1, at=timezone.now() - timedelta(days=40), actor_name="By date")
        address = at("credential_access", organization)

        def shown(**query: Any) -> set[str]:
            page = markup(alices.get(address, query))
            return {name for name in ("By name", "By agent", "By result", "By date") if name in page}

        assert shown(credential=credential.pk) == {"By name"}
        assert shown(agent=other.pk) == {"By agent"}
        assert shown(result="expired") == shown(result="refused") == {"By result"}
        month_ago = timezone.now().date() - timedelta(days=30)
        assert shown(until=month_ago) == {"By date"}
        assert shown(since=month_ago) == {"By name", "By agent", "By result"}
        assert shown(credential="nonsense", since="nonsense") == {"By name", "By agent", "By result", "By date"}
        empty = markup(alices.get(address, {"credential": credential.pk, "result": "deleted"}))
        assert "No use matches." in empty

    def test_pages_go_down_and_up_again_without_losing_or_repeating_any(
        self, organization: Organization, credential: Credential
    ) -> None:
        now = timezone.now()
        make_uses(organization, 10)
        make_uses(organization, 10, at=now)  # ties are decided by id
        with organization_scope(organization.id):
            everything: list[Any] = []
            cursor, pages = None, []
            while True:
                page = access_page(CredentialUse.objects.all(), organization_id=organization.id, cursor=cursor, size=7)
                pages.append(page)
                everything += [use.pk for use in page.rows]
                if page.next is None:
                    break
                cursor = page.next
            assert len(everything) == len(set(everything)) == 20
            up = access_page(
                CredentialUse.objects.all(), organization_id=organization.id, cursor=pages[2].previous, size=7
            )
        assert up.rows == pages[1].rows
        assert pages[0].previous is None

    def test_a_damaged_place_shows_the_first_page(self, alices: Client, organization: Organization) -> None:
        make_uses(organization, 60)
        page = alices.get(at("credential_access", organization), {"at": "nonsense"})
        assert "50 uses on this page" in markup(page)

    def test_htmx_gets_the_part_below_the_filters(self, alices: Client, organization: Organization) -> None:
        part = markup(
            alices.get(at("credential_access", organization), headers={"HX-Request": "true", "HX-Target": "access"})
        )
        assert part.startswith('<div id="access"')


class TestExport:
    def lines(self, client: Client, organization: Organization, **query: Any) -> list[dict[str, str]]:
        response = client.get(at("credential_access_csv", organization), query)
        assert response.streaming
        assert response["Content-Disposition"].startswith("attachment;")
        text = b"".join(response.streaming_content).decode()
        return list(csv.DictReader(StringIO(text)))

    def test_it_holds_everything_that_the_filters_leave(
        self, alices: Client, organization: Organization, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("dashboard.credentials.access_log.PIECE", 10)
        make_uses(organization, 25)
        make_uses(organization, 5, result="revoked")
        lines = self.lines(alices, organization)
        assert len(lines) == 30
        assert [line["at"] for line in lines] == sorted((line["at"] for line in lines), reverse=True)
        assert len(self.lines(alices, organization, result="revoked")) == 5

    @pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "|x", "%x"])
    def test_a_spreadsheet_runs_nothing_of_it(self, alices: Client, organization: Organization, name: str) -> None:
        make_uses(organization, 1, credential_name=name)
        [line] = self.lines(alices, organization)
        assert line["credential"] == f"'{name}"

    def test_the_link_carries_the_filters(self, alices: Client, organization: Organization) -> None:
        make_uses(organization, 1, result="revoked")
        page = markup(alices.get(at("credential_access", organization), {"result": "revoked"}))
        assert f"{at('credential_access_csv', organization)}?result=revoked" in page


class TestQueries:
    """A list costs the same with one row or many."""

    def count(self, alices: Client, queries: Any, address: str) -> int:
        with queries() as asked:
            assert alices.get(address).status_code == 200
        return len(asked)

    def test_the_list_of_credentials(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        alice: User,
        queries: Any,
    ) -> None:
        make_grant(make_credential(organization, alice), context, alice)
        address = at("credentials", organization)
        one = self.count(alices, queries, address)
        for number in range(8):
            make_grant(make_credential(organization, alice, name=f"Key {number}"), context, alice)
        use_credential(attempt(organization))
        assert self.count(alices, queries, address) == one == 10

    def test_a_credential(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        credential: Credential,
        alice: User,
        queries: Any,
    ) -> None:
        make_grant(credential, context, alice)
        use_credential(attempt(organization))
        address = at("credential", organization, credential.pk)
        one = self.count(alices, queries, address)
        for _ in range(8):
            make_grant(credential, context, alice)
            use_credential(attempt(organization))
        assert self.count(alices, queries, address) == one == 13

    def test_the_record(self, alices: Client, organization: Organization, queries: Any) -> None:
        make_uses(organization, 1)
        address = at("credential_access", organization)
        one = self.count(alices, queries, address)
        make_uses(organization, 60)
        assert self.count(alices, queries, address) == one == 12
