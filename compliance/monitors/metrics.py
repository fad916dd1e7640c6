"""The queue in numbers, across organizations: what is due, late, waiting, and what came of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta

from django.conf import settings

from compliance.database import call

# Each figure's values by their two labels; a label that a figure does not have is "".
Figures = Mapping[str, Mapping[tuple[str, str], float]]


def read_figures() -> Figures:
    """All of them, in one statement. Needs no scope: a function of the owner counts, and names nobody."""
    figures: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    late = timedelta(minutes=settings.HEARTBEAT_OVERDUE_AFTER_MINUTES)
    for name, label, second_label, value in call("work_metrics", late):
        figures[name][label, second_label] = value
    return figures
