"""What readers narrow lists to, from the query string."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import django_filters
from django import forms
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from compliance.models import AgentContextWithLatestTest
from compliance.runs.models import OverallStatus
from compliance.runs.status import LastTestQuerySet

STALE_DAYS = 30

# Value, words, and how many of the organization's agents it is about.
FACETS = (
    ("failing", "Failing"),
    ("partial", "Partial"),
    ("never", "Never tested"),
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

    def search(self, agents: LastTestQuerySet, name: str, value: str) -> QuerySet[AgentContextWithLatestTest]:
        return agents.filter(Q(name__icontains=value) | Q(agent_id__icontains=value))

    def in_state(self, agents: LastTestQuerySet, name: str, value: str) -> QuerySet[AgentContextWithLatestTest]:
        if value == "never":
            return agents.never_tested()
        if value == "stale":
            return agents.not_tested_for(STALE_DAYS)
        return agents.filter(last_test_status=value)

    def counts(self, agents: LastTestQuerySet) -> dict[str, int]:
        """How many agents each facet has among those searched for, and "" how many there are; one query.

        The page's total comes from here too, which saves the paginator's own count.
        """
        sought = self.form.cleaned_data.get("q")
        if sought:
            agents = self.search(agents, "q", sought)
        long_ago = timezone.now() - timedelta(days=STALE_DAYS)
        status = {
            value: Count("pk", filter=Q(last_test_status=value))
            for value in (OverallStatus.FAILING, OverallStatus.PARTIAL, OverallStatus.PASSING)
        }
        found = agents.order_by().aggregate(
            everything=Count("pk"),
            never=Count("pk", filter=Q(last_test_run_id=None)),
            stale=Count("pk", filter=Q(last_tested_at__lt=long_ago)),
            **status,
        )
        return {"": found.pop("everything"), **found}


class HistoryForm(forms.Form):
    """What an agent's history is narrowed to. Whatever cannot be read is shown beside its field, and ignored."""

    trigger = forms.ChoiceField(required=False)
    verdict = forms.ChoiceField(required=False, choices=[("", "Any"), *OverallStatus.choices])
    suite = forms.ChoiceField(required=False)
    since = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, *args: Any, suites: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
