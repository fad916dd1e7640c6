"""The runner at work: asks for leases, keeps them alive, runs them, and delivers what came of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from compliance import __version__
from compliance.engines import engine_health, engine_names, get_engine
from compliance.runners.program.backoff import Backoff, jittered
from compliance.runners.program.client import Refused, Unavailable
from compliance.runners.program.clock import moment, now
from compliance.runners.program.delivery import Delivery
from compliance.runners.program.problems import Exit, Problem
from compliance.runners.program.running import Flight, Workshop, answer, failed
from compliance.runners.program.state import Letter, State
from compliance.runners.program.wire import Lease, Work

log = logging.getLogger(__name__)

MOST = 64  # leases in one poll and in one renewal, by the contract
RENEWALS = 3  # in the time of one lease
CLOCK_OFF_SECONDS = 60.0  # from here on it is worth a word
ONCE_SECONDS = 30.0  # how long --once tries to reach the server, and to deliver
_LEFT_BEHIND_SECONDS = 5  # how long --once waits until the server has taken what an earlier start left
_HELD_POLL_SECONDS = 0.5  # the most that a runner waits after a poll that the server had held
_LEAVE_SECONDS = 3.0  # for engines to end what they started, once they are told to stop
_RELEASE_SECONDS = 5.0  # for handing back at the end


@dataclass(frozen=True, slots=True)
class Terms:
    """How to work."""

    concurrency: int
    once: bool
    grace_seconds: float
    host: str


def engine_versions() -> dict[str, str]:
    """The engines that can run here, with their versions."""
    return {name: get_engine(name).version for name in engine_names() if engine_health(name).available}


class Pool:
    def __init__(self, shop: Workshop, state: State, terms: Terms, engines: dict[str, str]) -> None:
        self._shop = shop
        self._client = shop.client
        self._state = state
        self._terms = terms
        self._engines = engines
        self._flights: dict[str, Flight] = {}  # by the lease's token
        self._landed = asyncio.Event()  # something changed that the poller may wait for
        self._delivery = Delivery(shop.client, state, on_tried=self._landed.set)
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()
        self._fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lease_seconds = 45.0
        self._told = asyncio.Event()  # the server has said how long a lease is
        self._told_clock = False
        self._last_error = ""

    def stop(self) -> None:
        """Take no new work and finish what is held; called again, hand it back at once."""
        if self._stopping.is_set():
            self._at_once.set()
        self._stopping.set()

    async def work(self) -> Exit:
        """Work until told to stop, or until there is nothing more with `once`. Raises Problem."""
        for letter in self._state.left_behind():
            log.info("%s: left by an earlier start, now sent (%s)", letter.agent_url, letter.call)
            if letter.call == "release":
                letter.body.setdefault("reason", "the runner was started anew")
            self._deliver(letter)
        if self._terms.once:
            # What is handed back now is work that there is now: asked for before, it would be left lying.
            await self._delivery.idle(_LEFT_BEHIND_SECONDS)
        poller, renewer = self._task(self._poll()), self._task(self._renew())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait(_any(poller, stopping, self._fatal), return_when=asyncio.FIRST_COMPLETED)
            poller.cancel()
            if not self._fatal.done():
                await self._finish()
            await self._hand_back()
            if not self._fatal.done():
                await self._say_goodbye()
        finally:
            for task in (poller, renewer, stopping):
                task.cancel()
            await self._delivery.stop()
        if self._fatal.done():
            self._fatal.result()
        kept = len(self._state.outbox_files()) + len(self._state.held_files())
        if kept:
            log.warning("%d answers are kept in %s and sent at the next start", kept, self._state.folder)
        return Exit.UNDELIVERED if kept and self._terms.once and not self._stopping.is_set() else Exit.OK

    async def _say_goodbye(self) -> None:
        try:
            await self._client.leave()
        except (Problem, Unavailable) as silence:
            log.info("the server was not told that this runner stops: %s", silence)
        else:
            log.info("stopped")

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose failure ends the program: what it raises is nothing that the next round would mend."""
        task = asyncio.create_task(work)

        def ended(done: asyncio.Task[None]) -> None:
            error = None if done.cancelled() else done.exception()
            if error is not None and not self._fatal.done():
                self._fatal.set_exception(error)

        task.add_done_callback(ended)
        return task

    # Asking for work

    async def _poll(self) -> None:
        backoff, since, first = Backoff(), now(), True
        while not self._stopping.is_set():
            free = self._terms.concurrency - len(self._flights) - self._delivery.untried
            if free <= 0:
                await self._wait_for_landing()
                continue
            # Whether the server is there (again) is found out without waiting for work.
            asked, hurried = now(), first or backoff.failures > 0
            try:
                work = await self._client.poll(self._question(free), wait=not (self._terms.once or hurried))
            except Unavailable as away:
                self._note(f"no work could be asked for: {away}")
                if self._terms.once and now() - since > ONCE_SECONDS:
                    mend = "Check the network and --url, or run `assay-runner check`."
                    raise Problem(away.exit_code, f"No contact with the server: {away}.", mend) from None
                await asyncio.sleep(backoff.failed(away.retry_after))
                continue
            if first:
                log.info("this is the runner “%s” of %s", work.runner, self._client.url)
            elif backoff.failures:
                log.info("the server answers again")
            backoff.worked()
            since = now()
            self._last_error = ""
            self._lease_seconds = work.lease_seconds
            self._told.set()
            self._compare_clocks(work)
            await self._take(work)
            first = False
            if work.leases or work.unreadable or (hurried and not self._terms.once):
                continue
            if self._terms.once:
                if not self._flights:
                    return
                await self._wait_for_landing()
                continue
            held = now() - asked >= work.poll_after_seconds
            pause = jittered(_HELD_POLL_SECONDS / 2, 1) if held else jittered(work.poll_after_seconds, 0.25)
            await asyncio.sleep(pause)

    async def _wait_for_landing(self) -> None:
        self._landed.clear()
        await self._landed.wait()

    def _question(self, free: int) -> dict[str, Any]:
        return {
            "at_most": free,
            "version": __version__,
            "engines": self._engines,
            "host": self._terms.host,
            "clock": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "last_error": self._last_error,
        }

    def _note(self, words: str) -> None:
        hidden = self._shop.hider.hide(words)
        if hidden != self._last_error:  # a server that is away for hours is said once
            log.warning("%s", hidden)
        self._last_error = hidden[:300]

    def _compare_clocks(self, work: Work) -> None:
        if work.server_time is None:
            return
        off = (datetime.now(UTC) - work.server_time).total_seconds()
        if abs(off) > CLOCK_OFF_SECONDS and not self._told_clock:
            self._told_clock = True
            log.warning(
                "this machine's clock and the server's are %d s apart; nothing here depends on it, but TLS may",
                abs(off),
            )

    async def _take(self, work: Work) -> None:
        for job_id, token, why in work.unreadable:
            reason = f"the runner (version {__version__}) cannot read the lease: {why}"
            log.error("request %s: %s", job_id, reason)
            self._deliver(failed(job_id, token, "", reason))
        until = now() + work.lease_seconds
        for lease in work.leases:
            if lease.token in self._flights:
                continue
            flight = self._flights[lease.token] = Flight(lease, until)
            flight.task = self._task(self._fly(flight))
            flight.task.add_done_callback(partial(self._landed_one, lease.token))

    # Running

    async def _fly(self, flight: Flight) -> None:
        lease = flight.lease
        log.info("%s: testing with %s", lease.agent_url, lease.suite)
        await self._keep(lease)
        letter = await answer(flight, self._shop)
        # In this order: a lease is always either in flight or with the delivery, and so is renewed.
        self._delivery.expect(letter)
        self._landed_one(lease.token)
        await self._delivery.keep(letter)
        self._deliver(letter)

    def _landed_one(self, token: str, _task: object = None) -> None:
        self._flights.pop(token, None)
        self._landed.set()

    async def _keep(self, lease: Lease) -> None:
        try:
            await asyncio.to_thread(self._state.hold, lease)
        except OSError as error:
            # The test is worth more than the note: without it the lease runs out after a kill, and is given anew.
            log.error("the state folder is not writable: %s", error.strerror)

    def _deliver(self, letter: Letter) -> None:
        self._delivery.expect(letter)
        self._task(self._delivery.deliver(letter))

    # Keeping leases

    async def _renew(self) -> None:
        backoff = Backoff(first=0.5, most=3.0)
        await self._told.wait()  # how long a lease is comes with the first answer
        pause = self._lease_seconds / RENEWALS
        while True:
            await asyncio.sleep(pause)
            pause = self._lease_seconds / RENEWALS
            self._drop_expired()
            flights = list(self._flights.values())
            letters = self._delivery.young()
            if not flights and not letters:
                continue
            asked = now()
            try:
                renewed = await self._client.renew(
                    [_renewal(f.lease.job_id, f.lease.token, f) for f in flights]
                    + [_renewal(letter.job_id, letter.token, None) for letter in letters[: MOST - len(flights)]],
                    seconds=self._patience(),
                )
            except (Unavailable, Refused) as away:
                self._note(f"the leases could not be renewed: {away}")
                self._drop_expired()
                pause = min(backoff.failed(getattr(away, "retry_after", None)), pause)
                continue
            backoff.worked()
            self._lease_seconds = renewed.lease_seconds
            for flight in flights:
                if flight.lease.job_id in renewed.lost:
                    reason = renewed.lost[flight.lease.job_id] or "the server gave no reason"
                    self._lose(flight, f"the lease was lost ({reason})")
                else:
                    flight.held_until = asked + renewed.lease_seconds

    def _patience(self) -> float:
        """Seconds that a renewal may take: no longer than until the first lease runs out."""
        left = [flight.held_until - now() for flight in self._flights.values()]
        return max(min([self._lease_seconds / RENEWALS, *left]), 0.5)

    def _drop_expired(self) -> None:
        for flight in list(self._flights.values()):
            if now() > flight.held_until:
                self._lose(flight, "the lease could not be renewed in time, so that another may run it now")

    def _lose(self, flight: Flight, why: str) -> None:
        if flight.task is None or flight.task.done() or flight.why_stopped:
            return
        flight.why_stopped = why
        log.warning("%s: %s; the test is stopped and its result discarded", flight.lease.agent_url, why)
        flight.task.cancel()
        with contextlib.suppress(OSError):
            self._state.let_go(flight.lease.token)

    # The end

    async def _finish(self) -> None:
        """Let what is held come to its end: all of it, or for as long as the grace is."""
        stopping = self._stopping.is_set()
        if stopping and self._flights:
            count = len(self._flights)
            log.info(
                "no new work is taken; %s %g s to end, a second signal hands %s back at once",
                "1 test has" if count == 1 else f"{count} tests have",
                self._terms.grace_seconds,
                "it" if count == 1 else "them",
            )
        ended = asyncio.create_task(self._all_ended())
        seconds = self._terms.grace_seconds if stopping else None
        at_once = asyncio.create_task(self._at_once.wait())
        told = asyncio.create_task(self._stopping.wait())
        # With --once a signal may come while the last tests run: then the grace begins there.
        waits = _any(ended, at_once, self._fatal, *([] if stopping else [told]))
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, at_once, told):
            task.cancel()
        if not stopping and told.done() and not told.cancelled() and not ended.done():
            await self._finish()

    async def _all_ended(self) -> None:
        while self._flights:
            await self._wait_for_landing()
        await self._delivery.idle(ONCE_SECONDS)

    async def _hand_back(self) -> None:
        """Stop what still runs, and give its leases back, unless nobody would take them."""
        flights = list(self._flights.values())
        tasks = [flight.task for flight in flights if flight.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        fatal = self._fatal.exception() if self._fatal.done() else None
        if not flights or (isinstance(fatal, Problem) and fatal.exit_code is Exit.TOKEN):
            return
        for flight in flights:
            lease = flight.lease
            log.info("%s: handed back", lease.agent_url)
            body = {"reason": "the runner was stopped"}
            self._deliver(Letter("release", lease.job_id, lease.token, lease.agent_url, body, moment()))
        waits = [asyncio.to_thread(flight.idle.wait, _LEAVE_SECONDS) for flight in flights]
        await asyncio.gather(self._delivery.idle(_RELEASE_SECONDS), *waits)


def _any(*waited: asyncio.Future[Any]) -> set[asyncio.Future[Any]]:
    return set(waited)


def _renewal(job_id: str, token: str, flight: Flight | None) -> dict[str, Any]:
    progress = flight.progress.to_json() if flight is not None and flight.progress is not None else None
    return {"job_id": job_id, "token": token, "progress": progress}
