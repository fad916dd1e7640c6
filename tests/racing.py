"""Two transactions at the same moment, in the order that a test decides."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from django.db import connections


class Meanwhile:
    """A call that runs beside the test, in a thread with a database connection of its own.

    Begun while the test holds a transaction open, it either waits for that transaction or ends
    before it; a test of a lock asks which.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._outcome: Any = None
        self._backend: int | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with connections["default"].cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                self._backend = cursor.fetchone()[0]
            self._outcome = self._call()
        except Exception as error:
            self._outcome = error
        finally:
            connections.close_all()

    def waits(self, superuser: psycopg.Connection[Any]) -> bool:
        """Whether it has come to wait for somebody's lock; False when it ended without."""
        deadline = time.monotonic() + 30
        while self._thread.is_alive() and time.monotonic() < deadline:
            blockers = superuser.execute("SELECT cardinality(pg_blocking_pids(%s))", [self._backend or 0]).fetchone()
            if blockers != (0,):
                return True
            time.sleep(0.01)
        return False

    def outcome(self) -> Any:
        """What the call returned, or the exception that it raised."""
        self._thread.join(30)
        assert not self._thread.is_alive(), "it should have ended"
        return self._outcome
