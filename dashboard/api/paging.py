"""Pages by cursor: a list goes on where the page before ended, whatever was added meanwhile."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from ninja import Schema
from pydantic import Field

from compliance import pagination
from compliance.pagination import Cursor, Keyset
from dashboard.api.problems import Problem, invalid
from dashboard.api.responses import Answer

PAGE_SIZE, MAX_PAGE_SIZE = 50, 100


class PageQuery(Schema):
    """Which part of a list."""

    limit: int = Field(PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE, description="How many at most.")
    cursor: str = Field("", max_length=300, description="The `next` of the page before; empty: the first page.")


BY_KEY = Keyset(newest_first=False)  # in the order in which rows were made


class Page(Schema):
    """A part of a list."""

    next: str | None = Field(description="The `cursor` of the page that follows; null on the last one.")


def bad_cursor() -> Problem:
    return invalid("query", "cursor", "This is no cursor. Take the `next` of a page as it is.")


def read_cursor(keyset: Keyset, text: str) -> Cursor | None:
    """The cursor of a list; None on its first page."""
    cursor = keyset.decode(text)
    if text and cursor is None:
        raise bad_cursor()
    return cursor


def next_cursor(page: pagination.Page[Any]) -> str | None:
    return page.next.encode() if page.next else None


def read_text(cursor: str) -> str:
    """The words at which a list goes on that has no keys."""
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError):
        raise bad_cursor() from None


def text_cursor(words: str) -> str:
    return base64.urlsafe_b64encode(words.encode()).decode().rstrip("=")


def page_answer(request: HttpRequest, page: Page) -> Answer:
    """The page, with a link to the one that follows (RFC 8288)."""
    headers = {}
    if page.next:
        query = request.GET.copy()
        query["cursor"] = page.next
        headers["Link"] = f'<{settings.SITE_URL}{request.path}?{query.urlencode()}>; rel="next"'
    return Answer(page, headers=headers, cacheable=True)
