"""Read rows with a statement of our own: making one costs the ORM more than answering it costs the database."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

from django.db import connection, models

_Model = TypeVar("_Model", bound=models.Model)


@cache
def columns_of(model: type[models.Model], table: str) -> str:
    """All columns of the model, as a statement names them that calls its table so."""
    return ", ".join(f"{table}.{field.column}" for field in model._meta.concrete_fields)


def row_of(model: type[_Model], values: Sequence[Any]) -> _Model:
    """The row that columns_of selected, as the ORM would have read it."""
    names, json_fields = _fields(model)
    read = list(values)
    for place, field in json_fields:
        read[place] = field.from_db_value(read[place], None, connection)
    return model.from_db(connection.alias, names, read)


@cache
def width_of(model: type[models.Model]) -> int:
    """How many columns that are."""
    return len(model._meta.concrete_fields)


@cache
def _fields(model: type[models.Model]) -> tuple[list[str], list[tuple[int, Any]]]:
    fields = model._meta.concrete_fields
    json_fields = [(place, field) for place, field in enumerate(fields) if isinstance(field, models.JSONField)]
    return [field.attname for field in fields], json_fields
