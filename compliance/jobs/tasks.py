"""What Celery calls. Each task opens a scope by calling one action; it may be delivered twice or never."""

from __future__ import annotations

import asyncio
import threading
from uuid import UUID

from celery import shared_task
from django.conf import settings

from compliance.engines import Limits, Target
from compliance.engines import detect_protocol as ask_agent
from compliance.jobs.cleanup import clean_up_jobs
from compliance.jobs.leases import Lease
from compliance.jobs.queue import lease_heartbeats, lease_job
from compliance.jobs.worker import run_leases
from compliance.registry.actions import note_protocol

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
    wanted = [UUID(job_id) for job_id in reversed(job_ids)]

    def lease_them(at_most: int) -> list[Lease]:
        leases: list[Lease] = []
        while wanted and len(leases) < at_most:
            lease = lease_job(wanted.pop(), organization_id)
            if lease is not None:
                leases.append(lease)
        return leases

    run_leases(lease_them, concurrency=len(wanted))


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
def detect_protocol(agent_url: str) -> None:
    """Ask the agent which protocol it speaks, and keep the answer."""
    target = Target(
        url=agent_url,
        deadline=float(settings.TEST_DEADLINE_SECONDS),
        limits=Limits(step_seconds=float(settings.STEP_TIMEOUT_SECONDS)),
        allow=settings.EGRESS_ALLOW,
    )
    detection = asyncio.run(ask_agent(target))
    note_protocol(agent_url=agent_url, protocol=detection.protocol, note=detection.reason)


@shared_task
def clean_up() -> dict[str, int]:
    """Find what a lost message or a lost executor left behind, and end what nobody serves."""
    return clean_up_jobs()
