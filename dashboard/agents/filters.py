"""What the list of agents is narrowed to."""

from __future__ import annotations

import django_filters
from django.db.models import QuerySet

from compliance.models import AgentContextWithLatestTest
from compliance.runs.models import LastTestQuerySet
from dashboard.common.filters import FilterSet

STALE_DAYS = 30

# Values and words. The page shows beside each how many agents it is about (compliance.runs.models.status.Facets).
FACETS = (
    ("failing", "Failing"),
    ("partial", "Partial"),
    ("never", "No result yet"),
    ("stale", f"Not tested for {STALE_DAYS} days"),
    ("passing", "Passing"),
)


class AgentFilter(FilterSet):
    """Search by name or URL; narrow to the state of the organization's own last test."""

    q = django_filters.CharFilter(label="Search", method="search", max_length=200)
    status = django_filters.ChoiceFilter(label="Last test", method="in_state", choices=FACETS)

    def search(self, agents: LastTestQuerySet, name: str, value: str) -> LastTestQuerySet:
        return agents.sought(value)

    def in_state(self, agents: LastTestQuerySet, name: str, value: str) -> QuerySet[AgentContextWithLatestTest]:
        if value == "never":
            return agents.never_tested()
        if value == "stale":
            return agents.not_tested_for(STALE_DAYS)
        return agents.filter(last_test_status=value)
