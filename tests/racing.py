"""Transactions at the same moment, in the order that a test decides."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db import connections

from tests.services_plugin import DATABASE

PATIENCE_SECONDS = 60  # a busy machine is no failure
_FORK = multiprocessing.get_context("fork")


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
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._thread.is_alive() and time.monotonic() < deadline:
            blockers = superuser.execute("SELECT cardinality(pg_blocking_pids(%s))", [self._backend or 0]).fetchone()
            if blockers != (0,):
                return True
            time.sleep(0.01)
        return False

    def outcome(self) -> Any:
        """What the call returned, or the exception that it raised."""
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "it should have ended"
        return self._outcome


@dataclass(frozen=True)
class Raised:
    """What a racer raised: exceptions of the database do not travel between processes."""

    kind: str
    text: str


class Racer:
    """A call in a process of its own, with a database connection of its own; it begins at once.

    What it returns must be picklable. Tests must not hold a transaction open when they make one: their connection
    is closed, because a child must not inherit it.
    """

    def __init__(self, call: Callable[[], Any], *, name: str = "") -> None:
        self.name = name
        connections.close_all()
        self._pipe, theirs = _FORK.Pipe()
        self._process = _FORK.Process(target=self._run, args=(call, theirs), daemon=True)
        self._process.start()
        theirs.close()
        assert self._pipe.poll(PATIENCE_SECONDS), "it should have connected"
        self.backend: int = self._pipe.recv()

    @staticmethod
    def _run(call: Callable[[], Any], pipe: Any) -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            pipe.send(cursor.fetchone()[0])
        try:
            outcome = call()
        except Exception as error:
            outcome = Raised(type(error).__name__, str(error))
        connections.close_all()
        pipe.send(outcome)

    def has_ended(self) -> bool:
        return self._pipe.poll(0) or not self._process.is_alive()

    def outcome(self) -> Any:
        """What the call returned, or a Raised."""
        assert self._pipe.poll(PATIENCE_SECONDS), f"{self.name or 'it'} should have ended"
        outcome = self._pipe.recv()
        self._process.join(10)
        return outcome

    def kill(self) -> None:
        """As the kernel does when memory runs out; its transaction ends when the server notices."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.join(10)


class Gate:
    """Writes to some tables wait while it is closed; reads and row locks go on."""

    def __init__(self, connection: psycopg.Connection[Any], superuser: psycopg.Connection[Any]) -> None:
        self._connection, self._superuser = connection, superuser

    def gather(self, *racers: Racer) -> list[bool]:
        """Wait until each racer has ended or waits for a lock; returns for each whether it waits."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            ended = [racer.has_ended() for racer in racers]
            waits = [self.is_waiting(racer.backend) for racer in racers]
            if all(one or other for one, other in zip(ended, waits, strict=True)):
                return [not one for one in ended]
            time.sleep(0.005)
        raise AssertionError("they neither wait nor end")

    def is_waiting(self, backend: int) -> bool:
        row = self._superuser.execute("SELECT cardinality(pg_blocking_pids(%s))", [backend]).fetchone()
        return row != (0,)

    def cut(self, racer: Racer) -> None:
        """End its connection, as a database that restarts does."""
        self._superuser.execute("SELECT pg_terminate_backend(%s)", [racer.backend])

    def open(self) -> None:
        self._connection.rollback()


@contextmanager
def gate(superuser: psycopg.Connection[Any], *tables: str) -> Iterator[Gate]:
    """Let nobody write to these tables until the block ends: whoever gathers there then goes on at one moment."""
    with psycopg.connect(os.environ["DATABASE_SUPERUSER_URL"], dbname=DATABASE) as connection:
        connection.execute(f"LOCK TABLE {', '.join(tables)} IN SHARE MODE")
        yield Gate(connection, superuser)
        connection.rollback()


def race(
    superuser: psycopg.Connection[Any], table: str, calls: Sequence[Callable[[], Any]], *, in_turn: bool = False
) -> list[Any]:
    """What each call returned or raised, when all have come as far as they can and then may write to the table.

    in_turn: each begins when the one before it waits or has ended, so that the first has what locks there are.
    """
    with gate(superuser, table) as closed:
        racers: list[Racer] = []
        for call in calls:
            racers.append(Racer(call))
            if in_turn:
                closed.gather(*racers)
        closed.gather(*racers)
        closed.open()
        return [racer.outcome() for racer in racers]
