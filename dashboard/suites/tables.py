"""The table of suites."""

from __future__ import annotations

from django_tables2 import Column

from dashboard.common.tables import Table


class SuiteTable(Table):
    """Suites as compliance.suites.catalogue offers them."""

    suite = Column("Suite")
    engine = Column("Engine")
    protocols = Column("For")
    requires = Column("Requires")
    scenarios = Column("Scenarios")

    caption = "Whole suites"

    class Meta(Table.Meta):
        template_name = "suites/_table.html"
        attrs = {"class": "table stack suites"}
