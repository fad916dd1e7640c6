"""Monitors: the list, one with its times and results, and what owners and admins do with it."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from compliance.models import (
    AgentContext,
    Job,
    JobState,
    Monitor,
    MonitorState,
    Organization,
    RejectedReport,
    Role,
    Runner,
)
from compliance.monitors import actions
from compliance.monitors.decisions import DECISIONS, decision_page
from compliance.monitors.models import MonitorDecision, Outcome
from compliance.suites.catalogue import OfferedSuite, facts_of
from compliance.vault.access_log import granted_credentials
from compliance.vault.models import UseFor
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.common.confirm import confirmed_action, posted_action, refusals_in
from dashboard.common.filters import page_or_part
from dashboard.common.formatting import in_zone
from dashboard.monitors.filters import DecisionFilterSet, MonitorFilter
from dashboard.monitors.forms import MonitorChoice, MonitorForm, carried, in_units
from dashboard.monitors.tables import DecisionTable, MonitorTable
from dashboard.suites.forms import default_among, scenarios_of, suites_for

LAST_DECISIONS = 10
LAST_JOBS = 50  # among which those are looked for that nobody served
EXPIRED_SHOWN = 5
ARCHIVING = "It never runs again. Its runs and the decisions about them stay, and its name can be used for another."


def get_monitor(organization: Organization, monitor: UUID) -> Monitor:
    """One of the organization's monitors, an archived one too; 404 for any other's."""
    return Monitor.objects.with_names().get(organization=organization, pk=monitor)


@organization_view()
def monitors(request: OrganizationRequest) -> HttpResponseBase:
    """Every monitor with its next time, its last result and a strip of recent ones; ?state= narrows them."""
    organization = request.organization
    filterset = MonitorFilter(request.GET, Monitor.objects.of_organization(organization.id).with_names())
    state = filterset.chosen.get("state") or ""
    counts = Monitor.objects.states_of(organization.id)
    table = MonitorTable(filterset.qs).on_page(request, count=_in_state(counts, state))
    verdicts = Monitor.objects.strips([monitor.pk for monitor in table.shown])
    for monitor in table.shown:
        monitor.verdicts = verdicts.get(monitor.pk, [])
    content = {
        "filter": filterset,
        "table": table,
        "state": state,
        "has_monitors": bool(counts),
        "states": [
            # “All” only where nothing is left out.
            (value, words if value or counts.get(MonitorState.ARCHIVED) else "All", _in_state(counts, value))
            for value, words in (("", "Not archived"), *MonitorState.choices)
            if value in ("", state) or counts.get(value)
        ],
    }
    return TemplateResponse(request, "monitors/list.html", content)


def _in_state(counts: dict[str, int], state: str) -> int:
    """How many are in a state; in none: all that are not archived."""
    if state:
        return counts.get(state, 0)
    return sum(count for each, count in counts.items() if each != MonitorState.ARCHIVED)


@organization_view()
def decisions(request: OrganizationRequest) -> HttpResponseBase:
    """“Why did this not run?”, with a page of the decisions; for htmx the part of it below the filters."""
    organization = request.organization
    filterset = DecisionFilterSet(request.GET, organization_id=organization.id)
    page = decision_page(
        filterset.decisions(),
        organization_id=organization.id,
        cursor=DECISIONS.decode(request.GET.get("at", "")),
    )
    content = {"filter": filterset, "page": page, "table": DecisionTable(page.rows)}
    return page_or_part(request, "monitors/decisions.html", "monitors/_decisions.html", content)


@organization_view()
def monitor(request: OrganizationRequest, monitor: UUID) -> HttpResponseBase:
    """When it runs next, how it went, and what was decided lately."""
    organization = request.organization
    found = get_monitor(organization, monitor)
    decided = decision_page(
        MonitorDecision.objects.narrowed(monitor_id=found.pk), organization_id=organization.id, size=LAST_DECISIONS
    )
    page = {
        "monitor": found,
        "stopped": _why_stopped(found),
        "times": _in_words(found.next_times(), found.timezone),
        "verdicts": Monitor.objects.strips([found.pk]).get(found.pk, []),
        "under_way": Job.objects.active().filter(monitor_id=found.pk).first(),
        "cooldown": _in_words_of_units(found.notify_cooldown_seconds),
        **_unserved(found),
        "decisions": DecisionTable(decided.rows),
        "has_more_decisions": decided.next is not None,
        "archiving": ARCHIVING,
    }
    return TemplateResponse(request, "monitors/detail.html", page)


def _why_stopped(monitor: Monitor) -> str:
    """Such as “Paused by Alice”, or “Parked: …” where the reason does not say what came of it."""
    state, reason = str(monitor.get_state_display()), monitor.state_reason
    return reason if not reason or reason.startswith(state) else f"{state}: {reason}"


def _in_words_of_units(seconds: int) -> str:
    count, unit = in_units(seconds)
    return f"{count} {unit.removesuffix('s') if count == 1 else unit}" if seconds else ""


def _unserved(monitor: Monitor) -> dict[str, Any]:
    """What among its last jobs nobody served, and what was sent and was no report (L15, L16)."""
    last = Job.objects.filter(monitor_id=monitor.pk).order_by("-created_at", "-id")
    jobs = list(last.only("state", "scheduled_for", "created_at", "end_reason", "run_id")[:LAST_JOBS])
    rejected = RejectedReport.objects.filter(job_id__in=[job.pk for job in jobs if job.run_id])
    return {
        "expired": [job for job in jobs if job.state == JobState.EXPIRED][:EXPIRED_SHOWN],
        "rejected": rejected.order_by("-at").select_related("job").first() if monitor.placement.is_private else None,
    }


def _in_words(times: Any, timezone: str) -> list[tuple[Any, str]]:
    return [(moment, in_zone(moment, timezone)) for moment in times]


@organization_view(Role.ADMIN)
def monitor_add(request: OrganizationRequest) -> HttpResponseBase:
    """Choose an agent and a suite, then what is run and when. A POST with `preview` keeps nothing."""
    organization = request.organization
    asked = request.POST if request.method == "POST" else request.GET
    contexts = list(
        AgentContext.objects.filter(organization=organization).select_related("agent").order_by("name", "id")
    )
    chosen_agent = str(asked.get("agent") or "")
    context = next((each for each in contexts if str(each.pk) == chosen_agent), None)
    if context is None and chosen_agent:
        raise Http404
    context = context or next(iter(contexts), None)
    if context is None:
        return TemplateResponse(request, "monitors/add.html", {"contexts": contexts})
    suites = suites_for(context.agent.protocol)
    suite = next((each for each in suites if each.slug == asked.get("suite")), None) or default_among(suites)
    chosen = {"agent": str(context.pk), "suite": suite.slug if suite else "", "parts": str(asked.get("parts") or "")}
    page: dict[str, Any] = {
        "contexts": contexts,
        "context": context,
        "suites": suites,
        "suite": suite,
        "choice": MonitorChoice(chosen, contexts=contexts, suites=suites),
    }
    runners = list(Runner.objects.not_deleted(organization.id))
    page["can_run"] = can_run = suite is not None and (not suite.problem or bool(runners))
    if suite is None or not can_run:
        return TemplateResponse(request, "monitors/add.html", page)
    form = _form(
        request,
        context,
        suite.version_id,
        runners=runners,
        engine=suite.engine,
        initial={"name": f"{context.name}, {suite.title}"[:100], **carried(request.GET)},
    )
    if form.is_bound and not form.preview and not chosen_agent:
        form.full_clean()
        form.add_error(None, f"No agent was chosen. Choose one; the form is for “{context.name}” until then.")

    def create() -> Monitor:
        assert context is not None
        assert isinstance(suite, OfferedSuite)
        return actions.create_monitor(
            **request.acting,
            context_id=context.pk,
            name=form.cleaned_data["name"],
            suite_slug=suite.slug,
            when=form.when(),
            what=form.what(),
        )

    return _answer(request, "monitors/add.html", form, page, create, "is set up. It runs at the times below.")


@organization_view(Role.ADMIN)
def monitor_edit(request: OrganizationRequest, monitor: UUID) -> HttpResponseBase:
    """Change what is run and when. A POST with `preview` keeps nothing."""
    found = get_monitor(request.organization, monitor)
    version = found.version_to_run
    if found.context is None or version is None or found.state == MonitorState.ARCHIVED:
        archived = found.state == MonitorState.ARCHIVED
        why = "is archived, and cannot" if archived else "cannot"
        messages.error(request, f"“{found.name}” {why} be changed any more. Make another one.")
        return redirect("monitor", request.organization.slug, monitor)
    runners = list(Runner.objects.not_deleted(request.organization.id))
    form = _form(request, found.context, version.pk, runners=runners, engine=version.engine, instance=copy(found))

    def change() -> Monitor:
        return actions.change_monitor(
            **request.acting,
            monitor_id=monitor,
            name=form.cleaned_data["name"],
            when=form.when(),
            what=form.what(),
        )

    page = {"monitor": found, "version": version}
    return _answer(request, "monitors/edit.html", form, page, change, "is changed, from its next run on.")


def _form(request: OrganizationRequest, context: AgentContext, version_id: int, **more: Any) -> MonitorForm:
    return MonitorForm(
        request.POST if request.method == "POST" else None,
        options=facts_of([version_id])[version_id].options,
        scenarios=scenarios_of(version_id, context.agent.protocol),
        credentials=granted_credentials(
            organization_id=request.organization.id, context_id=context.pk, use=UseFor.MONITORS
        ),
        preview="preview" in request.POST,
        **more,
    )


def _answer(
    request: OrganizationRequest,
    template: str,
    form: MonitorForm,
    page: dict[str, Any],
    keep: Callable[[], Monitor],
    said: str,
) -> HttpResponseBase:
    if request.method == "POST" and form.is_valid() and not form.preview:
        with refusals_in(form):
            kept = keep()
            messages.success(request, f"“{kept.name}” {said}")
            return redirect("monitor", request.organization.slug, kept.pk)
    page |= {"form": form, "times": _in_words(form.times, form.when().timezone) if form.times else []}
    return TemplateResponse(request, template, page, status=422 if form.errors and not form.preview else 200)


@organization_view(Role.ADMIN)
def monitor_run(request: OrganizationRequest, monitor: UUID) -> HttpResponseBase:
    """Run it now, beside its schedule. What stops it is said, and on record."""
    found = get_monitor(request.organization, monitor)
    if request.method != "POST":
        return redirect("monitor", request.organization.slug, monitor)
    decision = actions.run_monitor_now(**request.acting, monitor_id=found.pk)
    if decision.outcome != Outcome.ALLOWED:
        messages.warning(request, f"It was not run. {decision.reason}")
        return redirect("monitor", request.organization.slug, monitor)
    return redirect("job", request.organization.slug, decision.job_id)


@organization_view(Role.ADMIN)
def monitor_pause(request: OrganizationRequest, monitor: UUID) -> HttpResponseBase:
    found = get_monitor(request.organization, monitor)
    pause = partial(actions.pause_monitor, **request.acting, monitor_id=monitor)
    then = reverse("monitor", args=[request.organization.slug, monitor])
    return posted_action(request, pause, done=f"“{found.name}” is paused. A run that has begun goes on.", then=then)


@organization_view(Role.ADMIN)
def monitor_resume(request: OrganizationRequest, monitor: UUID) -> HttpResponseBase:
    found = get_monitor(request.organization, monitor)
    resume = partial(actions.resume_monitor, **request.acting, monitor_id=monitor)
    done = f"“{found.name}” goes on at its next time. What passed meanwhile is not made up for."
    return posted_action(request, resume, done=done, then=reverse("monitor", args=[request.organization.slug, monitor]))


@organization_view(Role.ADMIN)
def monitor_archive(request: OrganizationRequest, monitor: UUID) -> HttpResponseBase:
    """End it for good, once that is confirmed."""
    found = get_monitor(request.organization, monitor)
    if found.state == "archived":
        raise Http404
    slug = request.organization.slug
    return confirmed_action(
        request,
        partial(actions.archive_monitor, **request.acting, monitor_id=monitor),
        title=f"Archive “{found.name}”?",
        text=ARCHIVING,
        button="Archive the monitor",
        back=reverse("monitor", args=[slug, monitor]),
        done=f"“{found.name}” is archived.",
        then=reverse("monitors", args=[slug]),
    )
