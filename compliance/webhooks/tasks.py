"""What the beat calls."""

from celery import shared_task

from compliance.webhooks.actions import forget_old_deliveries


@shared_task
def forget_deliveries() -> int:
    """Delete deliveries that are older than they are kept."""
    return forget_old_deliveries()
