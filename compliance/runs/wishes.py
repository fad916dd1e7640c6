"""With which credential a request is to be tried."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from compliance.runs.records import TriggeredBy
from compliance.runs.requests import ComplianceRequest, CredentialChoice
from compliance.vault.models import Credential, UseFor
from compliance.vault.use import has_grant, heartbeat_credentials


@dataclass(frozen=True, slots=True)
class WantedCredential:
    """With whose credential a request is to be tried; whether that may be is decided when it is used."""

    organization_id: str
    use: str  # a value of UseFor
    credential_id: UUID | None  # None: whichever is granted
    required: bool  # somebody chose it: without it the run would not be what they asked for
    name: str = ""
    may_be_released: bool = False  # to the private runner that works on the request


def wanted_credentials(requests: Collection[ComplianceRequest]) -> dict[UUID, WantedCredential]:
    """With which credential each of these requests is to be tried; most with none. One query for all heartbeats."""
    wanted: dict[UUID, WantedCredential] = {}
    beats = [request for request in requests if request.triggered_by == TriggeredBy.HEARTBEAT]
    granted = heartbeat_credentials([request.agent_id for request in beats])
    for request in beats:
        if request.agent_id in granted:
            organization_id, credential_id = granted[request.agent_id]
            wanted[request.pk] = WantedCredential(organization_id, UseFor.HEARTBEATS, credential_id, required=False)
    for request in requests:
        if request.organization_id is None or request.credential_choice == CredentialChoice.NONE:
            continue
        use = UseFor.MONITORS if request.triggered_by == TriggeredBy.MONITOR else UseFor.OWNER_TESTS
        named, private = request.credential_choice == CredentialChoice.CHOSEN, request.pin.is_private
        may = (private or not named) and has_grant(
            organization_id=request.organization_id, agent_url=request.agent_id, use=use, to_runner=private
        )
        if named or may:
            wanted[request.pk] = WantedCredential(
                request.organization_id,
                use,
                request.credential_id,
                required=named,
                name=_name(request) if private and named else "",
                may_be_released=private and may,
            )
    return wanted


def _name(request: ComplianceRequest) -> str:
    assert request.organization_id is not None
    assert request.credential_id is not None
    kept = Credential.objects.filter(organization_id=request.organization_id, pk=request.credential_id)
    return kept.values_list("name", flat=True).first() or ""
