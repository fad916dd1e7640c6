"""Where a person belongs: the first question of every page."""

from __future__ import annotations

from compliance.tenancy.models import Membership, User
from compliance.tenancy.scope import user_scope


def memberships_of(user: User) -> list[Membership]:
    """The user's memberships with their organizations, by name."""
    with user_scope(user.pk):
        memberships = Membership.objects.filter(user=user).select_related("organization")
        return list(memberships.order_by("organization__name", "organization_id"))
