"""Tables of private runners, of their jobs, and of the runs that they made."""

from __future__ import annotations

from collections.abc import Sequence

from django_tables2 import Column

from compliance.models import Job, Runner
from dashboard.common.tables import Table


class RunnerTable(Table):
    """An organization's private runners. Each has `held_count` and `waiting_count`, of jobs."""

    name = Column("Runner")
    state = Column("State")
    version = Column("Version")
    work = Column("Work")
    error = Column("Last error")

    caption = "Private runners by name"

    class Meta(Table.Meta):
        template_name = "runners/_table.html"
        attrs = {"class": "table runners stack"}


class HeldTable(Table):
    """The jobs that a runner works on. Each has `context`, as the organization knows its agent."""

    job = Column("Job")
    agent = Column("Agent")
    progress = Column("Progress")
    since = Column("Since")

    caption = "What the runner works on"

    class Meta(Table.Meta):
        template_name = "runners/_held_table.html"
        attrs = {"class": "table held stack"}


class WaitingTable(Table):
    """The jobs that wait for a runner or its pool. Each has `context`, and `lacked_engine`, if there is one."""

    job = Column("Job")
    agent = Column("Agent")
    queued = Column("Queued")
    until = Column("Waits until")

    def __init__(self, jobs: Sequence[Job], *, runner: Runner) -> None:
        super().__init__(jobs)
        self.runner = runner

    caption = "What waits for the runner, the oldest first"

    class Meta(Table.Meta):
        template_name = "runners/_waiting_table.html"
        attrs = {"class": "table waiting stack"}


class RunnerRunTable(Table):
    """The runs that a runner made. Each has `context`."""

    result = Column("Result")
    agent = Column("Agent")
    suite = Column("Suite")
    tested = Column("Tested")

    caption = "Runs by the runner, newest first"

    class Meta(Table.Meta):
        template_name = "runners/_run_table.html"
        attrs = {"class": "table runs stack"}
