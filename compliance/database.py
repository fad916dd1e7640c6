"""Calls of the database's own functions, which the migrations make."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from django.db import connection, transaction

BATCH = 5000  # rows that one short transaction deletes
SECONDS = 20.0  # then the thread is for others; the rest is for the next time


def call(function: str, *arguments: Any) -> list[tuple[Any, ...]]:
    """The rows that a function returns; its name is text of our own."""
    places = ", ".join(["%s"] * len(arguments))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {function}({places})", arguments)  # noqa: S608
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def database_time() -> datetime:
    """The database's clock, which is one for all web and worker machines; theirs may differ."""
    now: datetime = call("statement_timestamp")[0][0]
    return now


def delete_in_batches(function: str, days: int) -> int:
    """Delete what is older than so many days by a function that takes the days and a number of rows; returns how many.

    In short transactions, and for a bounded time.
    """
    deleted = 0
    gives_up_at = time.monotonic() + SECONDS
    while time.monotonic() < gives_up_at:
        with transaction.atomic():
            count: int = call(function, days, BATCH)[0][0]
        deleted += count
        if count < BATCH:
            break
    return deleted
