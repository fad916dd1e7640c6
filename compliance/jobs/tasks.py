"""What Celery calls. Each task opens a scope by calling one action; it may be delivered twice or never."""

from __future__ import annotations

import threading
from uuid import UUID

from celery import shared_task
from django.conf import settings

from compliance.jobs.cleanup import clean_up_jobs
from compliance.jobs.leases import Lease
from compliance.jobs.queue import lease_heartbeats, lease_job
from compliance.jobs.worker import run_leases

_draining = threading.Lock()


@shared_task
def execute_job(job_id: str, organization_id: str) -> None:
    """Run one organization's job, if nobody else does."""
    _execute([job_id], organization_id)


@shared_task
def execute_jobs(job_ids: list[str], organization_id: str) -> None:
    """Run several of an organization's jobs, in flight at once; those that somebody else has are left out."""
    _execute(job_ids, organization_id)


def _execute(job_ids: list[str], organization_id: str) -> None:
    waiting = [UUID(job_id) for job_id in reversed(job_ids)]

    def lease_them(at_most: int) -> list[Lease]:
        leases: list[Lease] = []
        while waiting and len(leases) < at_most:
            lease = lease_job(waiting.pop(), organization_id)
            if lease is not None:
                leases.append(lease)
        return leases

    run_leases(lease_them, concurrency=max(1, len(waiting)))


@shared_task
def run_heartbeats() -> None:
    """Run the platform's jobs, many in flight, until none is left. One at a time in a process."""
    if not _draining.acquire(blocking=False):
        return  # the one that drains takes new jobs along
    try:
        run_leases(lease_heartbeats, concurrency=settings.HEARTBEAT_CONCURRENCY)
    finally:
        _draining.release()


@shared_task
def clean_up() -> dict[str, int]:
    """Find what a lost message or a lost executor left behind, and end what nobody serves."""
    return clean_up_jobs()
