"""Runners that were lost: their organizations are notified once."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from compliance.database import call
from compliance.registry.models import Runner, RunnerState
from compliance.tenancy.events import Event, Priority, Subject, publish
from compliance.tenancy.scope import organization_scope

BATCH = 500


def notify_of_lost_runners() -> int:
    """Notify the organizations of runners that have been offline for long; returns of how many."""
    after = timedelta(seconds=settings.RUNNER_NOTIFY_OFFLINE_AFTER_SECONDS)
    organizations = sorted({organization_id for (organization_id,) in call("runners_gone", after, BATCH)})
    notified = 0
    for organization_id in organizations:
        with organization_scope(organization_id):
            notified += _notify(organization_id)
    return notified


def _notify(organization_id: str) -> int:
    before = timezone.now() - timedelta(seconds=settings.RUNNER_NOTIFY_OFFLINE_AFTER_SECONDS)
    gone = list(
        Runner.objects.not_deleted(organization_id)
        .filter(
            state=RunnerState.ACTIVE, last_seen_at__lt=before, online_until__lt=timezone.now(), offline_notified_at=None
        )
        .select_for_update(skip_locked=True, of=("self",))[:BATCH]
    )
    for runner in gone:
        assert runner.last_seen_at is not None
        runner.offline_notified_at = timezone.now()
        runner.save(update_fields=["offline_notified_at"])
        publish(
            Event(
                organization_id=organization_id,
                subject=Subject.RUNNER,
                subject_id=runner.pk,
                text=f"The private runner {runner.name} is offline. What is placed on it waits.",
                occasion=f"runner-offline:{runner.pk}:{runner.last_seen_at.isoformat()}",
                priority=Priority.HIGH,
            )
        )
    return len(gone)
