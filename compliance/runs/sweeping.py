"""The sweeper: what a lost message, a lost executor or nobody at all left behind in the ledger."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from compliance.runs import nudge
from compliance.runs.ending import end_lost
from compliance.runs.leases import scope_of
from compliance.runs.ledger import release_requests
from compliance.runs.records import ExecutorKind
from compliance.runs.requests import ComplianceRequest, RequestState

BATCH = 500


def sweep_requests() -> dict[str, int]:
    """One round; returns how many requests were nudged again, taken back from lost private runners, and expired."""
    return {"nudged": repeat_nudges(), "taken_back": take_back(), "expired": expire_requests()}


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

    Each organization in a transaction of its own. Returns how many requests that were.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT organization_id FROM lapsed_private_requests(%s)", [BATCH])
        organizations = [row[0] for row in cursor.fetchall()]
    count = 0
    for organization_id in organizations:
        with scope_of(organization_id):
            lapsed = list(
                ComplianceRequest.objects.filter(
                    organization_id=organization_id,
                    executor_kind=ExecutorKind.PRIVATE,
                    state=RequestState.LEASED,
                    lease_expires_at__lt=timezone.now(),
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
            count += len(lapsed)
    return count


def expire_requests() -> int:
    """End what nobody served in time, without a run and without moving a schedule (L15); returns how many."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT expire_requests(%s)", [BATCH])
        return int(cursor.fetchone()[0])
