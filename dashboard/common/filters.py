"""What readers narrow lists to, from the query string."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

import django_filters
from django import forms
from django.db.models import QuerySet
from django.http import HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django_htmx.http import push_url

from dashboard.common.access import OrganizationRequest
from dashboard.common.forms import StyledForm


class FilterForm(StyledForm, forms.Form):
    """The fields of a filter, as common/_filters.html shows them."""


class FilterSet(django_filters.FilterSet):
    """What a list is narrowed to. What cannot be read is named beside its field, and narrows nothing."""

    class Meta:
        form = FilterForm

    @property
    def chosen(self) -> dict[str, Any]:
        """The values that could be read."""
        self.form.is_valid()
        return self.form.cleaned_data

    @property
    def narrows(self) -> bool:
        return any(self.chosen.values())


class _IdField(django_filters.fields.ChoiceField):
    def to_python(self, value: Any) -> str:
        chosen: str = super().to_python(self.prepare_value(value))
        return chosen

    def prepare_value(self, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value


class IdFilter(django_filters.ChoiceFilter):
    """A choice among ids, in any case of their letters."""

    field_class = _IdField


class PeriodFilterSet(FilterSet):
    """One that narrows by days of UTC too, both included."""

    since = django_filters.DateFilter(label="From", widget=forms.DateInput(attrs={"type": "date"}))
    until = django_filters.DateFilter(label="To", widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, data: QueryDict, queryset: QuerySet[Any]) -> None:
        super().__init__(data, queryset)
        for name in ("since", "until"):
            self.filters.move_to_end(name)  # after the list's own fields

    @property
    def period(self) -> dict[str, datetime | None]:
        """The instants at which the chosen days begin and end."""
        chosen = self.chosen
        return {"since": _midnight(chosen.get("since")), "until": _midnight(chosen.get("until"), days_later=1)}


def _midnight(day: date | None, days_later: int = 0) -> datetime | None:
    try:
        return datetime.combine(day, time.min, UTC) + timedelta(days=days_later) if day else None
    except OverflowError:  # the last day that there is
        return None


def address(base: str, query: QueryDict, **changes: object) -> str:
    """A page's address with some of its parameters changed; empty ones are left out."""
    values = dict(query.lists())
    values.update((name, [str(value)]) for name, value in changes.items())
    filled = {name: value for name, value in values.items() if value and value[-1]}
    return f"{base}?{urlencode(filled, doseq=True)}" if filled else base


def page_or_part(request: OrganizationRequest, page: str, part: str, context: dict[str, Any]) -> HttpResponse:
    """The page of a list, or for htmx the part of it below the filters; both are names of templates.

    The part's element has the id that its template is named after. The browser's bar gets the page's own address,
    without the form's empty fields.
    """
    target = part.partition("/_")[2].removesuffix(".html")
    if request.htmx and request.htmx.target == target:
        return push_url(TemplateResponse(request, part, context), address(request.path, request.GET))
    return TemplateResponse(request, page, context)
