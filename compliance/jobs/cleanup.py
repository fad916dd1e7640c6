"""Cleanup: what a lost message, a lost executor or nobody at all left behind in the queue."""

from __future__ import annotations

import logging
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, close_old_connections, transaction
from django.db.models.functions import Now
from django.utils import timezone

from compliance.database import call
from compliance.jobs import dispatch
from compliance.jobs.completion import end_lost
from compliance.jobs.models import Job, JobState
from compliance.jobs.queue import release_jobs
from compliance.registry.models import ExecutorKind
from compliance.tenancy.scope import scope_of

logger = logging.getLogger(__name__)

BATCH = 500


def clean_up_jobs() -> dict[str, int]:
    """One round; returns how many jobs were dispatched again, taken back from lost private runners, and expired.

    A private job that was lost too often ends here; a hosted one when the next worker would lease it (queue.py).
    Each part is tried, whatever becomes of the others; then the first failure is raised.
    """
    counts: dict[str, int] = {}
    failures: list[Exception] = []
    for name, part in (("dispatched", dispatch_again), ("taken_back", take_back), ("expired", expire_jobs)):
        try:
            counts[name] = part()
        except Exception as failure:
            logger.exception("a part of the cleanup failed: %s", name)
            failures.append(failure)
            close_old_connections()
    if failures:
        raise failures[0]
    return counts


@transaction.atomic
def dispatch_again() -> int:
    """Send a message again for every hosted job that nobody picked up or whose worker was lost; returns how many."""
    stale = call("stale_jobs", timedelta(seconds=settings.JOB_REDISPATCH_AFTER_SECONDS), BATCH)
    by_organization: dict[str | None, list[UUID]] = {}
    for job_id, organization_id in stale:
        by_organization.setdefault(organization_id, []).append(job_id)
    for organization_id, job_ids in by_organization.items():
        with scope_of(organization_id):
            Job.objects.filter(pk__in=job_ids).update(dispatched_at=timezone.now())
        if organization_id is None:
            dispatch.after_commit(dispatch.HEARTBEATS)
        else:
            for job_id in job_ids:
                dispatch.execute_after_commit(job_id, organization_id)
    return len(stale)


def take_back() -> int:
    """Queue again what private runners held when their leases ran out; what was lost too often ends (L12).

    Each organization in a transaction of its own, and one that fails does not stop the others; the first failure is
    raised at the end. Returns how many jobs that were.
    """
    organizations = sorted({organization_id for (organization_id,) in call("lapsed_private_jobs", BATCH)})
    count = 0
    failures: list[DatabaseError] = []
    for organization_id in organizations:
        try:
            count += _take_back(organization_id)
        except DatabaseError as failure:
            logger.exception("what private runners of %s lost could not be taken back", organization_id)
            failures.append(failure)
            close_old_connections()
    if failures:
        raise failures[0]
    return count


def _take_back(organization_id: str) -> int:
    with scope_of(organization_id):
        lapsed = list(
            Job.objects.to_run()
            .filter(
                organization_id=organization_id,
                executor_kind=ExecutorKind.PRIVATE,
                state=JobState.LEASED,
                lease_expires_at__lt=Now(),
            )
            .select_for_update(skip_locked=True, of=("self",))[:BATCH]
        )
        again = [job for job in lapsed if job.attempt < settings.JOB_MAX_ATTEMPTS]
        release_jobs(again, counted=True)
        for job in lapsed:
            if job not in again:
                end_lost(job)
    return len(lapsed)


def expire_jobs() -> int:
    """End what nobody served in time, without a run and without moving a schedule (L15); returns how many."""
    ended: int = call("expire_jobs", BATCH)[0][0]
    return ended
