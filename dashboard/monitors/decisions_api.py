"""Decisions about monitors: why something was run, or was not."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from ninja import Query, Router, Schema
from pydantic import AwareDatetime, Field

from compliance.monitors.decisions import DECISIONS, NOT_ALLOWED, Decided, DecisionFilter, decision_page
from compliance.monitors.models import Outcome
from compliance.runs.models import OverallStatus
from compliance.tenancy.models import Scope
from dashboard.api.access import ApiRequest, operation
from dashboard.api.fields import ActorOut, one_of
from dashboard.api.paging import Page, PageQuery, next_cursor, page_answer, read_cursor
from dashboard.api.responses import Answer

router = Router(tags=["Monitors"])

OutcomeAsked = Annotated[Outcome | Literal["not_allowed"], one_of(", ".join([*Outcome.values, f"or {NOT_ALLOWED}"]))]


class DecisionOut(Schema):
    """One evaluation of one monitor."""

    id: UUID
    at: datetime
    monitor_id: UUID
    monitor_name: str = Field(description="As it was called then.")
    agent_id: UUID | None = Field(description="Null when the organization no longer has the agent.")
    agent_url: str
    scheduled_for: datetime | None = Field(description="The occurrence; null when somebody asked.")
    outcome: Outcome
    reason: str = Field(description="In words; empty when it was allowed.")
    actor: ActorOut
    job_id: UUID | None = Field(description="Set exactly when it was allowed.")
    run_id: UUID | None
    overall_status: OverallStatus | None = Field(description="Of the run that came of it.")


class DecisionPageOut(Page):
    items: list[DecisionOut]


class DecisionQuery(PageQuery):
    monitor: UUID | None = Field(None, description="A monitor's id.")
    outcome: OutcomeAsked | None = Field(None, description="`not_allowed`: all but `allowed`.")
    since: AwareDatetime | None = Field(None, description="Decided at or after.")
    until: AwareDatetime | None = Field(None, description="Decided before.")


def _decision_out(decided: Decided) -> DecisionOut:
    return DecisionOut(
        id=decided.pk,
        at=decided.at,
        monitor_id=decided.monitor_id,
        monitor_name=decided.monitor_name,
        agent_id=decided.context_id,
        agent_url=decided.agent_url,
        scheduled_for=decided.scheduled_for,
        outcome=Outcome(decided.outcome),
        reason=decided.reason,
        actor=ActorOut(kind=decided.actor_kind, name=decided.actor_name),
        job_id=decided.job_id,
        run_id=decided.run_id,
        overall_status=OverallStatus(decided.run_status) if decided.run_status else None,
    )


@operation(
    router,
    "GET",
    "/decisions",
    scope=Scope.READ,
    operation_id="listDecisions",
    summary="Decisions, the newest first",
    response=DecisionPageOut,
)
def list_decisions(request: ApiRequest, asked: Query[DecisionQuery]) -> Answer:
    cursor = read_cursor(DECISIONS, asked.cursor)
    page = decision_page(
        organization_id=request.organization.id,
        narrowed_to=DecisionFilter(
            monitor_id=asked.monitor,
            outcome=NOT_ALLOWED if asked.outcome == NOT_ALLOWED else str(asked.outcome or ""),
            since=asked.since,
            until=asked.until,
        ),
        cursor=cursor,
        size=asked.limit,
    )
    items = [_decision_out(decided) for decided in page.rows]
    return page_answer(request, DecisionPageOut(items=items, next=next_cursor(page)))
