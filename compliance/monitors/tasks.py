"""What the beat calls."""

from celery import shared_task

from compliance.monitors.actions import request_due_heartbeats


@shared_task
def heartbeat_tick() -> int:
    """Create the heartbeats that are due."""
    return request_due_heartbeats()
