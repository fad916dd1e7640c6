"""A timezone as a choice: by continent, so that typing a city's first letters finds it."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from django import forms

from compliance.monitors.schedule import timezone_names

# Old names of zones that are in the list under their own. One that a monitor has stays a choice of its form.
_OLD = ("Brazil", "Canada", "Chile", "Mexico", "US")


class ZoneSelect(forms.Select):
    """A select of every timezone. assay.js puts the reader's own zone first."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"data-zones": "", **(attrs or {})}, choices=_choices())

    def optgroups(self, name: str, value: list[str], attrs: dict[str, Any] | None = None) -> list[Any]:
        zone = next(iter(value), "") or "UTC"
        groups = super().optgroups(name, [zone], attrs)
        if not any(option["selected"] for _, options, _ in groups for option in options):
            groups.insert(0, (None, [self.create_option(name, zone, zone, True, 0)], 0))
        return groups


def _choices() -> list[tuple[str, Any]]:
    choices: list[tuple[str, Any]] = []
    for continent, zones in groupby(timezone_names(), key=lambda zone: zone.partition("/")[0]):
        if continent == "UTC":
            choices.append(("UTC", "UTC"))
        elif continent not in _OLD:
            cities = [(zone, (zone.partition("/")[2] or zone).replace("_", " ")) for zone in zones]
            choices.append((continent, cities))
    return choices
