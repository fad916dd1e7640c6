"""Who may open a page: every route, every kind of visitor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, reverse

from compliance.jobs.actions import request_owner_test
from compliance.models import AgentContext, ComplianceRun, CredentialGrant, Monitor, Notice, Organization, Role, User
from compliance.tenancy.api_key_actions import create_key
from compliance.tenancy.errors import NotAllowed, Refused
from compliance.tenancy.events import Event, Subject, publish
from compliance.tenancy.scope import organization_scope
from dashboard import urls
from dashboard.common.access import organization_view
from tests.compliance.monitors.conftest import make_monitor
from tests.compliance.runners.conftest import Calling, make_runner
from tests.compliance.vault.conftest import make_credential, make_grant
from tests.conftest import make_context, make_run, make_user

pytestmark = pytest.mark.django_db

OF_MANAGERS = {
    *("agent_add", "agent_settings", "agent_remove"),
    *("monitor_add", "monitor_edit", "monitor_run", "monitor_pause", "monitor_resume", "monitor_archive"),
    *("runner_add", "runner_settings", "runner_token", "runner_disable", "runner_enable", "runner_delete"),
    *("credential_add", "credential_replace", "credential_delete", "grant_add", "grant_revoke"),
    "api_keys",
    "api_key_add",
    "api_key_revoke",
}
OF_PEOPLE = {"members", "organization_settings"}


def routes(below: Iterable[URLPattern | URLResolver] = urls.of_organization) -> Iterator[URLPattern]:
    """Every route under an organization, except those of members and settings, which have their own walk."""
    for each in below:
        if isinstance(each, URLResolver):
            yield from routes(each.url_patterns)
        elif each.callback.__module__ != "dashboard.organizations.views":
            yield each


@pytest.fixture
def own_run(organization: Organization, context: AgentContext) -> ComplianceRun:
    return make_run("passed", "failed", organization=organization)


@pytest.fixture
def grant(organization: Organization, context: AgentContext, alice: User) -> CredentialGrant:
    return make_grant(make_credential(organization, alice), context, alice)


@pytest.fixture
def monitor(organization: Organization, context: AgentContext, alice: User) -> Monitor:
    return make_monitor(organization, context, alice)


@pytest.fixture
def lab(organization: Organization, alice: User) -> Calling:
    return make_runner(organization, alice)


@pytest.fixture
def notice(organization: Organization, lab: Calling) -> Notice:
    with organization_scope(organization.id):
        about = {"subject": Subject.RUNNER, "subject_id": lab.runner.pk}
        publish(Event(organization_id=organization.id, text="lab is offline.", occasion="test", **about))
        return Notice.objects.get()


@pytest.fixture
def addresses(
    organization: Organization,
    context: AgentContext,
    own_run: ComplianceRun,
    grant: CredentialGrant,
    monitor: Monitor,
    lab: Calling,
    notice: Notice,
    alice: User,
) -> Callable[[str], dict[str, str]]:
    """Every address of Alice's organization, by its route's name, under the given slug."""
    key, _ = create_key(organization=organization, name="CI", scopes=["read"], by=alice)
    job, _ = request_owner_test(organization=organization, context_id=context.pk, by=alice)

    def of(slug: str) -> dict[str, str]:
        values: dict[str, Any] = {
            "agent": context.pk,
            "job": job.pk,
            "run": own_run.pk,
            "other": own_run.pk,
            "step": 0,
            "credential": grant.credential_id,
            "grant": grant.pk,
            "monitor": monitor.pk,
            "key": key.pk,
            "runner": lab.runner.pk,
            "notice": notice.pk,
        }
        return {
            pattern.name: reverse(
                pattern.name, kwargs={"org": slug, **{key: values[key] for key in pattern.pattern.converters}}
            )
            for pattern in routes()
        }

    return of


def test_every_route_is_guarded() -> None:  # I5
    for pattern in routes():
        assert pattern.callback.__wrapped__, pattern.name


def test_a_stranger_sees_what_an_address_that_does_not_exist_shows(
    addresses: Any, organization: Organization, charlie: User, other_organization: Organization, reader: Any
) -> None:  # I5
    client = reader(charlie)
    client.get(reverse("overview", args=[other_organization.slug]))
    real, unreal = addresses(organization.slug), addresses("no-such-organization")
    for name in real:
        for method in (client.get, client.post):
            there, nowhere = method(real[name]), method(unreal[name])
            assert there.status_code == nowhere.status_code == 404, name
            assert there.content == nowhere.content
            assert there.headers == nowhere.headers
            assert organization.name.encode() not in there.content


def test_another_organizations_objects_do_not_exist_under_ones_own_slug(
    organization: Organization,
    context: AgentContext,
    own_run: ComplianceRun,
    grant: CredentialGrant,
    monitor: Monitor,
    lab: Calling,
    notice: Notice,
    other_organization: Organization,
    charlie: User,
    alice: User,
    reader: Any,
) -> None:  # I5
    client = reader(charlie)
    job, _ = request_owner_test(organization=organization, context_id=context.pk, by=alice)
    values = {"agent": context.pk, "job": job.pk, "run": own_run.pk, "other": own_run.pk, "step": 0}
    values |= {"credential": grant.credential_id, "grant": grant.pk, "monitor": monitor.pk}
    values["key"] = create_key(organization=organization, name="CI", scopes=["read"], by=alice)[0].pk
    values |= {"runner": lab.runner.pk, "notice": notice.pk}
    for pattern in routes():
        keys = [key for key in pattern.pattern.converters if key != "org"]
        if not keys:
            continue
        mine = {"org": other_organization.slug}
        there = client.get(reverse(pattern.name, kwargs={**mine, **{key: values[key] for key in keys}}))
        unknown = {key: 0 if key == "step" else uuid4() for key in keys}
        nowhere = client.get(reverse(pattern.name, kwargs={**mine, **unknown}))
        assert there.status_code == nowhere.status_code == 404, pattern.name
        assert there.content == nowhere.content


def test_an_anonymous_visitor_is_asked_to_sign_in(
    addresses: Any, organization: Organization, client: Client
) -> None:  # I5
    for name, address in addresses(organization.slug).items():
        response = client.get(address)
        assert response.status_code == 302, name
        assert response["Location"].startswith(reverse("account_login"))
    assert client.get("/o/no-such-organization/").status_code == 302


def test_an_ended_session_takes_the_whole_page_to_the_login(organization: Organization, client: Client) -> None:
    address = reverse("overview", args=[organization.slug])
    response = client.get(address, headers={"HX-Request": "true", "HX-Current-URL": f"http://testserver{address}?q=a"})
    assert response.status_code == 200
    assert response["HX-Redirect"].startswith(reverse("account_login"))
    assert "q%3Da" in response["HX-Redirect"]


def test_members_open_every_page_and_change_nothing(
    addresses: Any, organization: Organization, bob: User, reader: Any
) -> None:
    client = reader(bob)
    for name, address in addresses(organization.slug).items():
        response = client.get(address)
        if name in OF_MANAGERS:
            assert response.status_code == 403, name
            assert "owners and admins" in response.content.decode()
            assert "Alice Owner" in response.content.decode()
        elif name == "evidence":
            assert response.status_code == 404  # the run kept none
        elif name in ("agent_protocol", "notice_read", "notices_read", "job_cancel"):
            assert response.status_code == 302  # a part of a page, or what is posted to; by itself it leads to the page
        else:
            assert response.status_code == 200, name


def test_no_page_may_be_kept_by_a_cache(addresses: Any, organization: Organization, alice: User, reader: Any) -> None:
    client = reader(alice)
    for address in addresses(organization.slug).values():
        response = client.get(address)
        if response.status_code == 200:
            assert "no-store" in response["Cache-Control"]
            assert "HX-Request" in response["Vary"]


def test_pages_bring_a_strict_policy_and_hold_nothing_that_it_forbids(
    addresses: Any, organization: Organization, alice: User, reader: Any
) -> None:
    client = reader(alice)
    for name, address in addresses(organization.slug).items():
        response = client.get(address)
        text = response.getvalue().decode()
        assert "script-src 'self'" in response["Content-Security-Policy"]
        assert "unsafe" not in response["Content-Security-Policy"]
        assert " style=" not in text, name
        assert "<script>" not in text
        assert " onclick=" not in text
        assert "hx-on" not in text


def test_refusals_become_messages_and_roll_back(
    organization: Organization, alice: User, rf: Any, context: AgentContext
) -> None:
    @organization_view(Role.OWNER)
    def refusing(request: Any) -> Any:
        make_context(request.organization, "https://half.example/", name="Half done")
        raise Refused("Not like this.")

    request = rf.post("/o/alpha/", headers={"Referer": "http://evil.example/"})
    request.user, request.htmx = alice, None
    request._messages = type("Store", (), {"add": lambda self, level, text, extra: said.append(text)})()
    said: list[str] = []
    response = refusing(request, org=organization.slug)
    assert response["Location"] == reverse("overview", args=[organization.slug])
    assert said == ["Not like this."]
    with organization_scope(organization.id):
        assert list(AgentContext.objects.values_list("name", flat=True)) == [context.name]


def test_what_an_action_does_not_allow_is_a_403(organization: Organization, bob: User, rf: Any) -> None:
    @organization_view()
    def forbidding(request: Any) -> Any:
        raise NotAllowed("Only on Sundays.")

    request = rf.get("/o/alpha/")
    request.user, request.htmx = bob, None
    response = forbidding(request, org=organization.slug)
    assert response.status_code == 403
    assert "Only on Sundays." in response.content.decode()


def test_home_leads_to_the_only_organization(organization: Organization, alice: User, reader: Any) -> None:
    client = reader(alice)
    assert client.get("/")["Location"] == reverse("overview", args=[organization.slug])


def test_home_leads_to_the_organization_shown_last(
    organization: Organization, other_organization: Organization, alice: User, reader: Any
) -> None:
    from tests.conftest import add_member

    add_member(other_organization, alice, Role.MEMBER)
    client = reader(alice)
    assert organization.name in client.get("/").content.decode()
    client.get(reverse("overview", args=[other_organization.slug]))
    assert client.get("/")["Location"] == reverse("overview", args=[other_organization.slug])


def test_home_of_a_newcomer_says_what_to_do(reader: Any) -> None:
    page = reader(make_user("new@example.org", "New")).get("/").content.decode()
    assert reverse("organization_create") in page


def test_a_tampered_cookie_opens_nothing(
    organization: Organization, other_organization: Organization, charlie: User, reader: Any
) -> None:
    client = reader(charlie)
    client.cookies["assay_organization"] = organization.slug
    assert client.get("/")["Location"] == reverse("overview", args=[other_organization.slug])


class TestHealth:
    def test_ready_when_both_answer(self, client: Client) -> None:
        assert client.get("/readyz").content == b"ok\n"

    def test_not_ready_names_the_part_and_no_more(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        from django.db import OperationalError, connection

        def broken(*args: Any) -> Any:
            raise OperationalError("host db.internal port 5432 refused")

        monkeypatch.setattr(connection, "cursor", broken)
        monkeypatch.setattr(connection, "close", lambda: None)
        response = client.get("/readyz")
        assert response.status_code == 503
        assert response.content == b"not ready: database\n"

    def test_the_page_of_an_error_needs_no_database(self, rf: Any, queries: Any) -> None:
        from django.views.defaults import server_error

        with queries() as asked:
            response = server_error(rf.get("/"))
        assert response.status_code == 500
        assert "Something broke" in response.content.decode()
        assert asked == []
