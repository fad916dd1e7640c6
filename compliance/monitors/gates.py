"""Gates: what is asked, in order, before a monitor's job is created. The first that stops wins (G1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from compliance.jobs.models import Job, JobState, expires
from compliance.monitors.models import Monitor, MonitorState, Outcome
from compliance.registry.models import AgentContext, ExecutorKind, LifecycleStage, Runner, RunnerState
from compliance.runs.models import TriggeredBy
from compliance.suites.health import Availability
from compliance.suites.models import SuiteVersion
from compliance.tenancy.scope import Actor


@dataclass(slots=True)
class Ledger:
    """What an organization has in flight and has spent. Read under the lock of the organization, and reserved in."""

    now: datetime
    availability: Availability
    of_agent: Counter[str]  # in flight, of the agents of the monitors under evaluation
    in_flight: int
    spent: int  # of the budget; counted no further than it
    busy: set[UUID]  # monitors under evaluation of which a job is active
    taken: set[UUID]  # those whose occurrence had a job already, which ended without moving the schedule
    runners: list[Runner]  # the organization's, when one of the monitors is pinned to any

    @classmethod
    def read(
        cls, organization_id: str, now: datetime, monitors: Collection[Monitor], availability: Availability
    ) -> Ledger:
        """Read after the statements that lock: what was read before would miss what a lock's last holder did."""
        jobs = Job.objects.filter(organization_id=organization_id)
        under_way = Counter(jobs.active().filter(_under_way(organization_id)).values_list("agent_id", flat=True))
        since = now - timedelta(hours=settings.MONITOR_BUDGET_WINDOW_HOURS)
        spent = jobs.filter(_SPENT, triggered_by=TriggeredBy.MONITOR, created_at__gt=since)
        keys = [monitor.pk for monitor in monitors]
        occurrences = Job.objects.filter(monitor_id__in=keys, scheduled_for__isnull=False)
        with_job = set(occurrences.exclude(state=JobState.EXPIRED).values_list("monitor_id", "scheduled_for"))
        active = set(Job.objects.active().filter(monitor_id__in=keys).values_list("monitor_id", flat=True))
        placed = any(monitor.pin.is_private for monitor in monitors)
        return cls(
            now=now,
            availability=availability,
            of_agent=under_way,
            in_flight=under_way.total(),
            spent=spent[: settings.MONITOR_BUDGET_RUNS].count(),
            busy={key for key in keys if key in active},
            taken={monitor.pk for monitor in monitors if (monitor.pk, monitor.next_run_at) in with_job},
            runners=list(Runner.objects.kept_by(organization_id)) if placed else [],
        )

    def reserve(self, monitor: Monitor) -> None:
        """One more in flight and spent: the next monitor of this evaluation sees it (G5)."""
        self.of_agent[monitor.agent_url] += 1
        self.in_flight += 1
        self.spent += 1
        self.busy.add(monitor.pk)


def stopped_by(
    monitor: Monitor, contexts: Mapping[UUID, AgentContext], ledger: Ledger, *, asked: bool = False
) -> tuple[str, str] | None:
    """The first gate that stops the monitor, as an outcome and a reason in words; None when none does.

    contexts: those of the monitors under evaluation, locked, with their agents. asked: a person asked for this run;
    then neither a pause nor the cooldown stops it.
    """
    context = contexts.get(monitor.context_id) if monitor.context_id else None
    if context is None:
        return Outcome.NO_AGENT, "Your organization no longer has this agent."
    return next(_reasons(monitor, context, ledger, asked), None)


def _reasons(monitor: Monitor, context: AgentContext, ledger: Ledger, asked: bool) -> Iterator[tuple[str, str]]:
    agent = context.agent
    if monitor.state == MonitorState.ARCHIVED:
        yield Outcome.ARCHIVED, "The monitor is archived."
    if agent.lifecycle_stage == LifecycleStage.RETIRED:
        yield Outcome.ARCHIVED, "The agent is retired."
    if not asked and monitor.state != MonitorState.ACTIVE:
        yield Outcome.PAUSED, f"The monitor is {monitor.get_state_display().lower()}. {monitor.state_reason}".strip()
    if not asked and agent.paused:
        yield Outcome.PAUSED, "The agent's verified owner has paused its automatic tests."
    if agent.opted_out:
        yield Outcome.OPTED_OUT, "The agent's verified owner has opted out of automatic tests."
    most = settings.MONITOR_AGENT_CONCURRENCY
    if ledger.of_agent[monitor.agent_url] >= most:
        yield Outcome.CONCURRENCY, f"{_tests(most)} of this agent at once are the most, and so many were under way."
    most = settings.MONITOR_ORGANIZATION_CONCURRENCY
    if ledger.in_flight >= most:
        yield (
            Outcome.CONCURRENCY,
            f"{_tests(most)} of your organization at once are the most, and so many were under way.",
        )
    rest = timedelta(seconds=settings.MONITOR_COOLDOWN_SECONDS)
    if not asked and monitor.last_scheduled_run_at and ledger.now < monitor.last_scheduled_run_at + rest:
        yield Outcome.COOLDOWN, f"Its last run ended less than {settings.MONITOR_COOLDOWN_SECONDS} seconds before."
    version = monitor.version_to_run
    if version is None:
        yield Outcome.UNAVAILABLE, f"{monitor.suite.title} has no version that can be run."
    elif monitor.pin.is_private:
        yield from _private_reasons(monitor, version, ledger, asked)
    elif problem := ledger.availability.problem(version.engine):
        yield Outcome.UNAVAILABLE, f"{monitor.suite.title} could not be run. {problem}"
    most = settings.MONITOR_BUDGET_RUNS
    if ledger.spent >= most:
        window = settings.MONITOR_BUDGET_WINDOW_HOURS
        times = "once" if most == 1 else f"{most} times"
        yield Outcome.BUDGET, f"Your organization's monitors may run {times} in {window} hours, and did."


# What was cancelled before it began, or expired, has cost nothing.
_SPENT = ~Q(state__in=[JobState.CANCELLED, JobState.EXPIRED]) | Q(
    state=JobState.CANCELLED, executor_kind=ExecutorKind.HOSTED, attempt__gt=0
)


def _under_way(organization_id: str) -> Q:
    """What somebody works on, what a hosted worker is about to take, and a monitor's job whose runner is online.

    What else waits for private runners costs nobody anything, and may wait for long: it must not keep the
    organization's monitors from running.
    """
    online = Runner.objects.filter(
        Q(pk=OuterRef("runner_id")) | (~Q(pool="") & Q(pool=OuterRef("pool"))),
        organization_id=organization_id,
        state=RunnerState.ACTIVE,
        online_until__gt=Now(),
    )
    worked_on = Q(executor_kind=ExecutorKind.HOSTED) | Q(state=JobState.LEASED)
    return worked_on | Q(Exists(online), triggered_by=TriggeredBy.MONITOR)


def _private_reasons(monitor: Monitor, version: SuiteVersion, ledger: Ledger, asked: bool) -> Iterator[tuple[str, str]]:
    """Its runners are disabled or offline, or cannot run the suite."""
    fitting = [
        runner
        for runner in ledger.runners
        if (runner.pk == monitor.runner_id if monitor.runner_id else runner.pool == monitor.pool)
    ]
    online = [runner for runner in fitting if runner.is_online]
    if not online:
        disabled = bool(fitting) and all(runner.state == RunnerState.DISABLED for runner in fitting)
        if disabled:
            who = f"Every runner of the pool “{monitor.pool}”" if monitor.pool else "Its private runner"
            why, when = f"{who} is disabled.", "an owner or admin has enabled " + ("one." if monitor.pool else "it.")
        else:
            pool = f"No runner of the pool “{monitor.pool}” is online."
            why, when = pool if monitor.pool else "Its private runner is offline.", "one is back."
        # Only an occurrence of the schedule is kept for later: who asked, asks again.
        yield Outcome.DEFERRED, f"{why} {'Ask again' if asked else 'It will run once'} when {when}"
    elif not any(version.engine in runner.engines for runner in online):
        yield Outcome.UNAVAILABLE, f"{monitor.suite.title} could not be run: its runner lacks {version.engine}."


def _tests(count: int) -> str:
    return f"{count} test{'' if count == 1 else 's'}"


def locked_contexts(monitors: Iterable[Monitor]) -> dict[UUID, AgentContext]:
    """The contexts of the monitors with their agents, locked, so that none is removed before its job is there.

    Without those that somebody else holds, such as who removes one: a removal waits for monitors, and must not be
    waited for by whoever holds them.
    """
    keys = [monitor.context_id for monitor in monitors if monitor.context_id]
    contexts = AgentContext.objects.select_related("agent").filter(pk__in=keys)
    locked = contexts.select_for_update(no_key=True, skip_locked=True, of=("self",))
    return {context.pk: context for context in locked}


def job_for(monitor: Monitor, ledger: Ledger, *, by: Actor) -> Job:
    """An unsaved job with everything that it needs copied in (L2), reserved in the ledger."""
    version: SuiteVersion | None = monitor.version_to_run
    assert version is not None, "a gate asks for it"
    ledger.reserve(monitor)
    return Job(
        organization_id=monitor.organization_id,
        agent_id=monitor.agent_url,
        triggered_by=TriggeredBy.MONITOR,
        actor_kind=by.kind,
        actor_id=by.id,
        actor_name=by.name,
        suite_version_id=version.pk,
        dry_run=monitor.dry_run,
        options=monitor.options,
        credential_choice=monitor.credential_choice,
        credential_id=monitor.credential_id,
        executor_kind=monitor.executor_kind,
        runner_id=monitor.runner_id,
        pool=monitor.pool,
        expires_at=expires(monitor.pin),
        monitor_id=monitor.pk,
        created_at=ledger.now,
        dispatched_at=ledger.now,
    )
