"""The bar of every page: whose it is, and where it says that the reader is."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from compliance.models import Organization, Role, User
from compliance.tenancy.scope import organization_scope
from tests.conftest import add_member

pytestmark = pytest.mark.django_db


def bar(client: Client, address: str) -> str:
    found = re.search(r'<nav class="navbar.*?</nav>', client.get(address).content.decode(), re.DOTALL)
    assert found
    return found[0]


def tokens(text: str) -> list[str]:
    return re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', text)


def test_each_reader_has_their_own(
    organization: Organization, other_organization: Organization, alice: User, bob: User, charlie: User, reader: Any
) -> None:
    overview = reverse("overview", args=[organization.slug])
    of_alice, of_bob = bar(reader(alice), overview), bar(reader(bob), overview)
    assert "alice@example.org" in of_alice
    assert "bob@example.org" not in of_alice
    assert "bob@example.org" in of_bob
    of_charlie = bar(reader(charlie), reverse("overview", args=[other_organization.slug]))
    assert "Alpha" not in of_charlie
    assert "Omega" in of_charlie
    add_member(other_organization, alice, Role.MEMBER)
    assert "Omega" in bar(reader(alice), overview)


def test_a_new_name_shows_at_once(organization: Organization, alice: User, reader: Any) -> None:
    client = reader(alice)
    overview = reverse("overview", args=[organization.slug])
    assert "Alpha" in bar(client, overview)
    with organization_scope(organization.id):
        Organization.objects.update(name="<b>Gamma</b>{{ csrf_token }}")
    assert "&lt;b&gt;Gamma&lt;/b&gt;" in bar(client, overview)
    assert len(tokens(bar(client, overview))) == 1


def test_its_form_signs_out_with_a_token_of_its_own(organization: Organization, alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    overview = reverse("overview", args=[organization.slug])
    first, second = tokens(bar(client, overview)), tokens(bar(client, overview))
    assert len(first) == len(second) == 1
    assert first != second
    assert client.post(reverse("account_logout"), {"csrfmiddlewaretoken": second[0]}).status_code == 302
    assert client.get(overview).status_code == 302


def test_settings_are_offered_to_who_may_open_them(
    organization: Organization, alice: User, bob: User, reader: Any
) -> None:
    for address in (reverse("overview", args=[organization.slug]), reverse("suites")):
        assert ">Settings<" in bar(reader(alice), address)
        assert ">Settings<" not in bar(reader(bob), address)


def test_it_says_where_the_reader_is(organization: Organization, alice: User, reader: Any) -> None:
    client = reader(alice)
    for name, words in (("overview", "Agents"), ("members", "Members"), ("organization_settings", "Settings")):
        text = bar(client, reverse(name, args=[organization.slug]))
        assert re.findall(r'aria-current="page"[^>]*>([^<]+)<', text) == [words]
    text = bar(client, reverse("agent_add", args=[organization.slug]))
    assert 'aria-current="page"' not in text
    assert re.search(r'class="nav-link active"[^>]*>Agents<', text)
