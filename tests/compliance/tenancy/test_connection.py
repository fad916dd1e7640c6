"""The connection that is kept from one job to the next."""

from __future__ import annotations

import time
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, close_old_connections, connection, transaction

from compliance.tenancy.scope import organization_scope, platform_scope


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        found: int = cursor.fetchone()[0]
        return found


def terminate(backend: int, superuser: psycopg.Connection[Any]) -> None:
    superuser.execute("SELECT pg_terminate_backend(%s)", [backend])
    deadline = time.monotonic() + 30
    while superuser.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [backend]).fetchone():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_connection_whose_server_has_gone_is_noticed_before_it_is_used(
    committed_db: None, superuser: psycopg.Connection[Any]
) -> None:
    first = backend()
    terminate(first, superuser)
    close_old_connections()  # as at the beginning of a job
    assert backend() != first


def test_a_connection_that_works_is_kept(committed_db: None) -> None:
    first = backend()
    close_old_connections()
    assert backend() == first


@pytest.mark.parametrize("statement", range(1, 7))
def test_a_scope_that_a_lost_connection_ended_is_not_found_by_the_next_transaction(
    committed_db: None, superuser: psycopg.Connection[Any], statement: int
) -> None:
    seen = 0

    def lose_at(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == statement:
            terminate(connection.connection.info.backend_pid, superuser)
        return execute(sql, params, many, context)

    # SAVEPOINT, the scope's settings, what the block does, RELEASE, and the settings of before: each may be the last.
    with pytest.raises(OperationalError), connection.execute_wrapper(lose_at), transaction.atomic():
        with organization_scope("org_one"):
            connection.cursor().execute("SELECT 1")
        connection.cursor().execute("SELECT 2")
    assert seen >= statement
    close_old_connections()
    with transaction.atomic(), platform_scope():
        assert connection.in_atomic_block
