"""Monitors in the API: what creates and changes one, and what shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from ninja import Schema
from pydantic import Field

from compliance.jobs.models import CredentialChoice
from compliance.models import Monitor, MonitorState
from compliance.monitors.actions import What, When
from compliance.monitors.models import CRON_LENGTH, MAX_COOLDOWN_SECONDS, MAX_INTERVAL_MINUTES
from compliance.runs.models import OverallStatus
from compliance.tenancy.events import Channel, Priority
from dashboard.api.paging import Page, PageQuery
from dashboard.api.schemas import (
    Credential,
    In,
    Name,
    Options,
    PlacementIn,
    PlacementOut,
    Scenarios,
    SuiteRef,
    Text,
    credential_choice,
    page_url,
    plain_options,
)


class ScheduleIn(In):
    """When: every so many minutes, or by a cron expression in a timezone. Exactly one of the two."""

    interval_minutes: Annotated[int, Field(ge=1, le=MAX_INTERVAL_MINUTES)] | None = None
    cron: Annotated[Text, Field(max_length=CRON_LENGTH, examples=["0 9 * * 1-5"])] = ""
    timezone: Annotated[Text, Field(max_length=64, examples=["Europe/Berlin"])] = "UTC"

    def when(self) -> When:
        return When(self.interval_minutes, self.cron, self.timezone)


class NotifyFields(In):
    """How the organization is notified of its results."""

    priority: Priority = Priority.NORMAL
    channel: Channel = Channel.IN_APP
    cooldown_seconds: Annotated[int, Field(ge=0, le=MAX_COOLDOWN_SECONDS)] = 3600

    def fields(self) -> dict[str, Any]:
        """As the model calls them."""
        return {f"notify_{name}": value for name, value in self.model_dump().items()}

    @classmethod
    def of(cls, monitor: Monitor) -> NotifyFields:
        return cls(
            priority=Priority(monitor.notify_priority),
            channel=Channel(monitor.notify_channel),
            cooldown_seconds=monitor.notify_cooldown_seconds,
        )


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
    placement: PlacementIn = PlacementIn()
    notify: NotifyFields = NotifyFields()

    def what(self) -> What:
        return What(
            pinned=self.pinned,
            options=self.options,
            scenarios=self.scenarios,
            all_evidence=self.all_evidence,
            credential=credential_choice(self.credential),
            placement=self.placement.placement(),
            fields=plain_fields(self),
        )


class MonitorChange(In):
    """What is to change; what is left out stays. Schedule, placement and notify are each replaced as a whole."""

    name: Name | None = None
    pinned: bool | None = None
    schedule: ScheduleIn | None = None
    options: Options | None = None
    scenarios: Scenarios | None = None
    all_evidence: bool | None = None
    dry_run: bool | None = None
    credential: Credential | None = None
    placement: PlacementIn | None = None
    notify: NotifyFields | None = None

    def when(self, monitor: Monitor) -> When:
        """The monitor's schedule with the change."""
        return When.of(monitor) if self.schedule is None else self.schedule.when()

    def what(self, monitor: Monitor) -> What:
        """What the monitor does with the change."""
        chosen = monitor.credential_id or CredentialChoice(monitor.credential_choice)
        return What(
            pinned=_or(self.pinned, monitor.suite_version_id is not None),
            options=_or(self.options, plain_options(monitor.options)),
            scenarios=_or(self.scenarios, monitor.options.get("scenarios", [])),
            all_evidence=_or(self.all_evidence, monitor.options.get("evidence") == "all"),
            credential=chosen if self.credential is None else credential_choice(self.credential),
            placement=monitor.placement if self.placement is None else self.placement.placement(),
            fields=plain_fields(self),
        )


def plain_fields(given: MonitorIn | MonitorChange) -> dict[str, Any]:
    """The values of Monitor.PLAIN_FIELDS that were given: those of that name, and those of `notify`."""
    values = given.model_dump(include=set(Monitor.PLAIN_FIELDS), exclude_none=True)
    return values | (given.notify.fields() if given.notify else {})


def _or(change: Any, current: Any) -> Any:
    return current if change is None else change


class ScheduleOut(Schema):
    interval_minutes: int | None
    cron: str
    timezone: str
    words: str = Field(validation_alias="schedule_words", examples=["Every hour"])


class MonitorOut(Schema):
    """An organization's recurring test of an agent."""

    id: UUID
    name: str = Field(examples=["Support agent, every hour"])
    agent_id: UUID | None = Field(
        validation_alias="context_id", description="Null once the organization no longer has the agent."
    )
    agent_url: str
    suite: SuiteRef | None = Field(description="The version that it runs; null when none is published any more.")
    pinned: bool
    schedule: ScheduleOut
    options: dict[str, Any] = Field(description="What differs from the suite's defaults.")
    scenarios: list[str] = Field(description="Only these; empty: all.")
    all_evidence: bool
    dry_run: bool
    credential_choice: CredentialChoice
    credential_id: UUID | None
    placement: PlacementOut = Field(validation_alias="placement")
    notify: NotifyFields
    state: MonitorState
    state_reason: str = Field(description="Why it is paused or parked.")
    next_run_at: datetime | None = Field(description="Null unless it is active.")
    deferred_until: datetime | None = Field(
        description="When it is tried again, while it waits for its runner or for capacity."
    )
    waiting_since: datetime | None = Field(
        description="Since when what is due waits for capacity: a cap, the cooldown or the budget."
    )
    last_run_id: UUID | None
    last_status: OverallStatus | None
    last_run_at: datetime | None
    failures_in_a_row: int = Field(description="Inconclusive runs by schedule.")
    created_at: datetime
    created_by: str
    url: str = Field(description="Its page.")

    @staticmethod
    def resolve_suite(monitor: Monitor) -> dict[str, str] | None:
        version = monitor.version_to_run
        return {"slug": monitor.suite.slug, "version": version.version} if version else None

    @staticmethod
    def resolve_pinned(monitor: Monitor) -> bool:
        return monitor.suite_version_id is not None

    @staticmethod
    def resolve_schedule(monitor: Monitor) -> Monitor:
        return monitor  # whose row has the schedule's fields

    @staticmethod
    def resolve_options(monitor: Monitor) -> dict[str, Any]:
        return plain_options(monitor.options)

    @staticmethod
    def resolve_scenarios(monitor: Monitor) -> list[str]:
        return list(monitor.options.get("scenarios", []))

    @staticmethod
    def resolve_all_evidence(monitor: Monitor) -> bool:
        return monitor.options.get("evidence") == "all"

    @staticmethod
    def resolve_notify(monitor: Monitor) -> NotifyFields:
        return NotifyFields.of(monitor)

    @staticmethod
    def resolve_last_status(monitor: Monitor) -> str | None:
        return monitor.last_status or None

    @staticmethod
    def resolve_url(monitor: Monitor, context: dict[str, Any]) -> str:
        return page_url("monitor", context, monitor.pk)


class MonitorWithTimes(MonitorOut):
    """An organization's recurring test of an agent, with its next times and its last results."""

    next_times: list[datetime] = Field(description="The next five times.")
    recent_statuses: list[OverallStatus] = Field(description="Of its last conclusive runs, oldest first; at most 30.")

    @staticmethod
    def resolve_next_times(monitor: Monitor) -> list[datetime]:
        return monitor.next_times()

    @staticmethod
    def resolve_recent_statuses(monitor: Monitor) -> list[str]:
        return list(Monitor.objects.strips([monitor.pk])[monitor.pk])


class MonitorPage(Page):
    items: list[MonitorOut]


class MonitorQuery(PageQuery):
    state: MonitorState | None = Field(None, description="Archived ones are listed only when they are asked for.")
    agent: UUID | None = Field(None, description="An agent's id.")
