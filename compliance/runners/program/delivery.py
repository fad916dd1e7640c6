"""Answers on their way to the server: sent again until it acknowledges them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from compliance.runners.program.backoff import Backoff
from compliance.runners.program.client import Client, Refused, Unavailable
from compliance.runners.program.clock import age_ms
from compliance.runners.program.state import Letter, State

log = logging.getLogger(__name__)

_YOUNG_MS = 15 * 60 * 1000  # so long the lease of an answer that cannot be delivered is kept from running out
_UNDERSTOOD = (400, 404, 409)  # by the contract: the job has ended, whatever came of it
_PAUSE_MOST = 30.0
_WORDS = {"complete": "result", "fail": "failure", "release": "release"}

Start = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Delivery:
    def __init__(self, client: Client, state: State, *, start: Start, on_tried: Callable[[], None]) -> None:
        """start: makes a task whose failure ends the program. on_tried: called when a result was offered once."""
        self._client = client
        self._state = state
        self._start = start
        self._tried = on_tried
        self._open: dict[str, Letter] = {}  # by the lease's token
        self._untried: set[str] = set()  # tokens of results that the server was not offered yet
        self._empty = asyncio.Event()
        self._empty.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing: set[asyncio.Task[None]] = set()

    @property
    def untried(self) -> int:
        """How many results the server was not offered yet. They take up a slot each, or a runner that is quicker than
        its server would pile up leases."""
        return len(self._untried)

    def send(self, letter: Letter, *, keep: bool = False) -> None:
        """Send until the server has decided. keep: write it into the state folder first, whatever else happens."""
        # From here on the letter's lease is kept alive with it.
        self._open[letter.token] = letter
        self._untried.add(letter.token)
        self._empty.clear()
        writing = None
        if keep:
            writing = asyncio.create_task(asyncio.to_thread(self._state.post, letter))
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)
        task = self._start(self._deliver(letter, writing))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _was_tried(self, letter: Letter) -> None:
        self._untried.discard(letter.token)
        self._tried()

    def young(self) -> list[Letter]:
        """Those whose lease is still worth renewing: whoever else took the job over would run it a second time."""
        return [
            letter
            for letter in self._open.values()
            if letter.call != "release" and letter.ended and age_ms(letter.ended) < _YOUNG_MS
        ]

    async def idle(self, seconds: float) -> None:
        """Return when everything is delivered, or after so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return

    async def stop(self) -> None:
        """Give up what is on its way; the state folder keeps it."""
        await asyncio.gather(*self._writing, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _deliver(self, letter: Letter, writing: asyncio.Task[None] | None) -> None:
        try:
            if writing is not None:
                await asyncio.shield(writing)
        except OSError as error:
            log.error("the state folder took no report (%s): a kill before it is sent would lose it", error.strerror)
        try:
            await self._offer(letter)
        finally:
            self._was_tried(letter)
        try:
            await asyncio.to_thread(self._state.delivered, letter)
        except OSError as error:
            # It is sent again at the next start, and the server then says that it has it.
            log.error("the state folder could not be tidied: %s", error.strerror)
        self._open.pop(letter.token, None)
        if not self._open:
            self._empty.set()

    async def _offer(self, letter: Letter) -> None:
        backoff, said = Backoff(most=_PAUSE_MOST), ""
        while True:
            body = {"token": letter.token, **letter.body}
            if letter.call == "complete":
                body["age_ms"] = age_ms(letter.ended)
            try:
                answer = await self._client.end(letter.job_id, letter.call, body)
            except Unavailable as away:
                self._was_tried(letter)
                if str(away) != said:
                    said = str(away)
                    log.warning("%s: the answer is kept and sent again: %s", letter.agent_url, away)
                await asyncio.sleep(backoff.failed(away.retry_after))
                continue
            except Refused as refused:
                if refused.status not in _UNDERSTOOD and letter.call == "complete":
                    # Sending it again would change nothing, and the job must not stay open.
                    log.error("%s: the server takes no such report: %s", letter.agent_url, refused)
                    words = f"the server did not take the report (status {refused.status})"
                    letter = replace(letter, call="fail", body={"reason": words})
                    continue
                log.warning("%s: the %s was not taken: %s", letter.agent_url, _WORDS[letter.call], refused)
                return
            if letter.call == "complete":
                url = str(answer.get("url", ""))
                log.info("%s: %s %s", letter.agent_url, answer.get("overall_status", "recorded"), url)
            return
