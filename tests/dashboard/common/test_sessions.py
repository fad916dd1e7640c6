"""Reading a session: the first thing that a page asks of the database."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection

from dashboard.common.sessions import SessionStore


@pytest.fixture
def stored(committed_db: None) -> str:
    session = SessionStore()
    session["fruit"] = "quince"
    session.create()
    return str(session.session_key)


def end_connection(superuser: psycopg.Connection[Any]) -> None:
    """What a restart of the server does to a connection that is kept between requests."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        superuser.execute("SELECT pg_terminate_backend(%s, 5000)", cursor.fetchone())


def test_a_lost_connection_is_replaced(stored: str, superuser: psycopg.Connection[Any]) -> None:
    end_connection(superuser)
    connection.health_check_done = False  # as at the beginning of a request
    assert SessionStore(stored)["fruit"] == "quince"


def test_it_stands_for_the_health_check(stored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "is_usable", lambda: pytest.fail("SELECT 1 was asked as well"))
    connection.health_check_done = False
    assert SessionStore(stored)["fruit"] == "quince"
    assert connection.health_check_done


def test_a_connection_lost_later_in_a_job_is_not_hidden(stored: str, superuser: psycopg.Connection[Any]) -> None:
    connection.ensure_connection()
    connection.health_check_done = True
    end_connection(superuser)
    try:
        with pytest.raises(OperationalError):
            SessionStore(stored).load()
    finally:
        connection.close()


def test_no_session_and_an_unknown_one_are_empty(stored: str) -> None:
    unknown = SessionStore("0" * 32)
    assert dict(unknown.load()) == {}
    assert unknown.session_key is None
