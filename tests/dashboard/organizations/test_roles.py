"""Who may do what with an organization and its people: every write, tried by everybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compliance.models import Invitation, Membership, Organization, Role, User
from compliance.tenancy.actions import invite
from compliance.tenancy.scope import organization_scope
from tests.conftest import add_member, make_user
from tests.dashboard.pages import markup

OWNER, ADMIN, MEMBER, STRANGER, ANONYMOUS = "owner", "admin", "member", "stranger", "anonymous"
EVERYBODY = [OWNER, ADMIN, MEMBER, STRANGER, ANONYMOUS]


@pytest.fixture
def erin(organization: Organization) -> User:
    user = make_user("erin@example.org", "Erin Admin")
    add_member(organization, user, Role.ADMIN)
    return user


@pytest.fixture
def people(alice: User, erin: User, bob: User, charlie: User, other_organization: Organization) -> dict[str, User]:
    return {OWNER: alice, ADMIN: erin, MEMBER: bob, STRANGER: charlie}


@pytest.fixture
def frank(organization: Organization) -> Membership:
    """A member whom the tests do things to."""
    return add_member(organization, make_user("frank@example.org", "Frank Member"), Role.MEMBER)


@pytest.fixture
def second_owner(organization: Organization) -> Membership:
    return add_member(organization, make_user("olga@example.org", "Olga Owner"), Role.OWNER)


@pytest.fixture
def invitation(organization: Organization, alice: User) -> Invitation:
    return invite(organization=organization, email="dana@example.org", role=Role.MEMBER, by=alice)


WRITES: dict[str, tuple[str, dict[str, str], set[str]]] = {
    "invite": ("members/invite/", {"email": "new@example.org", "role": "member"}, {OWNER, ADMIN}),
    "invite an owner": ("members/invite/", {"email": "new@example.org", "role": "owner"}, {OWNER}),
    "resend": ("members/invitations/{invitation}/resend/", {}, {OWNER, ADMIN}),
    "revoke": ("members/invitations/{invitation}/revoke/", {}, {OWNER, ADMIN}),
    "make an admin": ("members/{frank}/role/", {"role": "admin"}, {OWNER, ADMIN}),
    "make an owner": ("members/{frank}/role/", {"role": "owner"}, {OWNER}),
    "unmake an owner": ("members/{second_owner}/role/", {"role": "member"}, {OWNER}),
    "remove a member": ("members/{frank}/remove/", {"confirmed": "1"}, {OWNER, ADMIN}),
    "remove an owner": ("members/{second_owner}/remove/", {"confirmed": "1"}, {OWNER}),
    "rename": ("settings/", {"name": "Renamed"}, {OWNER, ADMIN}),
    "delete": ("settings/delete/", {"name": "Alpha"}, {OWNER}),
}


def state_of(organization: Organization) -> Any:
    with organization_scope(organization.id):
        return (
            list(Organization.objects.values_list("id", "name")),
            sorted(Membership.objects.values_list("user__email", "role")),
            sorted(Invitation.objects.values_list("pk", "email", "role")),
        )


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("write", WRITES)
def test_every_write_by_everybody(  # I5
    client: Any,
    organization: Organization,
    people: dict[str, User],
    frank: Membership,
    second_owner: Membership,
    invitation: Invitation,
    write: str,
    who: str,
) -> None:
    path, data, allowed = WRITES[write]
    keys = {"frank": frank.pk, "second_owner": second_owner.pk, "invitation": invitation.pk}
    address = f"/o/{organization.slug}/{path.format(**keys)}"
    if who != ANONYMOUS:
        client.force_login(people[who])
    before, others = state_of(organization), len(people)
    response = client.post(address, data)
    if who in allowed:
        assert response.status_code == 302, response.content[:500]
        assert state_of(organization) != before
        return
    assert state_of(organization) == before
    assert others == len(people)
    if who == ANONYMOUS:
        assert (response.status_code, response.url.split("?")[0]) == (302, "/accounts/login/")
    elif who == STRANGER:
        assert response.status_code == 404
        assert response.content == client.post(f"/o/no-such/{path.format(**keys)}", data).content
    else:
        # An invalid choice of role is shown at the form; everything else is forbidden.
        assert response.status_code in ((403, 422) if write == "invite an owner" else (403,))


@pytest.mark.parametrize("page", ["members/", "settings/", "settings/delete/"])
def test_pages_are_the_members_own(client: Any, organization: Organization, people: dict[str, User], page: str) -> None:
    allowed = {"members/": {OWNER, ADMIN, MEMBER}, "settings/": {OWNER, ADMIN}, "settings/delete/": {OWNER}}[page]
    address = f"/o/{organization.slug}/{page}"
    assert client.get(address).status_code == 302
    for who, user in people.items():
        client.force_login(user)
        response = client.get(address)
        assert response.status_code == (404 if who == STRANGER else 200 if who in allowed else 403), who
        if who == STRANGER:
            assert b"Alpha" not in response.content
            assert b"example.org" not in response.content


def test_members_see_a_list_without_forms_or_invitations(
    client: Any, organization: Organization, bob: User, invitation: Invitation, frank: Membership
) -> None:
    client.force_login(bob)
    page = markup(client.get(f"/o/{organization.slug}/members/"))
    assert "Alice Owner" in page
    assert "dana@example.org" not in page
    assert "/role/" not in page
    assert "/invite/" not in page
    assert page.count("/remove/") == 1, "only their own, to leave"


def test_keys_of_another_organization_do_not_exist_here(  # I5, I6
    client: Any, organization: Organization, other_organization: Organization, alice: User, charlie: User
) -> None:
    theirs = invite(organization=other_organization, email="x@example.com", role=Role.MEMBER, by=charlie)
    with organization_scope(other_organization.id):
        membership = Membership.objects.get(user=charlie)
    client.force_login(alice)
    before = state_of(other_organization)
    here = f"/o/{organization.slug}/members"
    for known, unknown, data in [
        (f"{here}/{membership.pk}/role/", f"{here}/999999999/role/", {"role": "member"}),
        (f"{here}/{membership.pk}/remove/", f"{here}/999999999/remove/", {"confirmed": "1"}),
        (f"{here}/{membership.pk}/remove/", f"{here}/999999999/remove/", {}),
        (f"{here}/invitations/{theirs.pk}/resend/", f"{here}/invitations/{organization_key()}/resend/", {}),
        (f"{here}/invitations/{theirs.pk}/revoke/", f"{here}/invitations/{organization_key()}/revoke/", {}),
    ]:
        answer, nothing = client.post(known, data), client.post(unknown, data)
        assert answer.status_code == nothing.status_code == 404
        assert answer.content == nothing.content
    assert state_of(other_organization) == before


def organization_key() -> str:
    return "01936f6e-0000-7000-8000-000000000000"


@pytest.mark.parametrize("path", ["members/{frank}/remove/", "members/{frank}/role/"])
def test_writes_are_not_done_by_links(
    client: Any, organization: Organization, alice: User, frank: Membership, path: str
) -> None:
    client.force_login(alice)
    assert client.get(f"/o/{organization.slug}/{path.format(frank=frank.pk)}").status_code == 405


def test_a_reload_after_a_refused_invitation_shows_the_members(
    client: Any, organization: Organization, alice: User
) -> None:
    client.force_login(alice)
    members = f"/o/{organization.slug}/members/"
    assert client.get(f"{members}invite/").url == members


def test_removing_asks_first(client: Any, organization: Organization, alice: User, frank: Membership) -> None:
    client.force_login(alice)
    response = client.post(f"/o/{organization.slug}/members/{frank.pk}/remove/")
    assert response.status_code == 200
    assert "Remove Frank Member?" in markup(response)
    with organization_scope(organization.id):
        assert Membership.objects.filter(pk=frank.pk).exists()


def test_a_removed_member_is_out_at_once(
    client: Any, log_in: Callable[[User], Any], organization: Organization, alice: User, bob: User
) -> None:
    with organization_scope(organization.id):
        membership = Membership.objects.get(user=bob)
    log_in(alice).post(f"/o/{organization.slug}/members/{membership.pk}/remove/", {"confirmed": "1"})
    log_in(bob)
    assert client.get(f"/o/{organization.slug}/").status_code == 404
    assert b"Alpha" not in client.get("/", follow=True).content


def test_a_member_leaves(client: Any, organization: Organization, bob: User) -> None:
    with organization_scope(organization.id):
        membership = Membership.objects.get(user=bob)
    client.force_login(bob)
    response = client.post(f"/o/{organization.slug}/members/{membership.pk}/remove/", {"confirmed": "1"}, follow=True)
    assert "You have left Alpha." in markup(response)
    assert client.get(f"/o/{organization.slug}/").status_code == 404
