"""Where a person belongs, and what waits for them there: the first question of every page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from django.db import connection

from compliance.tenancy.models import Membership, Organization, User
from compliance.tenancy.scope import member_scope, user_scope

COUNTED = 100  # unread notices; more are called more

_FIELDS = [field.attname for field in Membership._meta.concrete_fields]
_ITS_FIELDS = [field.attname for field in Organization._meta.concrete_fields]
_COLUMNS = ", ".join([f"m.{name}" for name in _FIELDS] + [f"o.{name}" for name in _ITS_FIELDS])
# Plain SQL: the ORM takes longer to compose the question than the database to answer it.
_MEMBERSHIPS = f"""
    SELECT {_COLUMNS} FROM memberships m JOIN organizations o ON o.id = m.organization_id
    WHERE m.user_id = %s ORDER BY o.name, o.id
"""  # noqa: S608 - names of our own fields


def memberships_of(user: User) -> list[Membership]:
    """The user's memberships with their organizations, by name; one query."""
    with user_scope(user.pk):
        return _read(user)


# Notices belong to a room that knows this one, and are counted here by name: every page shows how many are unread.
_UNREAD = f"""(
    SELECT count(*) FROM (
        SELECT FROM notices n WHERE n.organization_id = opened.organization_id AND n.read_at IS NULL
        LIMIT {COUNTED}
    ) AS unread
)"""  # noqa: S608 - a number of our own


class Belonging(NamedTuple):
    """Where a person belongs, and what waits for them where they are."""

    memberships: list[Membership]
    unread: int  # notices of the chosen organization that nobody has read, COUNTED at most


@contextmanager
def membership_scope(user: User, choose: Callable[[list[Membership]], Membership]) -> Iterator[Belonging]:
    """The scope of one of the user's organizations, in the transaction that read the memberships.

    choose: picks the membership, or raises.
    """
    with member_scope(
        user.pk,
        ask=lambda: _read(user),
        choose=lambda memberships: choose(memberships).organization_id,
        value=_UNREAD,
    ) as (memberships, unread):
        yield Belonging(memberships, unread)


def _read(user: User) -> list[Membership]:
    with connection.cursor() as cursor:
        cursor.execute(_MEMBERSHIPS, [user.pk])
        rows = cursor.fetchall()
    found = []
    for row in rows:
        membership = Membership.from_db(connection.alias, _FIELDS, row[: len(_FIELDS)])
        organization = Organization.from_db(connection.alias, _ITS_FIELDS, row[len(_FIELDS) :])
        Membership.organization.field.set_cached_value(membership, organization)  # as select_related does
        found.append(membership)
    return found
