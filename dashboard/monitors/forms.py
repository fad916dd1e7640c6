"""Forms of monitors: what is run, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from django import forms
from django.conf import settings
from django.http import QueryDict

from compliance.database import database_time
from compliance.jobs.models import CredentialChoice
from compliance.models import AgentContext, Monitor
from compliance.monitors.actions import Notify, What, When, times_of
from compliance.monitors.models import CRON_LENGTH, MAX_COOLDOWN_SECONDS
from compliance.monitors.schedule import BadSchedule, Schedule, is_timezone
from compliance.registry.models import HOSTED
from compliance.suites.catalogue import OfferedSuite
from compliance.tenancy.events import Channel, Priority
from dashboard.common.forms import PlainSelect
from dashboard.common.timezones import ZoneSelect
from dashboard.suites.forms import SuiteForm, TestForm, by_engine, family_of, parts_among

_PLAIN = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
INTERVAL, CRON = "interval", "cron"
UNITS = {"hours": 3600, "minutes": 60, "seconds": 1}  # in seconds, the longest first
EVERY = {"days": 1440, "hours": 60, "minutes": 1}  # in minutes, the longest first
WHEN = ("how", "every", "every_unit", "cron", "timezone")
_MISSING = {"cron": "Enter a cron expression.", "every": "Enter how often it runs."}


def _said_at(name: str) -> dict[str, str]:
    """Names the places of a field's help and error: the latter is filled while one types, without the field."""
    return {"aria-describedby": f"id_{name}_helptext id_{name}_error"}


def carried(query: QueryDict) -> dict[str, str]:
    """A schedule in an address, as far as it can be read: it stays while another agent or suite is chosen."""
    told = {name: str(query.get(name) or "") for name in WHEN}
    fits = {
        "how": told["how"] in (INTERVAL, CRON),
        "every": told["every"].isdecimal() and len(told["every"]) < 10,
        "every_unit": told["every_unit"] in EVERY,
        "cron": 0 < len(told["cron"]) <= CRON_LENGTH,
        "timezone": is_timezone(told["timezone"]),
    }
    return {name: value for name, value in told.items() if fits[name]}


class MonitorChoice(SuiteForm):
    """Which agent, and with which suite. parts: offer those too of which an engine has scores."""

    agent = forms.ChoiceField(label="Agent", required=False)
    parts = forms.BooleanField(required=False)
    field_order = ["agent", "suite", "parts"]

    def __init__(
        self, data: dict[str, str], *, contexts: Sequence[AgentContext], suites: list[OfferedSuite], **kwargs: Any
    ) -> None:
        super().__init__(data, suites=suites, **kwargs)
        self.fields["agent"].choices = [  # type: ignore[attr-defined]
            (str(context.pk), f"{context.name} ({context.agent_id})") for context in contexts
        ]
        parts = parts_among(suites)
        wholes = sorted({family_of(suite.engine) for suite in parts})
        self.fields["parts"].label = f"List the {len(parts)} suites for single parts of {' and '.join(wholes)} too"
        if not parts:
            del self.fields["parts"]
        hidden = set() if data["parts"] else {suite.slug for suite in parts} - {data["suite"]}
        listed = [suite for suite in suites if suite.slug not in hidden]
        self.fields["suite"].choices = by_engine(listed)  # type: ignore[attr-defined]


class MonitorForm(TestForm):
    """A monitor of one agent with one suite. After is_valid, `times` are the next five of its schedule.

    monitor: the one that is changed. preview: nothing is to be kept; only the schedule is looked at, as far as there
    is one.
    """

    name = forms.CharField(label="Name", max_length=100, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    how = forms.ChoiceField(
        label="How often",
        choices=[(INTERVAL, "Every so many hours, minutes or days"), (CRON, "By a cron expression")],
        initial=INTERVAL,
        widget=forms.RadioSelect(attrs={"class": "form-check-input"}),
    )
    every = forms.IntegerField(
        label="Every",
        required=False,
        initial=1,
        widget=forms.NumberInput(attrs={**_said_at("every"), "min": 1, "inputmode": "numeric"}),
        error_messages={"invalid": "Enter a whole number."},
    )
    every_unit = forms.ChoiceField(
        label="Unit",
        choices=[(unit, unit.capitalize()) for unit in reversed(EVERY)],
        initial="hours",
        required=False,
        widget=PlainSelect,
    )
    cron = forms.CharField(
        label="Cron expression",
        required=False,
        max_length=CRON_LENGTH,
        help_text="Minute, hour, day of the month, month, day of the week. “0 9 * * 1-5” is 09:00 on working days.",
        widget=forms.TextInput(attrs={**_PLAIN, **_said_at("cron"), "placeholder": "0 9 * * 1-5"}),
    )
    timezone = forms.CharField(
        label="Timezone",
        required=False,
        initial="UTC",
        help_text="When clocks change, what comes once a day comes once.",
        widget=ZoneSelect(attrs=_said_at("timezone")),
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

    def __init__(self, *args: Any, monitor: Monitor | None = None, preview: bool = False, **kwargs: Any) -> None:
        initial = _initial(monitor) if monitor else {}
        kwargs.setdefault("pin", monitor.pin if monitor else HOSTED)
        super().__init__(*args, initial=initial | kwargs.pop("initial", {}), **kwargs)
        self.monitor, self.preview = monitor, preview
        self.least, self.most = settings.MONITOR_MIN_INTERVAL_MINUTES, settings.MONITOR_MAX_INTERVAL_MINUTES
        self.fields["every"].help_text = f"From {self._range}."
        self.fields["cooldown"].help_text = (
            f"The shortest time between two of its notifications, at most {MAX_COOLDOWN_SECONDS // 86_400} days."
            " 0 is none."
        )
        self.fields["dry_run"].help_text = "Its runs change neither your last test nor any status."
        self.style()
        if not self.is_bound:
            if monitor is None and "timezone" not in self.initial:
                self.fields["timezone"].widget.attrs["data-zones"] = "new"
            with suppress(BadSchedule):
                self.times = self._times_of(self.when())

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        by_cron = cleaned.get("how") == CRON
        for name in ("every", "every_unit") if by_cron else ("cron", "timezone"):
            self.errors.pop(name, None)  # it belongs to the other kind: whatever it says is left out
        if not self.errors.keys() & set(WHEN):
            self._clean_when(cleaned, "cron" if by_cron else "every")
        if self.preview:
            for name in self.errors.keys() - set(WHEN):
                del self.errors[name]
        elif "cooldown" not in self.errors and self.cooldown_seconds > MAX_COOLDOWN_SECONDS:
            self.add_error("cooldown", f"At most {MAX_COOLDOWN_SECONDS // 86_400} days.")
        return cleaned

    def _clean_when(self, cleaned: dict[str, Any], field: str) -> None:
        zone = cleaned.get("timezone") or "UTC"
        if not cleaned.get(field):
            if not self.preview:
                self.add_error(field, _MISSING[field])
        elif field == "cron" and not is_timezone(zone):
            self.add_error("timezone", f"There is no timezone “{zone}”.")
        elif field == "every" and not self.least <= (self.when().interval_minutes or 0) <= self.most:
            self.add_error(field, f"It must be {self._range}.")
        else:
            try:
                self.times = self._times_of(self.when())
            except BadSchedule as bad:
                self.add_error(field, str(bad))

    @property
    def _range(self) -> str:
        least, most = (in_units(minutes, EVERY) for minutes in (self.least, self.most))
        return f"{least[0]} {least[1]} to {most[0]} {most[1]}"

    def _times_of(self, when: When) -> list[datetime]:
        times = times_of(when, database_time())
        kept = self.monitor
        if kept is None or kept.next_run_at is None or when != _when_of(kept):
            return times
        return [kept.next_run_at, *kept.schedule.next_times(kept.next_run_at, len(times) - 1)]  # it counts on

    @property
    def in_words(self) -> str:
        """The schedule of which `times` are, such as “Every 2 hours”."""
        when = self.when()
        return Schedule(when.timezone, self.times[0], when.interval_minutes, when.cron).in_words()

    @property
    def cooldown_seconds(self) -> int:
        """The chosen time; as a new monitor has it when none is given."""
        count = self.cleaned_data.get("cooldown")
        if count is None:
            return Notify().cooldown_seconds
        return int(count) * UNITS[self.cleaned_data.get("cooldown_unit") or "hours"]

    def when(self) -> When:
        """The schedule; what belongs to the other kind is left out."""
        if self.is_bound:
            chosen = self.cleaned_data
        else:
            chosen = {name: self.get_initial_for_field(self.fields[name], name) for name in WHEN}
        if chosen["how"] == CRON:
            return When(cron=chosen["cron"] or "", timezone=chosen["timezone"] or "UTC")
        return When(interval_minutes=int(chosen["every"]) * EVERY[chosen["every_unit"] or "hours"])

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


def in_units(length: int, units: Mapping[str, int] = UNITS) -> tuple[int, str]:
    """A length of time in the longest unit that says it exactly."""
    unit = next(unit for unit, size in units.items() if length % size == 0)
    return length // units[unit], unit


def _when_of(monitor: Monitor) -> When:
    return When(monitor.interval_minutes, monitor.cron, monitor.timezone)


def _initial(monitor: Monitor) -> dict[str, Any]:
    cooldown, unit = in_units(monitor.notify_cooldown_seconds)
    every, every_unit = in_units(monitor.interval_minutes or EVERY["hours"], EVERY)
    initial: dict[str, Any] = {
        "name": monitor.name,
        "how": CRON if monitor.cron else INTERVAL,
        "every": every,
        "every_unit": every_unit,
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
