"""What is due, locked, with what it is to be run against. The tick asks so for each organization: it must be cheap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

from compliance.monitors.models import Monitor
from compliance.suites.health import Availability, read_availability
from compliance.suites.models import Suite, SuiteVersion


@dataclass(frozen=True, slots=True)
class Offer:
    """The suites, with the versions that are current, those that monitors may be pinned to, and what can be run."""

    availability: Availability
    suites: dict[int, Suite]
    versions: dict[int, SuiteVersion]

    @classmethod
    def read(cls) -> Offer:
        """As they are now. Once for some hundred monitors: one that misses a later version by a second is run by it
        the next time."""
        # Definitions are many kilobytes, and only an engine reads them.
        versions = {version.pk: version for version in SuiteVersion.objects.defer("definition")}
        suites = {suite.pk: suite for suite in Suite.objects.all()}
        for suite in suites.values():
            if suite.current_version_id in versions:
                suite.current_version = versions[suite.current_version_id]
        return cls(read_availability(), suites, versions)

    def give_to(self, monitors: Iterable[Monitor]) -> None:
        """Put suite and version at the monitors' hands. What is newer than this is read when it is asked for."""
        for monitor in monitors:
            if monitor.suite_id in self.suites:
                monitor.suite = self.suites[monitor.suite_id]
            if monitor.suite_version_id in self.versions:
                monitor.suite_version = self.versions[monitor.suite_version_id]


def lock_due(organization_id: str, now: datetime, *, at_most: int, only: UUID | None = None) -> list[Monitor]:
    """An organization's due monitors, locked, the longest due first; without those that another holds."""
    if only is not None:
        due = Monitor.objects.due(organization_id, now).filter(pk=only)
        return list(due.select_for_update(skip_locked=True, of=("self",)))
    statement, parameters = _statement(at_most)
    filled = [
        organization_id if value == _ANY_ORGANIZATION else now if value == _ANY_TIME else value for value in parameters
    ]
    return list(Monitor.objects.raw(statement, filled))


_ANY_ORGANIZATION = "any organization"
_ANY_TIME = datetime(1, 1, 1, tzinfo=UTC)


@cache
def _statement(at_most: int) -> tuple[str, tuple[Any, ...]]:
    """The question in SQL, with its parameters; composed once, or the tick's benchmark misses its goal."""
    due = Monitor.objects.due(_ANY_ORGANIZATION, _ANY_TIME).select_for_update(skip_locked=True, of=("self",))
    statement, parameters = due[:at_most].query.sql_with_params()
    return statement, parameters
