"""Finding runs across organizations without reading history: index probes, one for each organization and agent.

The record's indexes begin with the organization, or hold platform runs only. So the pairs of
organization and agent come first, from the registry and from the totals (which keep agents that
an organization has removed); the newest runs of each pair follow by its index.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import connection

from compliance.pagination import Cursor

_CONDITIONS = """
    AND (%(triggered_by)s::text IS NULL OR r.triggered_by = %(triggered_by)s)
    AND (%(status)s::text IS NULL OR r.overall_status = %(status)s)
    AND (%(dry_run)s::boolean IS NULL OR r.dry_run = %(dry_run)s)
"""
_OLDER = "AND (r.tested_at, r.id) < (%(tested_at)s::timestamptz, %(run_id)s::uuid)"
_NEWEST = "ORDER BY r.tested_at DESC, r.id DESC LIMIT %(limit)s"

_OF_PAIRS = """
SELECT r.id, r.tested_at FROM (
    SELECT organization_id, agent_url FROM agent_contexts WHERE {pair}
    UNION
    SELECT organization_id, agent_url FROM agent_run_totals WHERE {pair}
) p CROSS JOIN LATERAL (
    SELECT r.id, r.tested_at FROM agent_compliance_runs r
    WHERE r.triggered_org_id IS NOT NULL AND r.triggered_org_id = p.organization_id AND r.agent_url = p.agent_url
    {conditions} {older} {newest}
) r
"""
_OF_PLATFORM = """
(SELECT r.id, r.tested_at FROM agent_compliance_runs r
WHERE r.triggered_org_id IS NULL AND r.agent_url = %(agent_url)s {conditions} {older} {newest})
"""


def newest_run_ids(
    *,
    limit: int,
    agent_url: str | None = None,
    organization_id: str | None = None,
    older_than: Cursor | None = None,
    triggered_by: str | None = None,
    status: str | None = None,
    dry_run: bool | None = None,
) -> list[UUID]:
    """Keys of the newest runs of an agent (whoever caused them) or of an organization. Needs system_scope."""
    values: dict[str, Any] = {
        "limit": limit,
        "agent_url": agent_url,
        "organization_id": organization_id,
        "triggered_by": triggered_by,
        "status": status,
        "dry_run": dry_run,
    }
    parts = {"conditions": _CONDITIONS, "older": "", "newest": _NEWEST}
    if older_than is not None:
        parts["older"] = _OLDER
        values |= {"tested_at": older_than.at, "run_id": older_than.key}
    if agent_url is not None:
        scans = [_OF_PAIRS.format(pair="agent_url = %(agent_url)s", **parts), _OF_PLATFORM.format(**parts)]
    else:
        scans = [_OF_PAIRS.format(pair="organization_id = %(organization_id)s", **parts)]
    query = f"SELECT r.id FROM ({' UNION ALL '.join(scans)}) r {_NEWEST}"  # noqa: S608 (fixed texts only)
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return [row[0] for row in cursor.fetchall()]
