"""With which credential a request is to be tried."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from compliance.jobs.models import ComplianceRequest, CredentialChoice
from compliance.runs.models import TriggeredBy
from compliance.vault.models import Credential, UseFor
from compliance.vault.use import granted, heartbeat_credentials


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
    """With which credential each of these requests is to be tried; most with none. One query for all of a kind."""
    wanted: dict[UUID, WantedCredential] = {}
    beats = [request for request in requests if request.triggered_by == TriggeredBy.HEARTBEAT]
    of_beats = heartbeat_credentials([request.agent_id for request in beats])
    for request in beats:
        if request.agent_id in of_beats:
            organization_id, credential_id = of_beats[request.agent_id]
            wanted[request.pk] = WantedCredential(organization_id, UseFor.HEARTBEATS, credential_id, required=False)
    for (organization_id, private), those in _of_organizations(requests).items():
        asked = [(request.agent_id, _use(request)) for request in those]
        may = granted(organization_id=organization_id, wanted=asked, to_runner=private)
        for request, (_, use), is_granted in zip(those, asked, may, strict=True):
            named = request.credential_choice == CredentialChoice.CHOSEN
            if named or is_granted:
                wanted[request.pk] = WantedCredential(
                    organization_id,
                    use,
                    request.credential_id,
                    required=named,
                    name=_name(request) if private and named else "",
                    may_be_released=private and is_granted,
                )
    return wanted


def _of_organizations(requests: Collection[ComplianceRequest]) -> dict[tuple[str, bool], list[ComplianceRequest]]:
    """Those that may want a credential of an organization, by it and by whether a private runner works on them."""
    found: dict[tuple[str, bool], list[ComplianceRequest]] = {}
    for request in requests:
        if request.organization_id is not None and request.credential_choice != CredentialChoice.NONE:
            found.setdefault((request.organization_id, request.pin.is_private), []).append(request)
    return found


def _use(request: ComplianceRequest) -> str:
    return UseFor.MONITORS if request.triggered_by == TriggeredBy.MONITOR else UseFor.OWNER_TESTS


def _name(request: ComplianceRequest) -> str:
    assert request.organization_id is not None
    assert request.credential_id is not None
    kept = Credential.objects.filter(organization_id=request.organization_id, pk=request.credential_id)
    return kept.values_list("name", flat=True).first() or ""
