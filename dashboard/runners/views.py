"""Private runners: the list, one with what it does and what waits for it, and what owners and admins do with it."""

from __future__ import annotations

import shlex
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.db.models import Q
from django.http import Http404
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from compliance.models import AgentContext, ApiKey, Monitor, MonitorState, Organization, Role, Runner, RunnerState
from compliance.runners import actions
from compliance.runners.placement import monitors_of_last, monitors_placed_on
from compliance.runners.queue import held_by, load_of, runs_by, waiting_for
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.common.confirm import ask_first, confirmed_action, posted_action, refusals_in
from dashboard.runners.forms import RunnerForm
from dashboard.runners.tables import HeldTable, RunnerRunTable, RunnerTable, WaitingTable

WAITING_SHOWN = 20
MONITORS_SHOWN = 20  # before what makes them wait is confirmed
LAST_RUNS = 10
EXAMPLES = 10  # addresses of agents in the command that starts a runner
CLOCK_AHEAD_MS = 60_000  # more than this is worth a word
REPLACING = "The old one stops working at once: the runner is away until it has the new one. What it holds, it keeps."
DISABLING = (
    "It gets no more work, and what it holds is taken back and run again. Its name, its monitors and its token stay."
)
DELETING = "Its token stops working for good, and what waits for it ends without a run. Its runs stay in the history."


def get_runner(organization: Organization, runner: UUID) -> Runner:
    """One of the organization's runners, a deleted one too, which runs refer to; 404 for any other's."""
    return Runner.objects.get(organization=organization, pk=runner)


def _kept(organization: Organization, runner: UUID) -> Runner:
    found = get_runner(organization, runner)
    if found.state == RunnerState.DELETED:
        raise Http404
    return found


@organization_view()
def runners(request: OrganizationRequest) -> HttpResponseBase:
    """Every runner: whether it is there, what it holds and what waits for it."""
    organization = request.organization
    table = RunnerTable(Runner.objects.not_deleted(organization.id)).on_page(request)
    load = load_of(organization.id)
    for runner in table.shown:
        runner.held_count, runner.waiting_count = load.held[runner.pk], load.waits_for(runner)
    return TemplateResponse(request, "runners/list.html", {"table": table})


@organization_view()
def runner(request: OrganizationRequest, runner: UUID) -> HttpResponseBase:
    """The runner's page, or for htmx the part of it that is brought up to date."""
    organization = request.organization
    found = get_runner(organization, runner)
    page = _now(found)
    if request.htmx and request.htmx.target == "now":
        return TemplateResponse(request, "runners/_now.html", page)
    runs = runs_by(found, LAST_RUNS)
    contexts = AgentContext.objects.by_address(organization.id, {run.agent_url for run in runs})
    for run in runs:
        run.context = contexts.get(run.agent_url)  # type: ignore[attr-defined]
    page |= {
        "key": ApiKey.objects.of_runner(organization.id, found.pk).first(),
        "monitors": list(Monitor.objects.current(organization.id).filter(found.work)),
        "runs": RunnerRunTable(runs),
        "replacing": REPLACING,
    }
    return TemplateResponse(request, "runners/detail.html", page)


def _now(runner: Runner) -> dict[str, Any]:
    held = held_by(runner)
    waiting, waiting_count = waiting_for(runner, WAITING_SHOWN)
    contexts = AgentContext.objects.by_address(runner.organization_id, {job.agent_id for job in [*held, *waiting]})
    for job in [*held, *waiting]:
        engine = job.suite_version.engine
        job.context = contexts.get(job.agent_id)  # type: ignore[attr-defined]
        job.lacked_engine = engine if runner.lacks(engine) else ""  # type: ignore[attr-defined]
    seconds = abs(runner.clock_ahead_ms) // 1000
    return {
        "runner": runner,
        "engines": sorted(runner.engines.items()),
        "clock": f"{seconds} seconds {'ahead' if runner.clock_ahead_ms > 0 else 'behind'}"
        if abs(runner.clock_ahead_ms) >= CLOCK_AHEAD_MS
        else "",
        "held": HeldTable(held),
        "waiting": WaitingTable(waiting, runner=runner),
        "waiting_count": waiting_count,
        "more_waiting": waiting_count - len(waiting),
    }


def _left_waiting(runner: Runner, *, with_its_own: bool) -> tuple[str, list[tuple[str, str]]]:
    """How many active monitors wait when the runner is there no more, in words, and the first of them with addresses.

    with_its_own: those that are placed on it, beside those of its pool; these wait while no other of it is online.
    """
    placed = Q(runner_id=runner.pk) if with_its_own else Q(pk__in=())
    if runner.pool and not any(other.is_online for other in Runner.objects.others_in_pool(runner)):
        placed |= Q(pool=runner.pool)
    active = Monitor.objects.current(runner.organization_id).filter(placed, state=MonitorState.ACTIVE)
    monitors = list(active)
    if not monitors:
        return "", []
    slug = runner.organization.slug
    shown = [(reverse("monitor", args=[slug, monitor.pk]), monitor.name) for monitor in monitors[:MONITORS_SHOWN]]
    if len(monitors) > MONITORS_SHOWN:
        shown.append((reverse("runner", args=[slug, runner.pk]), f"and {len(monitors) - MONITORS_SHOWN} more"))
    if len(monitors) == 1:
        return "1 active monitor waits then, until a runner for it is online:", shown
    return f"{len(monitors)} active monitors wait then, until a runner for them is online:", shown


@organization_view(Role.ADMIN)
def runner_add(request: OrganizationRequest) -> HttpResponseBase:
    """Name a runner; the answer shows its token, once."""
    form = RunnerForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        with refusals_in(form):
            added, token = actions.create_runner(**request.acting, **form.cleaned_data)
            return _with_token(request, added, token)
    return TemplateResponse(request, "runners/add.html", {"form": form}, status=422 if form.errors else 200)


def _with_token(request: OrganizationRequest, runner: Runner, token: str) -> HttpResponseBase:
    # The answer itself, and no address that could be opened again: the token is kept nowhere.
    urls = AgentContext.objects.filter(organization=request.organization).order_by("name", "id")
    hosts = dict.fromkeys(urlsplit(url).netloc for url in urls.values_list("agent_id", flat=True)[:EXAMPLES])
    allow = " ".join(f"--allow {shlex.quote(host)}" for host in hosts or ["agent.internal:8080"])
    options = f"--url {shlex.quote(settings.SITE_URL)} --token-file assay-runner.token"
    page = {
        "runner": runner,
        "token": token,
        "has_agents": bool(hosts),
        "keep": "touch assay-runner.token && chmod 600 assay-runner.token && cat > assay-runner.token",
        "check": f"assay-runner check {options} {allow}",
        "start": f"assay-runner {options} {allow}",
    }
    return TemplateResponse(request, "runners/token.html", page)


@organization_view(Role.ADMIN)
def runner_token(request: OrganizationRequest, runner: UUID) -> HttpResponseBase:
    """Another token in place of the old one, once that is confirmed; the answer shows it, once."""
    found = _kept(request.organization, runner)
    question = ask_first(
        request,
        title=f"Replace the token of {found.name}?",
        text=REPLACING,
        button="Replace the token",
        back=reverse("runner", args=[request.organization.slug, runner]),
    )
    if question is not None:
        return question
    found, token = actions.new_token(**request.acting, runner_id=runner)
    return _with_token(request, found, token)


@organization_view(Role.ADMIN)
def runner_settings(request: OrganizationRequest, runner: UUID) -> HttpResponseBase:
    """Its name and pool, and what ends it."""
    found = _kept(request.organization, runner)
    posted = request.method == "POST"
    form = RunnerForm(request.POST if posted else None, initial={"name": found.name, "pool": found.pool})
    if posted and form.is_valid():
        with refusals_in(form):
            actions.change_runner(**request.acting, runner_id=runner, **form.cleaned_data)
            messages.success(request, "The runner is changed. Past runs keep the name that it had.")
            return redirect("runner", request.organization.slug, runner)
    kept = Monitor.objects.current(request.organization.id)
    page = {
        "runner": found,
        "form": form,
        "monitors": kept.filter(runner_id=found.pk),
        "of_pool": kept.filter(pool=found.pool) if monitors_of_last(found) else (),
        "disabling": DISABLING,
        "disabled": _left_waiting(found, with_its_own=True),
        "deleting": DELETING,
        "deleted": _left_waiting(found, with_its_own=False),
    }
    return TemplateResponse(request, "runners/settings.html", page, status=422 if form.errors else 200)


@organization_view(Role.ADMIN)
def runner_disable(request: OrganizationRequest, runner: UUID) -> HttpResponseBase:
    """Trust it no more, once that is confirmed."""
    found = _kept(request.organization, runner)
    slug = request.organization.slug
    affects, affected = _left_waiting(found, with_its_own=True)
    return confirmed_action(
        request,
        partial(actions.disable_runner, **request.acting, runner_id=runner),
        title=f"Disable {found.name}?",
        text=DISABLING,
        button="Disable the runner",
        back=reverse("runner_settings", args=[slug, runner]),
        affects=affects,
        affected=affected,
        done=f"{found.name} is disabled. Work that is placed on it waits.",
        then=reverse("runner", args=[slug, runner]),
    )


@organization_view(Role.ADMIN)
def runner_enable(request: OrganizationRequest, runner: UUID) -> HttpResponseBase:
    found = _kept(request.organization, runner)
    enable = partial(actions.enable_runner, **request.acting, runner_id=runner)
    then = reverse("runner", args=[request.organization.slug, runner])
    return posted_action(request, enable, done=f"{found.name} is enabled.", then=then)


@organization_view(Role.ADMIN)
def runner_delete(request: OrganizationRequest, runner: UUID) -> HttpResponseBase:
    """End it for good, once that is confirmed; refused while monitors need it."""
    found = _kept(request.organization, runner)
    slug = request.organization.slug
    back = reverse("runner_settings", args=[slug, runner])
    delete = partial(actions.delete_runner, **request.acting, runner_id=runner)
    done, then = f"{found.name} is deleted.", reverse("runners", args=[slug])
    if monitors_placed_on(found) or monitors_of_last(found):  # the action refuses, and names them
        return posted_action(request, delete, done=done, then=then if request.method == "POST" else back)
    affects, affected = _left_waiting(found, with_its_own=False)
    return confirmed_action(
        request,
        delete,
        title=f"Delete {found.name}?",
        text=DELETING,
        button="Delete the runner",
        back=back,
        affects=affects,
        affected=affected,
        done=done,
        then=then,
    )
