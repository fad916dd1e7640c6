"""Reads of the record of uses: keyset pages, newest first. Needs organization_scope."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import OuterRef, Q, Subquery
from django.utils import timezone

from compliance.pagination import Cursor, Keyset, Page
from compliance.registry.models import AgentContext
from compliance.vault.models import Credential, CredentialGrant, CredentialUse, UseResult

PAGE_SIZE = 50
ACCESS = Keyset("at")


@dataclass(frozen=True, slots=True)
class AccessFilter:
    """What a reader narrows the record to. Empty means everything."""

    credential_id: UUID | None = None
    agent_url: str = ""
    result: str = ""  # a value of UseResult, or "refused" for all but OK
    since: datetime | None = None  # at or after
    until: datetime | None = None  # before

    def conditions(self) -> Q:
        conditions = Q()
        if self.credential_id:
            conditions &= Q(credential_id=self.credential_id)
        if self.agent_url:
            conditions &= Q(agent_url=self.agent_url)
        if self.result == "refused":
            conditions &= ~Q(result=UseResult.OK)
        elif self.result:
            conditions &= Q(result=self.result)
        if self.since:
            conditions &= Q(at__gte=self.since)
        if self.until:
            conditions &= Q(at__lt=self.until)
        return conditions


class Access(NamedTuple):
    """One use as a list shows it."""

    pk: UUID
    at: datetime
    sent_to: str
    result: str
    reason: str
    credential_id: UUID
    credential_name: str
    credential_version: int
    grant_id: UUID | None
    agent_url: str
    triggered_by: str
    actor_name: str
    job_id: UUID
    run_id: UUID
    executor_name: str  # the private runner; empty for a hosted worker
    context_id: UUID | None  # None: the organization no longer has the agent
    agent_name: str
    run_status: str | None = None  # filled in by those who may ask for runs; None: none came of it, or not yet

    @property
    def result_words(self) -> str:
        return str(UseResult(self.result).label)


_of_use = attrgetter(*Access._fields[:-3])


def access_page(
    *, organization_id: str, narrowed_to: AccessFilter, cursor: Cursor | None = None, size: int = PAGE_SIZE
) -> Page[Access]:
    """One page of an organization's uses, newest first."""
    uses = CredentialUse.objects.filter(narrowed_to.conditions(), organization_id=organization_id)
    page: Page[Any] = ACCESS.page(uses, cursor, size=size)
    contexts = AgentContext.objects.by_address(organization_id, {use.agent_url for use in page.rows})
    return replace(page, rows=[_access(use, contexts.get(use.agent_url)) for use in page.rows])


def _access(use: CredentialUse, context: AgentContext | None) -> Access:
    return Access._make([*_of_use(use), context and context.pk, context.name if context else "", None])


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
    used = CredentialUse.objects.filter(
        organization_id=organization_id, credential_id=OuterRef("pk"), result=UseResult.OK
    ).order_by("-at", "-id")
    kept = Credential.objects.not_deleted(organization_id).annotate(last_used=Subquery(used.values("at")[:1]))
    return dict(kept.filter(last_used__isnull=False).values_list("pk", "last_used"))
