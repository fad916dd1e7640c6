"""Reads of the record of uses: keyset pages, newest first, and the whole of it in pieces. Needs organization_scope."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.utils import timezone

from compliance.tenancy.scope import organization_scope
from compliance.vault.models import Credential, CredentialGrant

PAGE_SIZE = 50
PIECE = 1000  # rows of an export that one transaction reads


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the record: beside which use, and on which side of it."""

    at: datetime
    use_id: UUID
    newer: bool = False  # True: the page above this place

    def encode(self) -> str:
        text = json.dumps([self.at.isoformat(), str(self.use_id), int(self.newer)])
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Place | None:
        """The place, or None when the text is none: a damaged link shows the first page."""
        try:
            at, use_id, newer = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            place = cls(datetime.fromisoformat(at), UUID(use_id), bool(newer))
        except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError):
            return None
        return place if place.at.tzinfo else None


@dataclass(frozen=True, slots=True)
class AccessFilter:
    """What a reader narrows the record to. Empty means everything."""

    credential_id: UUID | None = None
    agent_url: str = ""
    result: str = ""  # a value of UseResult, or "refused" for all but OK
    since: datetime | None = None  # at or after
    until: datetime | None = None  # before

    def conditions(self) -> Iterator[tuple[str, Any]]:
        """What of it narrows, as pieces of SQL, each with its parameter."""
        if self.credential_id:
            yield "u.credential_id = %s", self.credential_id
        if self.agent_url:
            yield "u.agent_url = %s", self.agent_url
        if self.result == "refused":
            yield "u.result <> %s", "ok"
        elif self.result:
            yield "u.result = %s", self.result
        if self.since:
            yield "u.at >= %s", self.since
        if self.until:
            yield "u.at < %s", self.until


class Access(NamedTuple):
    """One use as a list shows it."""

    use_id: UUID
    at: datetime
    sent_to: str
    result: str
    reason: str
    credential_id: UUID
    credential_name: str
    credential_version: int
    grant_id: UUID | None
    agent_url: str
    context_id: UUID | None  # None: the organization no longer has the agent
    agent_name: str
    triggered_by: str
    actor_name: str
    job_id: UUID
    run_id: UUID
    run_status: str | None  # None: no run came of it, or not yet
    executor_name: str  # the private runner; empty for a hosted worker


@dataclass(frozen=True, slots=True)
class AccessPage:
    uses: list[Access]
    newer: Place | None
    older: Place | None


# The places are filled in with text of our own; whatever comes from outside is a parameter.
_SELECT = """
    SELECT p.id, p.at, p.sent_to, p.result, p.reason, p.credential_id, p.credential_name, p.credential_version,
        p.grant_id, p.agent_url, c.id, coalesce(c.name, ''), p.triggered_by, p.actor_name, p.job_id, p.run_id,
        r.overall_status, p.executor_name
    FROM (
        SELECT u.* FROM credential_uses u WHERE u.organization_id = %s{narrowed}
        ORDER BY {order} LIMIT {length:d}
    ) p
    LEFT JOIN agent_contexts c ON c.organization_id = p.organization_id AND c.agent_url = p.agent_url
    LEFT JOIN agent_compliance_runs r ON r.id = p.run_id
    ORDER BY {outer}
"""


def access_page(
    *, organization_id: str, narrowed_to: AccessFilter, place: Place | None = None, size: int = PAGE_SIZE
) -> AccessPage:
    """One page of an organization's uses, newest first. Costs the same at any depth."""
    upwards = place is not None and place.newer
    pieces = list(narrowed_to.conditions())
    narrowed = "".join(f" AND {condition}" for condition, _ in pieces)
    parameters = [organization_id, *(parameter for _, parameter in pieces)]
    if place is not None:
        narrowed += f" AND (u.at, u.id) {'>' if upwards else '<'} (%s, %s)"
        parameters += [place.at, place.use_id]
    order = "{0}.at, {0}.id" if upwards else "{0}.at DESC, {0}.id DESC"
    statement = _SELECT.format(narrowed=narrowed, order=order.format("u"), outer=order.format("p"), length=size + 1)
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        uses = [Access(*row) for row in cursor.fetchall()]
    beyond = len(uses) > size
    uses = uses[:size]
    if upwards:
        uses.reverse()
    first = Place(uses[0].at, uses[0].use_id, newer=True) if uses else None
    last = Place(uses[-1].at, uses[-1].use_id) if uses else None
    return AccessPage(
        uses=uses,
        newer=first if (beyond if upwards else place is not None) else None,
        older=last if (upwards or beyond) else None,
    )


def every_access(*, organization_id: str, narrowed_to: AccessFilter) -> Iterator[Access]:
    """All uses, newest first, read in pieces with a scope of their own: the reader may be slow."""
    place: Place | None = None
    while True:
        with organization_scope(organization_id):
            page = access_page(organization_id=organization_id, narrowed_to=narrowed_to, place=place, size=PIECE)
        yield from page.uses
        if page.older is None:
            return
        place = page.older


def granted_credentials(*, organization_id: str, context_id: UUID, use: str) -> list[Credential]:
    """The credentials that may be used on an agent now, the one that is chosen automatically first."""
    grants = CredentialGrant.objects.filter(
        organization_id=organization_id, revoked_at=None, expires_at__gt=timezone.now(), **{f"for_{use}": True}
    )
    live = grants.select_related("credential").order_by("created_at", "id")
    fitting = [grant.credential for grant in live if context_id in grant.context_ids]
    return list(dict.fromkeys(credential for credential in fitting if credential.deleted_at is None))


def last_uses(*, organization_id: str) -> dict[UUID, datetime]:
    """When each credential of the organization was last used, by one index probe for each."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.id, u.at FROM credentials c CROSS JOIN LATERAL (
                SELECT at FROM credential_uses
                WHERE organization_id = c.organization_id AND credential_id = c.id AND result = 'ok'
                ORDER BY at DESC, id DESC LIMIT 1
            ) u
            WHERE c.organization_id = %s AND c.deleted_at IS NULL
            """,
            [organization_id],
        )
        return dict(cursor.fetchall())
