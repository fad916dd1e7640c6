"""Runs: one with its steps and their evidence, two of them compared, and an agent's history."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import Http404
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse

from compliance.models import (
    AgentContext,
    ComplianceRun,
    Credential,
    Organization,
    RejectedReport,
    Runner,
    RunnerState,
    StepEvidence,
)
from compliance.registry.models import ExecutorKind, Placement
from compliance.runs.comparison import Kind, background_of, compare_runs
from compliance.runs.history import HISTORY, history_page, neighbours_of
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.common.filters import page_or_part
from dashboard.jobs.forms import value_of
from dashboard.runs import comparison_page as comparisons
from dashboard.runs import report_page as reports
from dashboard.runs.exchanges import as_sent, exchange_of, expires_at, has_expired
from dashboard.runs.filters import RunFilter
from dashboard.runs.tables import DifferenceTable, OtherRunTable, RunTable


def get_run(organization: Organization, run: UUID) -> tuple[ComplianceRun, AgentContext | None]:
    """A run that the organization may read, and its context of the agent; 404 for any other.

    Row-level security says the same; this is the second lock.
    """
    found = ComplianceRun.objects.select_related("suite_version__suite").filter(pk=run).first()
    if found is None or found.triggered_org_id not in (None, organization.id):
        raise Http404
    context = AgentContext.objects.filter(organization=organization, agent_id=found.agent_url).first()
    if context is None and found.triggered_org_id is None:
        raise Http404
    return found, context


def own_credential(run: ComplianceRun, organization: Organization) -> Credential | None:
    """The credential that the run used, when it is the organization's."""
    if run.credential_id is None:
        return None
    return Credential.objects.filter(organization=organization, pk=run.credential_id).first()


@organization_view()
def run(request: OrganizationRequest, run: UUID) -> HttpResponseBase:
    organization = request.organization
    found, context = get_run(organization, run)
    own = found.triggered_org_id is not None
    with_evidence = set(
        StepEvidence.objects.readable_by(organization.id, found, context).values_list("step_index", flat=True)
    )
    background = background_of(found)
    page = {
        "run": found,
        "context": context,
        "own": own,
        "own_credential": own_credential(found, organization),
        "tracks": reports.tracks_of(found, with_evidence, background.flaky),
        "why_inconclusive": reports.why_inconclusive(found),
        "public_status": reports.public_status(found),
        "observations": reports.observations(found),
        "evidence_hidden": not with_evidence and not own and not (context and context.is_verified_owner),
        "evidence_expires": expires_at(found),
        "evidence_gone": has_expired(found),
        "evidence_months": settings.EVIDENCE_RETENTION_MONTHS,
        "background": background,
        "neighbours": neighbours_of(found),
        **(_by_runner(found, organization) if found.executor_kind == ExecutorKind.PRIVATE else {}),
    }
    return TemplateResponse(request, "runs/detail.html", page)


def _by_runner(run: ComplianceRun, organization: Organization) -> dict[str, Any]:
    """Which private runner ran it, and what it sent if that was no report."""
    runner = Runner.objects.filter(organization=organization, pk__in=[run.executor_id]).first()
    rejected = RejectedReport.objects.filter(organization_id=organization.id, job_id__in=[run.job_id]).first()
    return {
        "runner": runner,
        "again_by": value_of(Placement(runner_id=runner.pk)) if runner and runner.state != RunnerState.DELETED else "",
        "rejected": rejected,
        "rejected_kb": settings.REJECTED_REPORT_BYTES // 1024,
        "rejected_body": as_sent(rejected.body) if rejected else "",
    }


@organization_view()
def evidence(request: OrganizationRequest, run: UUID, step: int) -> HttpResponseBase:
    """What was sent and what came back in one step: a part of the run's page, or a page of its own."""
    found, context = get_run(request.organization, run)
    kept = StepEvidence.objects.readable_by(request.organization.id, found, context).filter(step_index=step).first()
    shown = reports.step_at(found, step)
    if shown is None or (kept is None and not has_expired(found)):
        raise Http404
    page = {
        "run": found,
        "context": context,
        "step": shown,
        "expired": kept is None,
        "expires": expires_at(found),
        "evidence_months": settings.EVIDENCE_RETENTION_MONTHS,
        **({} if kept is None else exchange_of(kept)),
    }
    template = "runs/_evidence.html" if request.htmx else "runs/evidence.html"
    return TemplateResponse(request, template, page, status=HTTPStatus.GONE if kept is None else HTTPStatus.OK)


@organization_view()
def compare_pick(request: OrganizationRequest, run: UUID) -> HttpResponseBase:
    """The runs of the same agent, to choose one to compare with."""
    found, context = get_run(request.organization, run)
    page = history_page(
        organization_id=request.organization.id,
        agent_url=found.agent_url,
        cursor=HISTORY.decode(request.GET.get("at", "")),
    )
    table = OtherRunTable([other for other in page.rows if other.pk != found.pk], run=found)
    return TemplateResponse(
        request, "runs/compare_choose.html", {"run": found, "context": context, "page": page, "table": table}
    )


@organization_view()
def compare(request: OrganizationRequest, run: UUID, other: UUID) -> HttpResponseBase:
    """Two runs side by side; `other` is the one that `run` is compared with."""
    after, context = get_run(request.organization, run)
    before, before_context = get_run(request.organization, other)
    comparison = compare_runs(before, after)
    in_order = (before.tested_at, before.pk) <= (after.tested_at, after.pk)
    # Swapped, “newly failing” and “fixed” are seen from the later run: the names must not say otherwise.
    first, second = ("Earlier", "Later") if in_order else ("First", "Second")
    page = {
        "sides": [(before, first), (after, second)],
        "first": first,
        "second": second,
        "in_order": in_order,
        "before": before,
        "after": after,
        "context": context,
        "before_context": before_context,
        "differences": DifferenceTable(comparison.differences, before=first, after=second),
        "groups": comparisons.groups_of(comparison, first, second),
        "unchanged": comparison.of(Kind.SAME),
        "verdict": comparisons.verdict_on(comparison),
    }
    return TemplateResponse(request, "runs/compare.html", page)


@organization_view()
def history(request: OrganizationRequest, agent: UUID) -> HttpResponseBase:
    """The page, or for htmx the part of it below the filters."""
    organization = request.organization
    context = AgentContext.objects.of(organization.id, agent)
    filterset = RunFilter(request.GET)
    cursor = HISTORY.decode(request.GET.get("at", ""))
    page = history_page(
        organization_id=organization.id,
        agent_url=context.agent_id,
        narrowed_to=filterset.as_history_filter(),
        cursor=cursor,
    )
    content = {
        "context": context,
        "filter": filterset,
        "table": RunTable(page.rows),
        "page": page,
        "upwards": cursor is not None and cursor.backwards,
        "is_lost": cursor is not None and not page.rows,
    }
    return page_or_part(request, "runs/history.html", "runs/_history.html", content)
