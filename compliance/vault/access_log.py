"""Reads of the record of uses: keyset pages, newest first. Needs organization_scope."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db.models import OuterRef, Subquery
from django.utils import timezone

from compliance.pagination import Cursor, Keyset, Page
from compliance.registry.models import AgentContext
from compliance.vault.models import Credential, CredentialGrant, CredentialUse, CredentialUseQuerySet, UseResult

PAGE_SIZE = 50
ACCESS = Keyset("at")


def access_page(
    uses: CredentialUseQuerySet, *, organization_id: str, cursor: Cursor | None = None, size: int = PAGE_SIZE
) -> Page[CredentialUse]:
    """One page of an organization's uses, newest first, with the agents that they are about."""
    page: Page[CredentialUse] = ACCESS.page(uses.filter(organization_id=organization_id), cursor, size=size)
    contexts = AgentContext.objects.by_address(organization_id, {use.agent_url for use in page.rows})
    for use in page.rows:
        context = contexts.get(use.agent_url)
        use.context_id, use.agent_name = (context.pk, context.name) if context else (None, "")
    return page


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
