"""An agent's settings: its name, its heartbeats, its removal."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from compliance.models import Role
from compliance.registry.actions import change_heartbeats, remove_context, rename_context
from compliance.tenancy.errors import Refused
from dashboard.agents.views import get_agent
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.common.confirm import ask_first
from dashboard.common.forms import HeartbeatForm, RenameForm

REMOVAL = (
    "The agent leaves your list, and heartbeats of it are no longer shown to you. The tests that you ran stay in the"
    " record: register the same address again and they are back."
)


@organization_view(Role.ADMIN)
def agent_settings(request: OrganizationRequest, agent: UUID) -> HttpResponseBase:
    """The forms; each is posted with its name in the button."""
    context = get_agent(request.organization, agent)
    renaming, heartbeats = "rename" in request.POST, "heartbeats" in request.POST
    rename = RenameForm(request.POST if renaming else None, initial={"name": context.name})
    beat = HeartbeatForm(request.POST if heartbeats else None, instance=context.agent)
    try:
        if renaming and rename.is_valid():
            rename_context(
                organization=request.organization,
                context_id=agent,
                name=rename.cleaned_data["name"],
                by=request.user,
            )
            messages.success(request, "The name is changed.")
            return redirect("agent", request.organization.slug, agent)
        if heartbeats and beat.is_valid():
            change_heartbeats(
                organization=request.organization,
                context_id=agent,
                interval_hours=beat.cleaned_data["heartbeat_interval_hours"],
                lifecycle_stage=beat.cleaned_data["lifecycle_stage"],
                paused=beat.cleaned_data["paused"],
                opted_out=beat.cleaned_data["opted_out"],
                by=request.user,
            )
            messages.success(request, "The heartbeat settings are changed.")
            return redirect("agent", request.organization.slug, agent)
    except Refused as refusal:
        (rename if renaming else beat).add_error(None, str(refusal))
    page = {"context": context, "rename": rename, "heartbeats": beat, "removal": REMOVAL}
    return TemplateResponse(request, "agent_settings.html", page, status=422 if rename.errors or beat.errors else 200)


@organization_view(Role.ADMIN)
def agent_remove(request: OrganizationRequest, agent: UUID) -> HttpResponseBase:
    """Remove the agent from the organization, once that is confirmed."""
    context = get_agent(request.organization, agent)
    question = ask_first(
        request,
        title=f"Remove {context.name}?",
        text=REMOVAL,
        button="Remove the agent",
        back=reverse("agent_settings", args=[request.organization.slug, agent]),
    )
    if question is not None:
        return question
    remove_context(organization=request.organization, context_id=agent, by=request.user)
    messages.success(request, f"{context.name} is removed.")
    return redirect("overview", request.organization.slug)
