"""The pages of API keys."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from compliance.models import ApiKey, Organization, User
from compliance.tenancy.api_key_actions import create_key
from compliance.tenancy.api_keys import BadKey, actor_of
from compliance.tenancy.scope import organization_scope
from tests.compliance.runners.conftest import make_runner
from tests.dashboard.pages import markup

FORM = {"name": "CI", "scopes": ["read", "test"], "days": "30"}


def at(name: str, organization: Organization, *args: Any) -> str:
    return reverse(name, args=[organization.slug, *args])


@pytest.fixture
def alices(reader: Any, alice: User) -> Client:
    return reader(alice)


def make(organization: Organization, by: User, name: str = "CI") -> tuple[ApiKey, str]:
    return create_key(organization=organization, name=name, scopes=["read"], by=by)


def test_without_keys_the_page_says_what_they_are_for(alices: Client, organization: Organization) -> None:
    page = markup(alices.get(at("api_keys", organization)))
    assert "No API keys yet." in page
    assert at("api_key_add", organization) in page
    assert at("api_keys", organization) in markup(alices.get(at("organization_settings", organization)))


def test_a_key_is_made_and_its_token_is_shown_once(alices: Client, organization: Organization) -> None:
    answer = alices.post(at("api_key_add", organization), FORM)
    assert answer.status_code == 201
    assert "no-store" in answer["Cache-Control"]
    assert not answer.cookies.get("messages")
    [token] = set(re.findall(r"ask_[0-9A-Za-z]{8}_[0-9A-Za-z_-]{43}", markup(answer)))
    assert actor_of(token).scopes == {"read", "test"}
    page = markup(alices.get(at("api_keys", organization)))
    assert token not in page
    assert f"ask_{token[4:12]}…" in page
    assert "Read, Ask for tests" in page


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"name": ""}, "name"), ({"scopes": []}, "scopes"), ({"scopes": ["runner"]}, "scopes"), ({"days": "0"}, "days")],
)
def test_what_is_missing_is_said_beside_its_field(
    alices: Client, organization: Organization, wrong: dict[str, Any], field: str
) -> None:
    answer = alices.post(at("api_key_add", organization), FORM | wrong)
    assert answer.status_code == 422
    assert f'id="id_{field}_error"' in markup(answer)


def test_more_days_than_the_settings_allow_are_refused(alices: Client, organization: Organization) -> None:
    answer = alices.post(at("api_key_add", organization), FORM | {"days": "366"})
    assert answer.status_code == 422
    assert "within 365 days" in markup(answer)


def test_revoking_asks_first_and_ends_the_key_at_once(alices: Client, organization: Organization, alice: User) -> None:
    key, token = make(organization, alice)
    address = at("api_key_revoke", organization, key.pk)
    assert "Revoke “CI”?" in markup(alices.get(address))
    assert "Revoke “CI”?" in markup(alices.post(address))
    assert actor_of(token)
    page = markup(alices.post(address, {"confirmed": "1"}, follow=True))
    with pytest.raises(BadKey):
        actor_of(token)
    assert "by Alice Owner" in page
    assert address not in page
    assert alices.get(address).status_code == 302


def test_a_name_is_escaped_and_a_runners_keys_are_not_listed(
    alices: Client, organization: Organization, alice: User
) -> None:
    make(organization, alice, "<b>CI</b>")
    make_runner(organization, alice, "of the lab")
    page = markup(alices.get(at("api_keys", organization)))
    assert "&lt;b&gt;CI&lt;/b&gt;" in page
    assert "of the lab" not in page


def test_members_and_strangers_make_see_and_end_none(
    reader: Any, organization: Organization, other_organization: Organization, alice: User, bob: User, charlie: User
) -> None:  # I5
    key, token = make(organization, alice)
    revoke = at("api_key_revoke", organization, key.pk)
    for who, status in ((bob, 403), (charlie, 404)):
        client = reader(who)
        for answer in (
            client.get(at("api_keys", organization)),
            client.post(at("api_key_add", organization), FORM),
            client.post(revoke, {"confirmed": "1"}),
        ):
            assert answer.status_code == status
            assert key.prefix not in markup(answer)
    assert reader(charlie).post(at("api_key_revoke", other_organization, key.pk), {"confirmed": "1"}).status_code == 404
    assert actor_of(token)
    with organization_scope(organization.id):
        assert ApiKey.objects.count() == 1


def test_the_list_takes_as_many_queries_with_many_keys_as_with_one(
    alices: Client, organization: Organization, alice: User, queries: Any
) -> None:
    make(organization, alice)
    alices.get(at("api_keys", organization))
    with queries() as few:
        alices.get(at("api_keys", organization))
    for _ in range(5):
        make(organization, alice)
    with queries() as many:
        alices.get(at("api_keys", organization))
    assert len(many) == len(few)
    assert not [sql for sql in many if "secret_hash" in sql]
