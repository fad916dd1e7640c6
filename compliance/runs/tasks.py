"""What Celery calls for the record."""

from __future__ import annotations

from celery import shared_task

from compliance.runs import recording


@shared_task
def keep_evidence_partitions() -> None:
    """Make the coming months' partitions of the evidence; drop the expired ones."""
    recording.keep_evidence_partitions()
