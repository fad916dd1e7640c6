"""The runner at work, from its start to an orderly end."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from compliance.engines import engine_health, engine_names, get_engine
from compliance.engines.execution.loop import ExecutionLoop
from compliance.runners.program.api import Lease
from compliance.runners.program.client import Unavailable
from compliance.runners.program.delivery import Delivery
from compliance.runners.program.jobs import ONCE_SECONDS, ServerJobs, Setup
from compliance.runners.program.problems import Exit, Problem
from compliance.runners.program.state import State, release_of

log = logging.getLogger(__name__)

ENGINE_GRACE_SECONDS = 10.0  # past a run's deadline, for closing what is open; then it is cut off
_LEFT_BEHIND_SECONDS = 5  # how long --once waits until the server has taken what an earlier start left
_LEAVE_SECONDS = 3.0  # for engines to end what they started, once they have to stop
_RELEASE_SECONDS = 5.0  # for handing back at the end


def engine_versions() -> dict[str, str]:
    """The engines that can run here, with their versions."""
    return {name: get_engine(name).version for name in engine_names() if engine_health(name).available}


class Runner:
    def __init__(self, setup: Setup, state: State, *, concurrency: int, grace_seconds: float) -> None:
        self._setup = setup
        self._state = state
        self._grace_seconds = grace_seconds
        jobs = ServerJobs(setup, state)
        self._loop: ExecutionLoop[Lease] = ExecutionLoop(
            jobs,
            concurrency=concurrency,
            capacity=setup.capacity,
            grace_seconds=ENGINE_GRACE_SECONDS,
            until_empty=setup.once,
        )
        self._delivery = jobs.delivery = Delivery(
            setup.client, state, start=self._loop.watched, on_tried=self._loop.note_change
        )
        self._failure = self._loop.failure
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()

    def stop(self) -> None:
        """Take no new work and finish what is held; called again, hand it back at once."""
        if self._stopping.is_set():
            self._at_once.set()
        self._stopping.set()

    async def work(self) -> Exit:
        """Work until told to stop, or until there is nothing more with --once. Raises Problem."""
        for answer in self._state.left_behind():
            log.info("%s: left by an earlier start, now sent (%s)", answer.agent_url, answer.call)
            if answer.call == "release":
                answer.body.setdefault("reason", "the runner was started anew")
            self._delivery.send(answer)
        if self._setup.once:
            # What is handed back now is work that there is now: asked for before, it would be left lying.
            await self._delivery.idle(_LEFT_BEHIND_SECONDS)
        filling, renewing = self._loop.watched(self._loop.fill()), self._loop.watched(self._loop.renew())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await _first(filling, stopping, self._failure)
            filling.cancel()
            if not self._failure.done():
                await self._finish()
            await self._hand_back()
            if not self._failure.done():
                await self._sign_off()
        finally:
            for task in (filling, renewing, stopping):
                task.cancel()
            await self._delivery.stop()
        if self._failure.done():
            self._failure.result()
        kept = len(self._state.outbox_files()) + len(self._state.held_files())
        if kept:
            log.warning("%d answers are kept in %s and sent at the next start", kept, self._state.folder)
        return Exit.UNDELIVERED if kept and self._setup.once and not self._stopping.is_set() else Exit.OK

    async def _sign_off(self) -> None:
        try:
            await self._setup.client.sign_off()
        except (Problem, Unavailable) as silence:
            log.info("the server was not told that this runner stops: %s", silence)
        else:
            log.info("stopped")

    async def _finish(self) -> None:
        """Let what is held come to its end: all of it, or for as long as the grace is."""
        stopping = self._stopping.is_set()
        if stopping and self._loop.executions:
            count = len(self._loop.executions)
            log.info(
                "no new work is taken; %s %g s to end, a second signal hands %s back at once",
                "1 test has" if count == 1 else f"{count} tests have",
                self._grace_seconds,
                "it" if count == 1 else "them",
            )
        ended = asyncio.create_task(self._all_delivered())
        # With --once a signal may come while the last tests run: then the grace begins there.
        signalled = asyncio.create_task((self._at_once if stopping else self._stopping).wait())
        await _first(ended, signalled, self._failure, seconds=self._grace_seconds if stopping else None)
        if not stopping and signalled.done() and not ended.done():
            ended.cancel()
            await self._finish()
        for task in (ended, signalled):
            task.cancel()

    async def _all_delivered(self) -> None:
        await self._loop.all_ended()
        await self._delivery.idle(ONCE_SECONDS)

    async def _hand_back(self) -> None:
        """Stop what still runs, and give its leases back, unless nobody would take them."""
        left = list(self._loop.executions.values())
        tasks = [execution.task for execution in left if execution.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        failure = self._failure.exception() if self._failure.done() else None
        if not left or (isinstance(failure, Problem) and failure.exit_code is Exit.TOKEN):
            return
        for execution in left:
            log.info("%s: handed back", execution.lease.agent_url)
            self._delivery.send(release_of(execution.lease, "the runner was stopped"))
        waits = [asyncio.to_thread(execution.idle.wait, _LEAVE_SECONDS) for execution in left]
        await asyncio.gather(self._delivery.idle(_RELEASE_SECONDS), *waits)


async def _first(*waited: asyncio.Future[Any], seconds: float | None = None) -> None:
    await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
