"""The end of a request with a run: complete it, or end what was lost too often. The schedule advances with it."""

from __future__ import annotations

import logging
from datetime import datetime
from uuid import UUID

from django.db.models import F
from django.db.models.functions import Greatest

from compliance.engines.reports.model import Overall, Report
from compliance.engines.reports.serialization import BadReport, accepted
from compliance.jobs.leases import (
    HOSTED_WORKER,
    Executor,
    Lease,
    LeaseLost,
    broken_report,
    broken_report_of,
    scope_of,
)
from compliance.jobs.locking import locked_request
from compliance.jobs.models import ComplianceRequest, RequestState
from compliance.registry.actions import note_protocol
from compliance.registry.models import Agent, HeartbeatSlot, Protocol
from compliance.runs.models import ComplianceRun, TriggeredBy
from compliance.runs.recording import UsedCredential, record_run
from compliance.tenancy.ids import uuid7
from compliance.tenancy.scope import Actor

logger = logging.getLogger(__name__)


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
        request = held(lease.request_id, lease.token, HOSTED_WORKER)
        if request is None:
            raise LeaseLost("The lease ran out or the request has ended; the result was discarded.")
        run = end_with_run(
            request, report, tested_at, full_suite=lease.full_suite, run_id=lease.run_id, credential=credential
        )
        unknown = lease.organization_id is not None and _found_protocol(request.agent, report)
    if unknown:
        # Afterwards, and from outside: an agent that others have too is not an observer's to change.
        note_protocol(agent_url=lease.agent_url, protocol=report.protocol, note="A test found it.")
    return run


def held(request_id: UUID, token: UUID, executor: Executor) -> ComplianceRequest | None:
    """The request, locked, if this executor holds it by this token; in an open scope."""
    request = locked_request(request_id)
    if request is None or request.state != RequestState.LEASED:
        return None
    return request if (request.lease_token, request.leased_by) == (token, executor.id) else None


def end_lost(request: ComplianceRequest) -> ComplianceRun:
    """End a locked request whose executors were lost too often, as an inconclusive run."""
    who = "private runner" if request.pin.is_private else "worker"
    return end_without_result(request, f"the {who} was lost {request.attempt} times while it ran")


def end_without_result(request: ComplianceRequest, reason: str) -> ComplianceRun:
    """End a locked request of which no result is awaited any more, as an inconclusive run that says why (R7)."""
    # Whoever had it, and sends a result all the same, is not told that this one is theirs.
    request.lease_token = None
    run_id = request.lease_run_id or uuid7()
    return end_with_run(request, broken_report_of(request, reason), None, full_suite=False, run_id=run_id)


_FINISH = """
    UPDATE compliance_requests
    SET state = 'finished', run_id = %s, finished_at = statement_timestamp(), finished_token = %s, lease_token = NULL,
        lease_expires_at = NULL
    WHERE id = %s
"""


def end_with_run(
    request: ComplianceRequest,
    report: Report,
    tested_at: datetime | None,
    *,
    full_suite: bool,
    run_id: UUID,
    credential: UsedCredential | None = None,
) -> ComplianceRun:
    """Record the run of a locked request and end it; the schedule that it came from advances with it (L8)."""
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
        executor_kind=request.executor_kind,
        executor_name=request.leased_by_name,
        executor_id=request.leased_by,
        request_id=request.pk,
        run_id=run_id,
        credential=credential,
        after=[(_FINISH, [run_id, request.lease_token, request.pk])],
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
