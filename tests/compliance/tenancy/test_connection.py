"""The connection that is kept from one job to the next."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from django.db import close_old_connections, connection


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        found: int = cursor.fetchone()[0]
        return found


def test_a_connection_whose_server_has_gone_is_noticed_before_it_is_used(
    committed_db: None, superuser: psycopg.Connection[Any]
) -> None:
    first = backend()
    superuser.execute("SELECT pg_terminate_backend(%s)", [first])
    deadline = time.monotonic() + 30
    while superuser.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [first]).fetchone():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    close_old_connections()  # as at the beginning of a job
    assert backend() != first


def test_a_connection_that_works_is_kept(committed_db: None) -> None:
    first = backend()
    close_old_connections()
    assert backend() == first
