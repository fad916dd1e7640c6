"""The hosted executor: runs leased jobs on one event loop, many in flight, and keeps their leases alive.

A Celery task lends a thread, which does all the database work; the engines run on the process's loop.
"""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, close_old_connections
from django.utils import timezone

from compliance.engines import Credential, Limits, Progress, Report, Target, engine_health, get_engine
from compliance.engines.execution.loop import abandon_loop, engine_loop, overdue_words, plain_progress, run_to_the_end
from compliance.engines.process.capacity import Place, Room, default_room_mb, default_room_programs
from compliance.jobs.completion import complete_job
from compliance.jobs.credentials import Opened, after_run, open_credential
from compliance.jobs.leases import Lease, LeaseLost
from compliance.jobs.queue import renew_leases
from compliance.runs.models import ComplianceRun

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.5  # how stale the shown progress may be
ASK_AGAIN_SECONDS = 0.5  # how long an empty queue is left alone while runs are in flight
UNAVAILABLE = "this worker cannot run the suite"
REFILL = 4  # lease again when this part of the places is free: a query for each landing costs more than it brings
# Threads that wait for a credential's record and, with OAuth, for its token endpoint, while other runs go on.
_opening = ThreadPoolExecutor(max_workers=8, thread_name_prefix="credentials")


@lru_cache(maxsize=1)
def _room() -> Room:
    """The memory and the processor that the programs of this worker process's engines share."""
    return Room(
        settings.WORKER_ENGINE_MEMORY_MB or default_room_mb(),
        settings.WORKER_ENGINE_PROGRAMS or default_room_programs(),
    )


@dataclass(slots=True)
class _Flight:
    lease: Lease
    future: Future[Report]
    loop: asyncio.AbstractEventLoop
    gives_up_at: float  # on the monotonic clock; when even the engine's loop does not keep its deadline
    progress: dict[str, Any] | None = None
    opened: Opened = Opened()  # noqa: RUF009 - frozen and empty
    ended_at: datetime | None = None
    place: Place | None = None

    def leave_room(self) -> None:
        if self.place is not None:
            self.place.release()


def target_of(lease: Lease, credential: Credential | None = None) -> Target:
    """What the engine is given for a lease. One code path for owner tests and heartbeats (R8)."""
    return Target(
        url=lease.agent_url,
        suite=lease.suite_slug,
        protocol=lease.protocol,
        options={key: value for key, value in lease.options.items() if key != "evidence"},
        all_evidence=lease.options.get("evidence") == "all",
        suite_version=lease.suite_version,
        run_key=str(lease.job_id),
        deadline=float(settings.TEST_DEADLINE_SECONDS),
        limits=Limits(step_seconds=float(settings.STEP_TIMEOUT_SECONDS)),
        allow=settings.EGRESS_ALLOW,
        credential=credential,
    )


def run_leases(lease_more: Callable[[int], list[Lease]], *, concurrency: int) -> list[ComplianceRun]:
    """Run leases until `lease_more` has none and all in flight have ended; returns the recorded runs.

    lease_more(n): up to n new leases, of one organization or of the platform.
    A lease that is lost cancels its run; its result is discarded.
    """
    flights: dict[UUID, _Flight] = {}
    ended: queue.SimpleQueue[UUID] = queue.SimpleQueue()
    recorded: list[ComplianceRun] = []
    ask_at = 0.0
    last_renewal = last_progress = time.monotonic()
    try:
        while True:
            free = concurrency - len(flights)
            if not flights or (free >= max(concurrency // REFILL, 1) and time.monotonic() >= ask_at):
                leases = _more(lease_more, free, flying=bool(flights))
                if not leases:
                    ask_at = time.monotonic() + ASK_AGAIN_SECONDS
                for lease in leases:
                    flights[lease.job_id] = _take_off(lease, ended)
            if not flights:
                return recorded
            try:
                landed = flights.pop(ended.get(timeout=PROGRESS_SECONDS), None)
            except queue.Empty:
                landed = None
            if landed is not None:
                run = _land(landed)
                if run is not None:
                    recorded.append(run)
            now = time.monotonic()
            for key in [key for key, flight in flights.items() if now > flight.gives_up_at]:
                blocked = flights.pop(key)
                for other in flights.values():
                    # Who waits for room on a blocked loop would wait for ever.
                    if other.loop is blocked.loop and other.gives_up_at == math.inf:
                        other.gives_up_at = now
                run = _give_up(blocked)
                if run is not None:
                    recorded.append(run)
            # Nobody waits before a screen for a heartbeat; its progress goes along with the renewals.
            moved = any(flight.progress and flight.lease.organization_id for flight in flights.values())
            if now - last_renewal > settings.LEASE_SECONDS / 3 or (moved and now - last_progress > PROGRESS_SECONDS):
                last_renewal = last_progress = now
                _renew(flights)
    finally:
        for flight in flights.values():
            flight.future.cancel()


def _more(lease_more: Callable[[int], list[Lease]], free: int, *, flying: bool) -> list[Lease]:
    try:
        return lease_more(free)
    except DatabaseError:
        if not flying:
            raise
        # What is in flight goes on, and is recorded when the database is back.
        logger.exception("no more work could be leased")
        close_old_connections()
        return []


def _take_off(lease: Lease, ended: queue.SimpleQueue[UUID]) -> _Flight:
    target, loop = target_of(lease), engine_loop(lease.engine)
    most = target.deadline + settings.ENGINE_GRACE_SECONDS
    # Until the engine reports a step of its own, somebody who watches should see that the work has begun.
    begun = asdict(Progress("Reaching the agent", 0, 1))
    flight = _Flight(lease, Future(), loop, time.monotonic() + most + settings.ENGINE_GRACE_SECONDS, begun)

    def on_step(progress: Progress) -> None:
        flight.progress = asdict(plain_progress(progress))

    watched = on_step if lease.organization_id else None  # nobody waits before a screen for a heartbeat

    async def run() -> Report:
        try:
            health = engine_health(lease.engine)
            if not health.available:
                return _broken(lease, f"{UNAVAILABLE}: {health.reason}")
            flight.place = place = _room().reserve(get_engine(lease.engine).memory_mb)
            if not place.held:
                flight.progress, flight.gives_up_at = asdict(Progress("Waiting for room on the worker", 0, 1)), math.inf
                await place.wait()  # before the run's own clock starts; the lease is renewed meanwhile
                flight.progress = begun
                flight.gives_up_at = time.monotonic() + most + settings.ENGINE_GRACE_SECONDS
            if lease.credential is not None:
                flight.gives_up_at = math.inf  # it may wait for a token endpoint, and for other runs that do
                flight.opened = await asyncio.get_running_loop().run_in_executor(_opening, open_credential, lease)
                flight.gives_up_at = time.monotonic() + most + settings.ENGINE_GRACE_SECONDS
            if flight.opened.instead is not None:
                return flight.opened.instead
            engine, given = get_engine(lease.engine), replace(target, credential=flight.opened.credential)
            return flight.opened.complete(await run_to_the_end(engine, given, seconds=most, on_step=watched))
        finally:
            flight.leave_room()
            flight.ended_at = timezone.now()

    flight.future = asyncio.run_coroutine_threadsafe(run(), loop)
    flight.future.add_done_callback(lambda _: ended.put(lease.job_id))
    return flight


def _broken(lease: Lease, reason: str, *, truncated: bool = False) -> Report:
    return Report.broken(lease.engine, lease.suite_slug, lease.protocol, reason, truncated=truncated)


def _give_up(flight: _Flight) -> ComplianceRun | None:
    logger.error("the engine %s blocks its loop; %s is given up", flight.lease.engine, flight.lease.agent_url)
    abandon_loop(flight.lease.engine, flight.loop)
    flight.future.cancel()
    flight.leave_room()  # the blocked loop will not come to it
    return _record(flight, _broken(flight.lease, overdue_words(flight.lease.engine), truncated=True), timezone.now())


def _land(flight: _Flight) -> ComplianceRun | None:
    lease = flight.lease
    if flight.future.cancelled():
        return None
    error = flight.future.exception()
    if error is not None:
        # An engine that raises is a fault of ours, never of the agent (R7).
        logger.error("engine %s broke on %s", lease.engine, lease.agent_url, exc_info=error)
    report = (
        _broken(lease, f"{type(error).__name__} in the engine {lease.engine}")
        if error is not None
        else flight.future.result()
    )
    return _record(flight, report, flight.ended_at)


def _record(flight: _Flight, report: Report, tested_at: datetime | None) -> ComplianceRun | None:
    lease = flight.lease
    try:
        after_run(flight.opened.used, report)
        return complete_job(lease, report, tested_at=tested_at, credential=flight.opened.used)
    except LeaseLost as lost:
        logger.warning("%s: %s", lease.agent_url, lost)
    except DatabaseError:
        # The other runs in flight must not suffer: the lease runs out, and the job has another attempt.
        logger.exception("%s: the run could not be recorded", lease.agent_url)
        close_old_connections()
    return None


def _renew(flights: dict[UUID, _Flight]) -> None:
    close_old_connections()
    leases = [flight.lease for flight in flights.values()]
    progress = {key: flight.progress for key, flight in flights.items() if flight.progress}
    for flight in flights.values():
        flight.progress = None
    try:
        held = renew_leases(leases, progress)
    except DatabaseError:
        logger.exception("the leases could not be renewed")
        close_old_connections()
        return
    for key in flights.keys() - held:
        logger.warning("%s: the lease was lost, the run is stopped", flights[key].lease.agent_url)
        flights.pop(key).future.cancel()
