"""Keyset pages of lists: a page goes on after the last row of the one before, whatever was added meanwhile."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Schema
from pydantic import Field

from dashboard.api.problems import Problem, invalid

PAGE_SIZE, MAX_PAGE_SIZE = 50, 100


class PageQuery(Schema):
    """Which part of a list."""

    limit: int = Field(PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE, description="How many at most.")
    cursor: str = Field("", max_length=300, description="The `next` of the page before; empty: the first page.")


class Page(Schema):
    """A part of a list."""

    next: str | None = Field(description="The `cursor` of the page that follows; null on the last one.")


_Page = TypeVar("_Page", bound=Page)


def bad_cursor() -> Problem:
    return invalid("query", "cursor", "This is no cursor. Take the `next` of a page as it is.")


def encoded(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def decoded(cursor: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (binascii.Error, ValueError):
        raise bad_cursor() from None


def by_key(rows: QuerySet[Any], query: PageQuery) -> tuple[list[Any], str | None]:
    """A page of rows in the order of their UUIDs, which is that of their creation, and the cursor of the next."""
    if query.cursor:
        try:
            rows = rows.filter(pk__gt=UUID(bytes=decoded(query.cursor)))
        except ValueError:
            raise bad_cursor() from None
    found = list(rows.order_by("pk")[: query.limit + 1])
    shown = found[: query.limit]
    return shown, encoded(shown[-1].pk.bytes) if len(found) > query.limit else None


def page_of(
    page: type[_Page], items: Iterable[Any], following: str | None, *, request: HttpRequest, response: HttpResponse
) -> _Page:
    """The page, with a header that links to the one that follows (RFC 8288)."""
    if following:
        query = request.GET.copy()
        query["cursor"] = following
        response["Link"] = f'<{settings.SITE_URL}{request.path}?{query.urlencode()}>; rel="next"'
    return page.model_validate({"items": list(items), "next": following}, context={"request": request})
