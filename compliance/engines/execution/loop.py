"""The loop that runs leased jobs, many at once: of hosted workers and of the runner program alike.

A JobSource says where leases come from, how they are renewed and where results go. The loop does the rest: it fills
free slots, runs each engine on a loop of its own, gives up what blocks, and stops what lost its lease.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

from compliance.engines.contract import Credential, Engine, Progress, Target
from compliance.engines.execution.threads import abandon_loop, engine_loop, overdue_words, run_to_the_end
from compliance.engines.process.capacity import Capacity, Slot
from compliance.engines.registry import get_engine
from compliance.engines.reports.model import Notice, Report

log = logging.getLogger(__name__)

_CHECK_SECONDS = 1.0  # how often a run is checked for an engine that blocks its loop
_REFILL = 4  # ask for more when this part of the slots is free: a question for each landing costs more than it brings


class LeasedJob(Protocol):
    """What the loop has to know of a lease."""

    @property
    def token(self) -> Any: ...
    @property
    def agent_url(self) -> str: ...
    @property
    def engine(self) -> str: ...


L = TypeVar("L", bound=LeasedJob)


class CannotRun(Exception):
    """The job ends without a run of its engine; the message says why."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a run gets: a credential, or a notice that it goes without one, or a report instead of running."""

    credential: Credential | None = None
    notice: Notice | None = None
    instead: Report | None = None
    source: str = "none"  # where the credential came from


@dataclass(slots=True, eq=False)
class Execution(Generic[L]):
    """One leased job at work."""

    lease: L
    target: Target
    held_until: float = 0.0  # by the source's clock: later somebody else may have the job
    progress: Progress | None = None
    access: Access = Access()
    completing: bool = False  # its result is on its way
    stopped: str = ""  # why its lease was lost
    task: asyncio.Task[None] | None = None
    idle: threading.Event = field(default_factory=threading.Event)  # set while no engine works on it

    def __post_init__(self) -> None:
        self.idle.set()

    def broken(self, reason: str, *, truncated: bool = False) -> Report:
        return Report.broken(self.lease.engine, self.target.suite, self.target.protocol, reason, truncated=truncated)


class JobSource(ABC, Generic[L]):
    """Where a loop gets its jobs, and who hears what came of them."""

    executor = "worker"  # what the loop runs in, as people call it
    pause = 0.5  # seconds between two questions when there is no work
    renewal_pause = 0.5  # seconds between two calls of renew
    fatal: tuple[type[Exception], ...] = ()  # what ends the loop, wherever it is raised
    backlog = 0  # results that take up a slot each, because they were not offered to anybody yet

    @abstractmethod
    async def lease(self, at_most: int) -> Sequence[L]:
        """New leases. What it raises ends the loop."""

    @abstractmethod
    def target(self, lease: L) -> Target: ...

    def is_watched(self, lease: L) -> bool:
        """Whether somebody waits to see how far the run is."""
        return True

    async def begin(self, execution: Execution[L]) -> Report | None:
        """Before anything is done for a lease; a report ends it without its engine. Raises CannotRun."""
        return None

    async def access(self, execution: Execution[L]) -> Access:
        """The credential, right before the run begins. Raises CannotRun."""
        return Access()

    @abstractmethod
    async def renew(self, executions: Sequence[Execution[L]]) -> Mapping[Any, str]:
        """Renew the leases; returns why, by the token, for each that is lost."""

    @abstractmethod
    async def complete(self, execution: Execution[L], report: Report) -> None: ...

    async def fail(self, execution: Execution[L], reason: str) -> None:
        """End a job that could not be tested as asked."""
        await self.complete(execution, execution.broken(reason))

    def lost(self, execution: Execution[L]) -> None:
        """The lease is somebody else's now."""


class ExecutionLoop(Generic[L]):
    def __init__(
        self, source: JobSource[L], *, concurrency: int, capacity: Capacity, grace_seconds: float, until_empty: bool
    ) -> None:
        """grace_seconds: past a run's deadline for closing what is open, and once more before its loop is given up.

        until_empty: whether the loop ends when there are no more jobs.
        """
        self.executions: dict[Any, Execution[L]] = {}  # by the lease's token
        self._source = source
        self._concurrency = concurrency
        self._capacity = capacity
        self._grace = grace_seconds
        self._until_empty = until_empty
        self._changed = asyncio.Event()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Until there are no more jobs. Raises what the source raises."""
        filling, renewing = self.watched(self.fill()), self.watched(self.renew())
        try:
            await asyncio.wait([filling, self.failure], return_when=asyncio.FIRST_COMPLETED)
            if self.failure.done():
                self.failure.result()
        finally:
            tasks = [e.task for e in self.executions.values() if e.task is not None]
            for task in (filling, renewing, *tasks):
                task.cancel()
            await asyncio.gather(filling, renewing, *tasks, return_exceptions=True)

    def watched(self, work: Any) -> asyncio.Task[None]:
        """A task whose failure is the loop's: what it raises is nothing that the next round would mend."""

        def ended(done: asyncio.Task[None]) -> None:
            error = None if done.cancelled() else done.exception()
            if error is not None and not self.failure.done():
                self.failure.set_exception(error)

        task: asyncio.Task[None] = asyncio.create_task(work)
        task.add_done_callback(ended)
        return task

    def note_change(self) -> None:
        """Something changed that whoever asks for work may wait for."""
        self._changed.set()

    async def change(self, seconds: float | None = None) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    async def all_ended(self) -> None:
        while self.executions:
            await self.change()

    # Asking for work

    async def fill(self) -> None:
        """Keep the slots full; returns when there are no more jobs, if the loop is to end then."""
        enough = max(self._concurrency // _REFILL, 1) if self._until_empty else 1
        while True:
            free = self._concurrency - len(self.executions) - self._source.backlog
            if free < (enough if self.executions else 1):
                await self.change()
                continue
            leases = await self._source.lease(free)
            for lease in leases:
                if lease.token not in self.executions:
                    self._start(lease)
            if leases:
                continue
            if not self._until_empty:
                await asyncio.sleep(self._source.pause)
                continue
            if not self.executions:
                return
            ask_at = time.monotonic() + self._source.pause
            while self.executions and (left := ask_at - time.monotonic()) > 0:
                await self.change(left)

    def _start(self, lease: L) -> None:
        execution = self.executions[lease.token] = Execution(lease, self._source.target(lease))
        execution.task = self.watched(self._execute(execution))
        execution.task.add_done_callback(lambda _: self._end(execution))

    def _end(self, execution: Execution[L]) -> None:
        self.executions.pop(execution.lease.token, None)
        self._changed.set()

    # Running

    async def _execute(self, execution: Execution[L]) -> None:
        lease = execution.lease
        try:
            report: Report | None = await self._report(execution)
        except CannotRun as cannot:
            report, reason = None, str(cannot)
        except self._source.fatal:
            raise
        except Exception as error:
            # An engine that raises is a fault of ours, never of the agent (R7). The message may quote the agent.
            log.exception("the engine %s broke on %s", lease.engine, lease.agent_url)
            report, reason = None, f"{type(error).__name__} in the engine {lease.engine}"
        execution.completing = True
        if report is None:
            await self._source.fail(execution, reason)
        else:
            await self._source.complete(execution, report)
        self._end(execution)

    async def _report(self, execution: Execution[L]) -> Report:
        instead = await self._source.begin(execution)
        if instead is not None:
            return instead
        engine = get_engine(execution.lease.engine)
        slot = self._capacity.reserve(engine.memory_mb)
        try:
            if not slot.held:
                execution.progress = Progress(f"Waiting for capacity on the {self._source.executor}", 0, 1)
                await slot.wait()  # before the run's own clock starts; the lease is renewed meanwhile
            # Until the engine reports a step of its own, somebody who watches should see that the work has begun.
            execution.progress = Progress("Reaching the agent", 0, 1)
            access = execution.access = await self._source.access(execution)
            if access.instead is not None:
                return access.instead
            report = await self._run(execution, engine, replace(execution.target, credential=access.credential), slot)
        finally:
            if execution.idle.is_set():
                slot.release()
        return replace(report, notices=(access.notice, *report.notices)) if access.notice else report

    async def _run(self, execution: Execution[L], engine: Engine, target: Target, slot: Slot) -> Report:
        """The engine's report. The engine runs on a loop of its own, so that none holds up the renewals."""
        lease, most = execution.lease, target.deadline + self._grace
        started = threading.Event()

        def note_progress(progress: Progress) -> None:
            execution.progress = progress.plain()

        on_step = note_progress if self._source.is_watched(lease) else None

        async def work() -> Report:
            started.set()
            try:
                return await run_to_the_end(engine, target, seconds=most, on_step=on_step)
            finally:
                # Here and not where it is waited for: a cancelled engine holds its memory for a moment yet.
                slot.release()
                execution.idle.set()

        execution.idle.clear()
        gives_up_at = time.monotonic() + most + self._grace
        loop = engine_loop(lease.engine)
        running = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), loop))
        try:
            while not running.done():
                await asyncio.wait([running], timeout=_CHECK_SECONDS)
                if not running.done() and time.monotonic() > gives_up_at:
                    log.error("the engine %s blocks its loop; %s is given up", lease.engine, lease.agent_url)
                    abandon_loop(lease.engine, loop)
                    execution.idle.set()  # the blocked loop will not come to it
                    return execution.broken(overdue_words(lease.engine), truncated=True)
            return running.result()
        finally:
            if not running.done():
                running.cancel()
                if not started.is_set():
                    execution.idle.set()

    # Keeping leases

    async def renew(self) -> None:
        """Renew the leases for ever, and stop what lost its own."""
        while True:
            await asyncio.sleep(self._source.renewal_pause)
            held = [execution for execution in self.executions.values() if not execution.completing]
            for token, why in (await self._source.renew(held)).items():
                execution = self.executions.get(token)
                if execution is not None and not execution.completing and not execution.stopped:
                    execution.stopped = why
                    log.warning("%s: %s; the test is stopped and its result discarded", execution.lease.agent_url, why)
                    if execution.task is not None:
                        execution.task.cancel()
                    self._source.lost(execution)
