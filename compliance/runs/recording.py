"""record_run: the only writer of the record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from compliance.database import call
from compliance.engines.reports.model import Report
from compliance.engines.reports.text import storable_text
from compliance.registry.models import AgentContext, ExecutorKind, Relation
from compliance.runs.models import ComplianceRun, TriggeredBy
from compliance.suites.models import STATUS_SUITE, SuiteVersion
from compliance.tenancy.ids import uuid7
from compliance.tenancy.scope import Actor


@dataclass(frozen=True, slots=True)
class UsedCredential:
    """Whose secret a run used, and which."""

    organization_id: str
    credential_id: UUID
    name: str


# No savepoint: inside a scope the scope's own transaction is the unit, and two round trips are saved.
@transaction.atomic(savepoint=False)
def record_run(
    *,
    report: Report,
    agent_url: str,
    suite_version: SuiteVersion,
    triggered_by: str,
    by: Actor,
    organization_id: str | None,
    lifecycle_stage: str,
    requested_at: datetime,
    tested_at: datetime | None = None,
    dry_run: bool = False,
    full_suite: bool = True,
    executor_kind: str = ExecutorKind.HOSTED,
    executor_name: str = "",
    executor_id: UUID | None = None,
    credential: UsedCredential | None = None,
    job_id: UUID | None = None,
    run_id: UUID | None = None,
) -> ComplianceRun:
    """Insert one run with the evidence of its steps, and return it.

    Needs the scope that may write it: organization_scope for a run with an organization,
    platform_scope for one without. tested_at: when the execution ended, by the executor's clock;
    now when it is None. report: as `accepted` returned it, clean.
    A trigger moves the totals and the agent's status with the insert.
    Raises IntegrityError when `job_id` has a run already, or when `triggered_by` and
    `organization_id` contradict each other (R2).
    """
    now = timezone.now()
    by_verified_owner = (
        triggered_by == TriggeredBy.OWNER_TEST
        and AgentContext.objects.filter(
            organization_id=organization_id, agent_id=agent_url, relation=Relation.VERIFIED_OWNER
        ).exists()
    )
    run = ComplianceRun(
        id=run_id or uuid7(),
        agent_url=agent_url,
        triggered_by=triggered_by,
        triggered_org_id=organization_id,
        actor_kind=by.kind,
        actor_id=by.id,
        actor_name=storable_text(by.name)[:254],
        executor_kind=executor_kind,
        executor_name=executor_name,
        executor_id=executor_id,
        job_id=job_id,
        suite_version=suite_version,
        credential_id=credential.credential_id if credential else None,
        # A platform's run is read by all who have the agent; what one of them calls its credential is its own.
        credential_name=credential.name[:100] if credential and organization_id else "",
        dry_run=dry_run,
        full_suite=full_suite and report.full,
        beside_status=report.suite != STATUS_SUITE,
        by_verified_owner=by_verified_owner,
        lifecycle_stage=lifecycle_stage,
        requested_at=requested_at,
        # A clock in the future would hold the first place on every page until the future comes.
        tested_at=min(tested_at or now, now),
        recorded_at=now,
        **report.row(),
    )
    run.save(force_insert=True)
    _save_evidence(run, report, credential.organization_id if credential else None)
    return run


def _save_evidence(run: ComplianceRun, report: Report, credential_organization_id: str | None) -> None:
    """Write the evidence of all steps: as one JSON text, or the benchmark of leases misses its goal."""
    rows = report.evidence_rows()
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO step_evidence (run_id, step_index, recorded_at, agent_url, organization_id,
                credential_organization_id, request, response, pointer)
            SELECT %s, e.step_index, %s, %s, %s, %s, e.request, e.response, e.pointer
            FROM jsonb_to_recordset(%s::jsonb) AS e(step_index smallint, request jsonb, response jsonb, pointer text)
            """,
            [
                run.pk,
                run.recorded_at,
                run.agent_url,
                run.triggered_org_id,
                credential_organization_id,
                json.dumps(rows),
            ],
        )


def keep_evidence_partitions() -> tuple[int, int]:
    """Make the coming months' partitions and drop the expired ones; returns how many of each."""
    made = call("ensure_evidence_partitions", 2)[0][0]
    return made, call("drop_expired_evidence", settings.EVIDENCE_RETENTION_MONTHS)[0][0]
