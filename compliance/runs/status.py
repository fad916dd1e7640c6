"""What is derived from the record: an agent's public status, and each organization's last test."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, Q
from django.utils import timezone

from compliance.database import call
from compliance.runs.models import AgentContextWithLatestTest, OverallStatus
from compliance.tenancy.scope import Actor, system_scope


def rebuild_statuses(*, mend: bool, by: Actor) -> list[tuple[str, dict[str, Any] | None, dict[str, Any] | None]]:
    """Compare every agent's stored status with what its runs say (R9); `mend` stores the latter.

    Returns (agent_url, stored, derived) of those that differ.
    """
    with system_scope(by=by, reason="rebuild the agents' statuses"):
        differences = call("rebuild_agent_status", mend)
    return [(url, json.loads(stored or "null"), json.loads(derived or "null")) for url, stored, derived in differences]


@dataclass(frozen=True, slots=True)
class Facets:
    """How many of an organization's agents are in which state of their last test."""

    everything: int
    failing: int
    partial: int
    passing: int
    never: int
    stale: int


def facets(*, organization_id: str, sought: str = "", stale_days: int) -> Facets:
    """Count an organization's agents by the state of their last test; one query. Needs organization_scope.

    sought: only agents with this in their name or URL, in any case.
    stale_days: how many days without a test make an agent stale.
    """
    agents = AgentContextWithLatestTest.objects.filter(organization_id=organization_id)
    if sought:
        agents = agents.filter(Q(name__icontains=sought) | Q(agent__agent_url__icontains=sought))
    long_ago = timezone.now() - timedelta(days=stale_days)
    counts = agents.aggregate(
        everything=Count("pk"),
        failing=Count("pk", filter=Q(last_test_status=OverallStatus.FAILING)),
        partial=Count("pk", filter=Q(last_test_status=OverallStatus.PARTIAL)),
        passing=Count("pk", filter=Q(last_test_status=OverallStatus.PASSING)),
        never=Count("pk", filter=Q(last_test_run_id=None)),
        stale=Count("pk", filter=Q(last_tested_at__lt=long_ago)),
    )
    return Facets(**counts)
