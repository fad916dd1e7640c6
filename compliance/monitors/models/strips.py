"""The last verdicts of monitors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import connection


def strips(monitor_ids: Iterable[Any]) -> dict[Any, list[str]]:
    """The verdicts of each monitor's last conclusive runs, oldest first. Needs organization_scope."""
    with connection.cursor() as cursor:
        cursor.execute(_STRIPS, [list(monitor_ids)])
        return {monitor_id: newest_first[::-1] for monitor_id, newest_first in cursor.fetchall()}


_STRIPS = """
    SELECT m.id, ARRAY(
        SELECT r.overall_status FROM compliance_jobs q
        JOIN agent_compliance_runs r ON r.id = q.run_id AND r.overall_status <> 'inconclusive'
        WHERE q.monitor_id = m.id ORDER BY q.created_at DESC LIMIT 30)
    FROM unnest(%s::uuid[]) AS m(id)
"""
