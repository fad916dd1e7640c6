"""What the beat calls."""

from celery import shared_task

from compliance.monitors.decisions import forget_old_decisions
from compliance.monitors.tick import tick as make_what_is_due


@shared_task
def tick() -> dict[str, int]:
    """Create what is due: heartbeats and runs of monitors."""
    return make_what_is_due()


@shared_task
def forget_decisions() -> int:
    """Delete decisions that are older than they are kept."""
    return forget_old_decisions()
