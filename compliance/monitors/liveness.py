"""The tick's liveness: when each phase last completed, and counters of what came of them.

Nothing of any organization is in these tables, so that every role may read them. Each write is a short transaction
of its own: a phase that is rolled back has failed, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from compliance.monitors.models.tick import TickCounter, TickPhase

# When the phase that is longest without a completion had its last; NULL while none is missed. One parameter: seconds.
STILL_SINCE = """(
    SELECT CASE WHEN p.at < statement_timestamp() - make_interval(secs => %s) THEN p.at END
    FROM (SELECT min(coalesce(last_completed_at, made_at)) AS at FROM tick_phases
        WHERE name IN ('heartbeats', 'monitors', 'runners')) p
)"""


def still_since() -> datetime | None:
    """Since when the tick stands still; None while it does not. Needs no scope."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {STILL_SINCE}", [settings.TICK_DEAD_AFTER_SECONDS])
        since: datetime | None = cursor.fetchone()[0]
        return since


def begin(phase: str) -> None:
    """Note that a phase begins."""
    TickPhase.objects.update_or_create(name=phase, defaults={"last_started_at": Now()})


def complete(phase: str, *, duration_ms: int) -> None:
    """Note that a phase did all that it had to."""
    TickPhase.objects.filter(name=phase).update(last_completed_at=Now(), last_duration_ms=duration_ms)
    count("phases", {f"{phase}.completed": 1})


def fail(phase: str, error: Exception) -> None:
    """Note that a phase failed. Of the error only its kind: a message may quote somebody's data."""
    TickPhase.objects.filter(name=phase).update(last_failed_at=Now(), last_error=type(error).__name__[:100])
    count("phases", {f"{phase}.failed": 1})


def count(name: str, counts: Mapping[str, int]) -> None:
    """Add to counters. Never inside a longer transaction: others would wait for its end."""
    for label, number in counts.items():
        if not number:
            continue
        counters = TickCounter.objects.filter(name=name, label=label)
        if not counters.update(value=F("value") + number):
            TickCounter.objects.bulk_create([TickCounter(name=name, label=label, value=0)], ignore_conflicts=True)
            counters.update(value=F("value") + number)


def count_after_commit(name: str, label: str) -> None:
    """Add one to a counter once the surrounding transaction is committed."""
    transaction.on_commit(lambda: count(name, {label: 1}), robust=True)
