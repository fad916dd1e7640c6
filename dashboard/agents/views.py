"""Agents: the overview, one agent's page, registering, testing and removing one, and its settings."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from compliance.jobs.actions import PlacementRefused, add_agent, request_owner_test
from compliance.models import (
    AgentContextWithLatestTest,
    ComplianceRun,
    HeartbeatDecision,
    Job,
    Monitor,
    Organization,
    Role,
    Runner,
)
from compliance.registry.actions import AlreadyRegistered, change_heartbeats, remove_context, rename_context
from compliance.registry.models import Placement
from compliance.registry.urls import InvalidAgentURL
from compliance.runs.history import (
    history_page,
    last_of_each_kind,
    newest_without_verdict,
    recent_heartbeat_verdicts,
    recent_verdicts,
)
from compliance.suites.catalogue import OfferedSuite
from compliance.tenancy.errors import Refused
from compliance.vault.access_log import granted_credentials
from compliance.vault.models import UseFor
from dashboard.agents.filters import FACETS, STALE_DAYS, AgentFilter
from dashboard.agents.forms import AgentForm, HeartbeatForm, RenameForm
from dashboard.agents.tables import AgentTable
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.common.confirm import confirmed_action
from dashboard.common.filters import page_or_part
from dashboard.jobs.forms import value_of
from dashboard.jobs.views import progress_context
from dashboard.runs.tables import RunTable
from dashboard.suites.forms import SuiteForm, TestForm, default_among, scenarios_of, suites_for

LAST_RUNS = 10
SKIPPED_HEARTBEATS = 3  # that an agent's page shows
# Longer than detection takes. After that the page no longer says that an answer is on its way.
DETECTION_TIMEOUT = timedelta(minutes=2)
REMOVAL = (
    "The agent leaves your list, and heartbeats of it are no longer shown to you. The tests that you ran stay in the"
    " record: register the same address again and they are back."
)


@organization_view()
def overview(request: OrganizationRequest) -> HttpResponseBase:
    """The page, or for htmx the part of it below the search field."""
    organization = request.organization
    agents = AgentContextWithLatestTest.objects.of_organization(organization.id)
    filterset = AgentFilter(request.GET, queryset=agents)
    search, status = filterset.chosen.get("q") or "", filterset.chosen.get("status") or ""
    totals = agents.facets(sought=search, stale_days=STALE_DAYS)
    counts = {"": totals.everything, **{value: getattr(totals, value) for value, _ in FACETS}}
    context = {
        "filter": filterset,
        "table": AgentTable(filterset.qs.failing_first().as_rows()).on_page(request, count=counts[status]),
        "total": counts[status],
        "is_empty": not counts[""] and not search,
        "search": search,
        "carried": [(name, request.GET[name]) for name in ("status", "sort") if request.GET.get(name)],
        "status": status,
        "facets": [
            (value, words, counts[value])
            for value, words in (("", "All"), *FACETS)
            if counts[value] or value in ("", status)
        ],
    }
    return page_or_part(request, "agents/list.html", "agents/_agents.html", context)


@organization_view(Role.ADMIN)
def agent_add(request: OrganizationRequest) -> HttpResponseBase:
    """Register an agent; its protocol is detected then."""
    form = AgentForm(request.POST if request.method == "POST" else None)
    existing = None
    if request.method == "POST" and form.is_valid():
        try:
            context = add_agent(**request.acting, **form.cleaned_data)
        except InvalidAgentURL as error:
            form.add_error("url", str(error))
        except AlreadyRegistered as error:
            form.add_error("url", str(error))
            existing = error.context
        else:
            messages.success(request, f"{context.name} is registered. Test it now, or wait for its first heartbeat.")
            return redirect("agent", request.organization.slug, context.pk)
    status = 422 if form.errors else 200
    return TemplateResponse(request, "agents/add.html", {"form": form, "existing": existing}, status=status)


def get_agent(organization: Organization, agent: UUID) -> AgentContextWithLatestTest:
    """One of the organization's agents with its last test; 404 for any other's."""
    return AgentContextWithLatestTest.objects.of_organization(organization.id).with_provenance().get(pk=agent)


def is_detecting(context: AgentContextWithLatestTest) -> bool:
    """Whether the agent's protocol may still be detected."""
    agent = context.agent
    return not agent.protocol and not agent.protocol_note and timezone.now() - context.created_at < DETECTION_TIMEOUT


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
    runners = list(Runner.objects.not_deleted(organization.id))
    page: dict[str, Any] = {
        "context": context,
        "agent": context.agent,
        "status": getattr(context.agent, "status", None),
        "detecting": is_detecting(context),
        "last_own": last["own"],
        "without_verdict": _without_verdict(context, last["own"]),
        "last_heartbeat": last["platform"],
        "own_verdicts": own,
        "skipped_heartbeats": HeartbeatDecision.objects.newest_of(url)[:SKIPPED_HEARTBEATS],
        "heartbeat_verdicts": recent_heartbeat_verdicts(url),
        "table": RunTable(newest.rows),
        "more": newest.next is not None,
        "choice": SuiteForm(
            suites=suites,
            starts_test=True,
            runners=runners,
            initial={"suite": default.slug if default else "", "placement": _last_placement(last["own"], runners)},
        ),
        "runners": runners,
        "suites": suites,
        "whole_suites": sum(suite.facts.full for suite in suites),
        "default_suite": default,
        "monitors": list(Monitor.objects.current(organization.id).filter(context_id=agent)),
    }
    if active is not None:
        page |= progress_context(active)
    return TemplateResponse(request, "agents/detail.html", page)


def _without_verdict(context: AgentContextWithLatestTest, last: ComplianceRun | None) -> ComplianceRun | None:
    """The newest test that was inconclusive, if no conclusive one came after it; `last` is the newest of all."""
    if context.inconclusive_since is None:
        return None
    if last is not None and not last.dry_run:
        return last
    return newest_without_verdict(organization_id=context.organization_id, agent_url=context.agent_id)


def _last_placement(last: ComplianceRun | None, runners: list[Runner]) -> str:
    """The choice of the runner that ran the last test, while it is there: no other may reach the agent."""
    if last is None or last.executor_id not in [runner.pk for runner in runners]:
        return ""
    return value_of(Placement(runner_id=last.executor_id))


@organization_view()
def agent_protocol(request: OrganizationRequest, agent: UUID) -> HttpResponseBase:
    """The protocol as a part of a page, which asks for it until it is known."""
    context = get_agent(request.organization, agent)
    if not request.htmx:
        return redirect("agent", request.organization.slug, agent)
    page = {"context": context, "agent": context.agent, "detecting": is_detecting(context)}
    return TemplateResponse(request, "agents/_protocol.html", page)


@organization_view()
def agent_test(request: OrganizationRequest, agent: UUID) -> HttpResponseBase:
    """Ask for a test; a GET shows what can be chosen. A second press leads to the test under way.

    `suite` names the suite, in a GET and in a POST; `placement` where it runs. Without `choices` a POST comes from a
    page that does not show the suite's options, and they stay as the suite has them.
    """
    context = get_agent(request.organization, agent)
    suites = suites_for(context.agent.protocol)
    posted = request.method == "POST"
    data = request.POST if posted else request.GET
    slug = str(data.get("suite") or "")
    found = next((suite for suite in suites if suite.slug == slug), None)
    suite = found if slug and posted else found or default_among(suites)
    choice = SuiteForm({"suite": slug} if slug else None, suites=suites)
    form = None
    runners = list(Runner.objects.not_deleted(request.organization.id))
    if suite is not None:
        choice.initial["suite"] = suite.slug
        form = TestForm(
            request.POST if posted else None,
            runners=runners,
            engine=suite.engine,
            options=suite.facts.options,
            scenarios=scenarios_of(suite.version_id, context.agent.protocol),
            credentials=granted_credentials(
                organization_id=request.organization.id, context_id=agent, use=UseFor.OWNER_TESTS
            ),
        )
        if posted and "choices" not in request.POST:
            form.take_suites_options()
        if posted and form.is_valid():
            try:
                return _request_test(request, agent, suite, form)
            except PlacementRefused as refusal:
                form.add_error("placement", str(refusal))
    can_run = suite is not None and (not suite.problem or bool(runners))
    page = {"context": context, "choice": choice, "suite": suite, "form": form, "suites": suites, "can_run": can_run}
    failed = posted or (slug and found is None)
    return TemplateResponse(request, "agents/test.html", page, status=422 if failed else 200)


def _request_test(request: OrganizationRequest, agent: UUID, suite: OfferedSuite, form: TestForm) -> HttpResponseBase:
    job, created = request_owner_test(
        **request.acting,
        context_id=agent,
        suite_slug=suite.slug,
        scenarios=form.cleaned_data["scenarios"],
        # A box that is not there is not a box that was cleared.
        options=form.chosen_options() if "choices" in request.POST else {},
        all_evidence=form.cleaned_data["all_evidence"],
        dry_run=form.cleaned_data["dry_run"],
        credential=form.cleaned_data["credential"],
        placement=form.chosen_placement,
    )
    if not created:
        messages.info(request, "This test is under way already.")
    return redirect("job", request.organization.slug, job.pk)


@organization_view(Role.ADMIN)
def agent_settings(request: OrganizationRequest, agent: UUID) -> HttpResponseBase:
    """The forms; each is posted with its name in the button."""
    context = get_agent(request.organization, agent)
    renaming, heartbeats = "rename" in request.POST, "heartbeats" in request.POST
    rename = RenameForm(request.POST if renaming else None, initial={"name": context.name})
    beat = HeartbeatForm(request.POST if heartbeats else None, instance=context.agent)
    try:
        if renaming and rename.is_valid():
            rename_context(**request.acting, context_id=agent, **rename.cleaned_data)
            messages.success(request, "The name is changed.")
            return redirect("agent", request.organization.slug, agent)
        if heartbeats and beat.is_valid():
            change_heartbeats(
                **request.acting,
                context_id=agent,
                interval_hours=beat.cleaned_data["heartbeat_interval_hours"],
                lifecycle_stage=beat.cleaned_data["lifecycle_stage"],
                paused=beat.cleaned_data["paused"],
                opted_out=beat.cleaned_data["opted_out"],
                max_at_once=beat.cleaned_data["max_at_once"],
            )
            messages.success(request, "The heartbeat settings are changed.")
            return redirect("agent", request.organization.slug, agent)
    except Refused as refusal:
        (rename if renaming else beat).add_error(None, str(refusal))
    page = {"context": context, "rename": rename, "heartbeats": beat, "removal": REMOVAL}
    return TemplateResponse(request, "agents/settings.html", page, status=422 if rename.errors or beat.errors else 200)


@organization_view(Role.ADMIN)
def agent_remove(request: OrganizationRequest, agent: UUID) -> HttpResponseBase:
    """Remove the agent from the organization, once that is confirmed."""
    context = get_agent(request.organization, agent)
    slug = request.organization.slug
    return confirmed_action(
        request,
        partial(remove_context, **request.acting, context_id=agent),
        title=f"Remove {context.name}?",
        text=REMOVAL,
        button="Remove the agent",
        back=reverse("agent_settings", args=[slug, agent]),
        done=f"{context.name} is removed.",
        then=reverse("overview", args=[slug]),
    )
