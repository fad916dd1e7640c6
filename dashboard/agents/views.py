"""Agents: registering one, its page, and asking for a test."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from compliance.jobs import dispatch as nudge
from compliance.models import (
    AgentContextWithLatestTest,
    ComplianceRun,
    Job,
    Monitor,
    Organization,
    Role,
    Runner,
)
from compliance.registry.actions import AlreadyRegistered, register_agent
from compliance.registry.models import Pin
from compliance.registry.urls import InvalidAgentURL
from compliance.runs.history import history_page, last_of_each_kind, recent_heartbeat_verdicts, recent_verdicts
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.common.forms import AgentForm
from dashboard.jobs.placement import TRUST, kept_runners, value_of
from dashboard.jobs.views import progress_context
from dashboard.runs.tables import RunTable
from dashboard.suites.forms import SuiteForm, default_among, suites_for

LAST_RUNS = 10
# Longer than asking takes. After that the page no longer says that an answer is on its way.
ASKING = timedelta(minutes=2)


@organization_view(Role.ADMIN)
def agent_add(request: OrganizationRequest) -> HttpResponseBase:
    """Register an agent, and ask it which protocol it speaks."""
    form = AgentForm(request.POST if request.method == "POST" else None)
    existing = None
    if request.method == "POST" and form.is_valid():
        try:
            context = register_agent(
                organization=request.organization,
                url=form.cleaned_data["url"],
                name=form.cleaned_data["name"],
                by=request.user,
            )
        except InvalidAgentURL as error:
            form.add_error("url", str(error))
        except AlreadyRegistered as error:
            form.add_error("url", str(error))
            existing = error.context
        else:
            nudge.after_commit(nudge.DETECT, context.agent_id)
            messages.success(request, f"{context.name} is registered. Test it now, or wait for its first heartbeat.")
            return redirect("agent", request.organization.slug, context.pk)
    status = 422 if form.errors else 200
    return TemplateResponse(request, "agent_add.html", {"form": form, "existing": existing}, status=status)


def get_agent(organization: Organization, agent: UUID) -> AgentContextWithLatestTest:
    """One of the organization's agents with its last test; 404 for any other's."""
    found = AgentContextWithLatestTest.objects.of_organization(organization.id).filter(pk=agent).first()
    if found is None:
        raise Http404
    return found


def is_being_asked(context: AgentContextWithLatestTest) -> bool:
    """Whether the answer to "which protocol do you speak?" may still come."""
    agent = context.agent
    return not agent.protocol and not agent.protocol_note and timezone.now() - context.created_at < ASKING


@organization_view()
def agent(request: OrganizationRequest, agent: UUID) -> HttpResponseBase:
    """The agent's page: who it is, its status, the organization's tests and the heartbeats."""
    organization = request.organization
    context = get_agent(organization, agent)
    url = context.agent_id
    last = last_of_each_kind(organization_id=organization.id, agent_url=url)
    own = recent_verdicts(organization_id=organization.id, agent_urls=[url])[url]
    active = (
        Job.objects.active()
        .filter(organization=organization, agent_id=url)
        .select_related("suite_version__suite")
        .order_by("-created_at", "-id")
        .first()
    )
    newest = history_page(organization_id=organization.id, agent_url=url, size=LAST_RUNS)
    suites = suites_for(context.agent.protocol)
    default = default_among(suites)
    runners = kept_runners(organization.id)
    page: dict[str, Any] = {
        "context": context,
        "agent": context.agent,
        "status": getattr(context.agent, "status", None),
        "asking": is_being_asked(context),
        "last_own": last["own"],
        "last_heartbeat": last["platform"],
        "own_strip": own,
        "heartbeat_strip": recent_heartbeat_verdicts(url),
        "table": RunTable(newest.rows),
        "more": newest.next is not None,
        "choice": SuiteForm(
            suites=suites,
            asks=True,
            runners=runners,
            initial={"suite": default.slug if default else "", "executor": _last_executor(last["own"], runners)},
        ),
        "runners": runners,
        "trust": TRUST,
        "suites": suites,
        "whole_suites": sum(suite.facts.full for suite in suites),
        "default_suite": default,
        "monitors": list(Monitor.objects.kept_by(organization.id).filter(context_id=agent)),
    }
    if active is not None:
        page |= progress_context(active, organization)
    return TemplateResponse(request, "agent.html", page)


def _last_executor(last: ComplianceRun | None, runners: list[Runner]) -> str:
    """The choice of the runner that ran the last test, while it is there: no other may reach the agent."""
    if last is None or last.executor_id not in [runner.pk for runner in runners]:
        return ""
    return value_of(Pin(runner_id=last.executor_id))


@organization_view()
def agent_protocol(request: OrganizationRequest, agent: UUID) -> HttpResponseBase:
    """The protocol as a part of a page, which asks for it until it is known."""
    context = get_agent(request.organization, agent)
    if not request.htmx:
        return redirect("agent", request.organization.slug, agent)
    page = {"context": context, "agent": context.agent, "asking": is_being_asked(context)}
    return TemplateResponse(request, "_protocol.html", page)
