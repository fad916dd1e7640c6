"""Every policy of every tenant table, against an independent answer to who may read and write which row.

The answers below are conditions on rows, asked with staff's eyes. A table without one fails the
first test, so that a new table cannot be forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import psycopg
import pytest
from django.db import DatabaseError, connection, connections, transaction

from compliance.engines.reports.model import Evidence
from compliance.jobs.actions import request_owner_test
from compliance.models import AgentContext, Organization, Role, User
from compliance.monitors.heartbeats import create_due_heartbeats
from compliance.monitors.tick import create_due_monitor_jobs
from compliance.runs.recording import UsedCredential
from compliance.tenancy.actions import create_organization, invite
from compliance.tenancy.events import Event, publish
from compliance.tenancy.ids import uuid7
from compliance.tenancy.scope import Actor, organization_scope, platform_scope, system_scope, user_scope
from compliance.vault.use import use_credential
from compliance.webhooks.actions import take_delivery
from tests.compliance.monitors.conftest import make_due, make_monitor, skip_heartbeat
from tests.compliance.runners.conftest import ask, make_runner
from tests.compliance.vault.conftest import attempt, make_credential, make_grant
from tests.conftest import AGENT_URL, add_member, empty_tables, make_context, make_report, make_run, make_user

OWN = "organization_id = %(organization)s"
REGISTERED = "agent_url IN (SELECT c.agent_url FROM agent_contexts c WHERE c.organization_id = %(organization)s)"
VERIFIED = REGISTERED.removesuffix(")") + " AND c.relation = 'verified_owner')"
PLATFORMS = "organization_id IS NULL"
NOTHING, EVERYTHING = "false", "true"

# By scope: which rows of a table are seen there, which may be inserted, updated, deleted. What is not named: none.
READ = {
    "organization": {
        "organizations": "id = %(organization)s",
        "memberships": OWN,
        "invitations": OWN,
        "agents": REGISTERED,
        "agent_contexts": OWN,
        "agent_status": REGISTERED,
        "agent_run_totals": OWN,
        "agent_context_with_latest_test": OWN,
        "compliance_jobs": OWN,
        "agent_compliance_runs": f"triggered_org_id = %(organization)s OR triggered_org_id IS NULL AND {REGISTERED}",
        "credentials": OWN,
        "credential_secrets": OWN,
        "credential_grants": OWN,
        "credential_uses": OWN,
        "monitors": OWN,
        "monitor_decisions": OWN,
        "heartbeat_decisions": REGISTERED,
        "runners": OWN,
        "notices": OWN,
        "rejected_reports": OWN,
        "api_keys": OWN,
        "step_evidence": f"{OWN} OR {PLATFORMS} AND (credential_organization_id = %(organization)s"
        f" OR credential_organization_id IS NULL AND {VERIFIED})",
    },
    "user": {
        "organizations": "id IN (SELECT m.organization_id FROM memberships m WHERE m.user_id = %(user)s)",
        "memberships": "user_id = %(user)s",
    },
    "platform": {
        "agents": EVERYTHING,
        "agent_status": EVERYTHING,
        "compliance_jobs": PLATFORMS,
        "agent_compliance_runs": "triggered_org_id IS NULL",
        "heartbeat_decisions": EVERYTHING,
        "webhook_deliveries": EVERYTHING,
    },
    "none": {},
}
INSERT = {
    "organization": {
        "organizations": "id = %(organization)s",
        "memberships": OWN,
        "invitations": OWN,
        "agents": EVERYTHING,  # whoever registers an address makes it known, and does not see whether it was
        "agent_contexts": OWN,
        "compliance_jobs": OWN,
        "agent_compliance_runs": "triggered_org_id = %(organization)s",
        "step_evidence": OWN,
        "credentials": OWN,
        "credential_secrets": OWN,
        "credential_grants": OWN,
        "credential_uses": OWN,
        "monitors": OWN,
        "monitor_decisions": OWN,
        "runners": OWN,
        "notices": OWN,
        "rejected_reports": OWN,
        "api_keys": OWN,
    },
    "user": {},
    "platform": {
        "agents": EVERYTHING,
        "compliance_jobs": PLATFORMS,
        "agent_compliance_runs": "triggered_org_id IS NULL",
        "step_evidence": PLATFORMS,
        "heartbeat_decisions": EVERYTHING,
        "webhook_deliveries": EVERYTHING,
    },
    "none": {},
}
CHANGE = {
    "organization": {
        "organizations": "id = %(organization)s",
        "memberships": OWN,
        "invitations": OWN,
        "agents": VERIFIED,
        "agent_contexts": OWN,
        "compliance_jobs": OWN,
        "credentials": OWN,
        "credential_secrets": OWN,
        "credential_grants": OWN,
        "monitors": OWN,
        "runners": OWN,
        "notices": OWN,
        "api_keys": OWN,
    },
    "user": {},
    "platform": {"agents": EVERYTHING, "compliance_jobs": PLATFORMS},
    "none": {},
}
# A harmless change that reads no column, so that no policy for reading stands in for the one for writing.
ASSIGNMENTS = {
    "organizations": "name = 'changed'",
    "memberships": "role = 'member'",
    "invitations": "role = 'member'",
    "agents": "paused = true",
    "agent_contexts": "name = 'changed'",
    "compliance_jobs": "progress = '{}'",
    "credentials": "name = 'changed'",
    "credential_secrets": "sealed_token = ''",
    "credential_grants": "revoked_at = now()",
    "monitors": "options = '{}'",
    "runners": "last_error = 'changed'",
    "notices": "read_at = now()",
    "api_keys": "last_used_at = now()",
}
DELETABLE = set(ASSIGNMENTS) - {
    "agents",
    "credentials",
    "credential_grants",
    "monitors",
    "runners",
    "notices",
    "api_keys",
}
NOT_FOR_STAFF = {"credential_secrets", "api_keys"}  # of the latter, all but the hash is
# So that a trigger that looks for a row of the organization does not stop it before the policy is asked.
UNTRIED_BY_TRIGGERS: dict[str, dict[str, Any]] = {
    "credential_grants": {"context_ids": []},
    "compliance_jobs": {"executor_kind": "hosted", "runner_id": None},
}


TABLES = sorted(READ["organization"].keys() | READ["platform"].keys())
INSERTED = sorted(INSERT["organization"].keys() | INSERT["platform"].keys())


class World(NamedTuple):
    alpha: Organization
    omega: Organization
    alice: User

    @property
    def parameters(self) -> dict[str, Any]:
        return {"organization": self.alpha.id, "user": self.alice.pk}


def make_world() -> World:
    """Two organizations with the same agent, of which one is the verified owner, and an agent of each alone."""
    alice, bob, charlie = (make_user(f"{name}@example.org", name) for name in ("alice", "bob", "charlie"))
    alpha, omega = create_organization(name="Alpha", by=alice), create_organization(name="Omega", by=charlie)
    add_member(alpha, bob, Role.MEMBER)
    evidence = Evidence(request={"method": "ping"}, response={"result": {}})
    for organization, owner in ((alpha, alice), (omega, charlie)):
        own_url = f"https://{organization.slug}.example/mcp"
        contexts = [make_context(organization, verified=organization is alpha), make_context(organization, own_url)]
        invite(organization=organization, email="dana@example.org", role=Role.MEMBER, by=owner)
        request_owner_test(organization=organization, context_id=contexts[0].pk, by=owner)
        make_grant(make_credential(organization, owner), contexts[0], owner)
        assert use_credential(attempt(organization)) is not None
        make_due(make_monitor(organization, contexts[0], owner))
        _make_runner_with_a_rejected_report(organization, contexts[1], owner)
        make_run(organization=organization, report=make_report("failed", evidence=evidence))
        skip_heartbeat(own_url)
        make_run(agent_url=own_url, report=make_report("passed", evidence=evidence))
        make_run(
            report=make_report("passed", evidence=evidence),
            credential=UsedCredential(organization.id, uuid7(), "staging key"),
        )
    make_run(report=make_report("failed", evidence=evidence))
    assert create_due_heartbeats() == 3
    take_delivery(source="registry", delivery_id="msg_1", kind="agent.deployed", agent_url="https://unknown.example/")
    assert create_due_monitor_jobs() == {"allowed": 2}
    return World(alpha, omega, alice)


def _make_runner_with_a_rejected_report(organization: Organization, context: AgentContext, owner: User) -> None:
    lab = make_runner(organization, owner)
    ask(organization, context, owner, lab.placement())
    [lease] = lab.poll()
    assert lab.complete(lease, report={"no": "report"}).status_code == 400
    with organization_scope(organization.id):
        publish(
            Event(
                organization_id=organization.id, subject="runner", subject_id=lab.runner.pk, text="Hello", occasion="1"
            )
        )


@pytest.fixture(scope="module")
def made(django_db_setup: None, django_db_blocker: Any, superuser: psycopg.Connection[Any]) -> Iterator[World]:
    """The rows for all tests of this module, committed once: each test undoes what it changes."""
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("compliance.celery.app.send_task", lambda name, args: None)
        yield make_world()
        connections.close_all()
    empty_tables(superuser)


@pytest.fixture
def world(made: World, db: None) -> World:
    return made


SCOPES: dict[str, Callable[[World], AbstractContextManager[None]]] = {
    "organization": lambda world: organization_scope(world.alpha.id),
    "user": lambda world: user_scope(world.alice.pk),
    "platform": lambda world: platform_scope(),
    "none": lambda world: nullcontext(),
}


@contextmanager
def undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def query(statement: str, parameters: Any = None) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [row[0] for row in cursor.fetchall()]


def execute(statement: str, parameters: Any = None) -> int:
    """How many rows the statement touched; it is undone."""
    with undone(), connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.rowcount


def execute_and_keep(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def rows(world: World, table: str, condition: str) -> list[str]:
    """With staff's eyes: the rows of which the condition is true, as JSON."""
    statement = f"SELECT to_jsonb(t)::text FROM {table} t WHERE {condition} ORDER BY 1"
    if table in NOT_FOR_STAFF:
        found = []
        for organization in (world.alpha, world.omega):
            with organization_scope(organization.id):
                found += query(statement, world.parameters)
        return sorted(found)
    with system_scope(by=Actor.system("tests"), reason="compare"):
        return query(statement, world.parameters)


def with_policies(superuser: psycopg.Connection[Any]) -> set[str]:
    found = superuser.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')"
        " AND NOT relispartition AND (relrowsecurity OR relkind = 'v')"
    )
    return {row[0] for row in found}


def test_no_table_is_forgotten_here(db: None, superuser: psycopg.Connection[Any]) -> None:  # I1
    assert with_policies(superuser) == set(TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_a_scope_shows_its_rows_and_no_others(world: World, table: str) -> None:  # I1
    for scope, opened in SCOPES.items():
        with opened(world):
            seen = query(f"SELECT to_jsonb(t)::text FROM {table} t ORDER BY 1")
        assert seen == rows(world, table, READ[scope].get(table, NOTHING)), scope


@pytest.mark.parametrize("table", READ["organization"])
def test_each_table_has_rows_of_one_organization_and_of_another(world: World, table: str) -> None:
    """Without this, the tests above and below could pass on rows that are all alike."""
    mine = rows(world, table, READ["organization"][table])
    assert 0 < len(mine) < len(rows(world, table, EVERYTHING))


def copy_into(table: str, row: str, **changes: Any) -> tuple[str, list[str]]:
    """The statement that inserts the row once more, and its parameters."""
    columns = ", ".join(
        query(
            "SELECT column_name::text FROM information_schema.columns WHERE table_name = %s AND is_generated = 'NEVER'",
            [table],
        )
    )
    text = json.dumps({**json.loads(row), **changes})
    return f"INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::{table}, %s)", [text]


@pytest.mark.parametrize("table", INSERTED)
def test_a_scope_takes_its_rows_and_no_others(world: World, table: str) -> None:  # I2
    """Each row there is, once more: a foreign one is stopped by the policy, one's own by its key alone."""
    # As a verified owner's, or with agents that are not seen, a trigger would stop it before the policy is asked.
    changes: dict[str, Any] = {"relation": "observer"} if table == "agent_contexts" else {}
    foreign = UNTRIED_BY_TRIGGERS.get(table, {})
    for scope, opened in SCOPES.items():
        own = rows(world, table, INSERT[scope].get(table, NOTHING))
        for row in rows(world, table, EVERYTHING):
            stopped_by = "duplicate key" if row in own else "violates row-level security policy"
            with opened(world), pytest.raises(DatabaseError, match=stopped_by):
                execute(*copy_into(table, row, **changes, **({} if row in own else foreign)))


@pytest.mark.parametrize("table", ASSIGNMENTS)
def test_a_change_of_everything_changes_the_scopes_own_rows(world: World, table: str) -> None:  # I2
    for scope, opened in SCOPES.items():
        with opened(world):
            changed = execute(f"UPDATE {table} SET {ASSIGNMENTS[table]}")
        assert changed == len(rows(world, table, CHANGE[scope].get(table, NOTHING))), scope


@pytest.mark.parametrize("table", sorted(DELETABLE))
def test_a_deletion_of_everything_deletes_the_scopes_own_rows(world: World, table: str) -> None:  # I2
    for scope, opened in SCOPES.items():
        with opened(world), undone():
            if table == "organizations" and scope == "organization":
                # As delete_organization does: what is asked for goes before whoever was to run it.
                execute_and_keep("DELETE FROM compliance_jobs")
            deleted = execute(f"DELETE FROM {table}")
        assert deleted == len(rows(world, table, CHANGE[scope].get(table, NOTHING))), scope


def test_every_table_that_the_app_role_may_change_is_tried_above(
    db: None, superuser: psycopg.Connection[Any]
) -> None:  # I2
    for right, tried in (("INSERT", set(INSERTED)), ("UPDATE", set(ASSIGNMENTS)), ("DELETE", DELETABLE)):
        granted = superuser.execute(
            "SELECT t FROM unnest(%s::text[]) AS t WHERE has_any_column_privilege('assay_app', t, %s)"
            if right != "DELETE"
            else "SELECT t FROM unnest(%s::text[]) AS t WHERE has_table_privilege('assay_app', t, %s)",
            [sorted(with_policies(superuser)), right],
        )
        assert {row[0] for row in granted} == tried, right


@pytest.mark.parametrize(
    ("table", "assignment"),
    [
        ("organizations", "id = 'org_moved'"),
        ("memberships", "organization_id = %(other)s"),
        ("invitations", "organization_id = %(other)s"),
        ("compliance_jobs", "organization_id = %(other)s"),
        # A verified owner of one address is none of another.
        ("agents", "agent_url = 'https://victim.example/mcp'"),
    ],
)
def test_a_row_of_ones_own_is_not_moved_out_of_the_scope(world: World, table: str, assignment: str) -> None:  # I2
    with (
        organization_scope(world.alpha.id),
        pytest.raises(DatabaseError, match="violates row-level security policy"),
    ):
        execute(f"UPDATE {table} SET {assignment}", {"other": world.omega.id})


def test_a_run_of_a_verified_owner_is_taken_from_one_only(world: World) -> None:
    [row] = rows(world, "agent_compliance_runs", "triggered_org_id = %(organization)s AND executor_kind = 'hosted'")
    for url, stopped_by in ((AGENT_URL, "duplicate key"), ("https://alpha.example/mcp", "row-level security")):
        with organization_scope(world.alpha.id), pytest.raises(DatabaseError, match=stopped_by):
            execute(*copy_into("agent_compliance_runs", row, by_verified_owner=True, agent_url=url))


def test_each_policy_is_for_one_role_of_ours(db: None, superuser: psycopg.Connection[Any]) -> None:
    """A policy for everybody adds to each role's own: a staff policy without its role would open the table."""
    found = superuser.execute("SELECT tablename, policyname, roles::text FROM pg_policies").fetchall()
    assert len(found) > 25
    assert [row for row in found if row[2] not in ("{assay_app}", "{assay_staff}", "{assay_owner}")] == []


def test_the_owner_reaches_what_its_functions_need_and_no_more(
    world: World, superuser: psycopg.Connection[Any]
) -> None:  # I1
    """Functions run as the owner; a mistake in one must not reach what none of them is for."""
    with superuser.transaction(force_rollback=True):
        superuser.execute("SET LOCAL ROLE assay_owner")
        superuser.execute("SELECT set_config('app.organization_id', %s, true)", [world.alpha.id])
        superuser.execute("SELECT set_config('app.user_id', %s, true)", [str(world.alice.pk)])
        superuser.execute("SELECT set_config('app.platform', 'on', true)")
        seen = {
            table: superuser.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # type: ignore[index]
            for table in TABLES
        }
        assert {table for table, count in seen.items() if count} == {
            "agents",
            "agent_contexts",
            "agent_context_with_latest_test",  # a view: it shows what its reader sees
            "agent_status",
            "agent_run_totals",
            "compliance_jobs",
            "agent_compliance_runs",
            "credential_grants",
            "monitors",
            "runners",
            "api_keys",
        }
        # Of these only what heartbeat_credentials asks: verified owners, and what they granted for heartbeats.
        assert (seen["agent_contexts"], seen["credential_grants"]) == (1, 2)
        for table in (
            "organizations",
            "memberships",
            "invitations",
            "agent_contexts",
            "credentials",
            "credential_secrets",
            "credential_grants",
            "monitors",
            "runners",
            "notices",
            "api_keys",
        ):
            assert superuser.execute(f"UPDATE {table} SET {ASSIGNMENTS[table]}").rowcount == 0
            assert superuser.execute(f"DELETE FROM {table}").rowcount == 0
        # Jobs may end without a run, and nothing else may happen to them.
        assert superuser.execute("DELETE FROM compliance_jobs").rowcount == 0
        for state in ("cancelled", "expired"):
            with superuser.transaction(force_rollback=True):
                ended = superuser.execute(f"UPDATE compliance_jobs SET state = '{state}' WHERE run_id IS NULL")
                assert ended.rowcount == 7
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            superuser.execute("UPDATE compliance_jobs SET progress = '{}'")
