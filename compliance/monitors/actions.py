"""Writes on monitors: create, change, pause, resume, archive, run now. For owners and admins."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from compliance.database import database_time
from compliance.jobs.actions import chosen, suite_to_run
from compliance.jobs.dispatch import notify_executors
from compliance.jobs.models import CredentialChoice, Job
from compliance.monitors import liveness
from compliance.monitors.gates import Capacity, job_for, locked_contexts, stopped_by
from compliance.monitors.models import (
    CRON_LENGTH,
    MAX_COOLDOWN_SECONDS,
    Monitor,
    MonitorDecision,
    MonitorState,
    Outcome,
)
from compliance.monitors.schedule import BadSchedule, Schedule, first_times
from compliance.registry.models import HOSTED, AgentContext, Placement
from compliance.runners.placement import lock_placement
from compliance.runs.models import ComplianceRun, OverallStatus
from compliance.suites.health import read_availability
from compliance.suites.models import SuiteVersion
from compliance.tenancy.api_keys import Principal
from compliance.tenancy.errors import Invalid, Refused
from compliance.tenancy.events import Event, Subject, publish
from compliance.tenancy.models import Organization
from compliance.tenancy.names import required_name, save_named
from compliance.tenancy.roles import lock_organization, managing_membership
from compliance.tenancy.scope import organization_scope
from compliance.vault.models import Credential

CHANGED_BY_PEOPLE = [
    *Monitor.PLAIN_FIELDS,
    *("name", "suite_version", "options", "credential_choice", "credential_id"),
    *("executor_kind", "runner_id", "pool"),
    *("interval_minutes", "cron", "timezone", "anchor"),
    *Monitor.STANDING,
    "failures_in_a_row",
]
CHANGED_BY_RUNS = [
    *Monitor.STANDING,
    *("last_run_id", "last_status", "last_run_at", "last_scheduled_run_at", "failures_in_a_row"),
]


@dataclass(frozen=True, slots=True)
class When:
    """A schedule as it is asked for: minutes, or a cron expression in a timezone."""

    interval_minutes: int | None = None
    cron: str = ""
    timezone: str = "UTC"

    @classmethod
    def of(cls, monitor: Monitor) -> When:
        return cls(monitor.interval_minutes, monitor.cron, monitor.timezone)


@dataclass(frozen=True, slots=True)
class What:
    """What a monitor's runs do, beside the suite: as for a test that somebody asks for.

    pinned: stay with the version that is current now, instead of following the suite.
    options, scenarios, all_evidence: see request_owner_test. credential: a chosen one's id, CredentialChoice.NONE,
    or AUTOMATIC for the one that is granted to monitors. placement: where they run. fields: of Monitor.PLAIN_FIELDS;
    those that are left out stay as they are.
    """

    pinned: bool = False
    options: Mapping[str, Any] | None = None
    scenarios: Collection[str] = ()
    all_evidence: bool = False
    credential: UUID | CredentialChoice = CredentialChoice.AUTOMATIC
    placement: Placement = HOSTED
    fields: Mapping[str, Any] = field(default_factory=dict)


def times_of(when: When, now: datetime) -> list[datetime]:
    """The next five times of a schedule. Raises BadSchedule for one that may not be kept."""
    return first_times(
        Schedule(when.timezone, now, when.interval_minutes, _one_line(when.cron)),
        now,
        at_least_minutes=settings.MONITOR_MIN_INTERVAL_MINUTES,
        at_most_minutes=settings.MONITOR_MAX_INTERVAL_MINUTES,
    )


def create_monitor(
    *,
    organization: Organization,
    context_id: UUID | str,
    name: str,
    suite_slug: str,
    when: When,
    what: What,
    by: Principal,
) -> Monitor:
    """Test an agent again and again. Its first time is the schedule's next.

    Raises NotAllowed, Refused (for a bad schedule too), or AgentContext.DoesNotExist.
    """
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        # Locked, so that the agent is not removed before the monitor that its removal would change is there.
        context = AgentContext.objects.select_for_update(no_key=True).get(organization=organization, pk=context_id)
        version = suite_to_run(suite_slug, what.placement)
        monitor = Monitor(
            organization=organization,
            context=context,
            agent_url=context.agent_id,
            suite=version.suite,
            created_by=by.get_full_name(),
        )
        _set_what(monitor, version, what)
        _set_when(monitor, when)
        monitor.name = required_name(name, "monitor")
        save_named(monitor, force_insert=True)
        return monitor


def change_monitor(
    *, organization: Organization, monitor_id: UUID | str, name: str, when: When, what: What, by: Principal
) -> Monitor:
    """Change a monitor from its next run on; a job that is under way stays as it was (L2).

    A new schedule begins to count now, and takes a parked monitor up again. what.pinned: a pinned version stays the
    one that it is. Raises NotAllowed, Refused, or Monitor.DoesNotExist.
    """
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        monitor = _locked(organization, monitor_id)
        version = monitor.version_to_run if what.pinned else None
        version = version or monitor.suite.current_version
        if version is None:
            raise Refused(f"{monitor.suite.title} has no version that can be run.")
        _set_what(monitor, version, what)
        if when != When.of(monitor) or monitor.state == MonitorState.PARKED:
            if monitor.context_id is None:
                raise Refused("Your organization no longer has this agent. Make a monitor of another one.")
            was_paused = monitor.state == MonitorState.PAUSED
            _set_when(monitor, when)
            if was_paused:
                monitor.pause(monitor.state_reason)
        monitor.name = required_name(name, "monitor")
        save_named(monitor, update_fields=CHANGED_BY_PEOPLE)
        return monitor


def pause_monitor(*, organization: Organization, monitor_id: UUID | str, by: Principal) -> Monitor:
    """Let no occurrence come until somebody resumes it. What is under way goes on."""
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        monitor = _locked(organization, monitor_id)
        if monitor.state == MonitorState.ACTIVE:
            monitor.pause(f"Paused by {by.get_full_name()}.")
            monitor.save(update_fields=Monitor.STANDING)
        return monitor


def resume_monitor(*, organization: Organization, monitor_id: UUID | str, by: Principal) -> Monitor:
    """Take a paused or parked monitor up again, at its next time; what passed meanwhile is not made up for.

    Raises Refused while what parked it is still so.
    """
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        monitor = _locked(organization, monitor_id)
        if monitor.state == MonitorState.ACTIVE:
            return monitor
        if monitor.context_id is None:
            raise Refused("Your organization no longer has this agent. Make a monitor of another one.")
        try:
            monitor.next_run_at = monitor.schedule.next_after(database_time())
        except BadSchedule as bad:
            raise Refused(f"{bad} Change its schedule.") from None
        monitor.state, monitor.state_reason, monitor.failures_in_a_row = MonitorState.ACTIVE, "", 0
        monitor.save(update_fields=["state", "state_reason", "next_run_at", "failures_in_a_row"])
        return monitor


def archive_monitor(*, organization: Organization, monitor_id: UUID | str, by: Principal) -> Monitor:
    """End a monitor for good. Its runs and decisions stay; its name is free again."""
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        monitor = _locked(organization, monitor_id)
        monitor.state, monitor.next_run_at = MonitorState.ARCHIVED, None
        monitor.stop_waiting()
        monitor.state_reason = f"Archived by {by.get_full_name()}."[:300]
        monitor.save(update_fields=Monitor.STANDING)
        return monitor


def run_monitor_now(*, organization: Organization, monitor_id: UUID | str, by: Principal) -> MonitorDecision:
    """Ask for a run of a monitor beside its schedule, which stays as it is (L9); returns the decision.

    A gate that stops it is on record like any other; the one under way is named when there is one.
    Raises NotAllowed, Refused while a run is under way, or Monitor.DoesNotExist.
    """
    with organization_scope(organization.id):
        lock_organization(organization.id)  # the budget is checked and reserved under it, as the tick does
        managing_membership(organization.id, by)
        monitor = _locked(organization, monitor_id)
        now, actor = database_time(), by.as_actor()
        contexts = locked_contexts([monitor])
        capacity = Capacity.read(organization.id, now, [monitor], contexts, read_availability())
        if monitor.pk in capacity.with_active_job:
            raise Refused("A run of this monitor is under way already.")
        if monitor.context_id and monitor.context_id not in contexts:
            raise Refused("The agent is just being changed. Try again.")
        stop = stopped_by(monitor, contexts, capacity, asked=True)
        if stop is not None:
            decision = monitor.decision(*stop, at=now, by=actor)
        else:
            job = job_for(monitor, capacity, by=actor)
            job.save(force_insert=True)
            decision = monitor.decision(Outcome.ALLOWED, "", at=now, by=actor, job=job)
            notify_executors([job])
        decision.save(force_insert=True)
        liveness.count_after_commit("decisions", decision.outcome)
        return decision


def after_monitor_run(job: Job, run: ComplianceRun) -> None:
    """Take over a run's result into its monitor, in the transaction that records the run (L8)."""
    if job.monitor_id is None:
        return
    now, monitor = database_time(), Monitor.objects.select_for_update(of=("self",)).get(pk=job.monitor_id)
    monitor.last_run_id, monitor.last_status, monitor.last_run_at = run.pk, run.overall_status, run.recorded_at
    # A run that somebody asked for uses up no slot (L9), and is neither a failure nor a success (L17).
    if job.scheduled_for is not None:
        monitor.last_scheduled_run_at = now
        failed = run.overall_status == OverallStatus.INCONCLUSIVE
        monitor.failures_in_a_row = monitor.failures_in_a_row + 1 if failed else 0
        if monitor.state == MonitorState.ACTIVE:
            _after_occurrence(monitor, job.scheduled_for, now, run)
    monitor.save(update_fields=CHANGED_BY_RUNS)


def _after_occurrence(monitor: Monitor, scheduled_for: datetime, now: datetime, run: ComplianceRun) -> None:
    """Advance an active monitor's schedule, or pause it after too many inconclusive runs."""
    limit = settings.MONITOR_PAUSE_AFTER_FAILURES
    if monitor.failures_in_a_row >= limit:
        monitor.pause(f"{limit} inconclusive runs in a row: {run.headline}")
        _record_stop(monitor, Outcome.STOPPED, scheduled_for, now)
        publish(
            Event(
                organization_id=monitor.organization_id,
                subject=Subject.MONITOR,
                subject_id=monitor.pk,
                text=f"{monitor.name} is paused after {limit} runs in a row that told nothing about the agent.",
                occasion=f"monitor-stopped:{run.pk}",
                priority=monitor.notify_priority,
            )
        )
    elif monitor.next_run_at == scheduled_for:  # else the schedule was changed meanwhile, and is ahead already
        try:
            monitor.advance(now)
        except BadSchedule as bad:
            monitor.park(str(bad))
            _record_stop(monitor, Outcome.PARKED, scheduled_for, now)


def _record_stop(monitor: Monitor, outcome: str, scheduled_for: datetime, now: datetime) -> None:
    monitor.decision(outcome, monitor.state_reason, scheduled_for=scheduled_for, at=now).save()
    liveness.count_after_commit("decisions", outcome)


def names_placed_on(organization_id: str, placement: Placement) -> list[str]:
    """The names of the monitors that are placed on a runner or a pool, archived ones left out."""
    return list(Monitor.objects.placed_on(organization_id, placement).values_list("name", flat=True))


def _locked(organization: Organization, monitor_id: UUID | str) -> Monitor:
    kept = Monitor.objects.current(organization.id).select_related("suite__current_version", "suite_version")
    return kept.select_for_update(of=("self",)).get(pk=monitor_id)


def _set_what(monitor: Monitor, version: SuiteVersion, what: What) -> None:
    monitor.suite_version = version if what.pinned else None
    monitor.options = chosen(
        version.definition, scenarios=what.scenarios, options=what.options, all_evidence=what.all_evidence
    )
    _set_where(monitor, what.placement)
    for name in Monitor.PLAIN_FIELDS:
        setattr(monitor, name, what.fields.get(name, getattr(monitor, name)))
    if not 0 <= monitor.notify_cooldown_seconds <= MAX_COOLDOWN_SECONDS:
        words = f"The time between two notifications is 0 to {MAX_COOLDOWN_SECONDS} seconds."
        raise Invalid("notify.cooldown_seconds", words)
    if isinstance(what.credential, UUID):
        kept = Credential.objects.not_deleted(monitor.organization_id).filter(pk=what.credential)
        if not kept.exists():
            raise Refused("There is no such credential. Choose another.")
        monitor.credential_choice, monitor.credential_id = CredentialChoice.CHOSEN, what.credential
    else:
        monitor.credential_choice, monitor.credential_id = what.credential, None


def _set_where(monitor: Monitor, placement: Placement) -> None:
    if placement.is_private:
        # Locked, so that none of them is deleted before the placement that forbids it is there (L14).
        lock_placement(monitor.organization_id, placement)
    monitor.executor_kind, monitor.runner_id, monitor.pool = placement.kind, placement.runner_id, placement.pool
    monitor.stop_waiting()  # whichever runner it waited for


def _set_when(monitor: Monitor, when: When) -> None:
    now = database_time().replace(microsecond=0)
    if len(when.cron) > CRON_LENGTH:
        raise Invalid("schedule.cron", f"A cron expression has at most {CRON_LENGTH} characters.")
    try:
        first = times_of(when, now)[0]
    except BadSchedule as bad:
        raise Invalid(f"schedule.{bad.part}" if bad.part else "schedule", str(bad)) from None
    monitor.interval_minutes, monitor.cron = when.interval_minutes, _one_line(when.cron)
    monitor.timezone, monitor.anchor = when.timezone, now
    monitor.state, monitor.state_reason, monitor.next_run_at = MonitorState.ACTIVE, "", first
    monitor.failures_in_a_row = 0


def _one_line(cron: str) -> str:
    return " ".join(cron.split())
