"""What lists of monitors, and of decisions about them, are narrowed to."""

from __future__ import annotations

from uuid import UUID

from django import forms
from django.http import QueryDict

from compliance.models import Monitor
from compliance.monitors.decisions import NOT_ALLOWED, DecisionFilter
from compliance.monitors.models import Outcome
from dashboard.common.filters import midnight
from dashboard.common.forms import PlainDate, PlainSelect, StyledForm


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
