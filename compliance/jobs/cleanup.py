"""The sweeper: what a lost message, a lost executor or nobody at all left behind in the ledger."""

from __future__ import annotations

import logging
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from compliance.jobs import dispatch as nudge
from compliance.jobs.completion import end_lost
from compliance.jobs.leases import scope_of
from compliance.jobs.models import ComplianceRequest, RequestState
from compliance.jobs.queue import release_requests
from compliance.runs.models import ExecutorKind

logger = logging.getLogger(__name__)

BATCH = 500


def sweep_requests() -> dict[str, int]:
    """One round; returns how many requests were nudged again, taken back from lost private runners, and expired.

    Each part is tried, whatever becomes of the others; then the first failure is raised.
    """
    counts: dict[str, int] = {}
    failures: list[Exception] = []
    for name, part in (("nudged", repeat_nudges), ("taken_back", take_back), ("expired", expire_requests)):
        try:
            counts[name] = part()
        except Exception as failure:
            logger.exception("a part of the sweep failed: %s", name)
            failures.append(failure)
            close_old_connections()
    if failures:
        raise failures[0]
    return counts


@transaction.atomic
def repeat_nudges() -> int:
    """Nudge again for every hosted request that nobody picked up or whose worker was lost; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, organization_id FROM stale_requests(make_interval(secs => %s), %s)",
            [settings.REQUEST_NUDGE_AFTER_SECONDS, BATCH],
        )
        stale = cursor.fetchall()
    by_organization: dict[str | None, list[UUID]] = {}
    for request_id, organization_id in stale:
        by_organization.setdefault(organization_id, []).append(request_id)
    for organization_id, request_ids in by_organization.items():
        with scope_of(organization_id):
            ComplianceRequest.objects.filter(pk__in=request_ids).update(nudged_at=timezone.now())
        if organization_id is None:
            nudge.after_commit(nudge.HEARTBEATS)
        else:
            for request_id in request_ids:
                nudge.execute_after_commit(request_id, organization_id)
    return len(stale)


def take_back() -> int:
    """Queue again what private runners held when their leases ran out; what was lost too often ends (L12).

    Each organization in a transaction of its own, and one that fails does not stop the others; the first failure is
    raised at the end. Returns how many requests that were.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT organization_id FROM lapsed_private_requests(%s)", [BATCH])
        organizations = [row[0] for row in cursor.fetchall()]
    count = 0
    failures: list[DatabaseError] = []
    for organization_id in organizations:
        try:
            count += _take_back(organization_id)
        except DatabaseError as failure:
            logger.exception("what private runners of %s lost could not be taken back", organization_id)
            failures.append(failure)
            close_old_connections()
    if failures:
        raise failures[0]
    return count


def _take_back(organization_id: str) -> int:
    with scope_of(organization_id):
        lapsed = list(
            ComplianceRequest.objects.filter(
                organization_id=organization_id,
                executor_kind=ExecutorKind.PRIVATE,
                state=RequestState.LEASED,
                lease_expires_at__lt=Now(),
            )
            .select_for_update(skip_locked=True, of=("self",))
            .select_related("suite_version__suite", "agent")
            .defer("suite_version__definition")[:BATCH]
        )
        again = [request for request in lapsed if request.attempt < settings.REQUEST_MAX_ATTEMPTS]
        release_requests(again, counted=True)
        for request in lapsed:
            if request not in again:
                end_lost(request)
    return len(lapsed)


def expire_requests() -> int:
    """End what nobody served in time, without a run and without moving a schedule (L15); returns how many."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT expire_requests(%s)", [BATCH])
        return int(cursor.fetchone()[0])
