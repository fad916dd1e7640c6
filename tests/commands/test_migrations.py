"""Migrations go forward: the way back is the backup (docs/operations.md)."""

from __future__ import annotations

from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import RunSQL


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
