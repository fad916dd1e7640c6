"""The tick's dead-man switch: when each phase last completed, and counters of what came of them.

Nothing of any organization is in these tables, so that every role may read them. Each write is a short transaction
of its own: a phase that is rolled back has failed, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection, transaction

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
    _write(
        """
        INSERT INTO tick_phases (name, last_started_at) VALUES (%s, statement_timestamp())
        ON CONFLICT (name) DO UPDATE SET last_started_at = excluded.last_started_at
        """,
        [phase],
    )


def complete(phase: str, *, duration_ms: int) -> None:
    """Note that a phase did all that it had to."""
    _write(
        "UPDATE tick_phases SET last_completed_at = statement_timestamp(), last_duration_ms = %s WHERE name = %s",
        [duration_ms, phase],
    )
    count("phases", {f"{phase}.completed": 1})


def fail(phase: str, error: Exception) -> None:
    """Note that a phase failed. Of the error only its kind: a message may quote somebody's data."""
    _write(
        "UPDATE tick_phases SET last_failed_at = statement_timestamp(), last_error = %s WHERE name = %s",
        [type(error).__name__[:100], phase],
    )
    count("phases", {f"{phase}.failed": 1})


def count(name: str, counts: Mapping[str, int]) -> None:
    """Add to counters, in one statement. Never inside a longer transaction: others would wait for its end."""
    added = sorted((str(label), number) for label, number in counts.items() if number)  # one order: no deadlock
    if added:
        _write(
            """
            INSERT INTO tick_counters (name, label, value)
            SELECT %s, n.label, n.value FROM unnest(%s::text[], %s::bigint[]) AS n(label, value)
            ON CONFLICT (name, label) DO UPDATE SET value = tick_counters.value + excluded.value
            """,
            [name, [label for label, _ in added], [number for _, number in added]],
        )


def count_after_commit(name: str, label: str) -> None:
    """Add one to a counter once the surrounding transaction is committed."""
    transaction.on_commit(lambda: count(name, {label: 1}), robust=True)


def _write(statement: str, parameters: list[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
