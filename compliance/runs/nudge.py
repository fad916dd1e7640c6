"""Tells a worker that there is work. A lost nudge costs seconds, not work: the sweeper repeats it."""

from __future__ import annotations

import logging
from uuid import UUID

from django.db import transaction
from kombu.exceptions import OperationalError

from compliance.celery import app

logger = logging.getLogger(__name__)

EXECUTE = "compliance.runs.tasks.execute_request"
HEARTBEATS = "compliance.runs.tasks.run_heartbeats"
DETECT = "compliance.runs.tasks.detect_protocol"


def send(task: str, *args: object) -> None:
    """Send the task now. A broker that is away is logged and survived."""
    try:
        app.send_task(task, args=args)
    except OperationalError as error:
        logger.warning("%s was not sent; the beat will make up for it: %s", task, error)


def after_commit(task: str, *args: object) -> None:
    """Send the task once the surrounding transaction is committed; never if it is rolled back."""
    transaction.on_commit(lambda: send(task, *args), robust=True)


def execute_after_commit(request_id: UUID, organization_id: str) -> None:
    """Nudge a worker for one organization's request."""
    after_commit(EXECUTE, str(request_id), organization_id)
