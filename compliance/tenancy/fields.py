"""Columns that hold a list. Django's own array field brings an app that asks each new connection questions."""

from __future__ import annotations

from typing import Any

from django.db import models


class TextArray(models.Field):
    """A list of texts in one column."""

    def db_type(self, connection: Any) -> str:
        return "text[]"


class UUIDArray(models.Field):
    """A list of UUIDs in one column."""

    def db_type(self, connection: Any) -> str:
        return "uuid[]"
