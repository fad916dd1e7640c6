"""What every page asks first, in the user's own scope, before it opens one organization's."""

from __future__ import annotations

import pytest
from django.db import connection

from compliance.models import AgentContext, Membership, Organization, Role, User
from compliance.tenancy.scope import organization_scope
from tests.conftest import add_member

pytestmark = pytest.mark.django_db


def settings_now() -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('app.organization_id', true), current_setting('app.user_id', true),"
            " current_setting('app.platform', true), current_user"
        )
        return dict(zip(("organization", "user", "platform", "role"), cursor.fetchone(), strict=True))


def test_the_memberships_are_out_of_sight_again_and_only_the_chosen_organization_is_shown(
    organization: Organization, other_organization: Organization, context: AgentContext, alice: User
) -> None:
    add_member(other_organization, alice, Role.ADMIN)
    assert [m.organization.name for m in Membership.objects.of_user(alice)] == ["Alpha", "Omega"]
    assert not Membership.objects.exists()
    with organization_scope(organization.id):
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


def test_they_come_with_their_organizations(
    organization: Organization, other_organization: Organization, alice: User
) -> None:
    add_member(other_organization, alice, Role.ADMIN)
    memberships = Membership.objects.of_user(alice)
    assert [membership.organization.slug for membership in memberships] == ["alpha", "omega"]


def test_a_failure_in_the_scope_takes_back_what_was_written(alice: User, organization: Organization) -> None:
    def fail() -> None:
        with organization_scope(Membership.objects.of_user(alice)[0].organization_id):
            Organization.objects.update(name="Renamed")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with organization_scope(organization.id):
        assert Organization.objects.get().name == "Alpha"
