"""Keyset pages of lists: a page goes on after the last row of the one before, whatever was added meanwhile."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Schema
from pydantic import Field

from compliance import pagination
from compliance.pagination import Cursor, Keyset
from dashboard.api.problems import Problem, invalid
from dashboard.api.schemas import Text

BY_KEY = Keyset(newest_first=False)
PAGE_SIZE, MAX_PAGE_SIZE = 50, 100


class PageQuery(Schema):
    """Which part of a list."""

    limit: int = Field(PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE, description="How many at most.")
    cursor: Annotated[
        Text, Field(max_length=300, description="The `next` of the page before; empty: the first page.")
    ] = ""


class Page(Schema):
    """A part of a list."""

    next: str | None = Field(description="The `cursor` of the page that follows; null on the last one.")


_Page = TypeVar("_Page", bound=Page)


def bad_cursor() -> Problem:
    return invalid("query", "cursor", "This is no cursor. Take the `next` of a page as it is.")


def read_cursor(keyset: Keyset, query: PageQuery) -> Cursor | None:
    """The cursor of a list; None on its first page."""
    cursor = keyset.decode(query.cursor)
    if query.cursor and cursor is None:
        raise bad_cursor()
    return cursor


def page_by_key(rows: QuerySet[Any], query: PageQuery) -> pagination.Page[Any]:
    """A page of a list in the order in which its rows were created."""
    return BY_KEY.page(rows, read_cursor(BY_KEY, query), size=query.limit)


def page_out(schema: type[_Page], page: pagination.Page[Any], *, request: HttpRequest, response: HttpResponse) -> _Page:
    """The page as it is sent, with a header that links to the one that follows (RFC 8288)."""
    following = page.next.encode() if page.next else None
    link_to_next(following, request, response)
    return schema.model_validate({"items": page.rows, "next": following}, context={"request": request})


def link_to_next(following: str | None, request: HttpRequest, response: HttpResponse) -> None:
    if following:
        query = request.GET.copy()
        query["cursor"] = following
        response["Link"] = f'<{settings.SITE_URL}{request.path}?{query.urlencode()}>; rel="next"'
