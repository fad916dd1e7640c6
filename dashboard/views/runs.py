"""A run: what was tested, by whom, how, and what came of it, step by step."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Q
from django.http import Http404
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse

from compliance.models import AgentContext, ComplianceRun, Organization, StepEvidence
from compliance.runs.records import NEWEST_FIRST
from dashboard import reports
from dashboard.access import OrganizationRequest, organization_view
from dashboard.badges import tally


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


def readable_evidence(run: ComplianceRun, organization: Organization, context: AgentContext | None) -> Any:
    """The evidence of a run that the organization may read: of its own runs, its credential, its verified agent."""
    allowed = Q(organization_id=organization.id) | Q(
        organization_id__isnull=True, credential_organization_id=organization.id
    )
    if context is not None and context.is_verified_owner:
        allowed |= Q(organization_id__isnull=True, credential_organization_id__isnull=True)
    # The month's partition is found by recorded_at.
    return StepEvidence.objects.filter(allowed, run_id=run.pk, recorded_at=run.recorded_at)


@organization_view()
def run(request: OrganizationRequest, run: UUID) -> HttpResponseBase:
    organization = request.organization
    found, context = get_run(organization, run)
    own = found.triggered_org_id is not None
    with_evidence = set(readable_evidence(found, organization, context).values_list("step_index", flat=True))
    siblings = ComplianceRun.objects.narrow().for_agent(found.agent_url)
    siblings = siblings.own(organization.id) if own else siblings.of_platform()
    page = {
        "run": found,
        "context": context,
        "own": own,
        "tracks": reports.tracks_of(found, with_evidence),
        "tally": tally(found.counts),
        "why_inconclusive": reports.why_inconclusive(found),
        "public_status": reports.public_status(found),
        "observations": reports.observations(found),
        "evidence_hidden": not with_evidence and not own and not (context and context.is_verified_owner),
        "previous": siblings.before(found.tested_at, found.pk).order_by(*NEWEST_FIRST).first(),
        "next": siblings.after(found.tested_at, found.pk).order_by("tested_at", "id").first(),
    }
    return TemplateResponse(request, "run.html", page)


@organization_view()
def evidence(request: OrganizationRequest, run: UUID, step: int) -> HttpResponseBase:
    """What was sent and what came back in one step: a part of the run's page, or a page of its own."""
    found, context = get_run(request.organization, run)
    kept = readable_evidence(found, request.organization, context).filter(step_index=step).first()
    if kept is None:
        raise Http404
    page = {
        "run": found,
        "context": context,
        "step": reports.step_at(found, step),
        "request_text": reports.as_text(kept.request),
        "response_text": reports.as_text(kept.response),
    }
    return TemplateResponse(request, "_evidence.html" if request.htmx else "evidence.html", page)
