"""Decisions: keyset pages, newest first, which need organization_scope; and the end of those that are old."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import Q

from compliance.database import delete_in_batches
from compliance.jobs.models import Job
from compliance.monitors.models import MonitorDecision, Outcome
from compliance.pagination import Cursor, Keyset, Page
from compliance.registry.models import AgentContext
from compliance.runs.models import ComplianceRun

DECISIONS = Keyset("at")
NOT_ALLOWED = "not_allowed"
PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """What a reader narrows the decisions to. Empty means everything."""

    monitor_id: UUID | None = None
    outcome: str = ""  # a value of Outcome, or NOT_ALLOWED for all but ALLOWED
    since: datetime | None = None  # at or after
    until: datetime | None = None  # before

    def conditions(self) -> Q:
        conditions = Q()
        if self.monitor_id:
            conditions &= Q(monitor_id=self.monitor_id)
        if self.outcome == NOT_ALLOWED:
            conditions &= ~Q(outcome=Outcome.ALLOWED)
        elif self.outcome:
            conditions &= Q(outcome=self.outcome)
        if self.since:
            conditions &= Q(at__gte=self.since)
        if self.until:
            conditions &= Q(at__lt=self.until)
        return conditions


class Decided(NamedTuple):
    """One decision as a list shows it."""

    pk: UUID
    at: datetime
    monitor_id: UUID
    monitor_name: str
    agent_url: str
    scheduled_for: datetime | None
    outcome: str
    reason: str
    actor_kind: str
    actor_name: str
    job_id: UUID | None
    context_id: UUID | None  # None: the organization no longer has the agent
    agent_name: str
    run_id: UUID | None
    run_status: str | None  # None: no run came of it, or not yet
    job_state: str | None  # a value of JobState; None: no job, or one that is no longer kept
    end_reason: str  # why the job ended without a run

    @property
    def outcome_words(self) -> str:
        return str(Outcome(self.outcome).label)


_of_decision = attrgetter(*Decided._fields[:-6])


def decision_page(
    *, organization_id: str, narrowed_to: DecisionFilter, cursor: Cursor | None = None, size: int = PAGE_SIZE
) -> Page[Decided]:
    """One page of an organization's decisions, newest first."""
    decisions = MonitorDecision.objects.filter(narrowed_to.conditions(), organization_id=organization_id)
    page: Page[Any] = DECISIONS.page(decisions, cursor, size=size)
    contexts = AgentContext.objects.by_address(organization_id, {decision.agent_url for decision in page.rows})
    job_ids = [decision.job_id for decision in page.rows if decision.job_id]
    jobs = Job.objects.only("state", "run_id", "end_reason").in_bulk(job_ids)
    statuses = ComplianceRun.objects.statuses_of(job.run_id for job in jobs.values() if job.run_id)
    rows = []
    for decision in page.rows:
        context = contexts.get(decision.agent_url)
        job = jobs.get(decision.job_id) if decision.job_id else None
        of_context = (context.pk, context.name) if context else (None, "")
        of_job = (job.run_id, statuses.get(job.run_id), job.state, job.end_reason) if job else (None, None, None, "")
        rows.append(Decided._make([*_of_decision(decision), *of_context, *of_job]))
    return replace(page, rows=rows)


def forget_old_decisions() -> int:
    """Delete all organizations' decisions that are older than DECISION_RETENTION_DAYS; returns how many. No scope."""
    return delete_in_batches("forget_decisions", settings.DECISION_RETENTION_DAYS)
