"""Tables of monitors: what runs when and how it went, and what was decided about each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from uuid import UUID

from django.utils.safestring import SafeString

from compliance.models import Monitor, MonitorState
from compliance.monitors.decisions import Decided
from compliance.monitors.models import Outcome
from dashboard.badges import badge
from dashboard.charts import strip
from dashboard.credential_tables import PlainTable
from dashboard.tables import Column
from dashboard.times import instant

_STATES = {
    MonitorState.ACTIVE: "",
    MonitorState.PAUSED: ' <span class="v v-skipped">Paused</span>',
    MonitorState.PARKED: ' <span class="v v-late">Parked</span>',
    MonitorState.ARCHIVED: ' <span class="v v-plain">Archived</span>',
}
_SHAPES = {Outcome.ALLOWED: "passed", Outcome.FAILED: "failed", Outcome.PARKED: "late", Outcome.STOPPED: "late"}
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

    def __init__(self, monitors: Sequence[Monitor], *, strips: Mapping[UUID, list[str]], prefix: str) -> None:
        super().__init__(monitors, prefix=prefix)
        self.strips = strips

    def render_name(self, monitor: Monitor) -> SafeString:
        link = f'<a href="{self.base}monitors/{monitor.pk}/">{escape(monitor.name)}</a>{state_badge(monitor)}'
        if monitor.context is None:
            return SafeString(f'{link}<span class="sub">{escape(monitor.agent_url)}, removed</span>')
        agent = f'<a href="{self.base}agents/{monitor.context_id}/">{escape(monitor.context.name)}</a>'
        return SafeString(f'{link}<span class="sub">{agent}, {escape(monitor.suite.title)}</span>')

    def render_schedule(self, monitor: Monitor) -> str:
        return escape(monitor.schedule_words)

    def render_due(self, monitor: Monitor) -> SafeString:
        if monitor.next_run_at is None:
            return SafeString(f'<span class="quiet">{escape(monitor.state_reason) or "Not scheduled"}</span>')
        return instant(monitor.next_run_at)

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
        return SafeString(f"{_OUTCOMES[decided.outcome]}{reason}")

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
        if decided.request_id is None:
            return SafeString('<span class="quiet">None</span>')
        return SafeString(f'<a href="{self.base}requests/{decided.request_id}/">Its request</a>')
