"""What an agent's history is narrowed to."""

from __future__ import annotations

import django_filters
from django.http import QueryDict

from compliance.models import ComplianceRun, Suite, TriggeredBy
from compliance.runs.history import HistoryFilter
from compliance.runs.models import BY_ORGANIZATION, BY_PLATFORM, OverallStatus
from dashboard.common.filters import PeriodFilterSet

# What the trigger field offers beside the single kinds.
_GROUPS = {"own": tuple(map(str, BY_ORGANIZATION)), "platform": tuple(map(str, BY_PLATFORM))}


class RunFilter(PeriodFilterSet):
    """Who caused a run, what came of it, with which suite and when."""

    trigger = django_filters.ChoiceFilter(
        label="Caused by",
        empty_label="Anybody",
        choices=[
            ("own", "Your organization"),
            ("platform", "The platform"),
            *TriggeredBy.choices,
        ],
    )
    verdict = django_filters.ChoiceFilter(label="Verdict", empty_label="Any", choices=OverallStatus.choices)
    suite = django_filters.ChoiceFilter(label="Suite", empty_label="Any")

    def __init__(self, data: QueryDict) -> None:
        super().__init__(data, ComplianceRun.objects.none())
        suites = Suite.objects.order_by("title", "id").values_list("slug", "title")
        self.filters["suite"].extra["choices"] = list(suites)

    def as_history_filter(self) -> HistoryFilter:
        """The fields that could be read."""
        trigger, verdict = self.chosen.get("trigger"), self.chosen.get("verdict")
        return HistoryFilter(
            triggers=_GROUPS.get(trigger, (trigger,)) if trigger else (),
            statuses=(verdict,) if verdict else (),
            suite=self.chosen.get("suite") or "",
            **self.period,
        )
