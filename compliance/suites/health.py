"""Which engines the workers have: each worker says so when it starts, and again and again while it lives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from compliance.engines import UnknownEngine, engine_health, engine_names, get_engine
from compliance.suites.models import EngineHealth, oldest_valid_health

KEPT = timedelta(days=1)  # what a lost worker said, for staff to see


def health_here() -> list[EngineHealth]:
    """Every engine of this machine as an unsaved row with no worker; asks each engine, and touches no database."""
    return [_health_of(name) for name in engine_names()]


def _health_of(name: str) -> EngineHealth:
    health = engine_health(name)
    row = EngineHealth(engine=name, available=health.available, reason=health.reason[:1000])
    try:
        engine = get_engine(name)
    except UnknownEngine:
        return row
    row.version, row.memory_mb = engine.version[:60], engine.memory_mb
    row.runtime = {str(key)[:60]: str(value)[:100] for key, value in health.runtime.items()}
    return row


@transaction.atomic
def record_engine_health(worker: str) -> list[EngineHealth]:
    """Ask this process's engines, and store what they say as the worker's; returns the rows."""
    rows, now = health_here(), timezone.now()
    for row in rows:
        row.worker, row.checked_at = worker[:200], now
    EngineHealth.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["worker", "engine"],
        update_fields=["version", "available", "reason", "runtime", "memory_mb", "checked_at"],
    )
    gone = EngineHealth.objects.filter(worker=worker[:200]).exclude(engine__in=[row.engine for row in rows])
    gone.delete()
    EngineHealth.objects.filter(checked_at__lt=now - KEPT).delete()
    return rows


def forget_engine_health(worker: str) -> None:
    """A worker that ends has no engines any more."""
    EngineHealth.objects.filter(worker=worker[:200]).delete()


@dataclass(frozen=True, slots=True)
class Availability:
    """Which engines the live workers have, read once for a page."""

    available: frozenset[str]
    reasons: dict[str, str]  # of the engines that no live worker can run
    any_worker: bool

    def problem(self, engine: str) -> str:
        """Why the engine's suites cannot be run now; "" when they can.

        Without any live worker nothing is known: what is asked for waits for one, as all work does.
        """
        if engine in self.available or not self.any_worker:
            return ""
        return self.reasons.get(engine) or f"No worker has the engine “{engine}”."


def read_availability() -> Availability:
    """What the live workers said last, in one query."""
    reports: Iterable[tuple[str, bool, str]] = (
        EngineHealth.objects.filter(checked_at__gt=oldest_valid_health())
        .order_by("-checked_at", "worker")
        .values_list("engine", "available", "reason")
    )
    available: set[str] = set()
    reasons: dict[str, str] = {}
    any_worker = False
    for engine, can_run, reason in reports:
        any_worker = True
        if can_run:
            available.add(engine)
        else:
            reasons.setdefault(engine, reason)
    return Availability(frozenset(available), reasons, any_worker)
