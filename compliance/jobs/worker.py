"""The hosted executor: runs leased jobs, many at once, and keeps their leases alive.

A Celery task lends a thread. All the database work is done in it (asgiref brings it there), while the loop and the
engines run on event loops in other threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.db import DatabaseError, close_old_connections
from django.utils import timezone

from compliance.engines import Limits, Report, Target, engine_health
from compliance.engines.contract import engine_options
from compliance.engines.execution.loop import Access, CannotRun, Execution, ExecutionLoop, JobSource
from compliance.engines.process.capacity import Capacity, default_memory_mb, default_programs
from compliance.jobs.completion import complete_job
from compliance.jobs.credentials import after_run, open_credential, used_credential
from compliance.jobs.leases import Lease, LeaseLost
from compliance.jobs.queue import renew_leases
from compliance.runs.models import ComplianceRun

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.5  # how stale the shown progress may be
# Threads that wait for a credential's record and, with OAuth, for its token endpoint, while other runs go on.
_opening = ThreadPoolExecutor(max_workers=8, thread_name_prefix="credentials")


@lru_cache(maxsize=1)
def _capacity() -> Capacity:
    """The memory and the processor that the programs of this worker process's engines share."""
    return Capacity(
        settings.WORKER_ENGINE_MEMORY_MB or default_memory_mb(),
        settings.WORKER_ENGINE_PROGRAMS or default_programs(),
    )


def run_leases(lease_more: Callable[[int], list[Lease]], *, concurrency: int) -> list[ComplianceRun]:
    """Run leases until `lease_more` has none and all that began have ended; returns the recorded runs.

    lease_more(n): up to n new leases, of one organization or of the platform.
    A lease that is lost cancels its run; its result is discarded.
    """
    source = _HostedJobs(lease_more)
    async_to_sync(_run)(source, concurrency)
    return source.recorded


async def _run(source: _HostedJobs, concurrency: int) -> None:
    loop = ExecutionLoop(
        source,
        concurrency=concurrency,
        capacity=_capacity(),
        grace_seconds=settings.ENGINE_GRACE_SECONDS,
        until_empty=True,
    )
    await loop.run()


class _HostedJobs(JobSource[Lease]):
    """The queue and the record, as the loop uses them."""

    renewal_pause = PROGRESS_SECONDS

    def __init__(self, lease_more: Callable[[int], list[Lease]]) -> None:
        self.recorded: list[ComplianceRun] = []
        self._lease_more = lease_more
        self._running = 0
        self._healthy: set[str] = set()  # engines, once asked
        self._renewed_at = time.monotonic()

    async def lease(self, at_most: int) -> Sequence[Lease]:
        leases = await sync_to_async(self._lease)(at_most)
        self._running += len(leases)
        return leases

    def _lease(self, at_most: int) -> list[Lease]:
        try:
            return self._lease_more(at_most)
        except DatabaseError:
            if not self._running:
                raise
            # What runs goes on, and is recorded when the database is back.
            logger.exception("no more work could be leased")
            close_old_connections()
            return []

    def target(self, lease: Lease) -> Target:
        """What the engine is given. One code path for owner tests and heartbeats (R8)."""
        return Target(
            url=lease.agent_url,
            suite=lease.suite_slug,
            protocol=lease.protocol,
            options=engine_options(lease.options),
            all_evidence=lease.options.get("evidence") == "all",
            suite_version=lease.suite_version,
            run_key=str(lease.job_id),
            deadline=float(settings.TEST_DEADLINE_SECONDS),
            limits=Limits(step_seconds=float(settings.STEP_TIMEOUT_SECONDS)),
            allow=settings.EGRESS_ALLOW,
        )

    def is_watched(self, lease: Lease) -> bool:
        return lease.organization_id is not None  # nobody waits before a screen for a heartbeat

    async def begin(self, execution: Execution[Lease]) -> Report | None:
        engine = execution.lease.engine
        if engine not in self._healthy:
            health = await asyncio.to_thread(engine_health, engine)
            if not health.available:
                raise CannotRun(f"this worker cannot run the suite: {health.reason}")
            self._healthy.add(engine)
        return None

    async def access(self, execution: Execution[Lease]) -> Access:
        if execution.lease.credential is None:
            return Access()
        # A thread of its own: it may wait for a token endpoint, and for other runs that do.
        return await asyncio.get_running_loop().run_in_executor(_opening, open_credential, execution.lease)

    async def complete(self, execution: Execution[Lease], report: Report) -> None:
        await sync_to_async(self._record)(execution, report, timezone.now())
        self._running -= 1

    def _record(self, execution: Execution[Lease], report: Report, tested_at: datetime) -> None:
        lease, used = execution.lease, used_credential(execution.access.credential)
        try:
            after_run(used, report)
            self.recorded.append(complete_job(lease, report, tested_at=tested_at, credential=used))
        except LeaseLost as lost:
            logger.warning("%s: %s", lease.agent_url, lost)
        except DatabaseError:
            # The other runs must not suffer: the lease runs out, and the job has another attempt.
            logger.exception("%s: the run could not be recorded", lease.agent_url)
            close_old_connections()

    async def renew(self, executions: Sequence[Execution[Lease]]) -> Mapping[Any, str]:
        moved = any(execution.progress for execution in executions if self.is_watched(execution.lease))
        now = time.monotonic()
        if not executions or not (moved or now - self._renewed_at > settings.LEASE_SECONDS / 3):
            return {}
        self._renewed_at = now
        progress: dict[UUID, dict[str, Any]] = {}
        for execution in executions:
            if execution.progress:
                progress[execution.lease.job_id] = asdict(execution.progress)
            execution.progress = None
        held = await sync_to_async(self._renew)([execution.lease for execution in executions], progress)
        lost = [execution.lease for execution in executions if execution.lease.job_id not in held]
        return {lease.token: "the lease was lost" for lease in lost}

    def _renew(self, leases: list[Lease], progress: dict[UUID, dict[str, Any]]) -> set[UUID]:
        close_old_connections()
        try:
            return renew_leases(leases, progress)
        except DatabaseError:
            logger.exception("the leases could not be renewed")
            close_old_connections()
            return {lease.job_id for lease in leases}

    def lost(self, execution: Execution[Lease]) -> None:
        self._running -= 1
