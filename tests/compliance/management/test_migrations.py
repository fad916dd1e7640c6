"""Migrations, each up, down and up again, on an empty and on a filled database; and upgrades from earlier versions."""

from __future__ import annotations

import json
import os
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.migrations.loader import MigrationLoader

from compliance.embedded.folder import EmbeddedError
from compliance.embedded.processes import Program
from compliance.embedded.supervisor import Supervisor
from tests.compliance.management.databases import BASE, LATER_ROWS, other_database, other_environment, rows, schema
from tests.compliance.management.test_commands import manage
from tests.processes import ROOT

LOADER = MigrationLoader(None, ignore_no_migrations=True)
OURS = sorted(name for app, name in LOADER.disk_migrations if app == "compliance")
HEAD = OURS[-1]
OF_DJANGO = {"auth_permission", "django_content_type"}  # lists of models, which Django keeps up with the code

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("django_db_setup", "_unblocked")]


@pytest.fixture
def _unblocked(django_db_blocker: Any) -> Any:
    with django_db_blocker.unblock():
        yield


def migrate(*target: str) -> None:
    call_command("migrate", *target, verbosity=0)
    connections["owner"].close()


def up_to(name: str) -> None:
    if name == OURS[0]:
        migrate()  # those of other apps that went down with it, because they refer to users
    migrate("compliance", name)


def shared(one: dict[str, list[str]], other: dict[str, list[str]]) -> tuple[dict[str, list[str]], ...]:
    """Both, narrowed to the tables and columns that both have."""
    narrowed: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for table in one.keys() & other.keys() - OF_DJANGO:
        parsed = [[json.loads(row) for row in tables[table]] for tables in (one, other)]
        columns = set.intersection(*(set(row) for table_rows in parsed for row in table_rows)) if any(parsed) else set()
        for into, table_rows in zip(narrowed, parsed, strict=True):
            into[table] = sorted(json.dumps({name: row[name] for name in sorted(columns)}) for row in table_rows)
    return narrowed


def assert_kept(before: dict[str, list[str]], after: dict[str, list[str]]) -> None:
    kept, found = shared(before, after)
    assert found == kept


def test_there_are_migrations_and_they_are_numbered_without_gaps() -> None:
    assert [name[:4] for name in OURS] == [f"{number:04}" for number in range(1, len(OURS) + 1)]


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
def test_a_migration_goes_up_down_and_up_again_and_keeps_rows(name: str, filled: bool) -> None:
    before = OURS[OURS.index(name) - 1] if name != OURS[0] else "zero"
    with other_database(BASE if filled else None) as connection:
        up_to(name)
        for table in LATER_ROWS.keys() & rows(connection).keys() if filled else ():
            connection.execute(LATER_ROWS[table])
        up, kept = schema(connection), rows(connection)
        assert not filled or [table for table in kept if not kept[table]] == []
        migrate("compliance", before)
        down = rows(connection)
        assert down.keys() <= kept.keys()
        assert_kept(kept, down)
        assert (before == "zero") == ("organizations" not in down)
        lower = schema(connection)
        up_to(name)
        # What is gone with its table is made again without rows; all else is as it was.
        assert schema(connection) == up
        assert_kept(down, rows(connection))
        migrate("compliance", before)
        assert schema(connection) == lower


def test_the_dump_of_the_first_release_is_upgraded_and_keeps_its_rows() -> None:
    with other_database() as connection:
        migrate()
        fresh = schema(connection)
    with other_database(BASE) as connection:
        kept = rows(connection)
        migrate()
        upgraded = rows(connection)
        partitions = {table for table, *_ in schema(connection)["row-level security"]} - {
            table for table, *_ in fresh["row-level security"]
        }
        assert all(table.startswith("step_evidence_y") for table in partitions)
        assert kept.keys() <= upgraded.keys()
        assert_kept(kept, upgraded)
        assert without_partitions(schema(connection)) == without_partitions(fresh)


def without_partitions(found: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    """Which months there are depends on the day."""
    return {
        kind: [row for row in answer if "step_evidence_y" not in f"{row[0]}{row[1] if len(row) > 1 else ''}"]
        for kind, answer in found.items()
    }


def named_as_another_version(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "CREATE TABLE django_migrations (id serial, app text, name text, applied timestamptz DEFAULT now());"
        "ALTER TABLE django_migrations OWNER TO assay_owner;"
        "INSERT INTO django_migrations (app, name) VALUES ('compliance', '0001_tables'), ('compliance', '0002_record')"
    )


def test_a_database_of_an_unreleased_version_is_refused_with_what_to_do() -> None:
    with other_database() as connection:
        named_as_another_version(connection)
        with pytest.raises(CommandError) as refused:
            migrate()
        for words in ("0001_tables, 0002_record", "what DATA_DIR names", "drop the database", "It is left as it is"):
            assert words in str(refused.value)
        assert list(rows(connection)) == []
        done = manage("migrate", **other_environment())
        assert done.returncode == 1
        assert "before 0.1.0" in done.stderr
        assert "Traceback" not in done.stderr


def test_make_run_stops_at_such_a_database_and_says_what_to_do(tmp_path: Path) -> None:
    with other_database() as connection:
        named_as_another_version(connection)
        command = [sys.executable, str(ROOT / "manage.py"), "migrate", "--noinput", "--verbosity=0"]
        environment = {**os.environ, **other_environment()}
        step = Program("migrate", command, tmp_path / "migrate.log", lambda: environment, cwd=ROOT, once=True)
        with pytest.raises(EmbeddedError, match="another version of Assay") as stopped:
            Supervisor().run([step], on_ready=lambda: "")
        assert "(.data, or what DATA_DIR names) and start again" in str(stopped.value)


def test_models_and_migrations_agree() -> None:
    said = StringIO()
    call_command("makemigrations", check=True, dry_run=True, stdout=said)  # ends with an error when they do not
    assert said.getvalue() == "No changes detected\n"
