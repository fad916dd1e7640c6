"""Tables of monitors, and of the decisions about their runs."""

from __future__ import annotations

from django_tables2 import Column

from dashboard.common.tables import Table


class MonitorTable(Table):
    """An organization's monitors. Each has `verdicts`, those of its last conclusive runs."""

    name = Column("Monitor")
    schedule = Column("When")
    due = Column("Next")
    last = Column("Last result")
    trend = Column("Last 30")

    caption = "Monitors by name"

    class Meta(Table.Meta):
        template_name = "monitors/_table.html"
        attrs = {"class": "table monitors stack"}


class DecisionTable(Table):
    """Decisions, newest first, as compliance.monitors.decisions reads them."""

    outcome = Column("Decision")
    at = Column("When")
    monitor = Column("Monitor")
    time = Column("For its time")
    run = Column("Run")

    caption = "Decisions about monitors, newest first"

    class Meta(Table.Meta):
        template_name = "monitors/_decision_table.html"
        attrs = {"class": "table decisions stack"}
