"""Private runners that wait for work in the web server's event loop, without a thread."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
from django.conf import settings
from django.db import DatabaseError, connection, connections

WAIT = "assay.wait"  # a request's Wait, in its scope and in its environ
ASKED_MOST = 16  # for one notification: work that nobody here can take must not wake everybody
_HEARD_MOST = 4_096  # keys; forgetting them costs the time until the next scan, and no work
_PREFERENCE = re.compile(rb'\s*wait\s*=\s*"?(\d{1,9})"?\s*(;.*)?', re.IGNORECASE)

logger = logging.getLogger(__name__)


@dataclass
class Wait:
    """A request that would wait for work. Where there is none, its view says by which keys it wants to be woken."""

    waited_seconds: float = 0.0  # what the request says of the present is so old
    woken_by: str = ""
    keys: Sequence[str] = ()
    work_left: bool = True  # for the key that woke it


class Waiting:
    """Who waits for which key, the longest first, and the notifications that wake them."""

    def __init__(self, *, asked_at_once: int) -> None:
        self.turns = asyncio.Semaphore(asked_at_once)
        self.lines: dict[str, dict[asyncio.Future[tuple[str, int]], None]] = {}
        self.heard: dict[str, float] = {}
        self.count = 0

    def wake(self, key: str, at_most: int = ASKED_MOST, *, notified: bool = True) -> None:
        """Let the first who waits for this key ask again."""
        line = [waiter for waiter in self.lines.get(key, ()) if not waiter.done()]
        if line and at_most:
            line[0].set_result((key, min(at_most, len(line)) - 1))
        elif notified and not line:  # the answer of somebody who will wait for it may just be being made
            if len(self.heard) >= _HEARD_MOST:
                self.heard.clear()
            self.heard[key] = time.monotonic()

    async def wait(
        self, keys: Sequence[str], since: float, seconds: float, gone: asyncio.Future[Any]
    ) -> tuple[str, int]:
        """The key that woke this one, and how many others may be woken for the same; no key when the time is over."""
        for key in keys:
            if self.heard.get(key, 0.0) >= since:
                del self.heard[key]
                return key, 1
        woken = asyncio.get_running_loop().create_future()
        for key in keys:
            self.lines.setdefault(key, {})[woken] = None
        self.count += 1
        try:
            await asyncio.wait({woken, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.count -= 1
            for key in keys:
                del self.lines[key][woken]
                if not self.lines[key]:
                    del self.lines[key]
            if woken.done() and gone.done():
                self.wake(woken.result()[0], woken.result()[1] + 1)
        return woken.result() if woken.done() and not gone.done() else ("", 0)

    async def listen(self) -> None:
        """Wake who waits as PostgreSQL notifies. Notifications may get lost: scans make up for them."""
        pause = 0.25  # seconds
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(**_connection_parameters()) as listening:
                    await listening.execute("LISTEN assay_work")
                    pause = 0.25
                    while True:
                        if self.lines:
                            scan = "SELECT key FROM waiting_work(%s::text[])"
                            for (key,) in await (await listening.execute(scan, [list(self.lines)])).fetchall():
                                self.wake(key)
                        async for notification in listening.notifies(timeout=settings.RUNNER_WAIT_SCAN_SECONDS):
                            self.wake(notification.payload)
            except psycopg.Error as error:
                logger.warning("Waiting runners do not hear the database: %s", type(error).__name__)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads reconnects
                pause = min(2 * pause, 10.0)

    async def answer(self, ask: Any, scope: Any, receive: Any, send: Any, *, seconds: float) -> None:
        """Ask the application, and again when it may have another answer, until there is work or the time is over."""
        gone, began, woken_by, others = asyncio.ensure_future(receive()), time.monotonic(), "", 0
        said: list[Any] = []
        extra: list[tuple[bytes, bytes]] = []
        try:
            while True:
                async with self.turns if woken_by else nullcontext():
                    asked, said = time.monotonic(), []
                    wait = Wait(asked - began, woken_by)
                    await ask({**scope, WAIT: wait}, receive, partial(_keep, said))
                if woken_by and wait.work_left:
                    self.wake(woken_by, others, notified=False)
                left = began + seconds - time.monotonic()
                if not wait.keys or left <= 0 or self.count >= settings.RUNNER_WAIT_MAX_POLLS:
                    break
                woken_by, others = await self.wait(wait.keys, asked, left, gone)
                if not woken_by:
                    break
        except asyncio.CancelledError:  # the server stops: everybody gets what they have, and comes back to another one
            if not wait.keys:
                raise
            extra.append((b"connection", b"close"))
        finally:
            gone.cancel()
        if age := int(time.monotonic() - asked):
            extra.append((b"age", str(age).encode()))  # so that nobody takes a time in the answer for the present
        for message in said:
            await send({**message, "headers": [*message["headers"], *extra]} if "headers" in message else message)


async def _keep(said: list[Any], message: Any) -> None:
    said.append(message)


def preferred_wait(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """Seconds that the client would wait (RFC 7240), and may; 0 when it does not say."""
    preferences = (part for name, value in headers if name == b"prefer" for part in value.split(b","))
    found = next(filter(None, map(_PREFERENCE.fullmatch, preferences)), None)
    return min(int(found[1]), settings.RUNNER_WAIT_MAX_SECONDS) if found else 0


def work_is_left(key: str) -> bool:
    """Whether there is queued work for this key. In a thread; true when it cannot be found out."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM waiting_work(ARRAY[%s]))", [key])
            return bool(cursor.fetchone()[0])
    except DatabaseError:
        return True


def _connection_parameters() -> dict[str, Any]:
    ours = connections["default"].get_connection_params()
    for name in ("cursor_factory", "context", "prepare_threshold"):
        ours.pop(name, None)
    # A database that vanished without a word is noticed by the scans, but not before the network gives up.
    keepalives = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
    return {**keepalives, **ours, "application_name": "assay waiting runners", "autocommit": True}
