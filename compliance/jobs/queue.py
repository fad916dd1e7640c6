"""The ledger: requests are created, leased, renewed and released here; ending.py and sweeping.py end them.

One set of functions for owner tests, heartbeats, monitors and the rest, hosted and private alike. The row is the
truth; who holds its lease token may write it. docs/adr tells why.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection
from django.db.models import F
from django.db.models.functions import Greatest
from django.utils import timezone

from compliance.jobs import dispatch as nudge
from compliance.jobs.completion import end_lost
from compliance.jobs.credential_selection import wanted_credentials
from compliance.jobs.leases import HOSTED_WORKER, Executor, Lease, scope_of
from compliance.jobs.locking import free_heartbeats, free_private, free_request
from compliance.jobs.models import ComplianceRequest, RequestState
from compliance.runs.inserting import insert_rows
from compliance.runs.recording import storable
from compliance.tenancy.ids import uuid7
from compliance.tenancy.scope import Actor, platform_scope

WAKE_CHANNEL = "assay_work"  # what the web server's waiting room listens to


# Create


def insert_requests(requests: Iterable[ComplianceRequest]) -> list[UUID]:
    """Insert the requests for which no like one is active; returns the keys of those inserted.

    The unique keys decide, so that any number of processes may try at once.
    """
    requests = list(requests)
    inserted = insert_rows(requests, skip_conflicts=True)
    return [request.pk for request in requests if request.pk in inserted]


def tell_executors(requests: Iterable[ComplianceRequest]) -> None:
    """Tell whoever may run these requests of an organization, once the transaction is committed."""
    keys = set()
    hosted: dict[str, list[UUID]] = {}
    for request in requests:
        assert request.organization_id is not None
        if request.pin.is_private:
            keys.add(wake_key(request))
        else:
            hosted.setdefault(request.organization_id, []).append(request.pk)
    for organization_id, request_ids in hosted.items():
        nudge.execute_all_after_commit(request_ids, organization_id)
    _wake(keys)


def wake_key(request: ComplianceRequest) -> str:
    """By what a waiting private runner is woken for this request."""
    return runner_key(request.runner_id) if request.runner_id else pool_key(request.organization_id, request.pool)


def runner_key(runner_id: UUID) -> str:
    return f"runner:{runner_id}"


def pool_key(organization_id: str | None, pool: str) -> str:
    return f"pool:{organization_id}:{pool}"


def _wake(keys: Collection[str]) -> None:
    if not keys:
        return
    # Sent by the database when the transaction commits, and never when it is rolled back.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, key) FROM unnest(%s::text[]) AS key", [WAKE_CHANNEL, sorted(keys)])


# Lease


def lease_request(request_id: UUID, organization_id: str | None) -> Lease | None:
    """Lease one hosted request for a worker, or None when it is taken, ended, pinned to a runner or not there (L3).

    A request whose executors were lost too often ends here, as an inconclusive run.
    """
    with scope_of(organization_id):
        leases = _lease(free_request(request_id))
        return leases[0] if leases else None


def lease_heartbeats(at_most: int) -> list[Lease]:
    """Lease up to `at_most` of the platform's requests, the oldest first."""
    with platform_scope():
        requests = free_heartbeats(at_most)
        leases = _lease(requests)
    # A batch of nothing but lost causes is not the end of the queue.
    return lease_heartbeats(at_most) if requests and not leases else leases


def lease_private(
    *, organization_id: str, executor: Executor, engines: Collection[str], at_most: int
) -> tuple[list[Lease], int]:
    """Lease up to `at_most` of an organization's requests for a private runner that has these engines.

    Only what is pinned to it or to its pool, the oldest first. Returns the leases, and how many requests ended
    because their executors were lost too often. Needs the organization's scope, with the runner locked (L3).
    """
    assert executor.id is not None
    requests = free_private(organization_id, executor.id, executor.pool, engines, at_most)
    leases = _lease(requests, executor)
    return leases, len(requests) - len(leases)


def _lease(requests: Collection[ComplianceRequest], executor: Executor = HOSTED_WORKER) -> list[Lease]:
    """Lease these locked requests in one statement; those whose executors were lost too often end instead (L12)."""
    leased = []
    for request in requests:
        if request.attempt >= settings.REQUEST_MAX_ATTEMPTS:
            end_lost(request)
        else:
            leased.append(request)
    # Each has a token of its own: a private runner knows by it which of its leases is meant.
    tokens = {request.pk: uuid4() for request in leased}
    run_ids = {request.pk: uuid7() for request in leased}
    if leased:
        _mark_leased(tokens, run_ids, executor)
    wanted = wanted_credentials(leased)
    return [
        Lease(
            request_id=request.pk,
            token=tokens[request.pk],
            organization_id=request.organization_id,
            agent_url=request.agent_id,
            protocol=request.agent.protocol,
            suite_slug=request.suite_version.suite.slug,
            engine=request.suite_version.engine,
            options={**request.suite_options, **request.options},
            suite_version=request.suite_version.version,
            full_suite=_is_full(request),
            run_id=run_ids[request.pk],
            triggered_by=request.triggered_by,
            by=Actor(request.actor_kind, request.actor_id, request.actor_name),
            credential=wanted.get(request.pk),
            attempt=request.attempt + 1,
            executor=executor,
        )
        for request in leased
    ]


def _mark_leased(tokens: dict[UUID, UUID], run_ids: dict[UUID, UUID], executor: Executor) -> None:
    """Write the leases by the requests' keys. A private runner's run has its key from here on: a secret is released,
    and the release recorded, in another call.
    """
    kept: list[UUID | None] = [None if executor.id is None else run_ids[request_id] for request_id in tokens]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE compliance_requests r
            SET state = 'leased', attempt = r.attempt + 1, lease_token = l.token, progress = '{}',
                lease_expires_at = statement_timestamp() + make_interval(secs => %s),
                started_at = statement_timestamp(), leased_by = %s::uuid, leased_by_name = %s, lease_run_id = l.run_id
            FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]) AS l(id, token, run_id) WHERE r.id = l.id
            """,
            [
                settings.LEASE_SECONDS,
                executor.id,
                executor.name if executor.id else "",
                list(tokens),
                list(tokens.values()),
                kept,
            ],
        )


def _is_full(request: ComplianceRequest) -> bool:
    return request.is_full_suite and not request.options.get("scenarios")


# Renew


def renew_leases(leases: Collection[Lease], progress: dict[UUID, dict[str, Any]]) -> set[UUID]:
    """Prolong the leases and store where each run is. Returns the requests whose lease still holds.

    leases: all of one organization, or all of the platform.
    """
    if not leases:
        return set()
    organization_id = next(iter(leases)).organization_id
    with scope_of(organization_id):
        return renew_tokens({lease.request_id: lease.token for lease in leases}, progress, HOSTED_WORKER)


def renew_tokens(tokens: dict[UUID, UUID], progress: dict[UUID, dict[str, Any]], executor: Executor) -> set[UUID]:
    """The same by the requests' keys and tokens, in an open scope. Only what this executor holds is prolonged (L6)."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE compliance_requests r
            SET lease_expires_at = statement_timestamp() + make_interval(secs => %s),
                progress = coalesce(l.progress, r.progress)
            FROM unnest(%s::uuid[], %s::uuid[], %s::jsonb[]) AS l(id, token, progress)
            WHERE r.id = l.id AND r.lease_token = l.token AND r.state = 'leased'
                AND r.leased_by IS NOT DISTINCT FROM %s::uuid
            RETURNING r.id
            """,
            [
                settings.LEASE_SECONDS,
                list(tokens),
                list(tokens.values()),
                [_json(progress.get(request_id)) for request_id in tokens],
                executor.id,
            ],
        )
        return {row[0] for row in cursor.fetchall()}


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(storable(value))


# Release


def release_requests(requests: Iterable[ComplianceRequest], *, counted: bool, by_runner: bool = False) -> int:
    """Put locked, leased requests back into the queue and tell who may take them; returns how many.

    counted: whether the lease that ends here counts as an attempt: one that was handed back in order does not.
    by_runner: whether the runner that held it hands it back, which is counted by itself.
    Needs the organization's scope.
    """
    requests = list(requests)
    ComplianceRequest.objects.filter(pk__in=[request.pk for request in requests], state=RequestState.LEASED).update(
        state=RequestState.QUEUED,
        lease_token=None,
        lease_expires_at=None,
        leased_by=None,
        leased_by_name="",
        lease_run_id=None,
        nudged_at=timezone.now(),
        progress={},
        attempt=F("attempt") if counted else Greatest(F("attempt") - 1, 0),
        releases=F("releases") + int(by_runner),
    )
    tell_executors(requests)
    return len(requests)
