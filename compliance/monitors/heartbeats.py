"""Heartbeats: jobs for the agents that are due, a row for those that are skipped, and the next due time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from django.db.models import F, OuterRef, Subquery
from django.db.models.functions import Greatest
from django.utils import timezone

from compliance.jobs import dispatch
from compliance.jobs.models import Job
from compliance.jobs.queue import free_of_capped, insert_jobs
from compliance.monitors import liveness
from compliance.monitors.models import HeartbeatDecision, Outcome
from compliance.registry.models import Agent, HeartbeatSlot, LifecycleStage
from compliance.runs.models import ComplianceRun, TriggeredBy
from compliance.suites.models import STATUS_SUITE, Suite
from compliance.tenancy.scope import Actor, platform_scope

ACTOR = Actor.system("heartbeat")


def create_due_heartbeats(*, at_most: int = 1000) -> int:
    """Create a job for each agent whose heartbeat is due, and dispatch them; returns how many are new.

    Any number of ticks may overlap: the unique key of active jobs lets one of them win.
    The schedule advances when the run is recorded, so a tick that dies loses nothing.
    """
    now = timezone.now()
    with platform_scope():
        suite = Suite.objects.with_current_version().filter(slug=STATUS_SUITE).first()
        if suite is None or suite.current_version is None:
            return 0
        active = Job.objects.active().filter(agent_id=OuterRef("pk"), organization__isnull=True)
        # A subquery for one value is asked of each agent, by an index. NOT EXISTS may be made into a join, and is, by
        # reading all jobs for each agent, while the database has not yet counted how many there are.
        due = Agent.objects.due(now).alias(active=Subquery(active.values("pk")[:1])).filter(active=None)
        created = insert_jobs(
            Job(
                agent_id=agent_url,
                triggered_by=TriggeredBy.HEARTBEAT,
                **ACTOR.as_fields(),
                suite_version=suite.current_version,
            )
            for agent_url in _with_capacity(due[:at_most])
        )
        if created:
            dispatch.after_commit(dispatch.HEARTBEATS)
    liveness.count("heartbeats", {"requested": len(created)})
    return len(created)


def _with_capacity(due: Iterable[Agent]) -> Iterator[str]:
    """The agents that take another test now; the others stay due, for the next tick (Q1)."""
    agents = list(due)
    free = free_of_capped(agents)
    return (agent.pk for agent in agents if free.get(agent.pk, 1) > 0)


def skip_due_heartbeats(*, at_most: int = 1000) -> Counter[str]:
    """Write down, for each agent whose heartbeat would be due, why there is none, and let its schedule go on (Q3).

    Returns how many, by outcome. Any number of ticks may overlap: each agent is locked by one of them.
    """
    now = timezone.now()
    with platform_scope():
        skipped = list(Agent.objects.skipped(now).select_for_update(no_key=True, skip_locked=True)[:at_most])
        decisions = [
            HeartbeatDecision(agent_url=agent.pk, at=now, scheduled_for=agent.next_heartbeat_at, **_why_skipped(agent))
            for agent in skipped
        ]
        HeartbeatDecision.objects.bulk_create(decisions)
        Agent.objects.filter(pk__in=[agent.pk for agent in skipped]).update(
            next_heartbeat_at=HeartbeatSlot(F("agent_url"), F("heartbeat_interval_hours"), now)
        )
    counts = Counter(str(decision.outcome) for decision in decisions)
    liveness.count("heartbeats", counts)
    return counts


def _why_skipped(agent: Agent) -> dict[str, str]:
    """In the order of the gates (G1)."""
    if agent.lifecycle_stage == LifecycleStage.RETIRED:
        return {"outcome": Outcome.ARCHIVED, "reason": "The agent is retired."}
    if agent.paused:
        return {"outcome": Outcome.PAUSED, "reason": "The agent's verified owner has paused its automatic tests."}
    return {"outcome": Outcome.OPTED_OUT, "reason": "The agent's verified owner has opted out of automatic tests."}


def after_heartbeat(job: Job, run: ComplianceRun) -> None:
    """Advance the agent's schedule, in the transaction that records the run: by success and failure alike (L8)."""
    Agent.objects.filter(pk=job.agent_id).update(
        last_checked_at=Greatest(F("last_checked_at"), run.tested_at),
        next_heartbeat_at=HeartbeatSlot(F("agent_url"), F("heartbeat_interval_hours"), run.recorded_at),
        protocol=run.protocol if run.found_protocol(job.agent) else F("protocol"),
    )
