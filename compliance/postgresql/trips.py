"""Several statements in one trip to the database."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from django.db import connection

Statement = tuple[str, Sequence[Any]]
Row = tuple[Any, ...]


def rows_of(statement: Statement) -> list[Row]:
    """The rows of one statement."""
    with connection.cursor() as cursor:
        cursor.execute(*statement)
        rows: list[Row] = cursor.fetchall()
        return rows


def ask(statements: Sequence[Statement]) -> list[list[Row]]:
    """The rows of each statement, none for one that has none; in a transaction, one statement after the other.

    Each sees what those before it did, and what others committed before it began. The first one that fails raises as
    the ORM does; those after it are not carried out.
    """
    with ExitStack() as cursors, connection.wrap_database_errors:
        asked = []
        with connection.connection.pipeline():
            for statement, parameters in statements:
                cursor = cursors.enter_context(connection.cursor())
                cursor.execute(statement, parameters)
                asked.append(cursor)
        # Not by its description, which would be made for each: that costs more than reading a row.
        return [[] if cursor.rownumber is None else cursor.fetchall() for cursor in asked]
