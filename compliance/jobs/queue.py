"""The queue: jobs are created, leased, renewed and released here; completion.py and cleanup.py end them.

One set of functions for owner tests, heartbeats, monitors and the rest, hosted and private alike. The row is the
truth; who holds its lease token may write it. docs/adr tells why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection
from django.db.models import F, Q
from django.db.models.functions import Greatest, Now
from django.utils import timezone

from compliance.database import call
from compliance.engines.reports.text import storable
from compliance.jobs.completion import end_lost
from compliance.jobs.credentials import select_credentials
from compliance.jobs.dispatch import notify_executors
from compliance.jobs.leases import HOSTED_WORKER, Executor, Lease
from compliance.jobs.models import Job, JobState
from compliance.jobs.resuming import resumed
from compliance.registry.models import Agent, ExecutorKind
from compliance.tenancy.ids import uuid7
from compliance.tenancy.scope import Actor, platform_scope, scope_of

# Create


def free_of_capped(agents: Iterable[Agent]) -> dict[str, int]:
    """How many more tests each agent takes whose owner set how many it takes at once; without the other agents.

    The answer holds until the transaction ends: who else asks about these agents waits for it (G5).
    """
    capped = [agent.pk for agent in agents if agent.max_at_once is not None]
    return dict(call("free_of_capped", capped)) if capped else {}


def has_room(agent: Agent) -> bool:
    """Whether the agent's verified owner allows one more test of it now; kept as free_of_capped says."""
    return free_of_capped([agent]).get(agent.pk, 1) > 0


def insert_jobs(jobs: Iterable[Job]) -> list[UUID]:
    """Insert the jobs for which no like one is active; returns the keys of those inserted.

    The unique keys decide, so that any number of processes may try at once.
    """
    keys = [job.pk for job in Job.objects.bulk_create(jobs, ignore_conflicts=True)]
    inserted = set(Job.objects.filter(pk__in=keys).values_list("pk", flat=True))
    return [key for key in keys if key in inserted]


# Lease


def lease_job(job_id: UUID, organization_id: str | None) -> Lease | None:
    """Lease one hosted job for a worker, or None when it is taken, ended, placed on a runner or not there (L3).

    A job whose executors were lost too often ends here, as an inconclusive run.
    """
    with scope_of(organization_id):
        leases = _lease(Job.objects.free().filter(pk=job_id, executor_kind=ExecutorKind.HOSTED)[:1])
        return leases[0] if leases else None


def lease_heartbeats(at_most: int) -> list[Lease]:
    """Lease up to `at_most` of the platform's jobs, the oldest first."""
    with platform_scope():
        jobs = list(Job.objects.free().filter(organization=None, executor_kind=ExecutorKind.HOSTED)[:at_most])
        leases = _lease(jobs)
    # A batch of nothing but lost causes is not the end of the queue.
    return lease_heartbeats(at_most) if jobs and not leases else leases


def lease_private(
    *, organization_id: str, executor: Executor, engines: Collection[str], at_most: int
) -> tuple[list[Lease], int]:
    """Lease up to `at_most` of an organization's jobs for a private runner that has these engines.

    Only what is placed on it or to its pool, the oldest first. Returns the leases, and how many jobs ended
    because their executors were lost too often. Needs the organization's scope, with the runner locked (L3).
    """
    assert executor.id is not None
    addressed = Q(runner_id=executor.id)
    if executor.pool:
        addressed |= Q(pool=executor.pool)
    free = Job.objects.free().filter(
        addressed,
        organization_id=organization_id,
        executor_kind=ExecutorKind.PRIVATE,
        suite_version__engine__in=engines,
    )
    jobs = list(free[:at_most])
    leases = _lease(jobs, executor)
    return leases, len(jobs) - len(leases)


def _lease(jobs: Iterable[Job], executor: Executor = HOSTED_WORKER) -> list[Lease]:
    """Lease these locked jobs; those whose executors were lost too often end instead (L12)."""
    leased = []
    for job in jobs:
        if job.attempt >= settings.JOB_MAX_ATTEMPTS:
            end_lost(job)
        else:
            leased.append(job)
    # Each has a token of its own: a private runner knows by it which of its leases is meant.
    tokens = {job.pk: uuid4() for job in leased}
    run_ids = {job.pk: uuid7() for job in leased}
    if leased:
        _write_leases(tokens, run_ids, executor)
    credentials = select_credentials(leased)
    return [
        Lease(
            job_id=job.pk,
            token=tokens[job.pk],
            organization_id=job.organization_id,
            agent_url=job.agent_id,
            protocol=job.agent.protocol,
            suite_slug=job.suite_version.suite.slug,
            engine=job.suite_version.engine,
            options={**(job.suite_options or {}), **job.options, **resumed(job)},
            suite_version=job.suite_version.version,
            full_suite=job.asks_for_full_suite,
            run_id=run_ids[job.pk],
            triggered_by=job.triggered_by,
            by=Actor(job.actor_kind, job.actor_id, job.actor_name),
            credential=credentials.get(job.pk),
            attempt=job.attempt + 1,
            executor=executor,
        )
        for job in leased
    ]


def _write_leases(tokens: dict[UUID, UUID], run_ids: dict[UUID, UUID], executor: Executor) -> None:
    """Write the leases by the jobs' keys: in one statement, or the benchmark of leases misses its goal.

    A private runner's run has its key from here on: a secret is given, and its use recorded, in another call.
    """
    kept: list[UUID | None] = [None if executor.id is None else run_ids[job_id] for job_id in tokens]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE compliance_jobs r
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


# Renew


def renew_leases(leases: Collection[Lease], progress: dict[UUID, dict[str, Any]]) -> set[UUID]:
    """Prolong the leases and store where each run is. Returns the jobs whose lease still holds.

    leases: all of one organization, or all of the platform.
    """
    if not leases:
        return set()
    organization_id = next(iter(leases)).organization_id
    with scope_of(organization_id):
        return renew_tokens({lease.job_id: lease.token for lease in leases}, progress, HOSTED_WORKER)


def renew_tokens(tokens: dict[UUID, UUID], progress: dict[UUID, dict[str, Any]], executor: Executor) -> set[UUID]:
    """The same by the jobs' keys and tokens, in an open scope. Only what this executor holds is prolonged (L6)."""
    held, until = set(), Now() + timedelta(seconds=settings.LEASE_SECONDS)
    for job_id in sorted(tokens):  # one order for all: no deadlock
        holds = Job.objects.filter(pk=job_id, lease_token=tokens[job_id], state=JobState.LEASED, leased_by=executor.id)
        changes = {"progress": storable(progress[job_id])} if job_id in progress else {}
        if holds.update(lease_expires_at=until, **changes):
            held.add(job_id)
    return held


# Release


def release_jobs(jobs: Iterable[Job], *, counted: bool, by_runner: bool = False) -> int:
    """Put locked, leased jobs back into the queue and tell who may take them; returns how many.

    counted: whether the lease that ends here counts as an attempt: one that was handed back in order does not.
    by_runner: whether the runner that held it hands it back, which is counted by itself.
    Needs the organization's scope.
    """
    jobs = list(jobs)
    Job.objects.filter(pk__in=[job.pk for job in jobs], state=JobState.LEASED).update(
        state=JobState.QUEUED,
        lease_token=None,
        lease_expires_at=None,
        leased_by=None,
        leased_by_name="",
        lease_run_id=None,
        dispatched_at=timezone.now(),
        progress={},
        attempt=F("attempt") if counted else Greatest(F("attempt") - 1, 0),
        releases=F("releases") + int(by_runner),
    )
    notify_executors(jobs)
    return len(jobs)
