"""Pages as their readers see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from compliance.models import User

NO_SCOPE = (
    "set_config('app.organization_id', '', true), set_config('app.user_id', '', true),"
    " set_config('app.platform', '', true)"
)


@pytest.fixture
def reader() -> Callable[[User], Client]:
    """A browser of its own for each user."""

    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def queries() -> Callable[[], Any]:
    """Counts what a page asks of the database, without the statements that only frame a transaction."""

    @contextmanager
    def counted() -> Iterator[list[str]]:
        asked: list[str] = []
        with CaptureQueriesContext(connection) as captured:
            yield asked
        frame = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")
        asked += [
            query["sql"]
            for query in captured.captured_queries
            # A test lies in a transaction of its own, to whose lack of a scope every scope of ours goes back;
            # outside of tests the COMMIT does that.
            if not query["sql"].startswith(frame) and NO_SCOPE not in query["sql"]
        ]

    return counted


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The nudges that would have gone to the workers."""
    nudges: list[tuple[Any, ...]] = []
    monkeypatch.setattr("compliance.jobs.dispatch.send", lambda task, *args: nudges.append((task, *args)))
    return nudges
