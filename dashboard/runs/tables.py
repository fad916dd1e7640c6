"""Tables of runs."""

from __future__ import annotations

from collections.abc import Sequence

from django.urls import reverse
from django_tables2 import Column

from compliance.models import ComplianceRun
from compliance.runs.comparison import Difference
from compliance.runs.history import HistoryRun
from dashboard.common.access import OrganizationRequest
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

    def before_render(self, request: OrganizationRequest) -> None:
        self.base = reverse("overview", args=[request.organization.slug])


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

    def __init__(self, runs: Sequence[HistoryRun], *, run: ComplianceRun) -> None:
        super().__init__(runs)
        self.run = run


class DifferenceTable(Table):
    """What differed around two runs."""

    what = Column("What")
    whose = Column("Whose change")
    before = Column()
    after = Column()

    caption = "What differed around the two runs"

    class Meta(Table.Meta):
        template_name = "runs/_differences_table.html"
        attrs = {"class": "table stack differences"}

    def __init__(self, differences: Sequence[Difference], *, before: str, after: str) -> None:
        """before, after: what the page calls the two runs."""
        super().__init__(differences)
        self.columns["before"].column.verbose_name = before
        self.columns["after"].column.verbose_name = after
