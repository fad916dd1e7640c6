"""Tables of runs."""

from __future__ import annotations

from django_tables2 import Column

from dashboard.common.tables import Table


class RunTable(Table):
    """Runs of one agent, as compliance.runs.history reads them, newest first."""

    result = Column("Result")
    tested_at = Column("When")
    triggered_by = Column("Caused by")
    suite = Column("Suite")
    checks = Column("Checks")
    took = Column("Took")

    caption = "Runs, newest first"

    class Meta(Table.Meta):
        template_name = "runs/_table.html"
        attrs = {"class": "table runs stack"}


class OtherRunTable(Table):
    """Runs of the same agent, to choose one to compare `run` with."""

    result = Column("Result")
    tested_at = Column("Tested")
    suite = Column("Suite")
    caused_by = Column("Caused by")

    caption = "Runs to compare with, newest first"

    class Meta(Table.Meta):
        template_name = "runs/_other_table.html"
        attrs = {"class": "table runs stack"}
