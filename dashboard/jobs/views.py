"""A job's progress: from queued to its run, live with JavaScript and by reloading without."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, resolve_url
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django_htmx.http import HttpResponseClientRedirect, HttpResponseClientRefresh

from compliance.jobs.actions import cancel_job, why_waiting
from compliance.models import AgentContext, Job, JobState, Organization, Runner, RunnerState, TriggeredBy
from compliance.tenancy.errors import Refused
from dashboard.common.access import OrganizationRequest, organization_view, shown_path
from dashboard.common.confirm import ask_first

# Workers answer within a second or two; after this the page says that none did.
UNSERVED_AFTER = timedelta(seconds=30)
RUNNERS_SHOWN = 10
# Beside a button that stays while the test goes on from waiting to running: it must be true of both.
CANCELLING = "It ends without a run, and nothing goes into the history. You are asked first if it runs by then."
STOPPING = (
    "It is stopped, and what came of it so far is discarded: it ends without a run. What the agent was already sent"
    " cannot be taken back."
)


def progress_context(job: Job) -> dict[str, Any]:
    """What jobs/_progress.html shows. Needs the organization's scope; asks for runners only if the job is theirs."""
    runners = _runners_for(job) if job.placement.is_private else []
    engine = job.suite_version.engine
    progress = progress_of(job)
    context = {
        "job": job,
        **progress,
        "percent": 100 * progress["done"] // progress["total"] if progress["total"] else 0,
        "is_unserved": job.state == JobState.QUEUED and timezone.now() - job.created_at > UNSERVED_AFTER,
        "is_lost": job.state == JobState.LEASED and job.lease_expires_at and job.lease_expires_at < timezone.now(),
        "runner_name": next((runner.name for runner in runners if runner.pk == job.runner_id), ""),
        "job_runners": [(runner, job.is_active and runner.lacks(engine)) for runner in runners[:RUNNERS_SHOWN]],
        "more_runners": max(len(runners) - RUNNERS_SHOWN, 0),
        "why_waiting": why_waiting(job.placement, engine, runners) if job.state == JobState.QUEUED else "",
        "none_enabled": not any(runner.state == RunnerState.ACTIVE for runner in runners),
        "none_online": job.placement.is_private and not any(runner.is_online for runner in runners),
        "some_lack_engine": any(runner.lacks(engine) for runner in runners),
    }
    return {**context, "announcement": _announcement(job, context)}


def _announcement(job: Job, context: dict[str, Any]) -> str:
    """What is said to those who do not see the page change."""
    if not job.is_active:
        return "The test has ended without a run"
    if context["why_waiting"]:
        return str(context["why_waiting"])
    if context["none_online"] and job.state == JobState.QUEUED:
        return "No runner for it is online"
    if context["is_unserved"] or context["is_lost"]:
        return f"Still waiting for a {'private runner' if job.placement.is_private else 'worker'}"
    return "The test is queued" if job.state == JobState.QUEUED else "The test is running"


def _runners_for(job: Job) -> list[Runner]:
    """Those that may take the job, whatever their state, a deleted one too: it says what became of it."""
    assert job.organization_id is not None
    if job.runner_id:
        return list(Runner.objects.filter(organization_id=job.organization_id, pk=job.runner_id))
    return list(Runner.objects.named_by(job.organization_id, job.placement))


def progress_of(job: Job) -> dict[str, Any]:
    """The step that runs, and how many of how many are done. It comes from an engine, and may be anything."""
    done, total = (
        value if isinstance(value, int) and value > 0 else 0
        for value in (job.progress.get("done"), job.progress.get("total"))
    )
    return {"step": str(job.progress.get("step") or ""), "done": min(done, total), "total": total}


def get_job(organization: Organization, job: UUID) -> Job:
    """One of the organization's jobs; 404 for any other's."""
    return Job.objects.select_related("suite_version__suite").get(organization=organization, pk=job)


def _may_cancel(request: OrganizationRequest, job: Job) -> bool:
    return job.triggered_by != TriggeredBy.MONITOR or request.membership.may_manage


@organization_view()
def job_detail(request: OrganizationRequest, job: UUID) -> HttpResponseBase:
    """The page, or for htmx the part that is polled; when the run is there, to the run."""
    found = get_job(request.organization, job)
    if found.run_id is not None:
        run_url = resolve_url("run", request.organization.slug, found.run_id)
        if not request.htmx:
            return redirect(run_url)
        # The reader who watched goes on to the result; the one on the agent's page stays there.
        watched = shown_path(request.htmx) == request.path
        return HttpResponseClientRedirect(run_url) if watched else HttpResponseClientRefresh()
    page = progress_context(found)
    if request.htmx:
        if not found.is_active and shown_path(request.htmx) == request.path:
            return HttpResponseClientRefresh()  # its title and its button say that it goes on
        return TemplateResponse(request, "jobs/_progress.html", page)
    if found.is_active and _may_cancel(request, found):
        page["cancelling"] = CANCELLING
    page["title"] = "Test under way" if found.is_active else f"Test {found.get_state_display().lower()}"
    page["context"] = AgentContext.objects.filter(organization=request.organization, agent_id=found.agent_id).first()
    return TemplateResponse(request, "jobs/detail.html", page)


@organization_view()
def job_cancel(request: OrganizationRequest, job: UUID) -> HttpResponseBase:
    """End it without a run: at once what waits, and what runs once that is confirmed. Of a monitor's, who manages."""
    found = get_job(request.organization, job)
    back = reverse("job", args=[request.organization.slug, job])
    if request.method != "POST":
        return redirect(back)
    if found.state == JobState.LEASED and _may_cancel(request, found):
        question = ask_first(
            request,
            title="Stop this test?",
            text=STOPPING,
            button="Stop the test",
            back=back,
        )
        if question is not None:
            return question
    try:
        cancel_job(**request.acting, job_id=job)
    except Refused as refusal:
        messages.warning(request, str(refusal))
    else:
        messages.success(request, "The test is cancelled. It ended without a run.")
    return redirect(back)
