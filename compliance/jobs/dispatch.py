"""Sends workers the messages that there is work. A lost one costs seconds, not work: the cleanup repeats it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

from django.db import transaction
from kombu.exceptions import OperationalError

from compliance.celery import app

logger = logging.getLogger(__name__)

EXECUTE = "compliance.jobs.tasks.execute_job"
EXECUTE_MANY = "compliance.jobs.tasks.execute_jobs"
HEARTBEATS = "compliance.jobs.tasks.run_heartbeats"
DETECT = "compliance.registry.tasks.detect_protocol"
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
