"""Gates: what is asked, in order, before a monitor's job is created. The first that stops wins (G1)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection

from compliance.jobs.models import Job, expires
from compliance.jobs.queue import free_of_capped
from compliance.monitors.models import Monitor, MonitorState, Outcome
from compliance.registry.models import Agent, AgentContext, LifecycleStage, Runner, RunnerState
from compliance.runs.models import TriggeredBy
from compliance.suites.health import Availability
from compliance.suites.models import SuiteVersion
from compliance.tenancy.scope import Actor


@dataclass(slots=True)
class Capacity:
    """What an organization has in flight and has spent. Read under the lock of the organization, and reserved in."""

    now: datetime
    availability: Availability
    of_agent: Counter[str]  # in flight, of the agents of the monitors under evaluation
    in_flight: int
    spent: int  # of the budget; counted no further than it
    with_active_job: set[UUID]  # monitors under evaluation of which a job is active
    already_served: set[UUID]  # those whose occurrence had a job already, which ended without moving the schedule
    free_of_capped: dict[str, int]  # how many more tests an agent takes whose owner set a limit
    runners: list[Runner]  # the organization's, when one of the monitors is placed to any

    @classmethod
    def read(
        cls,
        organization_id: str,
        now: datetime,
        monitors: Collection[Monitor],
        contexts: Mapping[UUID, AgentContext],
        availability: Availability,
    ) -> Capacity:
        """Read after the statements that lock: what was read before would miss what a lock's last holder did.

        One statement of our own, because the tick's benchmark misses its goal with five of the ORM for each
        organization.
        """
        free = free_of_capped(context.agent for context in contexts.values())
        with connection.cursor() as cursor:
            cursor.execute(
                _CAPACITY,
                {
                    "organization": organization_id,
                    "since": now - timedelta(hours=settings.MONITOR_BUDGET_WINDOW_HOURS),
                    "budget": settings.MONITOR_BUDGET_RUNS,
                    "agents": list({monitor.agent_url for monitor in monitors}),
                    "monitors": [monitor.pk for monitor in monitors],
                    "occurrences": [monitor.next_run_at for monitor in monitors],
                },
            )
            in_flight, spent, of_agent, with_active_job, already_served = cursor.fetchone()
        placed = any(monitor.placement.is_private for monitor in monitors)
        return cls(
            now=now,
            availability=availability,
            of_agent=Counter(json.loads(of_agent)),
            in_flight=in_flight,
            spent=spent,
            with_active_job=set(with_active_job),
            already_served=set(already_served),
            free_of_capped=free,
            runners=list(Runner.objects.not_deleted(organization_id)) if placed else [],
        )

    def reserve(self, monitor: Monitor) -> None:
        """One more in flight and spent: the next monitor of this evaluation sees it (G5)."""
        self.of_agent[monitor.agent_url] += 1
        if monitor.agent_url in self.free_of_capped:
            self.free_of_capped[monitor.agent_url] -= 1
        self.in_flight += 1
        self.spent += 1
        self.with_active_job.add(monitor.pk)


def stopped_by(
    monitor: Monitor, contexts: Mapping[UUID, AgentContext], capacity: Capacity, *, asked: bool = False
) -> tuple[str, str] | None:
    """The first gate that stops the monitor, as an outcome and a reason in words; None when none does.

    contexts: those of the monitors under evaluation, locked, with their agents. asked: a person asked for this run;
    then neither a pause nor the cooldown stops it.
    """
    context = contexts.get(monitor.context_id) if monitor.context_id else None
    if context is None:
        return Outcome.NO_AGENT, "Your organization no longer has this agent."
    return next(_reasons(monitor, context, capacity, asked), None)


def _reasons(monitor: Monitor, context: AgentContext, capacity: Capacity, asked: bool) -> Iterator[tuple[str, str]]:
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
    limit = settings.MONITOR_AGENT_CONCURRENCY
    if capacity.of_agent[monitor.agent_url] >= limit:
        yield Outcome.CONCURRENCY, f"{_tests(limit)} of this agent at once are the most, and so many were under way."
    if capacity.free_of_capped.get(monitor.agent_url, 1) <= 0:
        most = agent.max_at_once or 0
        yield Outcome.CONCURRENCY, f"The agent's owner allows {_tests(most)} of it at once, and so many were under way."
    limit = settings.MONITOR_ORGANIZATION_CONCURRENCY
    if capacity.in_flight >= limit:
        yield (
            Outcome.CONCURRENCY,
            f"{_tests(limit)} of your organization at once are the most, and so many were under way.",
        )
    rest = timedelta(seconds=settings.MONITOR_COOLDOWN_SECONDS)
    if not asked and monitor.last_scheduled_run_at and capacity.now < monitor.last_scheduled_run_at + rest:
        yield Outcome.COOLDOWN, f"Its last run ended less than {settings.MONITOR_COOLDOWN_SECONDS} seconds before."
    version = monitor.version_to_run
    if version is None:
        yield Outcome.UNAVAILABLE, f"{monitor.suite.title} has no version that can be run."
    elif monitor.placement.is_private:
        yield from _private_reasons(monitor, version, capacity, asked)
    elif problem := capacity.availability.problem(version.engine):
        yield Outcome.UNAVAILABLE, f"{monitor.suite.title} could not be run. {problem}"
    limit = settings.MONITOR_BUDGET_RUNS
    if capacity.spent >= limit:
        window = settings.MONITOR_BUDGET_WINDOW_HOURS
        times = "once" if limit == 1 else f"{limit} times"
        yield Outcome.BUDGET, f"Your organization's monitors may run {times} in {window} hours, and did."


# Under way is what somebody works on, what a hosted worker is about to take, and a monitor's job whose runner is
# online. What else waits for private runners costs nobody anything, and may wait for long: it must not keep the
# organization's monitors from running.
_CAPACITY = """
    WITH under_way AS MATERIALIZED (
        SELECT r.agent_url FROM compliance_jobs r
        WHERE r.organization_id = %(organization)s AND r.state IN ('queued', 'leased')
            AND (r.executor_kind = 'hosted' OR r.state = 'leased'
                OR (r.triggered_by = 'monitor' AND EXISTS (SELECT FROM runners w
                    WHERE w.organization_id = r.organization_id AND w.state = 'active'
                        AND w.online_until > statement_timestamp()
                        AND (w.id = r.runner_id OR (r.pool <> '' AND w.pool = r.pool)))))
    )
    SELECT
        (SELECT count(*) FROM under_way),
        (SELECT count(*) FROM (SELECT FROM compliance_jobs r
            WHERE r.organization_id = %(organization)s AND r.triggered_by = 'monitor' AND r.created_at > %(since)s
                AND (r.state NOT IN ('cancelled', 'expired')
                    OR (r.state = 'cancelled' AND r.executor_kind = 'hosted' AND r.attempt > 0))
                LIMIT %(budget)s) spent),
        (SELECT coalesce(jsonb_object_agg(a.agent_url, a.number), '{}') FROM (
            SELECT u.agent_url, count(*) AS number FROM under_way u
            WHERE u.agent_url = ANY(%(agents)s::text[]) GROUP BY u.agent_url) a),
        ARRAY(SELECT r.monitor_id FROM compliance_jobs r
            WHERE r.monitor_id = ANY(%(monitors)s::uuid[]) AND r.state IN ('queued', 'leased')),
        ARRAY(SELECT m.id FROM unnest(%(monitors)s::uuid[], %(occurrences)s::timestamptz[]) AS m(id, at)
            JOIN compliance_jobs r ON r.monitor_id = m.id AND r.scheduled_for = m.at
            WHERE r.state <> 'expired' AND r.scheduled_for IS NOT NULL)
"""


def _private_reasons(
    monitor: Monitor, version: SuiteVersion, capacity: Capacity, asked: bool
) -> Iterator[tuple[str, str]]:
    """Its runners are disabled or offline, or cannot run the suite."""
    fitting = [
        runner
        for runner in capacity.runners
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
    # Raw, because the tick's benchmark misses its goal when the ORM composes both for each organization.
    contexts = list(
        AgentContext.objects.raw(
            "SELECT * FROM agent_contexts WHERE id = ANY(%s::uuid[]) FOR NO KEY UPDATE SKIP LOCKED", [keys]
        )
    )
    urls = [context.agent_id for context in contexts]
    agents = {
        agent.pk: agent for agent in Agent.objects.raw("SELECT * FROM agents WHERE agent_url = ANY(%s::text[])", [urls])
    }
    for context in contexts:
        context.agent = agents[context.agent_id]
    return {context.pk: context for context in contexts}


def job_for(monitor: Monitor, capacity: Capacity, *, by: Actor) -> Job:
    """An unsaved job with everything that it needs copied in (L2), reserved in the capacity."""
    version: SuiteVersion | None = monitor.version_to_run
    assert version is not None, "a gate asks for it"
    capacity.reserve(monitor)
    return Job(
        organization_id=monitor.organization_id,
        agent_id=monitor.agent_url,
        triggered_by=TriggeredBy.MONITOR,
        **by.as_fields(),
        suite_version_id=version.pk,
        dry_run=monitor.dry_run,
        options=monitor.options,
        credential_choice=monitor.credential_choice,
        credential_id=monitor.credential_id,
        executor_kind=monitor.executor_kind,
        runner_id=monitor.runner_id,
        pool=monitor.pool,
        expires_at=expires(monitor.placement),
        monitor_id=monitor.pk,
        created_at=capacity.now,
        dispatched_at=capacity.now,
    )
