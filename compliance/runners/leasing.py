"""The actions of a private runner: poll, renew, complete, fail or release a job, and be given a secret.

One rule says who may (L7): `at_work`. Who it is comes from the token that was shown, never from a body (L6).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from compliance.engines.reports.text import storable, storable_text
from compliance.engines.reports.validation import BadReport, from_json
from compliance.jobs.completion import end_broken, end_with_run, end_without_result
from compliance.jobs.credentials import after_run
from compliance.jobs.leases import Lease, LeaseLost, executor_of
from compliance.jobs.models import CredentialChoice, Job, JobState, RejectedReport
from compliance.jobs.queue import lease_private, release_jobs, renew_tokens
from compliance.registry.models import ExecutorKind, Runner
from compliance.runs.models import ComplianceRun
from compliance.runs.recording import UsedCredential
from compliance.tenancy.api_keys import KeyActor
from compliance.tenancy.errors import NotAllowed
from compliance.tenancy.events import Event, Priority, Subject, publish
from compliance.tenancy.models import ApiKey
from compliance.tenancy.scope import Actor, organization_scope
from compliance.vault.models import CredentialUse, UseFor, UseResult
from compliance.vault.use import Attempt, use_credential


class NotPrivate(Exception):
    """The job is for hosted workers."""


class ReportRefused(Exception):
    """What was sent is no report of this job: kept for its organization, and the job has ended (L16)."""

    def __init__(self, problem: str, run: ComplianceRun) -> None:
        super().__init__(problem)
        self.run = run


@dataclass(frozen=True, slots=True)
class About:
    """What a runner says of itself when it polls."""

    version: str = ""
    host: str = ""
    engines: Mapping[str, str] | None = None  # those that it can run, with their versions
    clock: datetime | None = None
    last_error: str = ""
    leaving: bool = False  # it stops: it counts as offline from now on, until it is heard of again


class KeyEnded(Exception):
    """The runner's token was revoked or replaced, or has expired, since the call began."""


@dataclass(frozen=True, slots=True)
class AtWork:
    """A private runner that its organization trusts, and the job that its call names, locked, if there is one."""

    runner: Runner
    job: Job | None = None


@contextmanager
def at_work(key: KeyActor, job_id: UUID | None = None) -> Iterator[AtWork]:
    """Open the scope of the runner's organization, with the runner kept as it is until the transaction ends.

    Raises NotAllowed when it is not trusted, and KeyEnded. Who disables or deletes it, or replaces its token, waits
    for this transaction, or comes before it (L3): the token is looked at again once the runner is held.
    """
    with organization_scope(key.organization_id):
        runner = next(iter(Runner.objects.raw(_TRUSTED, [key.organization_id, key.runner_id])), None)
        if not ApiKey.objects.valid().filter(pk=key.key_id).exists():
            raise KeyEnded
        if runner is None:
            raise NotAllowed("This runner is disabled or deleted. An owner or admin of the organization can enable it.")
        yield AtWork(runner, Job.objects.locked(job_id) if job_id else None)


# A lock that any number of its calls share, and that whoever changes the runner waits for: Django has no such.
_TRUSTED = "SELECT * FROM runners WHERE organization_id = %s AND id = %s AND state = 'active' FOR KEY SHARE"


def poll(runner: Runner, *, at_most: int, engines: Collection[str], about: About) -> list[Lease]:
    """Up to `at_most` leases on what is placed on the runner, which is at work, or on its pool, for engines it has."""
    if about.leaving:
        Runner.objects.filter(pk=runner.pk).update(online_until=timezone.now())
        return []
    _note(runner, about)
    leases: list[Lease] = []
    ended = 1
    # A batch of nothing but lost causes is not the end of the queue.
    while ended and not leases and at_most:
        leases, ended = lease_private(
            organization_id=runner.organization_id, executor=executor_of(runner), engines=engines, at_most=at_most
        )
    return leases


def _note(runner: Runner, about: About) -> None:
    """Write down that it was heard of, and what it said, if that is news."""
    now = timezone.now()
    said: dict[str, Any] = {
        "version": storable(about.version)[:40],
        "host": storable(about.host)[:200],
        "engines": {storable(name)[:60]: storable(version)[:60] for name, version in (about.engines or {}).items()},
    }
    was_away, told = not runner.is_online, runner.offline_notified_at is not None
    news = {name: value for name, value in said.items() if getattr(runner, name) != value}
    if about.last_error and about.last_error[:500] != runner.last_error:
        news |= {"last_error": storable(about.last_error)[:500], "last_error_at": now}
    if not (news or was_away or _unseen(runner, now)):
        return
    if about.clock is not None:
        news["clock_ahead_ms"] = round((about.clock - now).total_seconds() * 1000)
    runner.seen(now)
    news |= {"last_seen_at": now, "online_until": runner.online_until, "online_since": runner.online_since}
    if told:
        news["offline_notified_at"] = None
    Runner.objects.filter(pk=runner.pk).update(**news)
    if told:
        publish(
            Event(
                organization_id=runner.organization_id,
                subject=Subject.RUNNER,
                subject_id=runner.pk,
                text=f"The private runner {runner.name} is back.",
                occasion=f"runner-back:{runner.pk}:{now.isoformat()}",
                priority=Priority.LOW,
            )
        )


def _unseen(runner: Runner, now: datetime) -> bool:
    """Whether it should be written down again that it was heard of."""
    every = timedelta(seconds=settings.RUNNER_SEEN_EVERY_SECONDS)
    return runner.last_seen_at is None or now - runner.last_seen_at >= every


def renew(runner: Runner, *, tokens: Mapping[UUID, UUID], progress: Mapping[UUID, dict[str, Any]]) -> dict[UUID, str]:
    """Prolong the leases of a runner at work on these jobs; returns for each that is lost, why.

    However old they are: a live executor's lease never runs out (L12). Its organization can cancel the test.
    """
    held = renew_tokens(dict(tokens), dict(progress), executor_of(runner))
    if tokens and _unseen(runner, now := timezone.now()):
        # One that has all hands full does not poll, and is not offline. Written after the jobs are: whoever ends
        # one of them holds it, and then writes this row.
        runner.seen(now)
        runner.save(update_fields=["last_seen_at", "online_until", "online_since"])
    lost = [job_id for job_id in tokens if job_id not in held]
    if not lost:
        return {}
    rows = {job.pk: job for job in Job.objects.filter(pk__in=lost)}
    return {job_id: why_lost(rows.get(job_id), runner) for job_id in lost}


def why_lost(job: Job | None, runner: Runner) -> str:
    """Why the runner no longer holds the job, in words for its log."""
    if job is None:
        return "There is no such job."
    match job.state:
        case JobState.CANCELLED:
            return f"The job was cancelled. {job.end_reason}".strip()
        case JobState.EXPIRED:
            return f"The job has expired. {job.end_reason}".strip()
        case _ if job.leased_by != runner.pk and not job.placement.names(runner):
            return "The job is not placed on this runner."
        case JobState.FINISHED if job.leased_by != runner.pk:
            return "The job has ended with the result of another runner."
        case JobState.FINISHED:
            return "The lease ran out, and the job has ended with another result."
        case JobState.LEASED if job.leased_by != runner.pk:
            return f"The job is with another runner, “{job.leased_by_name}”."
        case JobState.LEASED:
            return "The lease ran out, and the job was leased anew."
        case JobState.QUEUED if job.leased_by != runner.pk:
            return (
                "This runner does not have the job: the lease ran out or was taken back, or there was none."
                " The job waits to be taken."
            )
    return "The lease ran out or was taken back; the job waits to be taken again."


def _held(at: AtWork, token: UUID) -> Job:
    """The job of the call, if the runner holds it by this token.

    Raises Job.DoesNotExist, NotPrivate, or LeaseLost, which says why.
    """
    runner, job = at.runner, at.job
    if job is None or job.organization_id != runner.organization_id:
        raise Job.DoesNotExist
    if job.executor_kind != ExecutorKind.PRIVATE:
        raise NotPrivate
    if job.state != JobState.LEASED or job.lease_token != token or job.leased_by != runner.pk:
        raise LeaseLost(f"The result was discarded. {why_lost(job, runner)}")
    return job


def complete(
    at: AtWork, *, token: UUID, report: Any, age: timedelta = timedelta(), secret_of_assay: bool = False
) -> ComplianceRun:
    """Record the report of the job of a call, if its runner holds it.

    report: JSON values. age: how long ago the test ended, by the runner's monotonic clock: its calendar may be wrong.
    The same once more is answered the same (L5). Raises Job.DoesNotExist, NotPrivate, LeaseLost, or
    ReportRefused: then the job has ended, and the transaction must be committed all the same.
    """
    runner = at.runner
    try:
        job = _held(at, token)
    except LeaseLost:
        already = _run_of(at, token)
        if already is None:
            raise
        rejected = RejectedReport.objects.filter(job_id__in=[already.job_id]).first()
        if rejected is not None:
            raise ReportRefused(rejected.problem, already) from None
        return already
    try:
        read = from_json(report, engine=job.suite_version.engine, suite=job.suite_version.suite.slug)
    except BadReport as bad:
        problem = storable_text(str(bad))[:300]
        raise ReportRefused(problem, _end_refused(job, runner, report, problem)) from None
    assert job.lease_run_id is not None
    used = _used(job) if secret_of_assay else None
    run = end_with_run(
        job,
        read,
        _tested_at(job, age),
        full_suite=job.asks_for_full_suite,
        run_id=job.lease_run_id,
        credential=used,
    )
    after_run(used, read)
    return run


def _run_of(at: AtWork, token: UUID) -> ComplianceRun | None:
    """The run that the job of the call has ended with, if it was this runner's, by this token."""
    done = at.job
    if done is None or done.run_id is None or (done.finished_token, done.leased_by) != (token, at.runner.pk):
        return None
    return ComplianceRun.objects.get(pk=done.run_id)


def _tested_at(job: Job, age: timedelta) -> datetime:
    now = timezone.now()
    return min(max(now - age, job.started_at or now), now)


def _used(job: Job) -> UsedCredential | None:
    assert job.lease_run_id is not None
    use = CredentialUse.objects.filter(
        organization_id=job.organization_id, job_id=job.pk, run_id=job.lease_run_id, result=UseResult.OK
    ).first()
    return UsedCredential(use.organization_id, use.credential_id, use.credential_name) if use else None


def _end_refused(job: Job, runner: Runner, body: Any, problem: str) -> ComplianceRun:
    assert job.lease_run_id is not None
    assert job.organization_id is not None
    RejectedReport.objects.create(
        organization_id=job.organization_id,
        job=job,
        runner_id=runner.pk,
        runner_name=runner.name,
        problem=problem,
        body=json.dumps(storable(body), ensure_ascii=False)[: settings.REJECTED_REPORT_BYTES],
    )
    return end_broken(job, f"the report of the private runner is not valid: {problem}", job.lease_run_id)


def fail(at: AtWork, *, token: UUID, reason: str) -> ComplianceRun:
    """End the job of a call, which its runner could not test as asked, as an inconclusive run that says why.

    (R7, L8.) Raises as `complete` does.
    """
    try:
        job = _held(at, token)
    except LeaseLost:
        already = _run_of(at, token)
        if already is None:
            raise
        return already
    assert job.lease_run_id is not None
    reason = storable(" ".join(reason.split()))[:300] or "the private runner could not test"
    Runner.objects.filter(pk=at.runner.pk).update(last_error=reason, last_error_at=timezone.now())
    return end_broken(job, reason.rstrip("."), job.lease_run_id)


def release(at: AtWork, *, token: UUID) -> str:
    """Hand the job of a call back, untested, so that it is taken again; returns its state.

    What was handed back too often is not queued again: it ends as an inconclusive run.
    """
    job = _held(at, token)
    if job.releases >= settings.PRIVATE_JOB_MAX_RELEASES:
        end_without_result(job, f"private runners handed the test back {job.releases + 1} times")
        return JobState.FINISHED
    release_jobs([job], counted=False, by_runner=True)
    return JobState.QUEUED


def release_secret(key: KeyActor, job_id: UUID, *, token: UUID) -> Any:
    """The credential that the job wants, for the runner to send; on record before it is given (V2).

    Opens its own scopes: what is written down must be committed whatever happens then. Returns None when none is
    wanted or granted. Raises as at_work and `complete` do, or CredentialRefused.
    """
    with at_work(key, job_id) as at:
        job = _held(at, token)
        assert job.lease_run_id is not None
        if job.credential_choice == CredentialChoice.NONE:
            return None  # an attempt that names none would be given whichever is granted
        attempt = Attempt(
            organization_id=key.organization_id,
            agent_url=job.agent_id,
            use=UseFor.MONITORS if job.monitor_id else UseFor.OWNER_TESTS,
            triggered_by=job.triggered_by,
            by=Actor(job.actor_kind, job.actor_id, job.actor_name),
            job_id=job.pk,
            run_id=job.lease_run_id,
            credential_id=job.credential_id,
            executor_name=at.runner.name,
            to_runner=True,
            # Again, and kept until the use is on record: the runner, then its job, then what it is granted.
            keep_trusted=lambda: _keep_trusted(key, job_id, token),
        )
    return use_credential(attempt)


def _keep_trusted(key: KeyActor, job_id: UUID, token: UUID) -> None:
    # In the transaction that reads the secret, which keeps these locks.
    with at_work(key, job_id) as at:
        _held(at, token)
