"""The rights of the two roles that serve: on tables, views and functions. The policies are another lock."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

ALL = {"SELECT", "INSERT", "UPDATE", "DELETE"}
ADDED_TO = {"SELECT", "INSERT"}
DERIVED = {"SELECT"}
# (the app role's, staff's). What is not named here: both may do all four.
DECIDED: dict[str, tuple[set[str], set[str]]] = {
    "agent_compliance_runs": (ADDED_TO, ADDED_TO),
    "step_evidence": (ADDED_TO, ADDED_TO),
    "suites": ({"SELECT"}, ALL),
    "suite_versions": ({"SELECT"}, ADDED_TO),
    "system_scope_uses": (set(), ADDED_TO),
    "organization_tombstones": (set(), set()),
    "credentials": (ALL - {"DELETE"}, {"SELECT"}),
    "credential_secrets": (ALL, set()),
    "credential_grants": (ALL - {"DELETE"}, {"SELECT"}),
    "credential_uses": (ADDED_TO, {"SELECT"}),
    "monitors": (ALL - {"DELETE"}, {"SELECT"}),
    "monitor_decisions": (ADDED_TO, {"SELECT"}),
    "heartbeat_decisions": (ADDED_TO, {"SELECT"}),
    "webhook_deliveries": (ADDED_TO, {"SELECT"}),
    "tick_phases": (ALL - {"DELETE"}, {"SELECT"}),
    "tick_counters": (ALL - {"DELETE"}, {"SELECT"}),
    "runners": (ALL - {"DELETE"}, {"SELECT"}),
    "notices": (ALL - {"DELETE"}, {"SELECT"}),
    "rejected_reports": (ADDED_TO, {"SELECT"}),
    "api_keys": (ALL - {"DELETE"}, {"SELECT"}),
    "agents": (ALL - {"DELETE"}, ALL - {"DELETE"}),
    "agent_status": (DERIVED, DERIVED),
    "agent_run_totals": (DERIVED, DERIVED),
    "agent_context_with_latest_test": (DERIVED, DERIVED),
    "django_migrations": ({"SELECT"}, {"SELECT"}),
}
FUNCTIONS: dict[str, set[str]] = {
    "ensure_evidence_partitions": {"assay_app", "assay_staff"},
    "drop_expired_evidence": {"assay_app", "assay_staff"},
    "stale_jobs": {"assay_app"},
    "free_of_capped": {"assay_app"},
    "heartbeat_credentials": {"assay_app"},
    "organizations_due": {"assay_app"},
    "lapsed_private_jobs": {"assay_app"},
    "expire_jobs": {"assay_app"},
    "waiting_work": {"assay_app"},
    "runners_gone": {"assay_app"},
    "find_api_key": {"assay_app"},
    "work_metrics": {"assay_app"},
    "forget_decisions": {"assay_app"},
    "forget_webhook_deliveries": {"assay_app"},
    "rebuild_agent_status": {"assay_staff"},
    "heartbeat_slot": {"assay_app", "assay_staff"},  # arithmetic, open to everybody
}


@pytest.mark.parametrize(("index", "role"), [(0, "assay_app"), (1, "assay_staff")])
def test_each_role_has_the_rights_that_were_decided(
    db: None, superuser: psycopg.Connection[Any], index: int, role: str
) -> None:  # R1, V3
    found: dict[str, set[str]] = {}
    for table, right, granted in superuser.execute(
        """
        SELECT c.relname, r.name,
            has_table_privilege(%(role)s, c.oid, r.name)
            OR r.of_columns AND has_any_column_privilege(%(role)s, c.oid, r.name)
        FROM pg_class c, (VALUES ('SELECT', true), ('INSERT', true), ('UPDATE', true), ('REFERENCES', true),
            ('DELETE', false), ('TRUNCATE', false), ('TRIGGER', false)) AS r(name, of_columns)
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
            AND NOT c.relispartition
        """,
        {"role": role},
    ):
        found.setdefault(table, set()).update({right} if granted else set())
    assert set(DECIDED) <= set(found)
    assert found == {table: DECIDED.get(table, (ALL, ALL))[index] for table in found}


def test_no_right_reaches_a_partition(db: None, superuser: psycopg.Connection[Any]) -> None:
    """Of a partition's own rights none is needed: what comes through the table asks for the table's."""
    rows = superuser.execute(
        "SELECT c.relname, a.grantee::regrole::text, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a"
        " WHERE c.relispartition AND a.grantee <> c.relowner"
    ).fetchall()
    assert rows == []


def test_functions_are_for_those_who_call_them(db: None, superuser: psycopg.Connection[Any]) -> None:
    rows = superuser.execute(
        "SELECT p.proname, r.name FROM pg_proc p, unnest(ARRAY['assay_app', 'assay_staff']) AS r(name)"
        " WHERE p.pronamespace = 'public'::regnamespace AND has_function_privilege(r.name, p.oid, 'EXECUTE')"
    ).fetchall()
    found: dict[str, set[str]] = {}
    for name, role in rows:
        found.setdefault(name, set()).add(role)
    assert found == FUNCTIONS


def test_functions_that_run_as_the_owner_choose_their_tables_themselves(
    db: None, superuser: psycopg.Connection[Any]
) -> None:
    """With the caller's search path, a caller's table or function of the same name would be taken."""
    rows = superuser.execute(
        "SELECT p.proname, p.proowner::regrole::text, coalesce(p.proconfig::text, '') FROM pg_proc p"
        " WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef"
    ).fetchall()
    assert {row[0] for row in rows} == {
        "ensure_evidence_partitions",
        "drop_expired_evidence",
        "stale_jobs",
        "heartbeat_credentials",
        "organizations_due",
        "lapsed_private_jobs",
        "expire_jobs",
        "waiting_work",
        "free_of_capped",
        "runners_gone",
        "find_api_key",
        "work_metrics",
        "forget_decisions",
        "forget_webhook_deliveries",
        "count_lease_run_out",
        "rebuild_agent_status",
        "refresh_agent_status",
        "project_run",
        "count_registrations",
        "never_reuse_key",
        "cancel_jobs_without_agent",
    }
    assert {row[1:] for row in rows} == {("assay_owner", '{"search_path=public, pg_temp"}')}


@pytest.mark.parametrize("role", ["assay_app", "assay_staff"])
def test_no_serving_role_makes_objects(db: None, superuser: psycopg.Connection[Any], role: str) -> None:
    """A table of one's own, also a temporary one, could be put in the place of ours."""
    row = superuser.execute(
        "SELECT has_schema_privilege(%(role)s, 'public', 'CREATE'),"
        " has_database_privilege(%(role)s, current_database(), 'CREATE, TEMPORARY')",
        {"role": role},
    ).fetchone()
    assert row == (False, False)
