"""A role that is withdrawn at the moment in which somebody uses it.

Once the withdrawal is committed, nothing more happens by that role: what was under way has ended
before, and what begins sees that it is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import psycopg
import pytest

from compliance.models import AgentContext, Invitation, Membership, Organization, Role, User
from compliance.registry.actions import change_heartbeats, register_agent, remove_context, rename_context
from compliance.tenancy.actions import change_role, create_organization, invite, remove_member, revoke_invitation
from compliance.tenancy.errors import NotAllowed
from compliance.tenancy.scope import organization_scope
from tests.conftest import add_member, make_context, make_user
from tests.racing import Meanwhile


class Team(NamedTuple):
    organization: Organization
    owner: User
    admin: User
    membership: Membership
    context: AgentContext
    invitation: Invitation


@pytest.fixture
def team(committed_db: None) -> Team:
    owner, admin = make_user("alice@example.org", "Alice Owner"), make_user("adam@example.org", "Adam Admin")
    organization = create_organization(name="Alpha", by=owner)
    return Team(
        organization,
        owner,
        admin,
        add_member(organization, admin, Role.ADMIN),
        make_context(organization, verified=True),
        invite(organization=organization, email="dana@example.org", role=Role.MEMBER, by=owner),
    )


# What an admin does without the organization's own lock: the lock on the membership is the only one.
USES: dict[str, Callable[[Team], Any]] = {
    "register": lambda t: register_agent(organization=t.organization, url="https://new.example/mcp", by=t.admin),
    "rename": lambda t: rename_context(
        organization=t.organization, context_id=t.context.pk, name="Renamed", by=t.admin
    ),
    "remove": lambda t: remove_context(organization=t.organization, context_id=t.context.pk, by=t.admin),
    "heartbeats": lambda t: change_heartbeats(
        organization=t.organization,
        context_id=t.context.pk,
        interval_hours=24,
        lifecycle_stage="production",
        paused=True,
        opted_out=False,
        by=t.admin,
    ),
    "revoke": lambda t: revoke_invitation(organization=t.organization, invitation_id=t.invitation.pk, by=t.admin),
}
WITHDRAWALS: dict[str, Callable[[Team], Any]] = {
    "demoted": lambda t: change_role(
        organization=t.organization, membership_id=t.membership.pk, role=Role.MEMBER, by=t.owner
    ),
    "removed": lambda t: remove_member(organization=t.organization, membership_id=t.membership.pk, by=t.owner),
}


@pytest.mark.parametrize("withdrawal", WITHDRAWALS)
@pytest.mark.parametrize("use", USES)
def test_a_role_that_is_being_withdrawn_is_not_used_any_more(
    team: Team, superuser: psycopg.Connection[Any], use: str, withdrawal: str
) -> None:  # A1
    with organization_scope(team.organization.id):
        WITHDRAWALS[withdrawal](team)
        using = Meanwhile(lambda: USES[use](team))
        assert using.waits(superuser), "it should wait for the end of the withdrawal"
    refusal = using.outcome()
    assert isinstance(refusal, NotAllowed), refusal
    assert "Only owners and admins" in str(refusal)


@pytest.mark.parametrize("withdrawal", WITHDRAWALS)
@pytest.mark.parametrize("use", USES)
def test_a_role_is_withdrawn_after_what_was_under_way_by_it(
    team: Team, superuser: psycopg.Connection[Any], use: str, withdrawal: str
) -> None:  # A1
    with organization_scope(team.organization.id):
        USES[use](team)
        withdrawing = Meanwhile(lambda: WITHDRAWALS[withdrawal](team))
        assert withdrawing.waits(superuser), "it should wait for the end of what is under way"
    assert not isinstance(withdrawing.outcome(), Exception), withdrawing.outcome()
    with organization_scope(team.organization.id):
        assert not Membership.objects.filter(user=team.admin, role=Role.ADMIN).exists()
