"""Monitors: an organization's recurring tests."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from ninja import Query, Router, Schema, Status
from pydantic import Field

from compliance.models import Monitor, MonitorState
from compliance.monitors import actions
from compliance.monitors.models import Outcome
from compliance.tenancy.errors import Refused
from compliance.tenancy.models import Scope
from compliance.tenancy.roles import managing_membership
from dashboard.api.authentication import ApiRequest, BearerKey
from dashboard.api.paging import page_by_key, page_out
from dashboard.api.problems import Problem, ProblemDetails
from dashboard.monitors.schemas import MonitorChange, MonitorIn, MonitorPage, MonitorQuery, MonitorWithTimes
from dashboard.monitors.views import get_monitor

router = Router(tags=["Monitors"], auth=BearerKey(Scope.MANAGE))


class RunNowOut(Schema):
    """That it was allowed to run."""

    decision_id: UUID
    job_id: UUID = Field(description="Follow it by GET /jobs/{id}.")


def _monitor_out(request: ApiRequest, monitor_id: UUID) -> MonitorWithTimes:
    return MonitorWithTimes.from_orm(get_monitor(request.organization, monitor_id), context={"request": request})


def _refuse_archived(monitor: Monitor) -> None:
    if monitor.state == MonitorState.ARCHIVED:
        raise Refused("This monitor is archived. Create another one.")


@router.get(
    "/monitors",
    auth=BearerKey(Scope.READ),
    operation_id="listMonitors",
    summary="The organization's monitors",
    response=MonitorPage,
)
def list_monitors(request: ApiRequest, query: Query[MonitorQuery], response: HttpResponse) -> MonitorPage:
    """In the order in which they were created."""
    monitors = Monitor.objects.with_names().filter(organization=request.organization.id)
    monitors = monitors.filter(state=query.state) if query.state else monitors.exclude(state=MonitorState.ARCHIVED)
    if query.agent is not None:
        monitors = monitors.filter(context_id=query.agent)
    return page_out(MonitorPage, page_by_key(monitors, query), request=request, response=response)


@router.post(
    "/monitors",
    operation_id="createMonitor",
    summary="Create a monitor",
    response={201: MonitorWithTimes, 404: ProblemDetails, 409: ProblemDetails},
)
def create(request: ApiRequest, monitor: MonitorIn, response: HttpResponse) -> Status[MonitorWithTimes]:
    """Its first run is at the schedule's next time. 404: there is no such agent."""
    created = actions.create_monitor(
        organization=request.organization,
        context_id=monitor.agent_id,
        name=monitor.name,
        suite_slug=monitor.suite,
        when=monitor.schedule.when(),
        what=monitor.what(),
        by=request.auth,
    )
    response["Location"] = f"{settings.SITE_URL}{request.path}/{created.pk}"
    return Status(201, _monitor_out(request, created.pk))


@router.get(
    "/monitors/{id:monitor}",
    auth=BearerKey(Scope.READ),
    operation_id="getMonitor",
    summary="One monitor, with its next times and last results",
    response={200: MonitorWithTimes, 404: ProblemDetails},
)
def one_monitor(request: ApiRequest, monitor: UUID) -> MonitorWithTimes:
    return _monitor_out(request, monitor)


@router.patch(
    "/monitors/{id:monitor}",
    operation_id="changeMonitor",
    summary="Change a monitor",
    response={200: MonitorWithTimes, 404: ProblemDetails, 409: ProblemDetails},
)
def change(request: ApiRequest, monitor: UUID, change: MonitorChange) -> MonitorWithTimes:
    """From its next run on. A new schedule begins to count now."""
    # Locked already here, the key before the monitor as in every action: of two changes at once, each keeps what the
    # other changed.
    managing_membership(request.organization.id, request.auth)
    found = get_monitor(request.organization, monitor).locked()
    _refuse_archived(found)
    actions.change_monitor(
        organization=request.organization,
        monitor_id=monitor,
        name=found.name if change.name is None else change.name,
        when=change.when(found),
        what=change.what(found),
        by=request.auth,
    )
    return _monitor_out(request, monitor)


def _change_state(request: ApiRequest, monitor_id: UUID, action: Callable[..., Monitor]) -> MonitorWithTimes:
    _refuse_archived(get_monitor(request.organization, monitor_id))
    action(organization=request.organization, monitor_id=monitor_id, by=request.auth)
    return _monitor_out(request, monitor_id)


@router.post(
    "/monitors/{id:monitor}/pause",
    operation_id="pauseMonitor",
    summary="Pause a monitor",
    response={200: MonitorWithTimes, 404: ProblemDetails, 409: ProblemDetails},
)
def pause(request: ApiRequest, monitor: UUID) -> MonitorWithTimes:
    """What is under way goes on. One that is paused stays so."""
    return _change_state(request, monitor, actions.pause_monitor)


@router.post(
    "/monitors/{id:monitor}/resume",
    operation_id="resumeMonitor",
    summary="Resume a monitor",
    response={200: MonitorWithTimes, 404: ProblemDetails, 409: ProblemDetails},
)
def resume(request: ApiRequest, monitor: UUID) -> MonitorWithTimes:
    """At its next time; occurrences that passed are not made up for."""
    return _change_state(request, monitor, actions.resume_monitor)


@router.post(
    "/monitors/{id:monitor}/archive",
    operation_id="archiveMonitor",
    summary="Archive a monitor",
    response={200: MonitorWithTimes, 404: ProblemDetails, 409: ProblemDetails},
)
def archive(request: ApiRequest, monitor: UUID) -> MonitorWithTimes:
    """For good. Its runs and decisions stay. One that is archived stays so."""
    if get_monitor(request.organization, monitor).state != MonitorState.ARCHIVED:
        actions.archive_monitor(organization=request.organization, monitor_id=monitor, by=request.auth)
    return _monitor_out(request, monitor)


@router.post(
    "/monitors/{id:monitor}/run",
    operation_id="runMonitor",
    summary="Run a monitor now",
    response={202: RunNowOut, 404: ProblemDetails, 409: ProblemDetails},
)
def run_now(request: ApiRequest, monitor: UUID) -> Status[RunNowOut] | HttpResponse:
    """Beside its schedule. If a gate stops it, the problem's `outcome` names the gate; that is on record as a
    decision."""
    _refuse_archived(get_monitor(request.organization, monitor))
    decision = actions.run_monitor_now(organization=request.organization, monitor_id=monitor, by=request.auth)
    if decision.outcome != Outcome.ALLOWED:
        # Returned, not raised: the decision must stay on record.
        problem = Problem(409, "stopped", decision.reason, outcome=decision.outcome, decision_id=str(decision.pk))
        return problem.response()
    assert decision.job_id is not None
    return Status(202, RunNowOut(decision_id=decision.pk, job_id=decision.job_id))
