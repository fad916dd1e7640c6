"""What lists of monitors, and of decisions about them, are narrowed to."""

from __future__ import annotations

from uuid import UUID

import django_filters
from django.db.models import QuerySet
from django.http import QueryDict

from compliance.models import Monitor, MonitorDecision, MonitorState
from compliance.monitors.models.decision import NOT_ALLOWED, MonitorDecisionQuerySet, Outcome
from dashboard.common.filters import FilterSet, IdFilter, PeriodFilterSet


class MonitorFilter(FilterSet):
    """Monitors in one state; in none: all that are not archived."""

    state = django_filters.ChoiceFilter(label="State", choices=MonitorState.choices)

    def filter_queryset(self, queryset: QuerySet[Monitor]) -> QuerySet[Monitor]:
        state = self.chosen.get("state")
        return queryset.filter(state=state) if state else queryset.exclude(state=MonitorState.ARCHIVED)


class DecisionFilterSet(PeriodFilterSet):
    """About which monitor, what was decided, and when."""

    monitor = IdFilter(label="Monitor", empty_label="Any")
    outcome = django_filters.ChoiceFilter(
        label="Decision", empty_label="Any", choices=[(NOT_ALLOWED, "Anything but allowed"), *Outcome.choices]
    )

    def __init__(self, data: QueryDict, *, organization_id: str) -> None:
        super().__init__(data, MonitorDecision.objects.none())
        monitors = Monitor.objects.filter(organization_id=organization_id).order_by("name", "id")
        self.filters["monitor"].extra["choices"] = [
            (str(pk), f"{name} (archived)" if state == MonitorState.ARCHIVED else name)
            for pk, name, state in monitors.values_list("pk", "name", "state")
        ]

    def decisions(self) -> MonitorDecisionQuerySet:
        """Those that the fields that could be read leave."""
        monitor = self.chosen.get("monitor")
        return MonitorDecision.objects.narrowed(
            monitor_id=UUID(monitor) if monitor else None,
            outcome=self.chosen.get("outcome") or "",
            **self.period,
        )
