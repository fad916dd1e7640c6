"""What readers narrow lists to, from the query string."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from urllib.parse import urlencode

import django_filters
from django import forms
from django.db import connection
from django.db.models import Q, QuerySet
from django.http import HttpResponse, QueryDict
from django.template.loader import get_template
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django_htmx.http import push_url

from compliance.models import AgentContextWithLatestTest, TriggeredBy
from compliance.runs.history import HistoryFilter
from compliance.runs.models import BY_ORGANIZATION, BY_PLATFORM, LastTestQuerySet, OverallStatus
from dashboard.common.forms import PlainDate, PlainSelect, StyledForm

STALE_DAYS = 30

# Values and words. The page shows beside each how many agents it is about (compliance.runs.status.Facets).
FACETS = (
    ("failing", "Failing"),
    ("partial", "Partial"),
    ("never", "No result yet"),
    ("stale", f"Not tested for {STALE_DAYS} days"),
    ("passing", "Passing"),
)


class AgentFilter(django_filters.FilterSet):
    """Search by name or URL; narrow to the state of the organization's own last test."""

    q = django_filters.CharFilter(method="search", max_length=200)
    status = django_filters.ChoiceFilter(method="in_state", choices=FACETS)

    class Meta:
        model = AgentContextWithLatestTest
        fields: list[str] = []

    def search(self, agents: LastTestQuerySet, name: str, value: str) -> LastTestQuerySet:
        return agents.filter(Q(name__icontains=value) | Q(agent__agent_url__icontains=value))

    def in_state(self, agents: LastTestQuerySet, name: str, value: str) -> QuerySet[AgentContextWithLatestTest]:
        if value == "never":
            return agents.never_tested()
        if value == "stale":
            return agents.not_tested_for(STALE_DAYS)
        return agents.filter(last_test_status=value)


# What the trigger field offers beside the single kinds.
_GROUPS = {"own": tuple(map(str, BY_ORGANIZATION)), "platform": tuple(map(str, BY_PLATFORM))}


class HistoryForm(StyledForm, forms.Form):
    """What an agent's history is narrowed to. What cannot be read is named beside its field, and narrows nothing."""

    trigger = forms.ChoiceField(
        label="Caused by",
        required=False,
        choices=[
            ("", "Anybody"),
            ("own", "Your organization"),
            ("platform", "The platform"),
            *(
                (kind, kind.label)
                for kind in (
                    TriggeredBy.OWNER_TEST,
                    TriggeredBy.OBSERVER_TEST,
                    TriggeredBy.MONITOR,
                    TriggeredBy.HEARTBEAT,
                )
            ),
        ],
        widget=PlainSelect,
    )
    verdict = forms.ChoiceField(
        label="Verdict", required=False, choices=[("", "Any"), *OverallStatus.choices], widget=PlainSelect
    )
    suite = forms.ChoiceField(label="Suite", required=False, widget=PlainSelect)
    since = forms.DateField(label="From", required=False, widget=PlainDate(attrs={"type": "date"}))
    until = forms.DateField(label="To", required=False, widget=PlainDate(attrs={"type": "date"}))

    def __init__(self, data: QueryDict, suites: Iterable[tuple[str, str]]) -> None:
        super().__init__(data)
        self.fields["suite"].choices = [("", "Any"), *suites]  # type: ignore[attr-defined]
        self.is_valid()

    @property
    def narrows(self) -> bool:
        return any(self.cleaned_data.values())

    def as_filter(self) -> HistoryFilter:
        """The fields that could be read. Days are days of UTC, both included."""
        chosen = self.cleaned_data
        trigger, verdict = chosen.get("trigger"), chosen.get("verdict")
        return HistoryFilter(
            triggers=_GROUPS.get(trigger, (trigger,)) if trigger else (),
            statuses=(verdict,) if verdict else (),
            suite=chosen.get("suite") or "",
            since=midnight(chosen.get("since")),
            until=midnight(chosen.get("until"), days_later=1),
        )


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What a history's address asks for, and the fields that show it."""

    narrowed_to: HistoryFilter
    narrows: bool
    fields: SafeString

    @classmethod
    def of(cls, query: QueryDict) -> Narrowing:
        with connection.cursor() as cursor:  # a list of few: the ORM would take several times as long to ask for it
            cursor.execute("SELECT slug, title FROM suites ORDER BY title, id")
            suites = tuple(cursor.fetchall())
        if not any(query.get(name) for name in HistoryForm.base_fields):
            return _everything(suites)
        form = HistoryForm(query, suites)
        return cls(form.as_filter(), form.narrows, _as_fields(form))


# A form is copied field by field and rendered piece by piece; the untouched one is the same for everybody.
@lru_cache(maxsize=4)
def _everything(suites: tuple[tuple[str, str], ...]) -> Narrowing:
    return Narrowing(HistoryFilter(), False, _as_fields(HistoryForm(QueryDict(), suites)))


def _as_fields(form: HistoryForm) -> SafeString:
    return SafeString(get_template("_filters.html").render({"form": form}))


def midnight(day: date | None, days_later: int = 0) -> datetime | None:
    try:
        return datetime.combine(day, time.min, UTC) + timedelta(days=days_later) if day else None
    except OverflowError:  # the last day that there is
        return None


def address(base: str, query: QueryDict, **changes: object) -> str:
    """A page's address with some of its parameters changed; empty ones are left out."""
    values = dict(query.lists())
    values.update((name, [str(value)]) for name, value in changes.items())
    told = {name: value for name, value in values.items() if value and value[-1]}
    return f"{base}?{urlencode(told, doseq=True)}" if told else base


def as_part(response: TemplateResponse, base: str, query: QueryDict) -> HttpResponse:
    """A part of a page, and the address for the browser's bar: the page's own, without the form's empty fields."""
    return push_url(response, address(base, query))
