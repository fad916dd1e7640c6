"""The end of a job with a run: complete it, or end what was lost too often. The schedule advances with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from django.db.models.functions import Now

from compliance.engines.reports.model import Report
from compliance.engines.reports.validation import BadReport, accepted
from compliance.jobs.leases import HOSTED_WORKER, Executor, Lease, LeaseLost
from compliance.jobs.models import Job, JobState
from compliance.registry.actions import note_protocol
from compliance.runs.models import ComplianceRun
from compliance.runs.recording import UsedCredential, record_run
from compliance.tenancy.ids import uuid7
from compliance.tenancy.scope import Actor, scope_of

logger = logging.getLogger(__name__)

Handler = Callable[[Job, ComplianceRun], None]
_handlers: dict[str, Handler] = {}


def on_completion(triggered_by: str, handler: Handler) -> None:
    """Call the handler with each job that was caused so and its run, in the transaction that records the run."""
    _handlers[triggered_by] = handler


def complete_job(
    lease: Lease, report: Report, *, tested_at: datetime | None = None, credential: UsedCredential | None = None
) -> ComplianceRun:
    """Record the run and end the job, in one transaction.

    A report that is not valid becomes an inconclusive run that names the first bad place (L16).
    credential: the one that was used, if any.
    Raises LeaseLost when the lease is no longer the one that holds the job: the result is
    discarded, and nothing is written.
    """
    try:
        report = accepted(report, engine=lease.engine, suite=lease.suite_slug)
    except BadReport as bad:
        logger.error("the engine %s returned a bad report about %s: %s", lease.engine, lease.agent_url, bad)
        reason = f"the report of the engine {lease.engine} is not valid: {bad}"
        report = Report.broken(lease.engine, lease.suite_slug, lease.protocol, reason)
    with scope_of(lease.organization_id):
        job = held(lease.job_id, lease.token, HOSTED_WORKER)
        if job is None:
            raise LeaseLost("The lease ran out or the job has ended; the result was discarded.")
        run = end_with_run(
            job, report, tested_at, full_suite=lease.full_suite, run_id=lease.run_id, credential=credential
        )
        on_record, found = job.agent.protocol, run.found_protocol(job.agent)
    if found and lease.organization_id is not None:
        # Afterwards, and from outside: an agent that others have too is not an observer's to change.
        note = "A test found it."
        note_protocol(agent_url=lease.agent_url, protocol=report.protocol, note=note, instead_of=on_record)
    return run


def held(job_id: UUID, token: UUID, executor: Executor) -> Job | None:
    """The job, locked, if this executor holds it by this token; in an open scope."""
    job = Job.objects.locked(job_id)
    if job is None or job.state != JobState.LEASED:
        return None
    return job if (job.lease_token, job.leased_by) == (token, executor.id) else None


def end_lost(job: Job) -> ComplianceRun:
    """End a locked job whose executors were lost too often, as an inconclusive run."""
    who = "private runner" if job.placement.is_private else "worker"
    return end_without_result(job, f"the {who} was lost {job.attempt} times while it ran")


def end_without_result(job: Job, reason: str) -> ComplianceRun:
    """End a locked job of which no result is awaited any more, as an inconclusive run that says why (R7)."""
    # Whoever had it, and sends a result all the same, is not told that this one is theirs.
    job.lease_token = None
    return end_broken(job, reason, job.lease_run_id or uuid7())


def end_broken(job: Job, reason: str, run_id: UUID) -> ComplianceRun:
    """Record an inconclusive run, which says why, of a locked job for which there is no report (R7)."""
    version = job.suite_version
    report = Report.broken(version.engine, version.suite.slug, job.agent.protocol, reason)
    return end_with_run(job, report, None, full_suite=False, run_id=run_id)


def end_with_run(
    job: Job,
    report: Report,
    tested_at: datetime | None,
    *,
    full_suite: bool,
    run_id: UUID,
    credential: UsedCredential | None = None,
) -> ComplianceRun:
    """Record the run of a locked job and end it; the schedule that it came from advances with it (L8)."""
    Job.objects.filter(pk=job.pk).update(
        state=JobState.FINISHED,
        run_id=run_id,
        finished_at=Now(),
        finished_token=job.lease_token,
        lease_token=None,
        lease_expires_at=None,
    )
    run = record_run(
        report=report,
        agent_url=job.agent_id,
        suite_version=job.suite_version,
        triggered_by=job.triggered_by,
        by=Actor(job.actor_kind, job.actor_id, job.actor_name),
        organization_id=job.organization_id,
        lifecycle_stage=job.agent.lifecycle_stage,
        requested_at=job.created_at,
        tested_at=tested_at,
        dry_run=job.dry_run,
        full_suite=full_suite,
        executor_kind=job.executor_kind,
        executor_name=job.leased_by_name,
        executor_id=job.leased_by,
        job_id=job.pk,
        run_id=run_id,
        credential=credential,
    )
    if job.triggered_by in _handlers:
        _handlers[job.triggered_by](job, run)
    return run
