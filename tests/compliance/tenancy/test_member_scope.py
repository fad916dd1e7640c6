"""The scope that every page opens: a member's own first, then one organization's, in one transaction."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from compliance.models import AgentContext, Membership, Organization, Role, User
from compliance.tenancy.memberships import membership_scope
from compliance.tenancy.scope import ScopeError, member_scope, organization_scope
from tests.conftest import add_member

pytestmark = pytest.mark.django_db


def settings_now() -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('app.organization_id', true), current_setting('app.user_id', true),"
            " current_setting('app.platform', true), current_user"
        )
        return dict(zip(("organization", "user", "platform", "role"), cursor.fetchone(), strict=True))


def test_it_shows_the_chosen_organization_and_no_longer_the_user(
    organization: Organization, other_organization: Organization, context: AgentContext, alice: User
) -> None:
    add_member(other_organization, alice, Role.ADMIN)
    with membership_scope(alice, lambda found: next(m for m in found if m.organization_id == organization.id)) as found:
        assert [m.organization.name for m in found.memberships] == ["Alpha", "Omega"]
        now = settings_now()
        assert (now["organization"], now["user"], now["platform"], now["role"]) == (
            organization.id,
            "",
            "",
            "assay_app",
        )
        assert set(Membership.objects.values_list("organization_id", flat=True)) == {organization.id}
        assert list(Organization.objects.all()) == [organization]
        assert list(AgentContext.objects.all()) == [context]
    assert not settings_now()["organization"]
    assert not AgentContext.objects.exists()


def test_what_choosing_raises_ends_it_with_nothing_in_sight(alice: User, organization: Organization) -> None:
    def choose(found: list[Membership]) -> Membership:
        raise LookupError

    with pytest.raises(LookupError), membership_scope(alice, choose):
        raise AssertionError("the block must not be entered")
    assert not Membership.objects.exists()


def test_no_organization_is_refused(alice: User) -> None:
    with pytest.raises(ScopeError), member_scope(alice.pk, ask=lambda: None, choose=lambda _: ""):
        raise AssertionError("the block must not be entered")


def test_it_opens_in_no_other_scope(alice: User, organization: Organization) -> None:
    choices: Any = lambda found: found[0]  # noqa: E731
    with organization_scope(organization.id), pytest.raises(ScopeError), membership_scope(alice, choices):
        raise AssertionError("the block must not be entered")


def test_a_failure_in_it_takes_back_what_was_written(alice: User, organization: Organization) -> None:
    def fail() -> None:
        with membership_scope(alice, lambda found: found[0]):
            Organization.objects.update(name="Renamed")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with organization_scope(organization.id):
        assert Organization.objects.get().name == "Alpha"
