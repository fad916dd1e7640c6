"""An organization always has an owner, also when two owners act at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections

from compliance.models import Membership, Organization, Role, User
from compliance.tenancy import actions
from compliance.tenancy.errors import Refused
from compliance.tenancy.models import Invitation
from compliance.tenancy.scope import organization_scope
from tests.conftest import add_member, confirm_address, make_user
from tests.dashboard.pages import markup


def membership_of(organization: Organization, user: User) -> Membership:
    with organization_scope(organization.id):
        return Membership.objects.get(user=user)


@pytest.mark.parametrize(("path", "data"), [("role/", {"role": "member"}), ("remove/", {"confirmed": "1"})])
def test_the_only_owner_stays(
    client: Any, organization: Organization, alice: User, path: str, data: dict[str, str]
) -> None:
    mine = membership_of(organization, alice)
    client.force_login(alice)
    address = f"/o/{organization.slug}/members/"
    response = client.post(f"{address}{mine.pk}/{path}", data, follow=True, headers={"referer": address})
    assert "An organization needs an owner" in markup(response)
    assert membership_of(organization, alice).role == Role.OWNER


def test_an_owner_may_go_when_there_is_another(organization: Organization, alice: User, bob: User) -> None:
    actions.change_role(
        organization=organization, membership_id=membership_of(organization, bob).pk, role="owner", by=alice
    )
    actions.remove_member(organization=organization, membership_id=membership_of(organization, alice).pk, by=alice)
    with organization_scope(organization.id):
        assert list(Membership.objects.values_list("user__name", "role")) == [("Bob Member", "owner")]


@pytest.fixture
def two_owners(committed_db: None) -> Iterator[tuple[Organization, list[User]]]:
    first, second = make_user("one@example.org", "One"), make_user("two@example.org", "Two")
    organization = actions.create_organization(name="Twins", by=first)
    add_member(organization, second, Role.OWNER)
    return organization, [first, second]


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Run the calls in threads with connections of their own, let go together; what each returned or raised."""
    barrier = threading.Barrier(len(calls))
    outcomes: list[Any] = [None] * len(calls)

    def run(index: int, call: Callable[[], Any]) -> None:
        try:
            connections["default"].ensure_connection()
            barrier.wait(10)
            outcomes[index] = call()
        except Exception as error:
            outcomes[index] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(index, call)) for index, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return outcomes


@pytest.mark.parametrize("way", ["leave", "step down", "remove each other", "unmake each other"])
def test_two_owners_at_once_leave_one(two_owners: tuple[Organization, list[User]], way: str) -> None:
    organization, users = two_owners
    keys = [membership_of(organization, user).pk for user in users]

    def act(index: int) -> Callable[[], Any]:
        target = keys[index] if way in ("leave", "step down") else keys[1 - index]
        if way in ("leave", "remove each other"):
            return lambda: actions.remove_member(organization=organization, membership_id=target, by=users[index])
        return lambda: actions.change_role(
            organization=organization, membership_id=target, role=Role.MEMBER, by=users[index]
        )

    outcomes = at_once(act(0), act(1))
    refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    # No deadlock: the one that comes second is told why, in words.
    assert len(refused) == 1, outcomes
    assert isinstance(refused[0], Refused | actions.NotAllowed), refused
    with organization_scope(organization.id):
        assert Membership.objects.filter(role=Role.OWNER).count() == 1


def test_two_who_invite_the_same_address_at_once_make_one_invitation(
    two_owners: tuple[Organization, list[User]],
) -> None:
    organization, users = two_owners

    def inviting(user: User) -> Callable[[], Any]:
        return lambda: actions.invite(organization=organization, email="dana@example.org", role="member", by=user)

    outcomes = at_once(*[inviting(user) for user in users])
    assert all(isinstance(outcome, Invitation) for outcome in outcomes), outcomes
    with organization_scope(organization.id):
        assert Invitation.objects.count() == 1


def test_one_invitation_accepted_twice_at_once_is_one_membership(
    two_owners: tuple[Organization, list[User]],
) -> None:
    organization, users = two_owners
    dana = confirm_address(make_user("dana@example.org", "Dana"))
    invitation = actions.invite(organization=organization, email=dana.email, role="member", by=users[0])

    def accept() -> Any:
        return actions.accept_invitation(organization_id=organization.id, invitation_id=str(invitation.pk), by=dana)

    outcomes = at_once(accept, accept)
    assert [outcome.user_id for outcome in outcomes] == [dana.pk, dana.pk], outcomes
    with organization_scope(organization.id):
        assert Membership.objects.filter(user=dana).count() == 1
