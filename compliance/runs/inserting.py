"""Insert many rows with one short statement.

The ORM's statement has a parameter for each value, thirty for one request, and the preparing, sending and parsing of
thousands of them costs several times what the database does with the rows. Here a column has one parameter: a value,
where all rows have the same, else an array.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import connection, models
from django.db.models.expressions import DatabaseDefault


def insert_rows(rows: Sequence[models.Model], *, skip_conflicts: bool = False) -> set[UUID]:
    """Insert unsaved rows of one model, as they are, and return the keys of those that were inserted.

    skip_conflicts: leave out rows that a unique key refuses; otherwise it raises, as the ORM does. The columns are
    the model's. No signal is sent, and the rows are not marked as saved.
    """
    if not rows:
        return set()
    meta = rows[0]._meta
    fields = meta.concrete_fields
    columns, sources, parameters = [], [], []
    for field, values in zip(
        fields, zip(*map(attrgetter(*(field.attname for field in fields)), rows), strict=True), strict=True
    ):
        first = values[0]
        if isinstance(first, DatabaseDefault):
            if not all(isinstance(value, DatabaseDefault) for value in values):
                raise TypeError(f"{field.name} is given for some rows, and left to the database for others")
            continue
        columns.append(f'"{field.column}"')
        stored = _stored(field, values)
        if isinstance(stored, list):
            sources.append(f"unnest(%s::{_type(field)}[])")
        else:
            sources.append(f"%s::{_type(field)}")
        parameters.append(stored)
    statement = f"INSERT INTO {meta.db_table} ({', '.join(columns)}) SELECT {', '.join(sources)}"
    conflict = " ON CONFLICT DO NOTHING" if skip_conflicts else ""
    with connection.cursor() as cursor:
        cursor.execute(f"{statement}{conflict} RETURNING {meta.pk.column}", parameters)
        return {row[0] for row in cursor.fetchall()}


def _stored(field: models.Field[Any, Any], values: Sequence[Any]) -> Any:
    """What the column is given: a list, or the one value that all rows have."""
    if isinstance(field, models.JSONField):
        # As text: equal objects need not be the same JSON, such as 1 and true.
        values = [None if value is None else json.dumps(value, cls=field.encoder) for value in values]
        return values[0] if values.count(values[0]) == len(values) else values
    if values.count(values[0]) == len(values):
        return _plain(field.get_db_prep_save(values[0], connection))
    return [_plain(field.get_db_prep_save(value, connection)) for value in values]


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value  # a member of an enumeration too


def _type(field: models.Field[Any, Any]) -> str:
    # Without its length: a cast would cut what is too long, and the column refuses it.
    return (field.db_type(connection) or "").split("(")[0]
