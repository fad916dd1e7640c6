"""What private runners have to do: what each holds, what waits for it, and what it ran. Needs the organization's scope.

A job whose lease has run out is waiting: whoever had it has lost it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import BooleanField, Count, ExpressionWrapper, Prefetch, Q
from django.db.models.functions import Now
from django.utils import timezone

from compliance.jobs.models import Job, JobState
from compliance.registry.models import ExecutorKind, Runner
from compliance.runs.models import NEWEST_FIRST, ComplianceRun
from compliance.suites.models import SuiteVersion


@dataclass(frozen=True, slots=True)
class Load:
    """How much each runner of an organization holds, and how much waits for it or for its pool."""

    held: Counter[UUID]
    waiting: Counter[UUID]
    waiting_in_pool: Counter[str]

    def waits_for(self, runner: Runner) -> int:
        return self.waiting[runner.pk] + (self.waiting_in_pool[runner.pool] if runner.pool else 0)


def load_of(organization_id: str) -> Load:
    """The load of all of an organization's runners; one query."""
    load = Load(Counter(), Counter(), Counter())
    holds = Q(state=JobState.LEASED, lease_expires_at__gt=Now())
    jobs = Job.objects.active().filter(organization_id=organization_id, executor_kind=ExecutorKind.PRIVATE)
    counted = jobs.annotate(is_held=ExpressionWrapper(holds, BooleanField())).values_list(
        "is_held", "leased_by", "runner_id", "pool"
    )
    for is_held, leased_by, runner_id, pool, count in counted.annotate(count=Count("pk")).order_by():
        if is_held:
            load.held[leased_by] += count
        elif runner_id:
            load.waiting[runner_id] += count
        else:
            load.waiting_in_pool[pool] += count
    return load


def held_by(runner: Runner) -> list[Job]:
    """What the runner works on, the longest held first."""
    return list(
        _private(runner)
        .filter(state=JobState.LEASED, lease_expires_at__gt=timezone.now(), leased_by=runner.pk)
        .order_by("started_at", "id")
    )


def waiting_for(runner: Runner, at_most: int) -> tuple[list[Job], int]:
    """The first of what waits for the runner or its pool, the oldest first, and how much there is."""
    free = Q(state=JobState.QUEUED) | Q(lease_expires_at__lte=timezone.now())
    waiting = _private(runner).filter(runner.work, free)
    first = list(waiting.order_by("created_at", "id")[: at_most + 1])
    return first[:at_most], waiting.count() if len(first) > at_most else len(first)


def _private(runner: Runner) -> Any:
    return (
        Job.objects.active()
        .filter(organization_id=runner.organization_id, executor_kind=ExecutorKind.PRIVATE)
        .select_related("suite_version__suite")
        .defer("suite_version__definition")
    )


def runs_by(runner: Runner, at_most: int) -> list[ComplianceRun]:
    """The last runs that the runner made, the newest first."""
    runs = ComplianceRun.objects.narrow().own(runner.organization_id).filter(executor_id=runner.pk)
    # Not a join, for the reason that compliance/runs/history.py gives.
    versions = SuiteVersion.objects.select_related("suite").defer("definition")
    return list(runs.prefetch_related(Prefetch("suite_version", versions)).order_by(*NEWEST_FIRST)[:at_most])
