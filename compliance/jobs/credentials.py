"""The credential of a job: which one is selected when it is leased, and its use right before the run begins."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from uuid import UUID

from django.db import DatabaseError, connection

from compliance.engines import Credential as Usable
from compliance.engines import Notice, Report, Verdict
from compliance.engines.execution.loop import Access
from compliance.engines.reports.model import NOT_ACCEPTED
from compliance.jobs.leases import Lease, SelectedCredential
from compliance.jobs.models import CredentialChoice, Job
from compliance.runs.models import TriggeredBy
from compliance.runs.recording import UsedCredential
from compliance.vault.actions import forget_token
from compliance.vault.models import Credential, UseFor, UseResult
from compliance.vault.use import Attempt, CredentialRefused, granted, heartbeat_credentials, use_credential

logger = logging.getLogger(__name__)

_NOT_WRITTEN = "its use could not be written down, and what is not written down does not happen."


def select_credentials(jobs: Collection[Job]) -> dict[UUID, SelectedCredential]:
    """With which credential each of these jobs is to be tried; most with none. One query for all of a kind."""
    selected: dict[UUID, SelectedCredential] = {}
    beats = [job for job in jobs if job.triggered_by == TriggeredBy.HEARTBEAT]
    of_beats = heartbeat_credentials([job.agent_id for job in beats])
    for job in beats:
        if job.agent_id in of_beats:
            organization_id, credential_id = of_beats[job.agent_id]
            selected[job.pk] = SelectedCredential(organization_id, UseFor.HEARTBEATS, credential_id, required=False)
    for (organization_id, private), those in _of_organizations(jobs).items():
        asked = [(job.agent_id, _use(job)) for job in those]
        may = granted(organization_id=organization_id, attempts=asked, to_runner=private)
        for job, (_, use), is_granted in zip(those, asked, may, strict=True):
            named = job.credential_choice == CredentialChoice.CHOSEN
            if named or is_granted:
                selected[job.pk] = SelectedCredential(
                    organization_id,
                    use,
                    job.credential_id,
                    required=named,
                    name=_name(job) if private and named else "",
                    may_be_released=private and is_granted,
                )
    return selected


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


def used_credential(credential: Usable | None) -> UsedCredential | None:
    """What is recorded of the credential that a run was given."""
    if credential is None:
        return None
    return UsedCredential(credential.organization_id, UUID(credential.credential_id), credential.name)


def open_credential(lease: Lease) -> Access:
    """Use the credential that was selected for the job, if it may be used.

    A refused one that somebody chose ends the run before it begins: without it the run would not be what they asked
    for. A refused one that nobody chose is done without, and the run says so. For a thread of its own, whose database
    connection is closed in the end: it may wait for a token endpoint.
    """
    selected = lease.credential
    if selected is None:
        return Access()
    attempt = Attempt(
        organization_id=selected.organization_id,
        agent_url=lease.agent_url,
        use=selected.use,
        triggered_by=lease.triggered_by,
        by=lease.by,
        job_id=lease.job_id,
        run_id=lease.run_id,
        credential_id=selected.credential_id,
    )
    try:
        credential = use_credential(attempt)
        if credential is not None and lease.organization_id is None:
            # Read by everybody who has the agent: a report that quotes it would tell what its owner calls it.
            credential = replace(credential, name="")
        return Access(credential)
    except CredentialRefused as refused:
        return _without(lease, refused.result, refused.reason)
    except DatabaseError as error:
        logger.error("%s: no use of a credential could be written down: %s", lease.agent_url, type(error).__name__)
        return _without(lease, "unwritten", f"The credential was not used: {_NOT_WRITTEN}")
    finally:
        connection.close()


def after_run(used: UsedCredential | None, report: Report) -> None:
    """Drop a kept access token that the agent refused, so that the next run asks for a fresh one."""
    if used is None:
        return
    refused = any(step.key == "accepted" and step.verdict is Verdict.FAILED for _, _, step in report.steps())
    if refused or any(notice.code == NOT_ACCEPTED for notice in report.notices):
        forget_token(credential_id=used.credential_id, organization_id=used.organization_id)


def _without(lease: Lease, result: str, reason: str) -> Access:
    assert lease.credential is not None
    if lease.credential.required:
        return Access(instead=_refused_report(lease, reason))
    if lease.organization_id is None:
        # Read by everybody who has the agent: why is for the record of uses of the organization whose it is.
        reason = "The credential that its owner granted could not be used."
    elif result == UseResult.NO_GRANT:
        return Access()
    return Access(notice=Notice("without_credential", f"Tested without a credential. {reason}"))


def _refused_report(lease: Lease, reason: str) -> Report:
    notices = (Notice("credential_refused", reason),)
    return Report.broken(
        lease.engine, lease.suite_slug, lease.protocol, reason.rstrip("."), refused=True, notices=notices
    )
