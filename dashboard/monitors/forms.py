"""Forms of monitors: what is run, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import QueryDict

from compliance.database import database_time
from compliance.jobs.models import CredentialChoice
from compliance.models import AgentContext, Monitor
from compliance.monitors.actions import What, When, times_of
from compliance.monitors.models import CRON_LENGTH, MAX_COOLDOWN_SECONDS, MAX_INTERVAL_MINUTES
from compliance.monitors.schedule import BadSchedule, Schedule, is_timezone
from compliance.suites.catalogue import OfferedSuite
from dashboard.common.forms import PLAIN_TEXT
from dashboard.common.timezones import ZoneSelect
from dashboard.suites.forms import SuiteForm, TestForm, by_engine, family_of, parts_among

INTERVAL, CRON = "interval", "cron"
UNITS = {"hours": 3600, "minutes": 60, "seconds": 1}  # in seconds, the longest first
EVERY = {"days": 1440, "hours": 60, "minutes": 1}  # in minutes, the longest first
WHEN = ("how", "every", "every_unit", "cron", "timezone")


def in_units(length: int, units: Mapping[str, int] = UNITS) -> tuple[int, str]:
    """A length of time in the longest unit that says it exactly."""
    unit = next(unit for unit, size in units.items() if length % size == 0)
    return length // units[unit], unit


def _known_timezone(name: str) -> None:
    if not is_timezone(name):
        raise ValidationError(f"There is no timezone “{name}”.")


def _unit_field(units: dict[str, int]) -> forms.ChoiceField:
    choices = [(unit, unit.capitalize()) for unit in reversed(units)]
    return forms.ChoiceField(label="Unit", choices=choices, initial="hours", required=False)


def _described(name: str) -> dict[str, str]:
    """Names a field's help and its error: the latter is filled while one types, without the field."""
    return {"aria-describedby": f"id_{name}_helptext id_{name}_error"}


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


class MonitorForm(TestForm, forms.ModelForm):
    """A monitor of one agent with one suite. After is_valid, `times` are the next five of its schedule.

    preview: nothing is to be kept; only the schedule is looked at, as far as there is one.
    """

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
        max_value=MAX_INTERVAL_MINUTES,
        widget=forms.NumberInput(attrs={**_described("every"), "min": 1, "inputmode": "numeric"}),
        error_messages={"invalid": "Enter a whole number."},
    )
    every_unit = _unit_field(EVERY)
    cron = forms.CharField(
        label="Cron expression",
        required=False,
        max_length=CRON_LENGTH,
        help_text="Minute, hour, day of the month, month, day of the week. “0 9 * * 1-5” is 09:00 on working days.",
        widget=forms.TextInput(attrs={**PLAIN_TEXT, **_described("cron"), "placeholder": "0 9 * * 1-5"}),
    )
    timezone = forms.CharField(
        label="Timezone",
        required=False,
        initial="UTC",
        help_text="When clocks change, what comes once a day comes once.",
        widget=ZoneSelect(attrs=_described("timezone")),
        validators=[_known_timezone],
    )
    pinned = forms.BooleanField(
        label="Stay with this version of the suite",
        required=False,
        help_text="Otherwise the monitor goes on with new versions as they are published.",
    )
    cooldown = forms.IntegerField(
        label="Not again within",
        min_value=0,
        initial=1,
        required=False,
        help_text=f"The shortest time between two of its notifications, at most {MAX_COOLDOWN_SECONDS // 86_400} days."
        " 0 is none.",
    )
    cooldown_unit = _unit_field(UNITS)

    class Meta:
        model = Monitor
        # A field that only needs to be set is named here and in Monitor.PLAIN_FIELDS. The template shows it by itself.
        fields = ["name", "dry_run", "notify_priority", "notify_channel"]
        labels = {"dry_run": "Dry run", "notify_priority": "Priority", "notify_channel": "Notifications"}
        help_texts = {
            "dry_run": "Its runs change neither your last test nor any status.",
            "notify_channel": "Sent today, whichever is chosen: notices in Assay, when the monitor stops by itself.",
        }
        widgets = {"name": forms.TextInput(attrs={"autocomplete": "off"})}

    times: Sequence[datetime] = ()

    def __init__(self, *args: Any, instance: Monitor | None = None, preview: bool = False, **kwargs: Any) -> None:
        if instance is not None:
            kwargs["initial"] = _initial(instance)
            kwargs["placement"] = instance.placement
        super().__init__(*args, instance=instance, **kwargs)
        self.monitor, self.preview = instance, preview
        self.least, self.most = settings.MONITOR_MIN_INTERVAL_MINUTES, settings.MONITOR_MAX_INTERVAL_MINUTES
        self.fields["every"].help_text = f"From {self._range}."
        if not self.is_bound:
            if instance is None and "timezone" not in self.initial:
                self.fields["timezone"].widget.attrs["data-zones"] = "new"
            with suppress(BadSchedule):
                self.times = self._times_of(self.when())

    def full_clean(self) -> None:
        super().full_clean()
        if self.preview:
            for name in self.errors.keys() - set(WHEN):
                del self.errors[name]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        by_cron = cleaned.get("how") == CRON
        for name in ("every", "every_unit") if by_cron else ("cron", "timezone"):
            self.errors.pop(name, None)  # it belongs to the other kind: whatever it says is left out
        if not self.errors.keys() & set(WHEN):
            self._clean_when(cleaned, "cron" if by_cron else "every")
        if "cooldown" not in self.errors and self.cooldown_seconds > MAX_COOLDOWN_SECONDS:
            self.add_error("cooldown", f"At most {MAX_COOLDOWN_SECONDS // 86_400} days.")
        return cleaned

    def _clean_when(self, cleaned: dict[str, Any], field: str) -> None:
        if not cleaned.get(field):
            if not self.preview:
                self.add_error(field, "Enter a cron expression." if field == "cron" else "Enter how often it runs.")
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
        if kept is None or kept.next_run_at is None or when != When.of(kept):
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
            return int(Monitor._meta.get_field("notify_cooldown_seconds").get_default())
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
        plain = {name: self.cleaned_data[name] for name in Monitor.PLAIN_FIELDS if name in self.cleaned_data}
        return What(
            pinned=self.cleaned_data["pinned"],
            options=self.chosen_options(),
            scenarios=self.cleaned_data["scenarios"],
            all_evidence=self.cleaned_data["all_evidence"],
            credential=self.cleaned_data["credential"],
            placement=self.chosen_placement,
            fields=plain | {"notify_cooldown_seconds": self.cooldown_seconds},
        )

    def notify_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.Meta.fields if name.startswith("notify_")]

    def cooldown_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in ("cooldown", "cooldown_unit")]

    def detail_fields(self) -> list[forms.BoundField]:
        """What most people leave as it is."""
        plain = [name for name in self.Meta.fields if name in Monitor.PLAIN_FIELDS and not name.startswith("notify_")]
        return [self[name] for name in ("pinned", *plain, "all_evidence")]

    def has_details(self) -> bool:
        return any(field.value() for field in self.detail_fields())


def carried(query: QueryDict) -> dict[str, Any]:
    """A schedule in an address, as far as it can be read: it stays while another agent or suite is chosen."""
    chosen = {}
    for name in WHEN:
        with suppress(ValidationError):
            chosen[name] = MonitorForm.base_fields[name].clean(query.get(name) or "")
    return {name: value for name, value in chosen.items() if value}


def _initial(monitor: Monitor) -> dict[str, Any]:
    """The fields of the form that are no fields of the model."""
    cooldown, cooldown_unit = in_units(monitor.notify_cooldown_seconds)
    every, every_unit = in_units(monitor.interval_minutes or EVERY["hours"], EVERY)
    credential = {CredentialChoice.CHOSEN: str(monitor.credential_id), CredentialChoice.NONE: "none"}
    return {
        "how": CRON if monitor.cron else INTERVAL,
        "every": every,
        "every_unit": every_unit,
        "cron": monitor.cron,
        "timezone": monitor.timezone,
        "pinned": monitor.suite_version_id is not None,
        "all_evidence": monitor.options.get("evidence") == "all",
        "scenarios": monitor.options.get("scenarios", []),
        "credential": credential.get(CredentialChoice(monitor.credential_choice), ""),
        "cooldown": cooldown,
        "cooldown_unit": cooldown_unit,
        **{f"option_{key}": value for key, value in monitor.options.items()},
    }
