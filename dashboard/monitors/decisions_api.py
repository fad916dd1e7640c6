"""Decisions about monitors: why something was run, or was not."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from django.http import HttpResponse
from ninja import Query, Router
from pydantic import Field

from compliance.monitors.decisions import DECISIONS, decision_page
from compliance.monitors.models import MonitorDecision, Outcome
from compliance.monitors.models.decision import NOT_ALLOWED
from compliance.runs.models import OverallStatus
from compliance.tenancy.models import Scope
from dashboard.api.authentication import ApiRequest, BearerKey
from dashboard.api.paging import Page, PageQuery, page_out, read_cursor
from dashboard.api.schemas import Instant, WithActor, one_of

router = Router(tags=["Monitors"], auth=BearerKey(Scope.READ))

OutcomeAsked = Annotated[Outcome | Literal["not_allowed"], one_of(", ".join([*Outcome.values, f"or {NOT_ALLOWED}"]))]


class DecisionOut(WithActor):
    """One evaluation of one monitor."""

    id: UUID = Field(validation_alias="pk")
    at: datetime
    monitor_id: UUID
    monitor_name: str = Field(description="As it was called then.")
    agent_id: UUID | None = Field(
        validation_alias="context_id", description="Null when the organization no longer has the agent."
    )
    agent_url: str
    scheduled_for: datetime | None = Field(description="The occurrence; null when somebody asked.")
    outcome: Outcome
    reason: str = Field(description="In words; empty when it was allowed.")
    job_id: UUID | None = Field(description="Set exactly when it was allowed.")
    run_id: UUID | None
    overall_status: OverallStatus | None = Field(
        validation_alias="run_status", description="Of the run that came of it."
    )


class DecisionPageOut(Page):
    items: list[DecisionOut]


class DecisionQuery(PageQuery):
    monitor: UUID | None = Field(None, description="A monitor's id.")
    outcome: OutcomeAsked | None = Field(None, description="`not_allowed`: all but `allowed`.")
    since: Instant | None = Field(None, description="Decided at or after.")
    until: Instant | None = Field(None, description="Decided before.")


@router.get("/decisions", operation_id="listDecisions", summary="Decisions, the newest first", response=DecisionPageOut)
def list_decisions(request: ApiRequest, query: Query[DecisionQuery], response: HttpResponse) -> DecisionPageOut:
    page = decision_page(
        MonitorDecision.objects.narrowed(
            monitor_id=query.monitor,
            outcome=NOT_ALLOWED if query.outcome == NOT_ALLOWED else str(query.outcome or ""),
            since=query.since,
            until=query.until,
        ),
        organization_id=request.organization.id,
        cursor=read_cursor(DECISIONS, query),
        size=query.limit,
    )
    return page_out(DecisionPageOut, page, request=request, response=response)
