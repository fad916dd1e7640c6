"""Insert many rows with one short statement.

The ORM's statement has a parameter for each value, thirty for one job, and the preparing, sending and parsing of
thousands of them costs several times what the database does with the rows. Here a column has one parameter: a value,
where all rows have the same, else an array.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import connection, models
from django.db.models.expressions import DatabaseDefault

from compliance.postgresql.trips import Statement, ask, rows_of


def insert_rows(
    rows: Sequence[models.Model], *, skip_conflicts: bool = False, after: Sequence[Statement] = ()
) -> set[UUID]:
    """Insert unsaved rows of one model, as they are, and return the keys of those that were inserted.

    skip_conflicts: leave out rows that a unique key refuses; otherwise it raises, as the ORM does. after: statements
    that are asked before, in the same trip; then a transaction must be open. The columns are the model's; those that
    the database generates are read back. No signal is sent, and the rows are not marked as saved.
    """
    if not rows:
        return set()
    meta, fields = rows[0]._meta, _fields(type(rows[0]))
    columns, sources, parameters = [], [], []
    of_a_row = attrgetter(*(field.attname for field, _ in fields))
    for (field, kind), values in zip(fields, zip(*map(of_a_row, rows), strict=True), strict=True):
        if field.has_db_default() and any(isinstance(value, DatabaseDefault) for value in values):
            if not all(isinstance(value, DatabaseDefault) for value in values):
                raise TypeError(f"{field.name} is given for some rows, and left to the database for others")
            continue
        columns.append(f'"{field.column}"')
        stored = _stored(field, values)
        sources.append(f"unnest(%s::{kind}[])" if isinstance(stored, list) else f"%s::{kind}")
        parameters.append(stored)
    statement = f"INSERT INTO {meta.db_table} ({', '.join(columns)}) SELECT {', '.join(sources)}"
    conflict = " ON CONFLICT DO NOTHING" if skip_conflicts else ""
    derived = [field for field in meta.concrete_fields if field.generated]
    returned = ", ".join(str(field.column) for field in (meta.pk, *derived))
    inserting = f"{statement}{conflict} RETURNING {returned}", parameters
    inserted = {key: values for key, *values in (ask([*after, inserting])[-1] if after else rows_of(inserting))}
    for row in rows if derived else ():
        for field, value in zip(derived, inserted.get(row.pk, ()), strict=False):
            setattr(row, field.attname, value)
    return set(inserted)


@cache
def _fields(model: type[models.Model]) -> list[tuple[Any, str]]:
    """The model's fields with the types of their columns."""
    # Without their lengths: a cast would cut what is too long, and the column refuses it.
    return [
        (field, (field.db_type(connection) or "").split("(")[0])
        for field in model._meta.concrete_fields
        if not field.generated
    ]


def _stored(field: Any, values: Sequence[Any]) -> Any:
    """What the column is given: a list, or the one value that all rows have."""
    if isinstance(field, models.JSONField):
        # As text: equal objects need not be the same JSON, such as 1 and true.
        values = [None if value is None else json.dumps(value, cls=field.encoder) for value in values]
        return values[0] if values.count(values[0]) == len(values) else values
    if values.count(values[0]) == len(values):
        return _plain(field, values[0])
    return [_plain(field, value) for value in values]


_PLAIN = {str, int, bool, UUID, datetime, type(None)}  # what goes to the database as it is


def _plain(field: Any, value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    value = field.get_db_prep_save(value, connection)
    return str(value) if isinstance(value, str) else value  # a member of an enumeration too
