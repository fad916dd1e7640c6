"""Tables of monitors: what runs when and how it went, and what was decided about each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from uuid import UUID

from django.utils.safestring import SafeString

from compliance.models import JobState, Monitor, MonitorState
from compliance.monitors.decisions import Decided
from compliance.monitors.models import Outcome
from dashboard.common.badges import badge
from dashboard.common.charts import strip
from dashboard.common.formatting import due, instant
from dashboard.common.tables import Column
from dashboard.credentials.tables import PlainTable
from dashboard.jobs.placement import where

_STATES = {
    MonitorState.ACTIVE: "",
    MonitorState.PAUSED: ' <span class="v v-skipped">Paused</span>',
    MonitorState.PARKED: ' <span class="v v-late">Parked</span>',
    MonitorState.ARCHIVED: ' <span class="v v-plain">Archived</span>',
}
WAITS = SafeString('<span class="v v-queued">Waits for its runner</span>')
NOT_RUN = SafeString('<span class="v v-skipped">Not run</span>')
OVERDUE = SafeString('<span class="v v-late">Overdue</span>')
NO_SCHEDULER = "The scheduler does not run."
_SHAPES = {
    Outcome.DEFERRED: "queued",
    Outcome.ALLOWED: "passed",
    Outcome.FAILED: "failed",
    Outcome.PARKED: "late",
    Outcome.STOPPED: "late",
}
_REQUESTS = {
    str(state): SafeString(f'<span class="v v-{shape}">{escape(state.label)}</span>')
    for state, shape in (
        (JobState.QUEUED, "queued"),
        (JobState.LEASED, "running"),
        (JobState.FINISHED, "plain"),
        (JobState.EXPIRED, "late"),
        (JobState.CANCELLED, "skipped"),
    )
}
_OUTCOMES = {
    str(outcome): SafeString(f'<span class="v v-{_SHAPES.get(outcome, "skipped")}">{escape(outcome.label)}</span>')
    for outcome in Outcome
}


def state_badge(monitor: Monitor) -> SafeString:
    """Paused, parked or archived; nothing for what is as it should be."""
    return SafeString(_STATES[MonitorState(monitor.state)])


class MonitorTable(PlainTable):
    """An organization's monitors, by name."""

    columns = (
        Column("name", "Monitor"),
        Column("schedule", "When"),
        Column("due", "Next"),
        Column("last", "Last result"),
        Column("trend", "Last 30"),
    )
    unlabelled = "name"
    css = "table monitors stack"
    caption = "Monitors by name"

    def __init__(
        self,
        monitors: Sequence[Monitor],
        *,
        strips: Mapping[UUID, list[str]],
        runners: Mapping[UUID, str],
        prefix: str,
        still: bool = False,
    ) -> None:
        """runners: what those are called that monitors are pinned to. still: the tick stands still."""
        super().__init__(monitors, prefix=prefix)
        self.strips, self.runners, self.still = strips, runners, still

    def render_name(self, monitor: Monitor) -> SafeString:
        link = f'<a href="{self.base}monitors/{monitor.pk}/">{escape(monitor.name)}</a>{state_badge(monitor)}'
        if monitor.context is None:
            return SafeString(f'{link}<span class="sub">{escape(monitor.agent_url)}, removed</span>')
        agent = f'<a href="{self.base}agents/{monitor.context_id}/">{escape(monitor.context.name)}</a>'
        place = f", {self.where(monitor)}" if monitor.pin.is_private else ""
        return SafeString(f'{link}<span class="sub">{agent}, {escape(monitor.suite.title)}{place}</span>')

    def where(self, monitor: Monitor) -> SafeString:
        return where(monitor.pin, self.runners, self.base)

    def render_schedule(self, monitor: Monitor) -> str:
        return escape(monitor.schedule_words)

    def render_due(self, monitor: Monitor) -> SafeString:
        if monitor.next_run_at is None:
            return SafeString(f'<span class="quiet">{escape(monitor.state_reason) or "Not scheduled"}</span>')
        late = f" {OVERDUE}" if monitor.is_overdue else ""
        why = f'<span class="sub">{NO_SCHEDULER}</span>' if self.still and monitor.is_due else ""
        if monitor.deferred_until is not None:
            return SafeString(f'{WAITS}<span class="sub">{due(monitor.next_run_at)}</span>{why}')
        return SafeString(f"{due(monitor.next_run_at)}{late}{why}")

    def render_last(self, monitor: Monitor) -> SafeString:
        if not monitor.last_status:
            return badge(None)
        link = f'<a href="{self.base}runs/{monitor.last_run_id}/">{instant(monitor.last_run_at)}</a>'
        return SafeString(f'{badge(monitor.last_status)}<span class="sub">{link}</span>')

    def render_trend(self, monitor: Monitor) -> SafeString:
        return strip(self.strips.get(monitor.pk, []))


class DecisionTable(PlainTable):
    """Decisions, newest first. Their order is the keyset's: no column sorts."""

    columns = (
        Column("outcome", "Decision"),
        Column("at", "When"),
        Column("monitor", "Monitor"),
        Column("time", "For its time"),
        Column("run", "Run"),
    )
    unlabelled = "outcome"
    css = "table decisions stack"
    caption = "Decisions about monitors, newest first"

    def render_outcome(self, decided: Decided) -> SafeString:
        reason = f'<span class="sub">{escape(decided.reason)}</span>' if decided.reason else ""
        # What somebody asked for is not kept for later.
        nothing_waits = decided.outcome == Outcome.DEFERRED and decided.scheduled_for is None
        return SafeString(f"{NOT_RUN if nothing_waits else _OUTCOMES[decided.outcome]}{reason}")

    def render_at(self, decided: Decided) -> SafeString:
        return instant(decided.at)

    def render_monitor(self, decided: Decided) -> SafeString:
        agent = escape(decided.agent_url)
        if decided.context_id is not None:
            agent = f'<a href="{self.base}agents/{decided.context_id}/">{escape(decided.agent_name)}</a>'
        name = escape(decided.monitor_name)
        return SafeString(
            f'<a href="{self.base}monitors/{decided.monitor_id}/">{name}</a><span class="sub">{agent}</span>'
        )

    def render_time(self, decided: Decided) -> SafeString:
        if decided.scheduled_for is None:
            return SafeString(f'<span class="quiet">Asked for by {escape(decided.actor_name)}</span>')
        return instant(decided.scheduled_for, exact=True)

    def render_run(self, decided: Decided) -> SafeString:
        if decided.run_status is not None:
            link = f"{self.base}runs/{decided.run_id}/"
            return SafeString(f'<a class="d-inline-block" href="{link}">{badge(decided.run_status)}</a>')
        if decided.job_id is None:
            return SafeString('<span class="quiet">None</span>')
        link = f"{self.base}jobs/{decided.job_id}/"
        if decided.job_state is None:
            return SafeString('<span class="quiet">Its request is gone</span>')
        reason = f'<span class="sub">{escape(decided.end_reason)}</span>' if decided.end_reason else ""
        return SafeString(f'<a href="{link}">{_REQUESTS[decided.job_state]}</a>{reason}')
