"""Decisions: keyset pages, newest first, which need organization_scope; and the end of those that are old."""

from __future__ import annotations

from django.conf import settings

from compliance.database import delete_in_batches
from compliance.jobs.models import Job
from compliance.monitors.models import MonitorDecision
from compliance.monitors.models.decision import MonitorDecisionQuerySet
from compliance.pagination import Cursor, Keyset, Page
from compliance.registry.models import AgentContext
from compliance.runs.models import ComplianceRun

DECISIONS = Keyset("at")
PAGE_SIZE = 50


def decision_page(
    decisions: MonitorDecisionQuerySet, *, organization_id: str, cursor: Cursor | None = None, size: int = PAGE_SIZE
) -> Page[MonitorDecision]:
    """One page of an organization's decisions, newest first, with the agents, jobs and runs that they are about."""
    page: Page[MonitorDecision] = DECISIONS.page(decisions.filter(organization_id=organization_id), cursor, size=size)
    contexts = AgentContext.objects.by_address(organization_id, {decision.agent_url for decision in page.rows})
    job_ids = [decision.job_id for decision in page.rows if decision.job_id]
    jobs = Job.objects.only("state", "run_id", "end_reason").in_bulk(job_ids)
    statuses = ComplianceRun.objects.statuses_of(job.run_id for job in jobs.values() if job.run_id)
    for decision in page.rows:
        context = contexts.get(decision.agent_url)
        decision.context_id, decision.agent_name = (context.pk, context.name) if context else (None, "")
        decision.job = jobs.get(decision.job_id) if decision.job_id else None
        decision.run_id = decision.job.run_id if decision.job else None
        decision.run_status = statuses.get(decision.run_id)
    return page


def forget_old_decisions() -> int:
    """Delete all organizations' decisions that are older than DECISION_RETENTION_DAYS; returns how many. No scope."""
    return delete_in_batches("forget_decisions", settings.DECISION_RETENTION_DAYS)
