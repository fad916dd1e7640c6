"""With which credential a job is to be tried."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from compliance.jobs.models import CredentialChoice, Job
from compliance.runs.models import TriggeredBy
from compliance.vault.models import Credential, UseFor
from compliance.vault.use import granted, heartbeat_credentials


@dataclass(frozen=True, slots=True)
class WantedCredential:
    """With whose credential a job is to be tried; whether that may be is decided when it is used."""

    organization_id: str
    use: str  # a value of UseFor
    credential_id: UUID | None  # None: whichever is granted
    required: bool  # somebody chose it: without it the run would not be what they asked for
    name: str = ""
    may_be_released: bool = False  # to the private runner that works on the job


def wanted_credentials(jobs: Collection[Job]) -> dict[UUID, WantedCredential]:
    """With which credential each of these jobs is to be tried; most with none. One query for all of a kind."""
    wanted: dict[UUID, WantedCredential] = {}
    beats = [job for job in jobs if job.triggered_by == TriggeredBy.HEARTBEAT]
    of_beats = heartbeat_credentials([job.agent_id for job in beats])
    for job in beats:
        if job.agent_id in of_beats:
            organization_id, credential_id = of_beats[job.agent_id]
            wanted[job.pk] = WantedCredential(organization_id, UseFor.HEARTBEATS, credential_id, required=False)
    for (organization_id, private), those in _of_organizations(jobs).items():
        asked = [(job.agent_id, _use(job)) for job in those]
        may = granted(organization_id=organization_id, wanted=asked, to_runner=private)
        for job, (_, use), is_granted in zip(those, asked, may, strict=True):
            named = job.credential_choice == CredentialChoice.CHOSEN
            if named or is_granted:
                wanted[job.pk] = WantedCredential(
                    organization_id,
                    use,
                    job.credential_id,
                    required=named,
                    name=_name(job) if private and named else "",
                    may_be_released=private and is_granted,
                )
    return wanted


def _of_organizations(jobs: Collection[Job]) -> dict[tuple[str, bool], list[Job]]:
    """Those that may want a credential of an organization, by it and by whether a private runner works on them."""
    found: dict[tuple[str, bool], list[Job]] = {}
    for job in jobs:
        if job.organization_id is not None and job.credential_choice != CredentialChoice.NONE:
            found.setdefault((job.organization_id, job.placement.is_private), []).append(job)
    return found


def _use(job: Job) -> str:
    return UseFor.MONITORS if job.triggered_by == TriggeredBy.MONITOR else UseFor.OWNER_TESTS


def _name(job: Job) -> str:
    assert job.organization_id is not None
    assert job.credential_id is not None
    kept = Credential.objects.filter(organization_id=job.organization_id, pk=job.credential_id)
    return kept.values_list("name", flat=True).first() or ""
