"""A monitor as the API takes and shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from ninja import Schema
from pydantic import Field

from compliance.jobs.models import CredentialChoice
from compliance.models import Monitor, MonitorState, Organization
from compliance.monitors.actions import Notify, What, When
from compliance.monitors.models import CRON_LENGTH, MAX_COOLDOWN_SECONDS, MAX_INTERVAL_MINUTES
from compliance.monitors.schedule import BadSchedule
from compliance.runs.models import OverallStatus
from compliance.tenancy.events import Channel, Priority
from dashboard.agents.api import page_url
from dashboard.api.fields import (
    Credential,
    ExecutorIn,
    ExecutorOut,
    In,
    Name,
    Options,
    Scenarios,
    SuiteRef,
    Text,
    credential_choice,
    executor_out,
    plain_options,
)
from dashboard.api.paging import Page, PageQuery


class ScheduleIn(In):
    """When: every so many minutes, or by a cron expression in a timezone. Exactly one of the two."""

    interval_minutes: Annotated[int, Field(ge=1, le=MAX_INTERVAL_MINUTES)] | None = None
    cron: Annotated[Text, Field(max_length=CRON_LENGTH, examples=["0 9 * * 1-5"])] = ""
    timezone: Annotated[Text, Field(max_length=64, examples=["Europe/Berlin"])] = "UTC"

    def when(self) -> When:
        return When(self.interval_minutes, self.cron, self.timezone)


class NotifyFields(In):
    """How the organization wants to hear of its results."""

    priority: Priority = Priority.NORMAL
    channel: Channel = Channel.IN_APP
    cooldown_seconds: Annotated[int, Field(ge=0, le=MAX_COOLDOWN_SECONDS)] = 3600

    def notify(self) -> Notify:
        return Notify(self.priority, self.channel, self.cooldown_seconds)


class MonitorIn(In):
    """A monitor to create."""

    name: Name
    agent_id: UUID
    suite: Annotated[Text, Field(max_length=100, description="Its `slug`, as GET /suites has it.")] = "baseline"
    pinned: bool = Field(False, description="Stay with the version that is current now.")
    schedule: ScheduleIn
    options: Options = {}
    scenarios: Scenarios = []
    all_evidence: bool = False
    dry_run: bool = False
    credential: Credential = "automatic"
    executor: ExecutorIn = ExecutorIn()
    notify: NotifyFields = NotifyFields()

    def what(self) -> What:
        return What(
            pinned=self.pinned,
            options=self.options,
            scenarios=self.scenarios,
            all_evidence=self.all_evidence,
            dry_run=self.dry_run,
            credential=credential_choice(self.credential),
            pin=self.executor.pin(),
            notify=self.notify.notify(),
        )


class MonitorChange(In):
    """What is to change; what is left out stays. Schedule, executor and notify are each replaced as a whole."""

    name: Name | None = None
    pinned: bool | None = None
    schedule: ScheduleIn | None = None
    options: Options | None = None
    scenarios: Scenarios | None = None
    all_evidence: bool | None = None
    dry_run: bool | None = None
    credential: Credential | None = None
    executor: ExecutorIn | None = None
    notify: NotifyFields | None = None

    def when(self, monitor: Monitor) -> When:
        """The monitor's schedule with the change."""
        as_before = When(monitor.interval_minutes, monitor.cron, monitor.timezone)
        return as_before if self.schedule is None else self.schedule.when()

    def what(self, monitor: Monitor) -> What:
        """What the monitor does with the change."""
        chosen = monitor.credential_id or CredentialChoice(monitor.credential_choice)
        told = Notify(monitor.notify_priority, monitor.notify_channel, monitor.notify_cooldown_seconds)
        return What(
            pinned=_or(self.pinned, monitor.suite_version_id is not None),
            options=_or(self.options, plain_options(monitor.options)),
            scenarios=_or(self.scenarios, monitor.options.get("scenarios", [])),
            all_evidence=_or(self.all_evidence, monitor.options.get("evidence") == "all"),
            dry_run=_or(self.dry_run, monitor.dry_run),
            credential=chosen if self.credential is None else credential_choice(self.credential),
            pin=monitor.pin if self.executor is None else self.executor.pin(),
            notify=told if self.notify is None else self.notify.notify(),
        )


def _or(wished: Any, as_before: Any) -> Any:
    return as_before if wished is None else wished


class ScheduleOut(Schema):
    interval_minutes: int | None
    cron: str
    timezone: str
    words: str = Field(examples=["Every hour"])


class MonitorOut(Schema):
    """An organization's recurring test of an agent."""

    id: UUID
    name: str = Field(examples=["Support agent, every hour"])
    agent_id: UUID | None = Field(description="Null once the organization no longer has the agent.")
    agent_url: str
    suite: SuiteRef | None = Field(description="The version that it runs; null when none is published any more.")
    pinned: bool
    schedule: ScheduleOut
    options: dict[str, Any] = Field(description="What differs from what the suite does by itself.")
    scenarios: list[str] = Field(description="Only these; empty: all.")
    all_evidence: bool
    dry_run: bool
    credential_choice: CredentialChoice
    credential_id: UUID | None
    executor: ExecutorOut
    notify: NotifyFields
    state: MonitorState
    state_reason: str = Field(description="Why it is paused or parked.")
    next_run_at: datetime | None = Field(description="Null unless it is active.")
    deferred_until: datetime | None = Field(description="Until when it waits for its runner to be back.")
    last_run_id: UUID | None
    last_status: OverallStatus | None
    last_run_at: datetime | None
    failures_in_a_row: int = Field(description="Inconclusive runs by schedule.")
    created_at: datetime
    created_by: str
    url: str = Field(description="Its page.")


class MonitorWithTimes(MonitorOut):
    """An organization's recurring test of an agent, with what comes next and what was."""

    next_times: list[datetime] = Field(description="The next five times.")
    recent_statuses: list[OverallStatus] = Field(description="Of its last conclusive runs, oldest first; at most 30.")


class MonitorPage(Page):
    items: list[MonitorOut]


class MonitorQuery(PageQuery):
    state: MonitorState | None = Field(None, description="Archived ones are listed only when they are asked for.")
    agent: UUID | None = Field(None, description="An agent's id.")


def monitor_fields(monitor: Monitor, organization: Organization) -> dict[str, Any]:
    """The values of MonitorOut."""
    version = monitor.version_to_run
    return {
        "id": monitor.pk,
        "name": monitor.name,
        "agent_id": monitor.context_id,
        "agent_url": monitor.agent_url,
        "suite": SuiteRef(slug=monitor.suite.slug, version=version.version) if version else None,
        "pinned": monitor.suite_version_id is not None,
        "schedule": ScheduleOut(
            interval_minutes=monitor.interval_minutes,
            cron=monitor.cron,
            timezone=monitor.timezone,
            words=monitor.schedule_words,
        ),
        "options": plain_options(monitor.options),
        "scenarios": monitor.options.get("scenarios", []),
        "all_evidence": monitor.options.get("evidence") == "all",
        "dry_run": monitor.dry_run,
        "credential_choice": CredentialChoice(monitor.credential_choice),
        "credential_id": monitor.credential_id,
        "executor": executor_out(monitor.pin),
        "notify": NotifyFields(
            priority=Priority(monitor.notify_priority),
            channel=Channel(monitor.notify_channel),
            cooldown_seconds=monitor.notify_cooldown_seconds,
        ),
        "state": MonitorState(monitor.state),
        "state_reason": monitor.state_reason,
        "next_run_at": monitor.next_run_at,
        "deferred_until": monitor.deferred_until,
        "last_run_id": monitor.last_run_id,
        "last_status": OverallStatus(monitor.last_status) if monitor.last_status else None,
        "last_run_at": monitor.last_run_at,
        "failures_in_a_row": monitor.failures_in_a_row,
        "created_at": monitor.created_at,
        "created_by": monitor.created_by,
        "url": page_url("monitor", organization, monitor.pk),
    }


def next_times(monitor: Monitor) -> list[datetime]:
    """The next five times; none unless it is active."""
    if monitor.next_run_at is None:
        return []
    try:
        return [monitor.next_run_at, *monitor.schedule.next_times(monitor.next_run_at, 4)]
    except BadSchedule:
        return [monitor.next_run_at]  # the tick will park it, and say why
