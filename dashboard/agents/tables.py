"""The table of agents."""

from __future__ import annotations

from django.db.models.functions import Lower
from django.urls import reverse
from django_tables2 import Column

from dashboard.common.access import OrganizationRequest
from dashboard.common.tables import OrderedColumn, Table

_BY_NAME = (Lower("name"), "id")


class AgentTable(Table):
    """An organization's agents: public status, and the organization's own last test.

    The rows are those of LastTestQuerySet.as_rows.
    """

    name = OrderedColumn("Agent", Lower("name"), ties=_BY_NAME)
    status = OrderedColumn("Public status", "status", "since", ties=_BY_NAME)
    tested = OrderedColumn("Last own test", "last_tested_at", ties=_BY_NAME)
    summary = Column("Result")
    trend = Column("Last 30")
    total = OrderedColumn("Tests", "total_tests_run", ties=_BY_NAME)

    caption = "Agents of the organization with their status and last test"
    part = "agents"

    class Meta(Table.Meta):
        template_name = "agents/_table.html"
        attrs = {"class": "table agents stack"}
        per_page = 40

    def before_render(self, request: OrganizationRequest) -> None:
        self.base = reverse("overview", args=[request.organization.slug])
