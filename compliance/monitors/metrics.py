"""The ledger in numbers, across organizations: what is due, late, waiting, and what came of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from django.conf import settings
from django.db import connection

# Each figure's values by their two labels; a label that a figure does not have is "".
Figures = Mapping[str, Mapping[tuple[str, str], float]]


def read_figures() -> Figures:
    """All of them, in one statement. Needs no scope: a function of the owner counts, and names nobody."""
    figures: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, label, second_label, value FROM work_metrics(make_interval(mins => %s))",
            [settings.HEARTBEAT_OVERDUE_AFTER_MINUTES],
        )
        for name, label, second_label, value in cursor.fetchall():
            figures[name][label, second_label] = value
    return figures
