"""Forms of monitors: what is run, and when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.http import QueryDict

from compliance.alerts.notices import Channel, Priority
from compliance.models import AgentContext, Monitor
from compliance.monitors.actions import Notify, What, When, times_of
from compliance.monitors.decisions import NOT_ALLOWED, DecisionFilter
from compliance.monitors.models import CRON_LENGTH, MAX_COOLDOWN_SECONDS, Outcome, database_time
from compliance.monitors.schedule import BadSchedule, is_timezone
from compliance.runs.requests import HOSTED, CredentialChoice
from compliance.suites.catalogue import OfferedSuite
from dashboard.filters import midnight
from dashboard.forms import PlainDate, PlainSelect, StyledForm
from dashboard.suite_choice import SuiteForm, TestForm

_PLAIN = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
INTERVAL, CRON = "interval", "cron"
UNITS = {"hours": 3600, "minutes": 60, "seconds": 1}  # the longest first


class MonitorChoice(SuiteForm):
    """Which agent, and with which suite."""

    agent = forms.ChoiceField(label="Agent", required=False)
    field_order = ["agent", "suite"]

    def __init__(self, *args: Any, contexts: Sequence[AgentContext], suites: list[OfferedSuite], **kwargs: Any) -> None:
        super().__init__(*args, suites=suites, **kwargs)
        self.fields["agent"].choices = [  # type: ignore[attr-defined]
            (str(context.pk), f"{context.name} ({context.agent_id})") for context in contexts
        ]


class MonitorForm(TestForm):
    """A monitor of one agent with one suite. After is_valid, `times` are the next five of its schedule."""

    name = forms.CharField(label="Name", max_length=100, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    how = forms.ChoiceField(
        label="How often",
        choices=[(INTERVAL, "Every so many minutes"), (CRON, "By a cron expression")],
        initial=INTERVAL,
        widget=PlainSelect,
    )
    interval_minutes = forms.IntegerField(label="Minutes between runs", required=False, initial=60)
    cron = forms.CharField(
        label="Cron expression",
        required=False,
        max_length=CRON_LENGTH,
        help_text="Minute, hour, day of the month, month, day of the week. “0 9 * * 1-5” is 09:00 on working days.",
        widget=forms.TextInput(attrs=_PLAIN),
    )
    timezone = forms.CharField(
        label="Timezone of the cron expression",
        required=False,
        initial="UTC",
        help_text="Such as Europe/Berlin. When clocks change, what comes once a day comes once.",
        widget=forms.TextInput(attrs={**_PLAIN, "list": "timezones"}),
    )
    pinned = forms.BooleanField(
        label="Stay with this version of the suite",
        required=False,
        help_text="Otherwise the monitor goes on with new versions as they are published.",
    )
    notify_priority = forms.ChoiceField(
        label="Priority", choices=Priority.choices, initial=Priority.NORMAL, required=False, widget=PlainSelect
    )
    notify_channel = forms.ChoiceField(
        label="How you are told",
        choices=Channel.choices,
        initial=Channel.IN_APP,
        required=False,
        widget=PlainSelect,
        help_text="Sent today, whichever is chosen: notices in Assay, when the monitor stops by itself.",
    )
    cooldown = forms.IntegerField(label="Not again within", min_value=0, initial=1, required=False)
    cooldown_unit = forms.ChoiceField(
        label="Unit",
        choices=[(unit, unit.capitalize()) for unit in reversed(UNITS)],
        initial="hours",
        required=False,
        widget=PlainSelect,
    )
    times: Sequence[datetime] = ()

    def __init__(self, *args: Any, monitor: Monitor | None = None, **kwargs: Any) -> None:
        initial = _initial(monitor) if monitor else {}
        kwargs.setdefault("pin", monitor.pin if monitor else HOSTED)
        super().__init__(*args, initial=initial | kwargs.pop("initial", {}), **kwargs)
        least, most = settings.MONITOR_MIN_INTERVAL_MINUTES, settings.MONITOR_MAX_INTERVAL_MINUTES
        self.fields["interval_minutes"].help_text = f"{least} to {most}."
        self.fields["cooldown"].help_text = (
            f"The shortest time between two of its notifications, at most {MAX_COOLDOWN_SECONDS // 86_400} days."
            " 0 is none."
        )
        self.fields["dry_run"].help_text = "Its runs change neither your last test nor any status."
        self.style()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        by_cron = cleaned.get("how") == CRON
        if by_cron and not is_timezone(cleaned.get("timezone") or "UTC"):
            self.add_error("timezone", f"There is no timezone “{cleaned['timezone']}”.")
        elif not self.errors.keys() & {"how", "interval_minutes", "cron"}:
            try:
                self.times = times_of(self.when(), database_time())
            except BadSchedule as bad:
                self.add_error("cron" if by_cron else "interval_minutes", str(bad))
        if "cooldown" not in self.errors and self.cooldown_seconds > MAX_COOLDOWN_SECONDS:
            self.add_error("cooldown", f"At most {MAX_COOLDOWN_SECONDS // 86_400} days.")
        return cleaned

    @property
    def cooldown_seconds(self) -> int:
        """The chosen time; as a new monitor has it when none is given."""
        count = self.cleaned_data.get("cooldown")
        if count is None:
            return Notify().cooldown_seconds
        return int(count) * UNITS[self.cleaned_data.get("cooldown_unit") or "hours"]

    def when(self) -> When:
        """The schedule; what belongs to the other kind is left out."""
        if self.cleaned_data["how"] == CRON:
            return When(cron=self.cleaned_data["cron"], timezone=self.cleaned_data["timezone"] or "UTC")
        return When(interval_minutes=self.cleaned_data["interval_minutes"])

    def what(self) -> What:
        return What(
            pinned=self.cleaned_data["pinned"],
            options=self.chosen_options(),
            scenarios=self.cleaned_data["scenarios"],
            all_evidence=self.cleaned_data["all_evidence"],
            dry_run=self.cleaned_data["dry_run"],
            credential=self.chosen_credential,
            pin=self.chosen_pin,
            notify=Notify(
                self.cleaned_data["notify_priority"] or Priority.NORMAL,
                self.cleaned_data["notify_channel"] or Channel.IN_APP,
                self.cooldown_seconds,
            ),
        )

    def notify_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in ("notify_priority", "notify_channel")]

    def cooldown_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in ("cooldown", "cooldown_unit")]

    def schedule_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in ("how", "interval_minutes", "cron", "timezone")]


def in_units(seconds: int) -> tuple[int, str]:
    """A length of time in the longest unit that says it exactly."""
    unit = next(unit for unit, length in UNITS.items() if seconds % length == 0)
    return seconds // UNITS[unit], unit


def _initial(monitor: Monitor) -> dict[str, Any]:
    cooldown, unit = in_units(monitor.notify_cooldown_seconds)
    initial: dict[str, Any] = {
        "name": monitor.name,
        "how": CRON if monitor.cron else INTERVAL,
        "interval_minutes": monitor.interval_minutes or 60,
        "cron": monitor.cron,
        "timezone": monitor.timezone,
        "pinned": monitor.suite_version_id is not None,
        "dry_run": monitor.dry_run,
        "all_evidence": monitor.options.get("evidence") == "all",
        "scenarios": monitor.options.get("scenarios", []),
        "credential": "",
        "notify_priority": monitor.notify_priority,
        "notify_channel": monitor.notify_channel,
        "cooldown": cooldown,
        "cooldown_unit": unit,
    }
    if monitor.credential_choice == CredentialChoice.CHOSEN:
        initial["credential"] = str(monitor.credential_id)
    elif monitor.credential_choice == CredentialChoice.NONE:
        initial["credential"] = CredentialChoice.NONE.value
    for key, value in monitor.options.items():
        initial[f"option_{key}"] = "\n".join(map(str, value)) if isinstance(value, list) else value
    return initial


class DecisionForm(StyledForm, forms.Form):
    """What the decisions are narrowed to. What cannot be read is named beside its field, and narrows nothing."""

    monitor = forms.ChoiceField(label="Monitor", required=False, widget=PlainSelect)
    outcome = forms.ChoiceField(
        label="Decision",
        required=False,
        choices=[("", "Any"), (NOT_ALLOWED, "Anything but allowed"), *Outcome.choices],
        widget=PlainSelect,
    )
    since = forms.DateField(label="From", required=False, widget=PlainDate(attrs={"type": "date"}))
    until = forms.DateField(label="To", required=False, widget=PlainDate(attrs={"type": "date"}))

    def __init__(self, data: QueryDict, *, organization_id: str) -> None:
        super().__init__(data)
        monitors = Monitor.objects.filter(organization_id=organization_id).order_by("name", "id")
        self.fields["monitor"].choices = [  # type: ignore[attr-defined]
            ("", "Any"),
            *(
                (str(pk), f"{name} (archived)" if state == "archived" else name)
                for pk, name, state in monitors.values_list("pk", "name", "state")
            ),
        ]
        self.is_valid()

    @property
    def narrows(self) -> bool:
        return any(self.cleaned_data.values())

    def as_filter(self) -> DecisionFilter:
        """The fields that could be read. Days are days of UTC, both included."""
        chosen = self.cleaned_data
        return DecisionFilter(
            monitor_id=UUID(chosen["monitor"]) if chosen.get("monitor") else None,
            outcome=chosen.get("outcome") or "",
            since=midnight(chosen.get("since")),
            until=midnight(chosen.get("until"), days_later=1),
        )
