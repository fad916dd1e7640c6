"""Hears from PostgreSQL that there is work, in a thread of its own with a connection of its own."""

from __future__ import annotations

import logging
import os
import random
import selectors
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
from django.db import connection, connections

CHANNEL = "assay_work"
_LOOK = "SELECT key FROM waiting_work(%s::text[])"
_LOOK_FOR = "SELECT EXISTS (SELECT FROM waiting_work(ARRAY[%s]))"
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.25, 10.0

logger = logging.getLogger(__name__)


class Listener:
    """Passes on the keys for which there is work: at once when notified, and by a look every `look_seconds`.

    The looks make up for notifications that got lost: while the connection was down, or in a pooler. They are made
    for the `waited_for()` keys, of those who wait here, so that whatever else waits anywhere hides nothing from them.
    Both are called in this thread; `on_keys` never again once `stop` has returned.
    """

    def __init__(
        self, *, on_keys: Callable[[list[str]], None], waited_for: Callable[[], list[str]], look_seconds: float
    ) -> None:
        self._on_keys = on_keys
        self._waited_for = waited_for
        self._look_seconds = look_seconds
        self._passing_on = threading.Lock()
        self._stopped = False
        self._may_look = True
        self._stop_reader, self._stop_writer = os.pipe()
        self._thread = threading.Thread(target=self._run, name="waiting-room-listener", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Does not wait for the thread, which may be connecting."""
        with self._passing_on:
            if not self._stopped:
                self._stopped = True
                os.close(self._stop_writer)  # makes the other end readable

    def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        try:
            while not self._stopped:
                try:
                    with closing(psycopg.connect(**_connection_parameters())) as listening:
                        listening.execute(f"LISTEN {CHANNEL}")
                        if pause > _FIRST_PAUSE_SECONDS:
                            logger.info("The waiting room hears the database again")
                        pause = _FIRST_PAUSE_SECONDS
                        self._listen(listening)
                except psycopg.Error as error:
                    logger.warning("The waiting room does not hear the database: %s", type(error).__name__)
                    self._rest(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads reconnects, keeps no secret
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        finally:
            os.close(self._stop_reader)

    def _listen(self, listening: psycopg.Connection[Any]) -> None:
        next_look = time.monotonic()  # at once: nobody knows what was notified before
        with selectors.DefaultSelector() as selector:
            selector.register(self._stop_reader, selectors.EVENT_READ)
            selector.register(listening.fileno(), selectors.EVENT_READ)
            while not self._stopped:
                self._pass_on([notification.payload for notification in listening.notifies(timeout=0)])
                if next_look <= time.monotonic():
                    self._pass_on(self._look(listening))
                    next_look = time.monotonic() + self._look_seconds
                    continue  # what was notified meanwhile is no longer on the socket
                selector.select(next_look - time.monotonic())

    def _look(self, listening: psycopg.Connection[Any]) -> list[str]:
        wanted = self._waited_for() if self._may_look else []
        if not wanted:
            return []
        try:
            return [str(row[0]) for row in listening.execute(_LOOK, [wanted])]
        except psycopg.ProgrammingError:
            self._may_look = False
            logger.exception("The waiting room cannot look for work; notifications that get lost stay lost")
            return []

    def _pass_on(self, keys: list[str]) -> None:
        with self._passing_on:
            if keys and not self._stopped:
                self._on_keys(keys)

    def _rest(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._stop_reader, selectors.EVENT_READ)
            selector.select(seconds)


def work_is_left(key: str) -> bool:
    """Whether there is still queued work for this key, by the calling thread's own connection."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(_LOOK_FOR, [key])
            return bool(cursor.fetchone()[0])
    finally:
        connection.close_if_unusable_or_obsolete()


def _connection_parameters() -> dict[str, Any]:
    parameters: dict[str, Any] = {
        **connections.create_connection("default").get_connection_params(),
        "application_name": "assay waiting room",
        "autocommit": True,
        "prepare_threshold": None,
    }
    # A database that vanished without a word is noticed by the looks, but not before the network gives up.
    return {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, **parameters}
