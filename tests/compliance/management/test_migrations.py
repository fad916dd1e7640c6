"""Migrations go forward, over whatever the tables hold: the way back is the backup (docs/operations.md)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import RunSQL

from compliance.embedded.postgres import create_database, drop_database
from tests.compliance.management.test_commands import manage
from tests.conftest import SUPERUSER_URL
from tests.services_plugin import DATABASE

pytestmark = pytest.mark.processes

NAME = f"{DATABASE}_upgraded"
# An organization with an agent, and a request in each state, as the first release had them.
OLD_ROWS = """
INSERT INTO organizations (id, name, slug, created_at) VALUES ('org_old', 'Old', 'old', now());
INSERT INTO agents (agent_url, protocol, protocol_note, lifecycle_stage, created_at, opted_out, paused, registrations,
    heartbeat_interval_hours, next_heartbeat_at)
VALUES ('https://old.example/mcp', 'mcp', '', 'production', now(), false, false, 0, 12, now());
INSERT INTO suites (slug, title, description) VALUES ('old', 'Old', '');
INSERT INTO suite_versions (suite_id, version, engine, definition, published_at)
SELECT id, version, 'baseline', '{}', now() FROM suites, unnest(ARRAY['1', '2', '3', '4']) AS version;
INSERT INTO compliance_jobs (id, triggered_by, actor_kind, actor_id, actor_name, dry_run, options, state,
    created_at, dispatched_at, attempt, progress, agent_url, organization_id, suite_version_id, lease_token,
    lease_expires_at, finished_at, run_id)
SELECT gen_random_uuid(), 'owner_test', 'user', '1', 'Alice', false, '{}', state,
    now(), now(), 1, '{}', 'https://old.example/mcp', 'org_old', v.id,
    CASE WHEN state = 'leased' THEN gen_random_uuid() END, CASE WHEN state = 'leased' THEN now() END,
    CASE WHEN state IN ('finished', 'cancelled') THEN now() END, CASE WHEN state = 'finished' THEN gen_random_uuid() END
FROM suite_versions v JOIN (VALUES ('1', 'queued'), ('2', 'leased'), ('3', 'finished'), ('4', 'cancelled'))
    AS wanted (version, state) USING (version);
"""


@pytest.fixture
def old_database() -> Iterator[dict[str, str]]:
    """A database of the release before private runners; the environment that names it."""
    drop_database(SUPERUSER_URL, NAME)
    create_database(SUPERUSER_URL, NAME)
    names = ("DATABASE_URL", "DATABASE_OWNER_URL")
    environment = {name: urlsplit(os.environ[name])._replace(path=f"/{NAME}").geturl() for name in names}
    done = manage("migrate", "compliance", "0010", **environment)
    assert done.returncode == 0, done.stderr
    with psycopg.connect(SUPERUSER_URL, dbname=NAME, autocommit=True) as connection:
        connection.execute(OLD_ROWS)
    yield environment
    drop_database(SUPERUSER_URL, NAME)


def test_an_upgrade_goes_through_with_rows_in_every_state_and_keeps_them(old_database: dict[str, str]) -> None:
    done = manage("migrate", **old_database)
    assert done.returncode == 0, done.stderr
    with psycopg.connect(SUPERUSER_URL, dbname=NAME) as connection:
        kept = connection.execute("SELECT state, executor_kind FROM compliance_jobs ORDER BY state").fetchall()
        unchecked = connection.execute("SELECT conname FROM pg_constraint WHERE NOT convalidated").fetchall()
    assert kept == [(state, "hosted") for state in ("cancelled", "finished", "leased", "queued")]
    assert unchecked == []


def test_no_migration_claims_to_take_back_what_its_sql_made() -> None:
    """One that did nothing on the way back would leave functions and keys that the way forward stumbles over."""
    loader = MigrationLoader(None, ignore_no_migrations=True)
    statements = [
        (name, operation)
        for (app, name), migration in loader.disk_migrations.items()
        if app == "compliance"
        for operation in migration.operations
        if isinstance(operation, RunSQL)
    ]
    assert len(statements) > 20
    pretending = {name for name, operation in statements if operation.reverse_sql == RunSQL.noop}
    assert pretending == set()
