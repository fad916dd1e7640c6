"""Agents: what an organization has, and how its own last test of each went."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from django.conf import settings
from django.urls import reverse
from ninja import Query, Router, Schema
from pydantic import Field

from compliance.jobs import dispatch as nudge
from compliance.models import AgentContextWithLatestTest, LifecycleStage, Organization, Protocol, Relation
from compliance.registry.actions import AlreadyRegistered, register_agent
from compliance.registry.urls import MAX_LENGTH
from compliance.runs.models import OverallStatus
from compliance.tenancy.models import Scope
from dashboard.agents.views import get_agent
from dashboard.api.access import ApiRequest, operation
from dashboard.api.fields import In, Text
from dashboard.api.paging import BY_KEY, Page, PageQuery, next_cursor, page_answer, read_cursor
from dashboard.api.problems import Problem
from dashboard.api.responses import Answer

router = Router(tags=["Agents"])


class AgentOut(Schema):
    """An agent as the organization has it."""

    id: UUID
    agent_url: str = Field(description="The agent's normalized address.", examples=["https://agent.example/mcp"])
    name: str = Field(description="The organization's own name for it.", examples=["Support agent"])
    relation: Relation
    protocol: Protocol = Field(description="Empty until it is found.")
    lifecycle_stage: LifecycleStage
    heartbeat_interval_hours: int
    paused: bool = Field(description="Whether its heartbeats are paused.")
    opted_out: bool = Field(description="Whether its verified owner wants no heartbeats.")
    created_at: datetime
    status: OverallStatus | None = Field(description="Its public status; null as long as it has none.")
    status_since: datetime | None
    last_test_run_id: UUID | None = Field(description="The organization's own last conclusive test.")
    last_test_status: OverallStatus | None
    last_test_summary: str | None = Field(examples=["All 25 checks passed."])
    last_tested_at: datetime | None
    total_tests_run: int
    url: str = Field(description="Its page.", examples=["https://assay.example/o/example/agents/0199…/"])


class AgentPage(Page):
    items: list[AgentOut]


class AgentQuery(PageQuery):
    status: Literal["passing", "partial", "failing", "never"] | None = Field(
        None, description="How the organization's own last test went; `never`: there is none."
    )
    name: str = Field("", max_length=200, description="A part of the name.")


class AgentIn(In):
    """An agent to register."""

    agent_url: Annotated[
        Text,
        Field(max_length=MAX_LENGTH, examples=["https://agent.example/mcp"], json_schema_extra={"format": "uri"}),
    ]
    name: Annotated[Text, Field(max_length=100, examples=["Support agent"])] = ""


def agent_out(agent: AgentContextWithLatestTest, organization: Organization) -> AgentOut:
    known = agent.agent
    status = getattr(known, "status", None)
    return AgentOut(
        id=agent.pk,
        agent_url=agent.agent_id,
        name=agent.name,
        relation=Relation(agent.relation),
        protocol=Protocol(known.protocol),
        lifecycle_stage=LifecycleStage(known.lifecycle_stage),
        heartbeat_interval_hours=known.heartbeat_interval_hours,
        paused=known.paused,
        opted_out=known.opted_out,
        created_at=agent.created_at,
        status=OverallStatus(status.status) if status else None,
        status_since=status.since if status else None,
        last_test_run_id=agent.last_test_run_id,
        last_test_status=OverallStatus(agent.last_test_status) if agent.last_test_status else None,
        last_test_summary=agent.last_test_summary,
        last_tested_at=agent.last_tested_at,
        total_tests_run=agent.total_tests_run,
        url=page_url("agent", organization, agent.pk),
    )


def page_url(name: str, organization: Organization, *parts: object) -> str:
    """The address of a page of the dashboard."""
    return settings.SITE_URL + reverse(name, args=[organization.slug, *parts])


@operation(
    router,
    "GET",
    "/agents",
    scope=Scope.READ,
    operation_id="listAgents",
    summary="The organization's agents",
    response=AgentPage,
)
def list_agents(request: ApiRequest, asked: Query[AgentQuery]) -> Answer:
    """In the order in which they were registered."""
    agents = AgentContextWithLatestTest.objects.of_organization(request.organization.id)
    if asked.status == "never":
        agents = agents.never_tested()
    elif asked.status:
        agents = agents.filter(last_test_status=asked.status)
    if asked.name:
        agents = agents.filter(name__icontains=asked.name)
    page = BY_KEY.page(agents, read_cursor(BY_KEY, asked.cursor), size=asked.limit)
    items = [agent_out(agent, request.organization) for agent in page.rows]
    return page_answer(request, AgentPage(items=items, next=next_cursor(page)))


@operation(
    router,
    "GET",
    "/agents/{uuid:agent}",
    scope=Scope.READ,
    operation_id="getAgent",
    summary="One agent",
    response=AgentOut,
    problems=(404,),
)
def one_agent(request: ApiRequest, agent: UUID) -> Answer:
    return Answer(agent_out(get_agent(request.organization, agent), request.organization), cacheable=True)


@operation(
    router,
    "POST",
    "/agents",
    scope=Scope.MANAGE,
    operation_id="registerAgent",
    summary="Register an agent",
    response={201: AgentOut},
    problems=(409,),
)
def add_agent(request: ApiRequest, agent: AgentIn) -> Answer:
    """It is asked for its protocol at once. One that is registered already is named in the problem, as `id`."""
    organization = request.organization
    try:
        context = register_agent(organization=organization, url=agent.agent_url, name=agent.name, by=request.auth)
    except AlreadyRegistered as already:
        raise Problem(409, "already-registered", str(already), id=str(already.context.pk)) from None
    nudge.after_commit(nudge.DETECT, context.agent_id)
    return Answer(
        agent_out(get_agent(organization, context.pk), organization),
        status=201,
        headers={"Location": f"{settings.SITE_URL}{request.path}/{context.pk}"},
    )
