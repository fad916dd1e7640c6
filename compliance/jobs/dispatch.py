"""Notifies workers and private runners of jobs. A lost message costs seconds, not work: the cleanup repeats it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from uuid import UUID

from django.db import transaction
from kombu.exceptions import OperationalError

from compliance.celery import app
from compliance.database import call
from compliance.jobs.models import Job

logger = logging.getLogger(__name__)

EXECUTE = "compliance.jobs.tasks.execute_job"
EXECUTE_MANY = "compliance.jobs.tasks.execute_jobs"
HEARTBEATS = "compliance.jobs.tasks.run_heartbeats"
DETECT = "compliance.registry.tasks.detect_protocol"
WAKE_CHANNEL = "assay_work"  # what the web server listens to, where runners wait
IN_ONE_MESSAGE = 10  # jobs; one thread of a worker takes them together


def send(task: str, *args: object) -> None:
    """Send the task now. A broker that is away is logged and survived."""
    try:
        app.send_task(task, args=args)
    except OperationalError as error:
        logger.warning("%s was not sent; the beat will make up for it: %s", task, error)


def after_commit(task: str, *args: object) -> None:
    """Send the task once the surrounding transaction is committed; never if it is rolled back."""
    transaction.on_commit(lambda: send(task, *args), robust=True)


def notify_executors(jobs: Iterable[Job]) -> None:
    """Notify whoever may run these jobs of an organization, once the transaction is committed.

    Workers get a Celery message, and the web processes, where private runners wait, a PostgreSQL notification.
    """
    keys = set()
    hosted: dict[str, list[UUID]] = {}
    for job in jobs:
        assert job.organization_id is not None
        if job.placement.is_private:
            keys.add(wake_key(job))
        else:
            hosted.setdefault(job.organization_id, []).append(job.pk)
    for organization_id, job_ids in hosted.items():
        execute_all_after_commit(job_ids, organization_id)
    # Sent by the database when the transaction commits, and never when it is rolled back.
    for key in sorted(keys):
        call("pg_notify", WAKE_CHANNEL, key)


def wake_key(job: Job) -> str:
    """By what a waiting private runner is woken for this job."""
    return runner_key(job.runner_id) if job.runner_id else pool_key(job.organization_id, job.pool)


def runner_key(runner_id: UUID) -> str:
    return f"runner:{runner_id}"


def pool_key(organization_id: str | None, pool: str) -> str:
    return f"pool:{organization_id}:{pool}"


def execute_after_commit(job_id: UUID, organization_id: str) -> None:
    """Send a message for one organization's job."""
    after_commit(EXECUTE, str(job_id), organization_id)


def execute_all_after_commit(job_ids: Sequence[UUID], organization_id: str) -> None:
    """Send messages for jobs of one organization, with several in a message."""
    keys = [str(job_id) for job_id in job_ids]
    if len(keys) == 1:
        after_commit(EXECUTE, keys[0], organization_id)
        return
    for first in range(0, len(keys), IN_ONE_MESSAGE):
        after_commit(EXECUTE_MANY, keys[first : first + IN_ONE_MESSAGE], organization_id)
