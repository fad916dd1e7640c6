"""Columns that hold a list. Django's own array field brings an app that asks each new connection questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import models

if TYPE_CHECKING:
    TextsField = models.Field[list[str], list[str]]
    UUIDsField = models.Field[list[UUID], list[UUID]]
else:
    TextsField = UUIDsField = models.Field


class TextArray(TextsField):
    """A list of texts in one column."""

    def db_type(self, connection: Any) -> str:
        return "text[]"


class UUIDArray(UUIDsField):
    """A list of UUIDs in one column."""

    def db_type(self, connection: Any) -> str:
        return "uuid[]"
