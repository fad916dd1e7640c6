"""Tables of the people in an organization, and of its API keys."""

from __future__ import annotations

from collections.abc import Sequence

from django_tables2 import Column

from compliance.models import Membership
from dashboard.common.tables import Table


class MemberTable(Table):
    """An organization's members. Each has `may_change`, whether the reader may change its role or remove it.

    roles: those that the reader may give, with their words.
    """

    member = Column("Member")
    role = Column("Role")
    since = Column("Since")
    actions = Column("Actions")

    caption = "Members, owners first"

    def __init__(self, members: Sequence[Membership], *, roles: Sequence[tuple[str, str]]) -> None:
        super().__init__(members)
        self.roles = roles

    class Meta(Table.Meta):
        template_name = "organizations/_member_table.html"
        attrs = {"class": "table align-middle people"}


class InvitationTable(Table):
    """Open invitations. Each has `address`, the link in full."""

    invited = Column("Invited")
    role = Column("Role")
    expires = Column("Expires")
    link = Column("Link")
    actions = Column("Actions")

    caption = "Open invitations"

    class Meta(Table.Meta):
        template_name = "organizations/_invitation_table.html"
        attrs = {"class": "table align-middle people"}


class ApiKeyTable(Table):
    """An organization's keys, the newest first."""

    name = Column("Key")
    may = Column("May")
    made = Column("Made")
    ends = Column("Ends")
    used = Column("Last used")

    caption = "API keys, the newest first"

    class Meta(Table.Meta):
        template_name = "organizations/_api_key_table.html"
        attrs = {"class": "table credentials stack"}
