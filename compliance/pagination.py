"""Keyset pages: a page begins after the last row of the one before it, so that every page costs the same.

Rows that are added meanwhile move nothing. A list is in the order of an instant, newest first, or of its keys alone.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db.models import Q, QuerySet

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a list: beside which row, and on which side of it."""

    at: datetime | None  # None in a list that is in the order of its keys alone
    key: UUID
    backwards: bool = False  # True: the page before this position

    def encode(self) -> str:
        text = json.dumps([self.at.isoformat() if self.at else None, str(self.key), int(self.backwards)])
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows of a list, in its order."""

    rows: Sequence[Row]
    previous: Cursor | None = None  # None on the first page
    next: Cursor | None = None  # None on the last page
    searched_to: datetime | None = None  # how far a search went, when it ended before the page was full


@dataclass(frozen=True, slots=True)
class Keyset:
    """The order of a list. The key decides between rows of one instant (R5)."""

    instant: str = ""  # the name of a field; empty: by the key alone
    newest_first: bool = True

    def decode(self, text: str) -> Cursor | None:
        """The cursor that a link holds, or None when the text is none of this list."""
        try:
            at, key, backwards = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            cursor = Cursor(datetime.fromisoformat(at) if self.instant else None, UUID(key), bool(backwards))
        except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError):
            return None
        return cursor if cursor.at is None or cursor.at.tzinfo else None

    def order(self, *, backwards: bool = False) -> list[str]:
        sign = "-" if self.newest_first != backwards else ""
        return [f"{sign}{name}" for name in (self.instant, "pk") if name]

    def after(self, rows: QuerySet[Any], cursor: Cursor | None) -> QuerySet[Any]:
        """The rows that follow a cursor, in its direction."""
        if cursor is None:
            return rows.order_by(*self.order())
        descending = self.newest_first != cursor.backwards
        return rows.order_by(*self.order(backwards=cursor.backwards)).filter(
            self._beside("lt" if descending else "gt", cursor)
        )

    def until(self, end: Cursor) -> Q:
        """The condition of rows that do not come after `end`, in its direction."""
        return self._beside("gte" if self.newest_first != end.backwards else "lte", end)

    def end_of_search(self, rows: QuerySet[Any], cursor: Cursor | None, *, at_most: int) -> Cursor | None:
        """Where a search that looks at so many rows ends; None when the list ends before that."""
        names = [name for name in (self.instant, "pk") if name]
        row = self.after(rows, cursor).values_list(*names)[at_most - 1 : at_most].first()
        if row is None:
            return None
        return Cursor(row[0] if self.instant else None, row[-1], cursor is not None and cursor.backwards)

    def page(self, rows: QuerySet[Any], cursor: Cursor | None = None, *, size: int) -> Page[Any]:
        return self.page_of(list(self.after(rows, cursor)[: size + 1]), cursor, size=size)

    def page_of(
        self, found: Sequence[Row], cursor: Cursor | None, *, size: int, search_ended: Cursor | None = None
    ) -> Page[Row]:
        """The page of rows that were read from the cursor on: one more than the page has, when there are so many."""
        backwards = cursor is not None and cursor.backwards
        full = len(found) > size
        rows = list(found[:size])
        if backwards:
            rows.reverse()
        previous = self._at(rows[0], backwards=True) if rows else None
        following = self._at(rows[-1]) if rows else None
        if backwards:
            previous = previous if full else search_ended
        else:
            previous = previous if cursor is not None else None
            following = following if full else search_ended
        return Page(rows, previous, following, search_ended.at if search_ended and not full else None)

    def _at(self, row: Any, *, backwards: bool = False) -> Cursor:
        return Cursor(getattr(row, self.instant) if self.instant else None, row.pk, backwards)

    def _beside(self, side: str, cursor: Cursor) -> Q:
        key = Q(**{f"pk__{side}": cursor.key})
        if not self.instant:
            return key
        strict = side.removesuffix("e")
        # The first condition says nothing new; it is the one that an index can take.
        return Q(**{f"{self.instant}__{strict}e": cursor.at}) & (
            Q(**{f"{self.instant}__{strict}": cursor.at}) | (Q(**{self.instant: cursor.at}) & key)
        )
