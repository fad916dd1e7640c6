"""What the record of uses of credentials is narrowed to."""

from __future__ import annotations

from uuid import UUID

import django_filters
from django.http import QueryDict

from compliance.models import AgentContext, Credential, CredentialUse
from compliance.vault.models import CredentialUseQuerySet, UseResult
from dashboard.common.filters import IdFilter, PeriodFilterSet


class AccessFilterSet(PeriodFilterSet):
    """Which credential, for which agent, with what result, and when."""

    credential = IdFilter(label="Credential", empty_label="Any")
    agent = IdFilter(label="Agent", empty_label="Any")
    result = django_filters.ChoiceFilter(
        label="Result", empty_label="Any", choices=[("refused", "Anything but used"), *UseResult.choices]
    )

    def __init__(self, data: QueryDict, *, organization_id: str) -> None:
        super().__init__(data, CredentialUse.objects.none())
        credentials = Credential.objects.filter(organization_id=organization_id).order_by("deleted_at", "name", "id")
        contexts = AgentContext.objects.filter(organization_id=organization_id).order_by("name", "id")
        self.agent_urls = {str(context.pk): context.agent_id for context in contexts}
        self.filters["credential"].extra["choices"] = [
            (str(each.pk), f"{each.name} (deleted)" if each.deleted_at else each.name) for each in credentials
        ]
        self.filters["agent"].extra["choices"] = [(str(context.pk), context.name) for context in contexts]

    def uses(self) -> CredentialUseQuerySet:
        """Those that the fields that could be read leave."""
        credential = self.chosen.get("credential")
        return CredentialUse.objects.narrowed(
            credential_id=UUID(credential) if credential else None,
            agent_url=self.agent_urls.get(self.chosen.get("agent") or "", ""),
            result=self.chosen.get("result") or "",
            **self.period,
        )
