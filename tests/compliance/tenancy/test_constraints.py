"""What the tables refuse, whoever writes: each unique key, check, reference and insert-only trigger.

The rows are tried as a superuser, whom neither rights nor policies stop. Each test asks the
catalogue whether it has left one out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connections

from compliance.jobs.actions import request_owner_test
from compliance.jobs.completion import complete_job
from compliance.jobs.queue import lease_job
from compliance.models import RejectedReport
from compliance.monitors import liveness
from compliance.suites.health import record_engine_health
from compliance.tenancy.actions import delete_organization
from compliance.tenancy.ids import uuid7
from compliance.tenancy.scope import Actor, system_scope
from tests.compliance.tenancy.test_policies import World, make_world
from tests.conftest import AGENT_URL, empty_tables, make_report

# Django's tables and allauth's are theirs to test.
THEIRS = ("auth_", "django_", "account_", "mfa_", "users_")
INSERT_ONLY = [
    "agent_compliance_runs",
    "credential_uses",
    "heartbeat_decisions",
    "monitor_decisions",
    "rejected_reports",
    "step_evidence",
    "suite_versions",
    "system_scope_uses",
    "webhook_deliveries",
]

# A unique key that is not just a row's own key, and what to change in a copy of a row so that this key alone is double.
UNIQUE: dict[str, tuple[str, dict[str, Any]]] = {
    "agent_compliance_runs_job_id_key": ("agent_compliance_runs", {"id": "new"}),
    "agent_run_totals_pkey": ("agent_run_totals", {}),
    "agent_status_pkey": ("agent_status", {}),
    "agents_pkey": ("agents", {}),
    "one_active_job_of_platform": ("compliance_jobs", {"id": "new"}),
    "one_active_job_per_organization": ("compliance_jobs", {"id": "new"}),
    "one_active_job_per_monitor": ("compliance_jobs", {"id": "new", "scheduled_for": None}),
    "one_job_per_occurrence": ("compliance_jobs", {"id": "new", "state": "cancelled"}),
    "one_monitor_per_name": ("monitors", {"id": "new", "name": "EVERY HOUR"}),
    "one_runner_per_name": ("runners", {"id": "new", "name": "LAB"}),
    "one_notice_per_occasion": ("notices", {"id": "new"}),
    "rejected_reports_job_id_key": ("rejected_reports", {"id": "new"}),
    "one_answer_per_delivery": ("webhook_deliveries", {"id": "new"}),
    "api_keys_prefix_key": ("api_keys", {"id": "new", "secret_hash": "0" * 64}),
    "api_keys_secret_hash_key": ("api_keys", {"id": "new", "prefix": "0" * 8}),
    "one_context_per_agent": ("agent_contexts", {"id": "new"}),
    "one_health_of_engine_and_worker": ("engine_health", {"id": -1}),
    "tick_phases_pkey": ("tick_phases", {}),
    "one_counter_per_label": ("tick_counters", {"id": -1}),
    "one_credential_per_name": ("credentials", {"id": "new", "name": "TEST KEY"}),
    "credential_secrets_pkey": ("credential_secrets", {}),
    "one_membership_per_user": ("memberships", {"id": -1}),
    "one_open_invitation_per_email": ("invitations", {"id": "new", "email": "DANA@example.ORG"}),
    "one_suite_version": ("suite_versions", {"id": -1}),
    "organization_tombstones_pkey": ("organization_tombstones", {}),
    "organizations_slug_key": ("organizations", {"id": "org_new"}),
    "step_evidence_pkey": ("step_evidence", {}),
    "suites_slug_key": ("suites", {"id": -1}),
    "users_email_key": ("users", {"id": -1}),
}
# Which row to copy, where any will not do.
OF_ROW = {
    "agent_compliance_runs_job_id_key": "job_id IS NOT NULL",
    "one_active_job_of_platform": "organization_id IS NULL",
    "one_active_job_per_organization": "organization_id IS NOT NULL AND state = 'queued' AND monitor_id IS NULL",
    "one_active_job_per_monitor": "monitor_id IS NOT NULL AND state = 'queued'",
    "one_job_per_occurrence": "scheduled_for IS NOT NULL",
    "job_pinned_iff_private": "executor_kind = 'private'",
    "job_leased_by_its_kind": "executor_kind = 'private' AND leased_by IS NOT NULL",
    "key_of_runner_iff_scope_runner": "runner_id IS NOT NULL",
}
# And where the check does not say.
OF_TABLE = {"agent_compliance_runs": "overall_status = 'passing'", "compliance_jobs": "executor_kind = 'hosted'"}
# A check, and what it refuses. One without a change here is counted as left out.
_RUN, _REQUEST = "agent_compliance_runs", "compliance_jobs"
_LEASED = {"state": "leased", "run_id": None, "lease_token": "new", "lease_expires_at": "2026-01-01"}
CHECKS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    **{
        f"{_RUN}_{column}_check": (_RUN, [{column: -1}])
        for column in (
            "duration_ms",
            "passed_count",
            "failed_count",
            "skipped_count",
            "silent_count",
            "not_applicable_count",
            "not_tested_count",
        )
    },
    "run_organization_iff_it_caused_it": (
        _RUN,
        [
            *({"triggered_by": by, "triggered_org_id": None} for by in ("owner_test", "observer_test", "monitor")),
            *({"triggered_by": by, "triggered_org_id": "org_a"} for by in ("heartbeat", "manual", "webhook")),
            {"triggered_by": "rumour", "triggered_org_id": "org_a"},
            {"triggered_by": "rumour", "triggered_org_id": None},
        ],
    ),
    "run_organization_shape": (
        _RUN,
        [
            {"triggered_by": "owner_test", "triggered_org_id": key}
            for key in ("", "org_", "alpha", "org_a b", "Robert'); DROP")
        ],
    ),
    "run_status_known": (_RUN, [{"overall_status": "fine"}, {"overall_status": ""}]),
    "run_executor_known": (_RUN, [{"triggered_org_id": "org_a", "executor_kind": "cloud"}]),
    "run_private_executor_has_organization": (
        _RUN,
        [{"triggered_by": "heartbeat", "triggered_org_id": None, "executor_kind": "private"}],
    ),
    "run_cut_short_is_inconclusive": (
        _RUN,
        [
            {**cut, "overall_status": status}
            for cut in ({"truncated": True}, {"harness_error": "it broke"})
            for status in ("passing", "partial", "failing")
        ],
    ),
    "context_relation_known": ("agent_contexts", [{"relation": "friend"}]),
    "agent_run_totals_total_check": ("agent_run_totals", [{"total": -1}]),
    "agent_interval_range": (
        "agents",
        [{"heartbeat_interval_hours": 5}, {"heartbeat_interval_hours": 169}, {"heartbeat_interval_hours": 0}],
    ),
    "agents_heartbeat_interval_hours_check": ("agents", [{"heartbeat_interval_hours": -1}]),
    "agents_registrations_check": ("agents", [{"registrations": -1}]),
    "agent_lifecycle_stage_known": ("agents", [{"lifecycle_stage": "ended"}]),
    "agents_max_at_once_check": ("agents", [{"max_at_once": -1}]),
    "agent_max_at_once_range": ("agents", [{"max_at_once": 0}, {"max_at_once": 1001}]),
    "agent_protocol_known": ("agents", [{"protocol": "gopher"}]),
    "agent_url_shape": (
        "agents",
        [
            {"agent_url": url}
            for url in (
                "",
                "ftp://a.example/",
                "https://a.example",
                "https://user@a.example/",
                "https:///x",
                "https://a b.example/",
                "https://a.example/" + "a" * 2048,
            )
        ],
    ),
    "compliance_jobs_attempt_check": (_REQUEST, [{"attempt": -1}]),
    "compliance_jobs_releases_check": (_REQUEST, [{"releases": -1}]),
    "job_lease_iff_leased": (
        _REQUEST,
        [
            {"state": "leased", "lease_token": None, "lease_expires_at": None},
            {"state": "leased", "lease_token": "new", "lease_expires_at": None},
            {"state": "leased", "lease_token": None, "lease_expires_at": "2026-01-01"},
            {"state": "queued", "lease_token": "new", "lease_expires_at": "2026-01-01"},
            {"state": "queued", "lease_token": "new", "lease_expires_at": None},
            {"state": "cancelled", "lease_token": None, "lease_expires_at": "2026-01-01"},
        ],
    ),
    "job_organization_iff_it_caused_it": (
        _REQUEST,
        [
            *({"triggered_by": by, "organization_id": None} for by in ("owner_test", "observer_test", "monitor")),
            *({"triggered_by": by, "organization_id": "org_a"} for by in ("heartbeat", "manual", "webhook")),
        ],
    ),
    "job_run_iff_finished": (
        _REQUEST,
        [{"state": "finished", "run_id": None}, {"state": "cancelled", "run_id": "new"}],
    ),
    "job_state_known": (_REQUEST, [{"state": "asleep"}]),
    "job_pinned_iff_private": (
        _REQUEST,
        [
            {"executor_kind": "private", "pool": "berlin"},  # its runner and a pool; of nobody's, see guard_pin
            {"executor_kind": "hosted"},
            {"executor_kind": "hosted", "runner_id": None, "pool": "berlin"},
            {"executor_kind": "cloud", "runner_id": None},
        ],
    ),
    "job_leased_by_its_kind": (
        _REQUEST,
        [
            {**_LEASED, "executor_kind": "hosted", "runner_id": None},
            {**_LEASED, "leased_by": None},
            {**_LEASED, "lease_run_id": None},
        ],
    ),
    "engine_health_memory_mb_check": ("engine_health", [{"memory_mb": -1}]),
    "tick_phases_last_duration_ms_check": ("tick_phases", [{"last_duration_ms": -1}]),
    "job_credential_iff_chosen": (
        _REQUEST,
        [
            {"credential_choice": "chosen", "credential_id": None},
            {"credential_choice": "none", "credential_id": "new"},
            {"credential_choice": "automatic", "credential_id": "new"},
            {"credential_choice": "any", "credential_id": None},
        ],
    ),
    "job_monitor_only_of_monitors": (
        _REQUEST,
        [
            {"triggered_by": "owner_test", "organization_id": "org_a", "monitor_id": "new"},
            {"triggered_by": "heartbeat", "organization_id": None, "scheduled_for": "2026-01-01"},
        ],
    ),
    "monitor_state_known": ("monitors", [{"state": "asleep", "next_run_at": None}]),
    "monitor_due_iff_active": (
        "monitors",
        [
            {"state": "active", "next_run_at": None},
            *({"state": state, "next_run_at": "2026-01-01"} for state in ("paused", "parked", "archived")),
        ],
    ),
    "monitor_interval_or_cron": (
        "monitors",
        [
            {"interval_minutes": None, "cron": ""},
            {"interval_minutes": 5, "cron": "0 0 * * *"},
            {"interval_minutes": 0, "cron": ""},
            {"interval_minutes": 525_601, "cron": ""},
        ],
    ),
    "monitor_credential_iff_chosen": (
        "monitors",
        [
            {"credential_choice": "chosen", "credential_id": None},
            {"credential_choice": "none", "credential_id": "new"},
            {"credential_choice": "any", "credential_id": None},
        ],
    ),
    "monitors_interval_minutes_check": ("monitors", [{"interval_minutes": -1}]),
    "monitors_failures_in_a_row_check": ("monitors", [{"failures_in_a_row": -1}]),
    "monitor_pinned_iff_private": (
        "monitors",
        [
            {"executor_kind": "hosted", "runner_id": "new"},
            {"executor_kind": "hosted", "pool": "berlin"},
            {"executor_kind": "cloud"},
        ],
    ),
    "monitor_priority_known": ("monitors", [{"notify_priority": "urgent"}]),
    "monitor_channel_known": ("monitors", [{"notify_channel": "pigeon"}]),
    "monitor_cooldown_range": ("monitors", [{"notify_cooldown_seconds": 604_801}]),
    "monitors_notify_cooldown_seconds_check": ("monitors", [{"notify_cooldown_seconds": -1}]),
    "runner_state_known": ("runners", [{"state": "asleep"}]),
    "runner_pool_shape": ("runners", [{"pool": pool} for pool in ("Berlin", "-a", "a b", "ä")]),
    "notice_priority_known": ("notices", [{"priority": "urgent"}]),
    "notice_subject_known": ("notices", [{"subject": "weather"}]),
    "key_prefix_shape": ("api_keys", [{"prefix": prefix} for prefix in ("", "1234567", "1234567-")]),
    "key_hash_shape": ("api_keys", [{"secret_hash": text} for text in ("", "0" * 63, "A" * 64)]),
    "key_revoked_by_iff_revoked": ("api_keys", [{"revoked_at": None, "revoked_by": "Alice"}]),
    "key_ends": ("api_keys", [{"expires_at": "infinity"}, {"expires_at": "2020-01-01"}]),
    "key_scopes_known": ("api_keys", [{"runner_id": None, "scopes": scopes} for scopes in ([], ["all"], [None])]),
    "key_of_runner_iff_scope_runner": (
        "api_keys",
        [{"scopes": ["read"]}, {"scopes": ["runner", "read"]}, {"runner_id": None}],
    ),
    "heartbeat_decision_outcome_known": ("heartbeat_decisions", [{"outcome": "allowed"}]),
    "decision_outcome_known": ("monitor_decisions", [{"outcome": "perhaps", "job_id": None}]),
    "decision_job_iff_allowed": (
        "monitor_decisions",
        [{"outcome": "allowed", "job_id": None}, {"outcome": "budget", "job_id": "new"}],
    ),
    "delivery_outcome_known": ("webhook_deliveries", [{"outcome": "perhaps"}]),
    "delivery_job_iff_tested": (
        "webhook_deliveries",
        [{"outcome": "requested", "job_id": None}, {"outcome": "ignored", "job_id": "new"}],
    ),
    "delivery_url_length": ("webhook_deliveries", [{"agent_url": "https://agent.example/" + "x" * 2048}]),
    "credential_kind_known": ("credentials", [{"kind": "ssh"}]),
    "credentials_version_check": ("credentials", [{"version": -1}]),
    "credential_secrets_version_check": ("credential_secrets", [{"version": -1}]),
    "grant_for_something": (
        "credential_grants",
        [{"for_owner_tests": False, "for_monitors": False, "for_heartbeats": False}],
    ),
    "grant_ends": (
        "credential_grants",
        [{"expires_at": "infinity"}, {"expires_at": "-infinity"}, {"expires_at": "2020-01-01"}],
    ),
    "grant_names_agents": ("credential_grants", [{"context_ids": []}]),
    "credential_uses_credential_version_check": ("credential_uses", [{"credential_version": -1}]),
    "use_result_known": ("credential_uses", [{"result": "perhaps"}]),
    "use_sent_to_known": ("credential_uses", [{"sent_to": "everybody"}]),
    "invitation_role_known": ("invitations", [{"role": "guest"}]),
    "membership_role_known": ("memberships", [{"role": "guest"}]),
    "organization_id_shape": ("organizations", [{"id": key} for key in ("", "org_", "alpha", "org_a b")]),
    "step_evidence_step_index_check": ("step_evidence", [{"step_index": -1}]),
}

TIMED = {"tick_phases"}  # a copy is older than now, and is refused before its constraints are looked at


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any, superuser: psycopg.Connection[Any]) -> Iterator[World]:
    """Rows in every table, committed once: each test undoes what it changes."""
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("compliance.celery.app.send_task", lambda name, args: None)
        record_engine_health("hosted@one")
        liveness.begin("monitors")
        liveness.count("phases", {"monitors.completed": 1})
        world = make_world()
        job, _ = request_owner_test(
            organization=world.omega, context_id=_context_of(superuser, world.omega.id), by=Actor.system("tests")
        )
        lease = lease_job(job.pk, world.omega.id)
        assert lease is not None
        complete_job(lease, make_report("passed"))
        connections.close_all()
    superuser.execute("INSERT INTO organization_tombstones VALUES ('org_gone')")
    yield world
    empty_tables(superuser)


def copied(
    superuser: psycopg.Connection[Any],
    table: str,
    changes: dict[str, Any],
    where: str = "true",
    *,
    no_trigger: bool = False,
) -> str:
    """The name of the constraint that refuses a changed copy of a row; '' when it is taken."""
    found = superuser.execute(f"SELECT to_jsonb(t) FROM {table} t WHERE {where} LIMIT 1").fetchone()
    assert found is not None, f"the test needs a row of {table}"
    columns = superuser.execute(
        "SELECT string_agg(column_name, ', ') FROM information_schema.columns"
        " WHERE table_name = %s AND is_generated = 'NEVER'",
        [table],
    ).fetchone()
    assert columns is not None
    row = {**found[0], **{name: str(uuid7()) if value == "new" else value for name, value in changes.items()}}
    with superuser.transaction(force_rollback=True):
        if no_trigger:
            superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        try:
            superuser.execute(
                f"INSERT INTO {table} ({columns[0]}) SELECT {columns[0]} FROM jsonb_populate_record(NULL::{table}, %s)",
                [json.dumps(row)],
            )
            superuser.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except psycopg.errors.IntegrityError as refusal:
            return str(refusal.diag.constraint_name)
    return ""


def ours(superuser: psycopg.Connection[Any], query: str) -> list[tuple[Any, ...]]:
    """The rows of a query of the catalogue whose first column is one of our tables."""
    return [row for row in superuser.execute(query) if not row[0].startswith(THEIRS)]


def test_each_unique_key_refuses_a_second_row(world: World, superuser: psycopg.Connection[Any]) -> None:  # L1, L5
    refused_by = {
        name: copied(superuser, table, changes, OF_ROW.get(name, "true"), no_trigger=table in TIMED).replace(
            _partition(superuser), "step_evidence"
        )
        for name, (table, changes) in UNIQUE.items()
    }
    assert refused_by == {name: name for name in UNIQUE}
    # A key of one made-up column needs no proof: nothing depends on its being refused.
    there = ours(
        superuser,
        "SELECT c.relname, i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid"
        " JOIN pg_class c ON c.oid = x.indrelid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[0]"
        " WHERE x.indisunique AND c.relnamespace = 'public'::regnamespace AND NOT c.relispartition"
        " AND NOT (x.indisprimary AND x.indnatts = 1 AND a.attname = 'id' AND c.relname <> 'organization_tombstones')",
    )
    # These are there for references to name: what they refuse, the row's own key refuses before.
    for_references = {
        f"{name}_of_organization" for name in ("credentials", "agent_contexts", "monitors", "runners", "jobs")
    }
    assert {row[1] for row in there} - for_references == set(UNIQUE)


def _context_of(superuser: psycopg.Connection[Any], organization_id: str) -> Any:
    row = superuser.execute(
        "SELECT id FROM agent_contexts WHERE organization_id = %s AND agent_url <> %s", [organization_id, AGENT_URL]
    ).fetchone()
    assert row is not None
    return row[0]


def _partition(superuser: psycopg.Connection[Any]) -> str:
    """The partition of this month, whose name the refusals of step_evidence bear."""
    row = superuser.execute("SELECT tableoid::regclass::text FROM step_evidence LIMIT 1").fetchone()
    assert row is not None
    return str(row[0])


def test_each_check_refuses_what_it_is_for(world: World, superuser: psycopg.Connection[Any]) -> None:  # R2, R7
    refused_by = [
        (
            name,
            change,
            copied(
                superuser,
                table,
                change,
                OF_ROW.get(name, OF_TABLE.get(table, "true")),
                no_trigger=table in TIMED,
            ),
        )
        for name, (table, changes) in CHECKS.items()
        for change in changes
    ]
    # PositiveSmallIntegerField brings a check of its own, which the narrower one makes superfluous.
    narrower = {
        "agents_heartbeat_interval_hours_check": "agent_interval_range",
        "agents_max_at_once_check": "agent_max_at_once_range",
        "monitors_interval_minutes_check": "monitor_interval_or_cron",
    }
    assert [(name, change, by) for name, change, by in refused_by if by != narrower.get(name, name)] == []
    there = ours(
        superuser,
        "SELECT c.relname, k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid"
        " WHERE k.contype = 'c' AND c.relnamespace = 'public'::regnamespace AND NOT c.relispartition",
    )
    assert {row[1] for row in there} == set(CHECKS)


def test_each_reference_refuses_what_is_not_there(world: World, superuser: psycopg.Connection[Any]) -> None:
    there = ours(
        superuser,
        "SELECT c.relname, k.conname, a.attname, a.atttypid::regtype::text FROM pg_constraint k"
        " JOIN pg_class c ON c.oid = k.conrelid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]"
        " WHERE k.contype = 'f' AND c.relnamespace = 'public'::regnamespace AND NOT c.relispartition",
    )
    expected = {
        (table, column)
        for table, columns in {
            "agent_compliance_runs": ["suite_version_id"],
            "agent_contexts": ["agent_url", "organization_id"],
            "agent_status": ["agent_url"],
            "compliance_jobs": ["agent_url", "monitor_id", "organization_id", "runner_id", "suite_version_id"],
            "monitors": ["context_id", "organization_id", "runner_id", "suite_id", "suite_version_id"],
            "runners": ["organization_id"],
            "notices": ["organization_id"],
            "rejected_reports": ["job_id"],
            "api_keys": ["organization_id", "runner_id"],
            "credentials": ["organization_id"],
            "credential_secrets": ["credential_id"],
            "credential_grants": ["credential_id"],
            "invitations": ["invited_by_id", "organization_id"],
            "memberships": ["organization_id", "user_id"],
            "suite_versions": ["suite_id"],
            "suites": ["current_version_id"],
            "webhook_deliveries": ["job_id"],
        }.items()
        for column in columns
    }
    assert {(row[0], row[2]) for row in there} == expected
    changes = {
        "agent_url": "https://nobody.example/mcp",
        "organization_id": "org_nobody",
        "credential_id": str(uuid7()),
        "context_id": str(uuid7()),
        "monitor_id": str(uuid7()),
        "job_id": str(uuid7()),
        "runner_id": str(uuid7()),
        "suites": {"id": -1, "slug": "new"},
        "suite_versions": {"id": -1},
        "memberships": {"id": -1},
        "agent_status": {},
    }
    for table, name, column, kind in there:
        own_key: Any = changes.get(table, {"id": "new"})
        value = -2 if kind == "bigint" else changes[column]
        where = "organization_id IS NOT NULL" if table == "compliance_jobs" else "true"
        more = {"state": "cancelled", "scheduled_for": None} if table == "compliance_jobs" else {}
        more |= {"triggered_by": "monitor"} if column == "monitor_id" else {}
        more |= {"job_id": None} if table == "agent_compliance_runs" else {}
        more |= {"name": "New"} if table in ("monitors", "runners") else {}
        more |= {"prefix": "0" * 8, "secret_hash": "0" * 64} if table == "api_keys" else {}
        pinned = column == "runner_id" and table != "api_keys"
        more |= {"executor_kind": "private", "pool": ""} if pinned else {}
        more |= {"email": "new@example.org"} if table == "invitations" else {}
        more |= {"delivery_id": "new", "outcome": "requested"} if table == "webhook_deliveries" else {}
        # A trigger that looks for the runner comes before its reference does.
        assert copied(superuser, table, {**own_key, **more, column: value}, where, no_trigger=pinned) == name


@pytest.mark.parametrize("change", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
@pytest.mark.parametrize("table", INSERT_ONLY)
def test_nobody_changes_what_is_only_added_to(
    world: World, superuser: psycopg.Connection[Any], table: str, change: str
) -> None:  # R1, A4, V3
    """Rights may be given by mistake: the trigger stops who has them all."""
    column = superuser.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum = 1", [table]
    ).fetchone()
    assert column is not None
    with (
        superuser.transaction(force_rollback=True),
        pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"{table} is insert-only"),
    ):
        superuser.execute(change.format(table, column[0], column[0]))


def test_each_table_that_may_only_be_added_to_is_tried_above(db: None, superuser: psycopg.Connection[Any]) -> None:
    # No role that serves may change them, and one at least may add to them: that is what "insert-only" says.
    rows = ours(
        superuser,
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
        " AND NOT c.relispartition"
        " AND (has_table_privilege('assay_staff', c.oid, 'INSERT')"
        "      OR has_table_privilege('assay_app', c.oid, 'INSERT'))"
        " AND NOT has_any_column_privilege('assay_app', c.oid, 'UPDATE')"
        " AND NOT has_table_privilege('assay_app', c.oid, 'DELETE')"
        " AND NOT has_table_privilege('assay_staff', c.oid, 'UPDATE, DELETE')",
    )
    assert sorted(row[0] for row in rows) == INSERT_ONLY


def owners_of_rejected_reports() -> set[str]:
    with system_scope(by=Actor.system("tests"), reason="look"):
        return set(RejectedReport.objects.values_list("organization_id", flat=True))


def test_a_rejected_report_goes_with_its_job_as_that_does_with_its_organization(world: World, db: None) -> None:  # L16
    assert owners_of_rejected_reports() == {world.alpha.id, world.omega.id}
    delete_organization(organization=world.alpha, by=world.alice)
    assert owners_of_rejected_reports() == {world.omega.id}


GUARDED = {
    "there is no such private runner": [
        "UPDATE monitors SET executor_kind = 'private', runner_id = gen_random_uuid()",
        "UPDATE monitors SET executor_kind = 'private', pool = 'nowhere'",
        "UPDATE monitors m SET executor_kind = 'private', runner_id ="
        " (SELECT r.id FROM runners r WHERE r.organization_id <> m.organization_id)",
        "INSERT INTO compliance_jobs SELECT (jsonb_populate_record(q, jsonb_build_object("
        "'id', gen_random_uuid(), 'runner_id', gen_random_uuid()))).*"
        " FROM compliance_jobs q WHERE executor_kind = 'private'",
    ],
    "monitors are pinned to this runner": [
        "UPDATE monitors m SET executor_kind = 'private', runner_id ="
        " (SELECT r.id FROM runners r WHERE r.organization_id = m.organization_id);"
        "UPDATE runners SET state = 'deleted'",
    ],
    "a deleted runner stays as it is": [
        f"UPDATE runners SET state = 'deleted'; UPDATE runners SET state = '{state}'"
        for state in ("active", "disabled", "deleted")
    ],
    "a key is revoked once and never changed": [
        "UPDATE api_keys SET scopes = ARRAY['read']",
        "UPDATE api_keys SET expires_at = expires_at + interval '1 day'",
        "UPDATE api_keys SET revoked_at = now(); UPDATE api_keys SET revoked_at = NULL",
    ],
}


@pytest.mark.parametrize(
    ("refusal", "change"), [(refusal, change) for refusal, changes in GUARDED.items() for change in changes]
)
def test_nobody_passes_a_guard(
    world: World, superuser: psycopg.Connection[Any], refusal: str, change: str
) -> None:  # L3, L14
    with superuser.transaction(force_rollback=True), pytest.raises(psycopg.Error, match=refusal):
        superuser.execute(change)


@pytest.mark.parametrize("change", ["UPDATE {} SET response = NULL", "DELETE FROM {}"])
def test_evidence_is_not_changed_by_way_of_its_partition_either(
    world: World, superuser: psycopg.Connection[Any], change: str
) -> None:
    with (
        superuser.transaction(force_rollback=True),
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="is insert-only"),
    ):
        superuser.execute(change.format(_partition(superuser)))
