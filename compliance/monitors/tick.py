"""The tick: claims the monitors that are due, asks the gates, writes one decision for each, and creates jobs.

An organization is evaluated in one transaction that holds its row: so its caps and its budget are checked and
reserved in one step, whatever the number of ticks (G5). Another tick skips it, and waits for nobody.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.db.models.functions import Now

from compliance.database import call, database_time
from compliance.jobs.dispatch import notify_executors
from compliance.jobs.models import Job
from compliance.monitors import liveness
from compliance.monitors.gates import Capacity, job_for, locked_contexts, stopped_by
from compliance.monitors.heartbeats import create_due_heartbeats, skip_due_heartbeats
from compliance.monitors.models import FOR_CAPACITY, SCHEDULER, Monitor, MonitorDecision, Outcome
from compliance.monitors.schedule import BadSchedule
from compliance.registry.models import AgentContext
from compliance.runners.liveness import notify_of_lost_runners
from compliance.suites.health import Availability, read_availability
from compliance.suites.models import Suite, SuiteVersion
from compliance.tenancy.models import Organization
from compliance.tenancy.scope import organization_scope

logger = logging.getLogger(__name__)

BATCH = 500  # monitors of one organization that one transaction decides about
LOOK_AHEAD = 1000  # due monitors whose organizations are looked up at once


def tick() -> dict[str, int]:
    """One round of everything that is due; returns what came of it, by phase and outcome.

    The phases fail apart (L11): each is tried, and then the first failure is raised.
    """
    phases: dict[str, Callable[[], Counter[str]]] = {
        "heartbeats": lambda: Counter(created=create_due_heartbeats()) + skip_due_heartbeats(),
        "monitors": create_due_monitor_jobs,
        "runners": lambda: Counter(told_offline=notify_of_lost_runners()),
    }
    counts: dict[str, int] = {}
    failures: list[Exception] = []
    for name, phase in phases.items():
        started = time.monotonic()
        try:
            liveness.begin(name)
            counts |= {f"{name}.{outcome}": count for outcome, count in phase().items()}
            liveness.complete(name, duration_ms=round((time.monotonic() - started) * 1000))
        except Exception as failure:
            logger.exception("the phase %s of the tick failed", name)
            failures.append(failure)
            close_old_connections()
            _note_failure(name, failure)
    if failures:
        raise failures[0]
    return counts


def _note_failure(phase: str, failure: Exception) -> None:
    try:
        liveness.fail(phase, failure)
    except DatabaseError:
        # That it has not completed says enough; what failed first is what is raised.
        logger.exception("that the phase %s failed is not on record", phase)


def create_due_monitor_jobs() -> Counter[str]:
    """Decide about every monitor that is due, and create the jobs that the gates let pass; counts by outcome.

    What fails for one organization does not stop the others; the first failure of the database is raised at the end.
    """
    counts: Counter[str] = Counter()
    failures: list[DatabaseError] = []
    gives_up_at = time.monotonic() + settings.MONITOR_TICK_SECONDS
    while time.monotonic() < gives_up_at:
        decided = 0
        organizations = [organization_id for (organization_id,) in call("organizations_due", LOOK_AHEAD)]
        if not organizations:
            break
        catalog = SuiteCatalog.read()
        for organization_id in organizations:
            try:
                outcomes = _evaluate(organization_id, catalog)
            except DatabaseError as failure:
                logger.exception("the monitors of %s could not be decided about", organization_id)
                failures.append(failure)
                close_old_connections()
                continue
            counts += outcomes
            decided += outcomes.total()
            if time.monotonic() >= gives_up_at:
                break
        # What others hold, and what failed, is for the next tick.
        if not decided or failures:
            break
    liveness.count("decisions", counts)
    if failures:
        raise failures[0]
    return counts


def _evaluate(organization_id: str, catalog: SuiteCatalog) -> Counter[str]:
    try:
        return _decide_all(organization_id, catalog)
    except DatabaseError:
        raise
    except Exception:
        # One of them breaks the evaluation: each by itself, so that it alone fails, and says so (G4).
        logger.exception("the monitors of %s are decided about one by one", organization_id)
    counts: Counter[str] = Counter()
    with organization_scope(organization_id):
        due = list(Monitor.objects.due(organization_id, database_time()).values_list("pk", flat=True)[:BATCH])
    for monitor_id in due:
        try:
            counts += _decide_all(organization_id, catalog, only=monitor_id)
        except DatabaseError:
            raise
        except Exception as failure:
            logger.exception("the monitor %s could not be decided about", monitor_id)
            counts += _fail(organization_id, monitor_id, failure)
    return counts


def _decide_all(organization_id: str, catalog: SuiteCatalog, *, only: UUID | None = None) -> Counter[str]:
    """One transaction: lock, ask, write. Nothing at all when another tick has the organization."""
    with organization_scope(organization_id):
        now = _locked_by_us(organization_id)
        if now is None:
            return Counter()
        monitors = lock_due(organization_id, now, at_most=BATCH, only=only)
        if not monitors:
            return Counter()
        catalog.attach_to(monitors)
        contexts = locked_contexts(monitors)
        capacity = Capacity.read(organization_id, now, monitors, contexts, catalog.availability)
        decisions, jobs, moved = [], [], []
        for monitor in monitors:
            # A job was created, or the agent is just being removed, since it was found due: it is not evaluated.
            if monitor.pk in capacity.with_active_job or (monitor.context_id and monitor.context_id not in contexts):
                continue
            decision, job = _decide(monitor, contexts, capacity)
            decisions.append(decision)
            if job is None:
                moved.append(monitor)
            else:
                jobs.append(job)
        Job.objects.bulk_create(jobs)
        MonitorDecision.objects.bulk_create(decisions)
        _store(moved)
        notify_executors(jobs)
        return Counter(decision.outcome for decision in decisions)


def _locked_by_us(organization_id: str) -> datetime | None:
    """The database's time under the organization's lock; None when somebody else has it."""
    organization = Organization.objects.filter(pk=organization_id).select_for_update(no_key=True, skip_locked=True)
    return organization.annotate(now=Now()).values_list("now", flat=True).first()


def _store(moved: Collection[Monitor]) -> None:
    """Write the states and next times of monitors.

    Raw, because the ORM's bulk_update, with a branch for each value, takes the tick's benchmark to six times its time.
    """
    if not moved:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE monitors m
            SET state = n.state, state_reason = n.reason, next_run_at = n.at, deferred_until = n.deferred_until,
                waiting_since = n.waiting_since
            FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::timestamptz[])
                AS n(id, state, reason, at, deferred_until, waiting_since)
            WHERE m.id = n.id
            """,
            [
                [monitor.pk for monitor in moved],
                [str(monitor.state) for monitor in moved],
                [monitor.state_reason for monitor in moved],
                [monitor.next_run_at for monitor in moved],
                [monitor.deferred_until for monitor in moved],
                [monitor.waiting_since for monitor in moved],
            ],
        )


def _decide(
    monitor: Monitor, contexts: dict[UUID, AgentContext], capacity: Capacity
) -> tuple[MonitorDecision, Job | None]:
    """What becomes of one occurrence. What is refused for want of capacity stays due (Q1); else the schedule goes on
    at once (L8)."""
    occurrence = monitor.next_run_at
    assert occurrence is not None
    try:
        upcoming = monitor.schedule.next_after(max(capacity.now, occurrence))
    except BadSchedule as bad:
        monitor.park(str(bad))
        return monitor.decision(Outcome.PARKED, monitor.state_reason, scheduled_for=occurrence, at=capacity.now), None
    if monitor.pk in capacity.already_served:
        stop: tuple[str, str] | None = (Outcome.CANCELLED, "The job for this time was ended without a run.")
    else:
        stop = stopped_by(monitor, contexts, capacity)
    if stop is None:
        job = job_for(monitor, capacity, by=monitor.actor)
        job.scheduled_for = occurrence
        decision = monitor.decision(
            Outcome.ALLOWED, "", scheduled_for=occurrence, at=capacity.now, by=SCHEDULER, job=job
        )
        return decision, job
    outcome, reason = stop
    if outcome == Outcome.NO_AGENT:
        monitor.park(reason)
    elif outcome == Outcome.DEFERRED:
        monitor.defer(capacity.now)
    elif outcome in FOR_CAPACITY and monitor.wait_for_capacity(capacity.now):
        reason += " It is tried again."
    else:
        if outcome in FOR_CAPACITY:
            reason += f" It has waited for {settings.MONITOR_CAPACITY_WAIT_MINUTES} minutes and is given up."
        monitor.next_run_at = upcoming
        monitor.stop_waiting()
    return monitor.decision(outcome, reason, scheduled_for=occurrence, at=capacity.now), None


def _fail(organization_id: str, monitor_id: UUID, failure: Exception) -> Counter[str]:
    """Write down that nothing could be decided, and let the schedule go on, or stop it when it cannot.

    Nothing at all when another tick has done so, or when the monitor is no longer due.
    """
    with organization_scope(organization_id):
        now = database_time()
        due = Monitor.objects.due(organization_id, now).filter(pk=monitor_id)
        monitor = due.select_for_update(skip_locked=True, of=("self",)).first()
        if monitor is None:
            return Counter()
        occurrence = monitor.next_run_at
        reason = f"{type(failure).__name__} in Assay. Its operator has been notified."
        try:
            monitor.advance(now)
        except BadSchedule as bad:
            monitor.park(str(bad))
        monitor.save(update_fields=Monitor.STANDING)
        monitor.decision(Outcome.FAILED, reason, scheduled_for=occurrence, at=now).save()
        return Counter([Outcome.FAILED.value])


@dataclass(frozen=True, slots=True)
class SuiteCatalog:
    """The suites, with the versions that are current, those that monitors may be pinned to, and what can be run."""

    availability: Availability
    suites: dict[int, Suite]
    versions: dict[int, SuiteVersion]

    @classmethod
    def read(cls) -> SuiteCatalog:
        """As they are now. Once for some hundred monitors: one that misses a later version by a second is run by it
        the next time."""
        # Definitions are many kilobytes, and only an engine reads them.
        versions = {version.pk: version for version in SuiteVersion.objects.defer("definition")}
        suites = {suite.pk: suite for suite in Suite.objects.all()}
        for suite in suites.values():
            if suite.current_version_id in versions:
                suite.current_version = versions[suite.current_version_id]
        return cls(read_availability(), suites, versions)

    def attach_to(self, monitors: Iterable[Monitor]) -> None:
        """Attach suite and version to the monitors. What is newer than this is read when it is asked for."""
        for monitor in monitors:
            if monitor.suite_id in self.suites:
                monitor.suite = self.suites[monitor.suite_id]
            if monitor.suite_version_id in self.versions:
                monitor.suite_version = self.versions[monitor.suite_version_id]


def lock_due(organization_id: str, now: datetime, *, at_most: int, only: UUID | None = None) -> list[Monitor]:
    """An organization's due monitors, locked, the longest due first; without those that another holds."""
    due = Monitor.objects.due(organization_id, now).select_for_update(skip_locked=True, of=("self",))
    return list((due if only is None else due.filter(pk=only))[:at_most])
