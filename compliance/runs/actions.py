"""Writes on requests: create, lease, renew, complete. The row is the truth; who holds its lease token may write it."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Greatest
from django.utils import timezone

from compliance.engines.report import Overall, Report
from compliance.engines.report_json import BadReport, accepted
from compliance.registry.models import Agent, AgentContext, HeartbeatSlot, Protocol
from compliance.runs import nudge
from compliance.runs.choices import chosen, suite_to_run
from compliance.runs.record import UsedCredential, record_run, storable
from compliance.runs.records import ComplianceRun, TriggeredBy
from compliance.runs.requests import ACTIVE, ComplianceRequest, CredentialChoice, RequestState
from compliance.runs.wishes import WantedCredential, wanted_credentials
from compliance.tenancy.authority import managing_membership, membership_to_test
from compliance.tenancy.errors import Refused
from compliance.tenancy.ids import uuid7
from compliance.tenancy.keys import Principal
from compliance.tenancy.models import Organization
from compliance.tenancy.scope import Actor, organization_scope, platform_scope
from compliance.vault.models import Credential

logger = logging.getLogger(__name__)


class LeaseLost(Exception):
    """The lease ran out or the request has ended; the late result is discarded."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one request until its lease runs out, and what the work needs."""

    request_id: UUID
    token: UUID
    organization_id: str | None
    agent_url: str
    protocol: str
    suite_slug: str
    engine: str
    options: dict[str, Any]
    run_id: UUID  # of the run that comes of this lease: what is written down before it can name it
    triggered_by: str
    by: Actor
    credential: WantedCredential | None = None
    suite_version: str = ""
    full_suite: bool = True  # False for a part of another suite, and for some scenarios only (R10)


@contextmanager
def scope_of(organization_id: str | None) -> Iterator[None]:
    """The scope in which a request of this organization, or of the platform, is seen."""
    with organization_scope(organization_id) if organization_id else platform_scope():
        yield


def request_owner_test(
    *,
    organization: Organization,
    context_id: UUID | str,
    by: Principal | Actor,
    suite_slug: str = "baseline",
    scenarios: Collection[str] = (),
    options: Mapping[str, Any] | None = None,
    all_evidence: bool = False,
    dry_run: bool = False,
    credential: UUID | CredentialChoice = CredentialChoice.AUTOMATIC,
) -> tuple[ComplianceRequest, bool]:
    """Ask for a test of an agent, and nudge a worker once that is committed.

    Returns the request and whether it is new: the one under way is returned when there is one.
    An observer's test is an observer_test. scenarios: only these; such a run moves no status. options: the
    suite's own, by key; all_evidence: keep the exchanges of steps that passed too. credential: a chosen one's
    id, CredentialChoice.NONE, or AUTOMATIC for the one that is granted.
    Raises NotAllowed for a person who is not a member and for a key that may not, Refused for a suite that is not
    there or that no worker can run, for options that it does not have, for a credential that is not there, and
    while a test with other options or another credential is under way, and
    AgentContext.DoesNotExist for an agent that the organization does not have.
    """
    with organization_scope(organization.id):
        if not isinstance(by, Actor):
            membership_to_test(organization.id, by)
            by = by.as_actor()
        # Locked, so that the agent is not removed before the request that its removal would cancel is there.
        context = AgentContext.objects.select_for_update(no_key=True).get(organization=organization, pk=context_id)
        version = suite_to_run(suite_slug)
        choice, credential_id = credential, None
        if isinstance(credential, UUID):
            choice, credential_id = CredentialChoice.CHOSEN, credential
        if credential_id and not Credential.objects.kept_by(organization.id).filter(pk=credential_id).exists():
            raise Refused("There is no such credential. Choose another.")
        request = ComplianceRequest(
            organization=organization,
            agent_id=context.agent_id,
            triggered_by=TriggeredBy.OWNER_TEST if context.is_verified_owner else TriggeredBy.OBSERVER_TEST,
            actor_kind=by.kind,
            actor_id=by.id,
            actor_name=by.name,
            suite_version=version,
            dry_run=dry_run,
            options=chosen(version.definition, scenarios=scenarios, options=options, all_evidence=all_evidence),
            credential_choice=str(choice),
            credential_id=credential_id,
        )
        like_it = (
            ComplianceRequest.objects.active()
            .filter(organization=organization, agent_id=context.agent_id, suite_version=version, dry_run=dry_run)
            .exclude(triggered_by=TriggeredBy.MONITOR)
        )
        while not insert_requests([request]):
            under_way = like_it.select_related("suite_version__suite").first()
            if under_way is not None:
                if under_way.options != request.options:
                    raise Refused(
                        "A test of other scenarios, or with other options, is under way. Ask again when it has ended."
                    )
                if (under_way.credential_choice, under_way.credential_id) != (
                    request.credential_choice,
                    request.credential_id,
                ):
                    raise Refused("A test with another credential is under way. Ask again when it has ended.")
                return under_way, False
            # It ended in the moment between: then there is room for a new one.
        nudge.execute_after_commit(request.id, organization.id)
        return request, True


def cancel_request(*, organization: Organization, request_id: UUID | str, by: Principal) -> ComplianceRequest:
    """End a request without a run; what an executor has under way is discarded. One that is cancelled stays so.

    Who may ask for a test may end one; a monitor's run is for who manages. Raises NotAllowed, Refused for one that
    has ended, or ComplianceRequest.DoesNotExist.
    """
    with organization_scope(organization.id):
        known = ComplianceRequest.objects.select_related("suite_version__suite")
        request = known.get(organization=organization, pk=request_id)
        if request.triggered_by == TriggeredBy.MONITOR:
            managing_membership(organization.id, by)
        else:
            membership_to_test(organization.id, by)
        if not request.cancel():
            request = known.get(pk=request.pk)
            if request.state != RequestState.CANCELLED:
                raise Refused("The test has ended already.")
        return request


def insert_requests(requests: Iterable[ComplianceRequest]) -> list[UUID]:
    """Insert the requests for which no like one is active; returns the keys of those inserted.

    The unique keys decide, so that any number of processes may try at once.
    """
    requests = list(requests)
    ComplianceRequest.objects.bulk_create(requests, ignore_conflicts=True)
    keys = [request.pk for request in requests]
    return list(ComplianceRequest.objects.filter(pk__in=keys).values_list("pk", flat=True))


def lease_request(request_id: UUID, organization_id: str | None) -> Lease | None:
    """Lease one request of an organization, or None when it is taken, ended or not there.

    A request whose executors were lost too often ends here, as an inconclusive run.
    """
    with scope_of(organization_id):
        request = (
            _free(ComplianceRequest.objects.filter(pk=request_id))
            .select_for_update(skip_locked=True, of=("self",))
            .select_related("suite_version__suite", "agent")
            .first()
        )
        leases = _lease([request]) if request else []
        return leases[0] if leases else None


def lease_heartbeats(at_most: int) -> list[Lease]:
    """Lease up to `at_most` of the platform's requests, the oldest first."""
    with platform_scope():
        requests = list(
            _free(ComplianceRequest.objects.filter(organization__isnull=True))
            .order_by("created_at", "id")
            .select_for_update(skip_locked=True, of=("self",))
            .select_related("suite_version__suite", "agent")[:at_most]
        )
        leases = _lease(requests)
    # A batch of nothing but lost causes is not the end of the queue.
    return lease_heartbeats(at_most) if requests and not leases else leases


def _free(requests: Any) -> Any:
    return requests.filter(
        Q(state=RequestState.QUEUED) | Q(state=RequestState.LEASED, lease_expires_at__lt=timezone.now()),
        state__in=ACTIVE,
    )


def _lease(requests: Collection[ComplianceRequest]) -> list[Lease]:
    """Lease these locked requests in one statement; those whose executors were lost too often end instead."""
    leased = []
    for request in requests:
        if request.attempt >= settings.REQUEST_MAX_ATTEMPTS:
            _end_lost(request)
        else:
            leased.append(request)
    # One token for all: what it fences is the next lease of the same request.
    token, now = uuid4(), timezone.now()
    if leased:
        ComplianceRequest.objects.filter(pk__in=[request.pk for request in leased]).update(
            state=RequestState.LEASED,
            attempt=F("attempt") + 1,
            lease_token=token,
            lease_expires_at=now + timedelta(seconds=settings.LEASE_SECONDS),
            started_at=now,
            progress={},
        )
    wanted = wanted_credentials(leased)
    return [
        Lease(
            request_id=request.pk,
            token=token,
            organization_id=request.organization_id,
            agent_url=request.agent_id,
            protocol=request.agent.protocol,
            suite_slug=request.suite_version.suite.slug,
            engine=request.suite_version.engine,
            options={**request.suite_version.definition.get("options", {}), **request.options},
            suite_version=request.suite_version.version,
            full_suite=_is_full(request),
            run_id=uuid7(),
            triggered_by=request.triggered_by,
            by=Actor(request.actor_kind, request.actor_id, request.actor_name),
            credential=wanted.get(request.pk),
        )
        for request in leased
    ]


def _is_full(request: ComplianceRequest) -> bool:
    return bool(request.suite_version.definition.get("full", True)) and not request.options.get("scenarios")


def renew_leases(leases: Collection[Lease], progress: dict[UUID, dict[str, Any]]) -> set[UUID]:
    """Prolong the leases and store where each run is. Returns the requests whose lease still holds.

    leases: all of one organization, or all of the platform.
    """
    if not leases:
        return set()
    organization_id = next(iter(leases)).organization_id
    now = timezone.now()
    with scope_of(organization_id), connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE compliance_requests r
            SET lease_expires_at = %s, progress = coalesce(l.progress, r.progress)
            FROM unnest(%s::uuid[], %s::uuid[], %s::jsonb[]) AS l(id, token, progress)
            WHERE r.id = l.id AND r.lease_token = l.token AND r.state = 'leased'
            RETURNING r.id
            """,
            [
                now + timedelta(seconds=settings.LEASE_SECONDS),
                [lease.request_id for lease in leases],
                [lease.token for lease in leases],
                [_json(progress.get(lease.request_id)) for lease in leases],
            ],
        )
        return {row[0] for row in cursor.fetchall()}


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(storable(value))


def complete_request(
    lease: Lease, report: Report, *, tested_at: datetime | None = None, credential: UsedCredential | None = None
) -> ComplianceRun:
    """Record the run and end the request, in one transaction.

    A report that is not valid becomes an inconclusive run that names the first bad place (L16).
    credential: the one that was used, if any.
    Raises LeaseLost when the lease is no longer the one that holds the request: the result is
    discarded, and nothing is written.
    """
    try:
        report = accepted(report, engine=lease.engine, suite=lease.suite_slug)
    except BadReport as bad:
        logger.error("the engine %s returned a bad report about %s: %s", lease.engine, lease.agent_url, bad)
        report = broken_report(lease, f"the report of the engine {lease.engine} is not valid: {bad}")
    with scope_of(lease.organization_id):
        request = (
            ComplianceRequest.objects.select_for_update(of=("self",))
            .select_related("suite_version", "agent")
            .defer("suite_version__definition")  # many kilobytes, and only an engine reads it
            .filter(pk=lease.request_id, state=RequestState.LEASED, lease_token=lease.token)
            .first()
        )
        if request is None:
            raise LeaseLost("The lease ran out or the request has ended; the result was discarded.")
        return _end_with_run(
            request, report, tested_at, full_suite=lease.full_suite, run_id=lease.run_id, credential=credential
        )


def broken_report(lease: Lease, reason: str, *, truncated: bool = False) -> Report:
    """What is recorded when there is no report: an inconclusive run that says why (R7)."""
    return Report(
        engine=lease.engine,
        engine_version="",
        suite=lease.suite_slug,
        protocol=lease.protocol,
        protocol_version="",
        tracks=(),
        duration_ms=0,
        truncated=truncated,
        harness_error=reason,
    )


def _end_lost(request: ComplianceRequest) -> None:
    report = Report(
        engine=request.suite_version.engine,
        engine_version="",
        suite=request.suite_version.suite.slug,
        protocol=request.agent.protocol,
        protocol_version="",
        tracks=(),
        duration_ms=0,
        harness_error=f"the worker was lost {request.attempt} times while it ran",
    )
    _end_with_run(request, report, None, full_suite=False, run_id=uuid7())


def _end_with_run(
    request: ComplianceRequest,
    report: Report,
    tested_at: datetime | None,
    *,
    full_suite: bool,
    run_id: UUID,
    credential: UsedCredential | None = None,
) -> ComplianceRun:
    run = record_run(
        report=report,
        agent_url=request.agent_id,
        suite_version=request.suite_version,
        triggered_by=request.triggered_by,
        by=Actor(request.actor_kind, request.actor_id, request.actor_name),
        organization_id=request.organization_id,
        lifecycle_stage=request.agent.lifecycle_stage,
        requested_at=request.created_at,
        tested_at=tested_at,
        dry_run=request.dry_run,
        full_suite=full_suite,
        request_id=request.pk,
        run_id=run_id,
        credential=credential,
    )
    ComplianceRequest.objects.filter(pk=request.pk).update(
        state=RequestState.FINISHED,
        run_id=run.pk,
        finished_at=run.recorded_at,
        lease_token=None,
        lease_expires_at=None,
    )
    if request.triggered_by == TriggeredBy.HEARTBEAT:
        # Success and failure both advance the schedule, in the transaction that records them.
        Agent.objects.filter(pk=request.agent_id).update(
            last_checked_at=Greatest(F("last_checked_at"), run.tested_at),
            next_heartbeat_at=HeartbeatSlot(F("agent_url"), F("heartbeat_interval_hours"), run.recorded_at),
            protocol=report.protocol if _found_protocol(request.agent, report) else F("protocol"),
        )
    if request.monitor is not None:
        request.monitor.note_run(run, scheduled_for=request.scheduled_for)
    return run


def _found_protocol(agent: Agent, report: Report) -> bool:
    return not agent.protocol and report.protocol in Protocol.values and report.overall() != Overall.INCONCLUSIVE


@transaction.atomic
def repeat_nudges() -> int:
    """Nudge again for every request that nobody picked up or whose executor was lost; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, organization_id FROM stale_requests(make_interval(secs => %s), %s)",
            [settings.REQUEST_NUDGE_AFTER_SECONDS, 500],
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
