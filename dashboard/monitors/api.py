"""Monitors: an organization's recurring tests, and what who manages does with them."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.conf import settings
from ninja import Query, Router, Schema
from pydantic import Field

from compliance.models import Monitor, MonitorState
from compliance.monitors import actions
from compliance.monitors.models import Outcome, strips
from compliance.runs.models import OverallStatus
from compliance.tenancy.errors import Refused
from compliance.tenancy.models import Scope
from compliance.tenancy.roles import managing_membership
from dashboard.api.access import ApiRequest, operation
from dashboard.api.paging import BY_KEY, next_cursor, page_answer, read_cursor
from dashboard.api.problems import Problem
from dashboard.api.responses import Answer
from dashboard.monitors.schemas import (
    MonitorChange,
    MonitorIn,
    MonitorOut,
    MonitorPage,
    MonitorQuery,
    MonitorWithTimes,
    monitor_fields,
    next_times,
)
from dashboard.monitors.views import get_monitor

router = Router(tags=["Monitors"])


class RunNowOut(Schema):
    """That it was allowed to run."""

    decision_id: UUID
    job_id: UUID = Field(description="How it goes: GET /jobs/{id}.")


def _whole(request: ApiRequest, monitor_id: UUID) -> MonitorWithTimes:
    monitor = get_monitor(request.organization, monitor_id)
    return MonitorWithTimes(
        **monitor_fields(monitor, request.organization),
        next_times=next_times(monitor),
        recent_statuses=[OverallStatus(status) for status in strips([monitor.pk])[monitor.pk]],
    )


@operation(
    router,
    "GET",
    "/monitors",
    scope=Scope.READ,
    operation_id="listMonitors",
    summary="The organization's monitors",
    response=MonitorPage,
)
def list_monitors(request: ApiRequest, asked: Query[MonitorQuery]) -> Answer:
    """In the order in which they were created."""
    organization = request.organization
    monitors = Monitor.objects.with_names().filter(organization=organization)
    monitors = monitors.filter(state=asked.state) if asked.state else monitors.exclude(state=MonitorState.ARCHIVED)
    if asked.agent is not None:
        monitors = monitors.filter(context_id=asked.agent)
    monitors = monitors.defer("suite__current_version__definition", "suite_version__definition")
    page = BY_KEY.page(monitors, read_cursor(BY_KEY, asked.cursor), size=asked.limit)
    items = [MonitorOut(**monitor_fields(monitor, organization)) for monitor in page.rows]
    return page_answer(request, MonitorPage(items=items, next=next_cursor(page)))


@operation(
    router,
    "POST",
    "/monitors",
    scope=Scope.MANAGE,
    operation_id="createMonitor",
    summary="Create a monitor",
    response={201: MonitorWithTimes},
    problems=(404, 409),
)
def create(request: ApiRequest, monitor: MonitorIn) -> Answer:
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
    location = {"Location": f"{settings.SITE_URL}{request.path}/{created.pk}"}
    return Answer(_whole(request, created.pk), status=201, headers=location)


@operation(
    router,
    "GET",
    "/monitors/{uuid:monitor}",
    scope=Scope.READ,
    operation_id="getMonitor",
    summary="One monitor, with its next times and last results",
    response=MonitorWithTimes,
    problems=(404,),
)
def one_monitor(request: ApiRequest, monitor: UUID) -> Answer:
    return Answer(_whole(request, monitor), cacheable=True)


@operation(
    router,
    "PATCH",
    "/monitors/{uuid:monitor}",
    scope=Scope.MANAGE,
    operation_id="changeMonitor",
    summary="Change a monitor",
    response=MonitorWithTimes,
    problems=(404, 409),
)
def change(request: ApiRequest, monitor: UUID, change: MonitorChange) -> MonitorWithTimes:
    """From its next run on. A new schedule begins to count now."""
    # Locked here already, the key before the monitor as in every action: of two changes at once, each keeps what the
    # other changed.
    managing_membership(request.organization.id, request.auth)
    found = get_monitor(request.organization, monitor).locked()
    if found.state == MonitorState.ARCHIVED:
        raise Refused("This monitor is archived. Create another one.")
    actions.change_monitor(
        organization=request.organization,
        monitor_id=monitor,
        name=found.name if change.name is None else change.name,
        when=change.when(found),
        what=change.what(found),
        by=request.auth,
    )
    return _whole(request, monitor)


def _act(name: str, summary: str, action: Callable[..., Monitor], words: str) -> None:
    def act(request: ApiRequest, monitor: UUID) -> MonitorWithTimes:
        found = get_monitor(request.organization, monitor)
        if found.state == MonitorState.ARCHIVED and name != "archive":
            raise Refused("This monitor is archived. Create another one.")
        if found.state != MonitorState.ARCHIVED:
            action(organization=request.organization, monitor_id=monitor, by=request.auth)
        return _whole(request, monitor)

    act.__doc__ = words
    operation(
        router,
        "POST",
        f"/monitors/{{uuid:monitor}}/{name}",
        scope=Scope.MANAGE,
        operation_id=f"{name}Monitor",
        summary=summary,
        response=MonitorWithTimes,
        problems=(404, 409),
    )(act)


_act("pause", "Pause a monitor", actions.pause_monitor, "What is under way goes on. One that is paused stays so.")
_act("resume", "Resume a monitor", actions.resume_monitor, "At its next time; what passed is not made up for.")
_act("archive", "Archive a monitor", actions.archive_monitor, "For good. Its runs and decisions stay.")


@operation(
    router,
    "POST",
    "/monitors/{uuid:monitor}/run",
    scope=Scope.MANAGE,
    operation_id="runMonitor",
    summary="Run a monitor now",
    response={202: RunNowOut},
    problems=(404, 409),
)
def run_now(request: ApiRequest, monitor: UUID) -> Answer | Problem:
    """Beside its schedule. What stops it is the problem, whose `outcome` names the gate; it is on record as a
    decision."""
    if get_monitor(request.organization, monitor).state == MonitorState.ARCHIVED:
        raise Refused("This monitor is archived. Create another one.")
    decision = actions.run_monitor_now(organization=request.organization, monitor_id=monitor, by=request.auth)
    if decision.outcome != Outcome.ALLOWED:
        # Returned, not raised: the decision is to stay on record.
        return Problem(409, "stopped", decision.reason, outcome=decision.outcome, decision_id=str(decision.pk))
    assert decision.job_id is not None
    return Answer(RunNowOut(decision_id=decision.pk, job_id=decision.job_id), status=202)
