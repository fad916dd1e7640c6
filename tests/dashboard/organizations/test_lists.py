"""The lists of members, invitations and API keys: what they offer, and that they cost the same with many rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from compliance.models import Organization, Role, User
from compliance.tenancy.actions import invite
from compliance.tenancy.api_key_actions import create_key
from tests.conftest import add_member, make_user
from tests.dashboard.pages import markup


@pytest.fixture
def alices(reader: Any, alice: User) -> Client:
    return reader(alice)


def test_the_roles_that_the_reader_may_give_are_offered_beside_each_member(
    reader: Any, alice: User, organization: Organization
) -> None:
    erin, frank = make_user("erin@example.org", "Erin"), make_user("frank@example.org", "Frank")
    add_member(organization, erin, Role.ADMIN)
    add_member(organization, frank, Role.MEMBER)
    address = reverse("members", args=[organization.slug])
    for user, offered in ((alice, ["member", "admin", "owner"]), (erin, ["member", "admin"])):
        page = markup(reader(user).get(address))
        [select] = re.findall(r'<select[^>]*aria-label="Role of Frank">.*?</select>', page)
        assert re.findall(r'<option value="(\w+)"', select) == offered
        assert '<option value="member" selected>' in select


def test_members_and_invitations_cost_the_same_with_many(
    alices: Client, alice: User, organization: Organization, queries: Callable[[], Any]
) -> None:
    address = reverse("members", args=[organization.slug])
    invite(organization=organization, email="first@example.org", role=Role.MEMBER, by=alice)
    alices.get(address)
    with queries() as few:
        alices.get(address)
    for number in range(20):
        add_member(organization, make_user(f"m{number}@example.org", f"Member {number}"), Role.MEMBER)
        invite(organization=organization, email=f"i{number}@example.org", role=Role.MEMBER, by=alice)
    with queries() as many:
        page = markup(alices.get(address))
    assert "Member 19" in page
    assert "Link for i19@example.org" in page
    assert len(many) == len(few) <= 9


def test_api_keys_cost_the_same_with_many(
    alices: Client, alice: User, organization: Organization, queries: Callable[[], Any]
) -> None:
    address = reverse("api_keys", args=[organization.slug])
    create_key(organization=organization, name="first", scopes=["read"], by=alice)
    alices.get(address)
    with queries() as few:
        alices.get(address)
    for number in range(20):
        create_key(organization=organization, name=f"key {number}", scopes=["read"], by=alice)
    with queries() as many:
        page = markup(alices.get(address))
    assert "key 19" in page
    assert len(many) == len(few) <= 8
