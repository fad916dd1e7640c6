"""What the models declare is what the database has, and it has nothing else."""

from __future__ import annotations

from typing import Any

import psycopg
from django.apps import apps
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import AddConstraint

from compliance.tenancy.rls import RowLevelSecurity
from compliance.tenancy.schema import SQL, DatabaseObject, Privileges
from tests.compliance.management.databases import schema
from tests.compliance.tenancy.test_isolation import GLOBAL_TABLES

DECLARED: dict[str, tuple[str, DatabaseObject]] = {
    constraint.name: (model._meta.db_table, constraint)
    for model in apps.get_app_config("compliance").get_models()
    for constraint in model._meta.constraints
    if isinstance(constraint, DatabaseObject)
}


def in_order_of_creation() -> list[tuple[str, DatabaseObject]]:
    loader = MigrationLoader(None, ignore_no_migrations=True)
    created = [
        operation.constraint.name
        for key, migration in sorted(loader.disk_migrations.items())
        if key[0] == "compliance"
        for operation in migration.operations
        if isinstance(operation, AddConstraint) and operation.constraint.name in DECLARED
    ]
    # A later migration replaces what it changes: by then all that it needs is there.
    last = [name for position, name in enumerate(created) if name not in created[position + 1 :]]
    assert sorted(last) == sorted(DECLARED)
    return [DECLARED[name] for name in last]


def test_what_is_declared_is_what_the_database_has_and_all_that_it_has(
    db: None, superuser: psycopg.Connection[Any]
) -> None:
    """All of it is dropped, which leaves nothing, and created again, which leaves the same; and that is undone."""
    objects = in_order_of_creation()
    with superuser.transaction(force_rollback=True):
        superuser.execute("SET LOCAL ROLE assay_owner")
        before = schema(superuser)
        for table, declared in reversed(objects):
            superuser.execute(declared.statements(table)[1])
        without = schema(superuser)
        for table, declared in objects:
            superuser.execute(declared.statements(table)[0])
        assert schema(superuser) == before
    for kind in ("policies", "triggers", "functions", "views", "statistics"):
        assert without[kind] == [], kind
    secured = {name for name, enabled, forced in without["row-level security"] if "True" in (enabled, forced)}
    assert all(name.startswith("step_evidence_y") for name in secured)  # partitions, which a function makes


def test_every_model_says_who_sees_its_rows() -> None:
    """A table of an organization's has row-level security; another is named with its reason (I1)."""
    for model in apps.get_app_config("compliance").get_models():
        if model._meta.managed:
            isolated = any(isinstance(each, RowLevelSecurity) for each in model._meta.constraints)
            assert isolated != (model._meta.db_table in GLOBAL_TABLES), model


def test_a_changed_policy_or_function_is_a_change_for_makemigrations() -> None:
    for _, declared in DECLARED.values():
        same = declared.clone()
        assert same == declared
        assert hash(same) == hash(declared)
        for part in declared.parts:
            value = getattr(declared, part)
            other: Any = SQL(f"{value} -- changed") if isinstance(value, SQL) else f"{value} changed"
            setattr(same, part, other)
            assert same != declared, part
            setattr(same, part, value)


def test_the_indentation_of_sql_does_not_count() -> None:
    assert SQL("\n        SELECT 1\n          FROM x\n    ") == SQL("SELECT 1\n  FROM x")
    assert SQL("SELECT 1") != SQL("SELECT 2")


def test_without_named_rights_a_role_has_none(db: None) -> None:
    create, drop = Privileges(app="SELECT", name="x").statements("suites")
    assert create == "REVOKE ALL ON suites FROM assay_app, assay_staff;\nGRANT SELECT ON suites TO assay_app"
    assert "GRANT SELECT, INSERT, UPDATE, DELETE ON suites TO assay_app, assay_staff" in drop
