"""Runs: the history, one run with its report, and the evidence of a step."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from django.http import Http404, HttpResponse
from ninja import Query, Router
from pydantic import Field

from compliance.engines.reports.model import Verdict
from compliance.models import AgentContext, ComplianceRun, StepEvidence, TriggeredBy
from compliance.pagination import Page
from compliance.runs.history import HISTORY, HistoryFilter, history_page
from compliance.runs.models import BY_ORGANIZATION, OverallStatus
from compliance.tenancy.models import Scope
from dashboard.api.authentication import ApiRequest, BearerKey
from dashboard.api.paging import PageQuery, page_out, read_cursor
from dashboard.api.problems import Problem, ProblemDetails, invalid
from dashboard.api.schemas import Instant, Text
from dashboard.runs.exchanges import expires_at, has_expired
from dashboard.runs.report_page import step_at
from dashboard.runs.schemas import RunPage, RunWithReport, StepEvidenceOut
from dashboard.runs.views import get_run

router = Router(tags=["Runs"], auth=BearerKey(Scope.READ))
MAX_STEP = 32_767  # what the table of evidence takes


class RunQuery(PageQuery):
    agent: UUID | None = Field(None, description="An agent's id: its history, with the platform's heartbeats.")
    status: list[OverallStatus] = Field([], description="Any of these; may be given again.")
    triggered_by: list[TriggeredBy] = Field([], description="Any of these; may be given again.")
    suite: Annotated[Text, Field(max_length=100, description="A suite's slug.")] = ""
    since: Instant | None = Field(None, description="Tested at or after.", examples=["2026-11-01T00:00:00Z"])
    until: Instant | None = Field(None, description="Tested before.")


@router.get(
    "/runs",
    operation_id="listRuns",
    summary="Runs, the newest first",
    response={200: RunPage, 404: ProblemDetails},
)
def list_runs(request: ApiRequest, query: Query[RunQuery], response: HttpResponse) -> RunPage:
    """Without `agent` the runs that the organization itself caused, of all agents. A filter that matches little stops
    after looking at 10,000 runs: a page may be short, or empty, and have a `next` all the same."""
    organization = request.organization
    agent_url = None
    if query.agent is not None:
        agent_url = AgentContext.objects.of(organization.id, query.agent).agent_id
    elif any(kind not in BY_ORGANIZATION for kind in query.triggered_by):
        raise invalid("query", "agent", "Name an agent to see what the platform caused.")
    page = history_page(
        organization_id=organization.id,
        agent_url=agent_url,
        narrowed_to=HistoryFilter(
            triggers=query.triggered_by,
            statuses=query.status,
            suite=query.suite,
            since=query.since,
            until=query.until,
        ),
        cursor=read_cursor(HISTORY, query),
        size=query.limit,
    )
    rows = ComplianceRun.objects.narrow().select_related("suite_version__suite").defer("suite_version__definition")
    by_key = rows.in_bulk([run.pk for run in page.rows])
    whole = Page([by_key[run.pk] for run in page.rows], next=page.next)
    return page_out(RunPage, whole, request=request, response=response)


@router.get(
    "/runs/{id:run}",
    operation_id="getRun",
    summary="One run with its report",
    response={200: RunWithReport, 404: ProblemDetails},
)
def one_run(request: ApiRequest, run: UUID) -> RunWithReport:
    found, context = get_run(request.organization, run)
    kept = StepEvidence.objects.readable_by(request.organization.id, found, context)
    return RunWithReport.from_orm(
        found, context={"request": request, "with_evidence": set(kept.values_list("step_index", flat=True))}
    )


@router.get(
    "/runs/{id:run}/steps/{int:step}",
    operation_id="getStepEvidence",
    summary="The exchange behind a step",
    response={200: StepEvidenceOut, 404: ProblemDetails, 410: ProblemDetails},
)
def one_step(request: ApiRequest, run: UUID, step: int) -> StepEvidenceOut:
    """410 once the evidence was dropped for its age."""
    if step > MAX_STEP:
        raise Http404
    found, context = get_run(request.organization, run)
    shown = step_at(found, step)
    kept = StepEvidence.objects.readable_by(request.organization.id, found, context).filter(step_index=step).first()
    if shown is None or (kept is None and not has_expired(found)):
        raise Http404
    if kept is None:
        raise Problem(410, "gone", "The evidence of this run was dropped for its age.")
    return StepEvidenceOut(
        run_id=found.pk,
        index=step,
        key=shown.key,
        title=shown.title,
        verdict=Verdict(shown.verdict),
        expected=shown.expected,
        actual=shown.actual,
        request=kept.request,
        response=kept.response,
        pointer=kept.pointer,
        expires_at=expires_at(found),
    )
