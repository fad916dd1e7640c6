"""Agents: what an organization has registered, and how its own last test of each went."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from ninja import Query, Router, Schema, Status
from pydantic import AliasPath, Field

from compliance.jobs.actions import add_agent
from compliance.models import AgentContextWithLatestTest, LifecycleStage, Protocol, Relation
from compliance.registry.actions import AlreadyRegistered
from compliance.registry.urls import MAX_LENGTH
from compliance.runs.models import OverallStatus
from compliance.tenancy.models import Scope
from dashboard.agents.views import get_agent
from dashboard.api.authentication import ApiRequest, BearerKey
from dashboard.api.paging import Page, PageQuery, page_by_key, page_out
from dashboard.api.problems import Problem, ProblemDetails
from dashboard.api.schemas import In, Text, page_url

router = Router(tags=["Agents"], auth=BearerKey(Scope.READ))


class AgentOut(Schema):
    """An agent as the organization has it."""

    id: UUID
    agent_url: str = Field(
        validation_alias="agent_id", description="Its normalized URL.", examples=["https://agent.example/mcp"]
    )
    name: str = Field(description="The organization's own name for it.", examples=["Support agent"])
    relation: Relation
    protocol: Protocol = Field(validation_alias=AliasPath("agent", "protocol"), description="Empty until it is found.")
    lifecycle_stage: LifecycleStage = Field(validation_alias=AliasPath("agent", "lifecycle_stage"))
    heartbeat_interval_hours: int = Field(validation_alias=AliasPath("agent", "heartbeat_interval_hours"))
    paused: bool = Field(
        validation_alias=AliasPath("agent", "paused"), description="Whether its heartbeats are paused."
    )
    opted_out: bool = Field(
        validation_alias=AliasPath("agent", "opted_out"),
        description="Whether its verified owner wants no heartbeats.",
    )
    created_at: datetime
    status: OverallStatus | None = Field(description="Its public status; null as long as it has none.")
    status_since: datetime | None
    status_with: str | None = Field(
        description="Suite, engine and specification of the run that decided it.",
        examples=["Baseline 1, engine 1.0, specification 2025-11-25"],
    )
    last_test_run_id: UUID | None = Field(description="The organization's own last conclusive test.")
    last_test_status: OverallStatus | None
    last_test_passed: bool | None = Field(description="Whether it was passing as a whole.")
    last_test_scenario: str | None = Field(
        description="The title of its first track.", examples=["Connectivity and TLS"]
    )
    last_test_full_suite: bool | None = Field(description="False for a test of some scenarios only.")
    last_test_summary: str | None = Field(examples=["All 25 checks passed."])
    last_tested_at: datetime | None
    last_test_with: str | None = Field(description="Suite, engine and specification of that test.")
    inconclusive_since: datetime | None = Field(
        description="Since when the organization's own tests came without a verdict, after the last conclusive one;"
        " null when the newest has one."
    )
    total_tests_run: int
    url: str = Field(description="Its page.", examples=["https://assay.example/o/example/agents/0199…/"])

    @staticmethod
    def resolve_status(agent: AgentContextWithLatestTest) -> str | None:
        return agent.agent.status.status if hasattr(agent.agent, "status") else None

    @staticmethod
    def resolve_status_since(agent: AgentContextWithLatestTest) -> datetime | None:
        return agent.agent.status.since if hasattr(agent.agent, "status") else None

    @staticmethod
    def resolve_url(agent: AgentContextWithLatestTest, context: dict[str, Any]) -> str:
        return page_url("agent", context, agent.pk)


class AgentPage(Page):
    items: list[AgentOut]


class AgentQuery(PageQuery):
    status: Literal["passing", "partial", "failing", "never"] | None = Field(
        None, description="How the organization's own last test went; `never`: there is none."
    )
    name: Annotated[Text, Field(max_length=200, description="A part of the name.")] = ""
    q: Annotated[
        Text,
        Field(
            max_length=200,
            description="A part of the name or of the address; host names are found by their Unicode and by their ASCII"
            " spelling.",
        ),
    ] = ""


class AgentIn(In):
    """An agent to register."""

    agent_url: Annotated[
        Text,
        Field(max_length=MAX_LENGTH, examples=["https://agent.example/mcp"], json_schema_extra={"format": "uri"}),
    ]
    name: Annotated[Text, Field(max_length=100, examples=["Support agent"])] = ""


@router.get("/agents", operation_id="listAgents", summary="The organization's agents", response=AgentPage)
def list_agents(request: ApiRequest, query: Query[AgentQuery], response: HttpResponse) -> AgentPage:
    """In the order in which they were registered."""
    agents = AgentContextWithLatestTest.objects.of_organization(request.organization.id).with_provenance()
    if query.status == "never":
        agents = agents.never_tested()
    elif query.status:
        agents = agents.filter(last_test_status=query.status)
    if query.name:
        agents = agents.filter(name__icontains=query.name)
    if query.q:
        agents = agents.sought(query.q)
    return page_out(AgentPage, page_by_key(agents, query), request=request, response=response)


@router.get(
    "/agents/{id:agent}",
    operation_id="getAgent",
    summary="One agent",
    response={200: AgentOut, 404: ProblemDetails},
)
def one_agent(request: ApiRequest, agent: UUID) -> AgentOut:
    return AgentOut.from_orm(get_agent(request.organization, agent), context={"request": request})


@router.post(
    "/agents",
    auth=BearerKey(Scope.MANAGE),
    operation_id="registerAgent",
    summary="Register an agent",
    response={201: AgentOut, 409: ProblemDetails},
)
def register_agent(request: ApiRequest, agent: AgentIn, response: HttpResponse) -> Status[AgentOut]:
    """Its protocol is detected at once. If it is registered already, the problem names it as `id`."""
    organization = request.organization
    try:
        context = add_agent(organization=organization, url=agent.agent_url, name=agent.name, by=request.auth)
    except AlreadyRegistered as already:
        raise Problem(409, "already-registered", str(already), id=str(already.context.pk)) from None
    response["Location"] = f"{settings.SITE_URL}{request.path}/{context.pk}"
    return Status(201, one_agent(request, context.pk))
