"""Answers on their way to the server: sent again until it acknowledges them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from compliance.runners.program.client import Client, Refused, Unavailable
from compliance.runners.program.state import KeptAnswer, State
from compliance.runners.program.timing import Backoff, age_ms

log = logging.getLogger(__name__)

_RENEWABLE_MS = 15 * 60 * 1000  # so long the lease of an answer that cannot be delivered is kept from running out
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
        self._open: dict[str, KeptAnswer] = {}  # by the lease's token
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

    def send(self, answer: KeptAnswer, *, keep: bool = False) -> None:
        """Send until the server has decided. keep: write it into the state folder first, whatever else happens."""
        # From here on the answer's lease is kept alive with it.
        self._open[answer.token] = answer
        self._untried.add(answer.token)
        self._empty.clear()
        writing = None
        if keep:
            writing = asyncio.create_task(asyncio.to_thread(self._state.post, answer))
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)
        task = self._start(self._deliver(answer, writing))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _was_tried(self, answer: KeptAnswer) -> None:
        self._untried.discard(answer.token)
        self._tried()

    def still_renewable(self) -> list[KeptAnswer]:
        """Those whose lease is still worth renewing: whoever else took the job over would run it a second time."""
        return [
            answer
            for answer in self._open.values()
            if answer.call != "release" and answer.ended and age_ms(answer.ended) < _RENEWABLE_MS
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

    async def _deliver(self, answer: KeptAnswer, writing: asyncio.Task[None] | None) -> None:
        try:
            if writing is not None:
                await asyncio.shield(writing)
        except OSError as error:
            log.error("the state folder took no report (%s): a kill before it is sent would lose it", error.strerror)
        try:
            await self._offer(answer)
        finally:
            self._was_tried(answer)
        try:
            await asyncio.to_thread(self._state.delivered, answer)
        except OSError as error:
            # It is sent again at the next start, and the server then says that it has it.
            log.error("the state folder could not be tidied: %s", error.strerror)
        self._open.pop(answer.token, None)
        if not self._open:
            self._empty.set()

    async def _offer(self, answer: KeptAnswer) -> None:
        backoff, said = Backoff(most=_PAUSE_MOST), ""
        while True:
            body = {"token": answer.token, **answer.body}
            if answer.call == "complete":
                body["age_ms"] = age_ms(answer.ended)
            try:
                response = await self._client.end(answer.job_id, answer.call, body)
            except Unavailable as away:
                self._was_tried(answer)
                if str(away) != said:
                    said = str(away)
                    log.warning("%s: the answer is kept and sent again: %s", answer.agent_url, away)
                await asyncio.sleep(backoff.failed(away.retry_after))
                continue
            except Refused as refused:
                if refused.status not in _UNDERSTOOD and answer.call == "complete":
                    # Sending it again would change nothing, and the job must not stay open.
                    log.error("%s: the server takes no such report: %s", answer.agent_url, refused)
                    words = f"the server did not take the report (status {refused.status})"
                    answer = replace(answer, call="fail", body={"reason": words})
                    continue
                log.warning("%s: the %s was not taken: %s", answer.agent_url, _WORDS[answer.call], refused)
                return
            if answer.call == "complete":
                url = str(response.get("url", ""))
                log.info("%s: %s %s", answer.agent_url, response.get("overall_status", "recorded"), url)
            return
