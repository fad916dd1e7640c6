"""Isolation: what the database itself refuses, whatever the code does."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction

from compliance.models import (
    Agent,
    AgentContext,
    AgentContextWithLatestTest,
    ComplianceRun,
    Credential,
    CredentialGrant,
    CredentialSecret,
    CredentialUse,
    HeartbeatDecision,
    Invitation,
    Job,
    Membership,
    Monitor,
    MonitorDecision,
    Organization,
    Relation,
    SystemScopeUse,
    User,
)
from compliance.monitors.actions import run_monitor_now
from compliance.runs.models import AgentRunTotal, AgentStatus, StepEvidence
from compliance.tenancy import scope
from compliance.tenancy.scope import Actor, ScopeError, organization_scope, platform_scope, system_scope, user_scope
from compliance.vault.use import use_credential
from tests.compliance.monitors.conftest import make_monitor, skip_heartbeat
from tests.compliance.vault.conftest import attempt, make_credential, make_grant
from tests.conftest import AGENT_URL, make_context, make_report, make_run

TENANT_MODELS = [
    Organization,
    Membership,
    Invitation,
    Agent,
    AgentContext,
    AgentStatus,
    AgentRunTotal,
    AgentContextWithLatestTest,
    Job,
    ComplianceRun,
    StepEvidence,
    Credential,
    CredentialSecret,
    CredentialGrant,
    CredentialUse,
    Monitor,
    MonitorDecision,
    HeartbeatDecision,
]
# Tables with no organization's data in them. A new table is either here, with a reason, or has policies.
GLOBAL_TABLES = {
    "users": "people; they belong to organizations by membership",
    "users_groups": "Django's permissions of staff",
    "users_user_permissions": "Django's permissions of staff",
    "auth_group": "Django's permissions of staff",
    "auth_group_permissions": "Django's permissions of staff",
    "auth_permission": "Django's permissions of staff",
    "django_admin_log": "what staff did",
    "django_content_type": "names of tables",
    "django_migrations": "names of migrations",
    "django_session": "sessions, found by their secret key",
    "account_emailaddress": "a person's addresses",
    "account_emailconfirmation": "a person's addresses",
    "mfa_authenticator": "a person's second factors",
    "suites": "published to everybody",
    "suite_versions": "published to everybody",
    "engine_health": "what workers can run",
    "tick_phases": "when the tick last came; of nobody",
    "tick_counters": "numbers over everybody",
    "system_scope_uses": "no right for the app role at all",
    "organization_tombstones": "no right for the app role at all",
}


@pytest.fixture
def filled(organization: Organization, context: AgentContext, other_context: AgentContext) -> Organization:
    """Something in every tenant table, for both organizations."""
    from compliance.engines.reports.model import Evidence
    from compliance.jobs.actions import request_owner_test
    from compliance.tenancy.actions import invite

    evidence = Evidence(request={"method": "ping"}, response={"result": {}})
    make_run(organization=organization, report=make_report("passed", evidence=evidence))
    make_run()
    alice = User.objects.get(email="alice@example.org")
    invite(organization=organization, email="dora@example.org", role="member", by=alice)
    request_owner_test(organization=organization, context_id=context.pk, by=alice)
    make_grant(make_credential(organization, alice), context, alice)
    use_credential(attempt(organization))
    monitor = make_monitor(organization, context, alice)
    run_monitor_now(organization=organization, monitor_id=monitor.pk, by=alice)
    skip_heartbeat(context.agent_id)
    return organization


def set_organization(value: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, %s, true)", [scope.ORGANIZATION_SETTING, value])


@pytest.mark.parametrize("value", [None, "", "org_nobody", "%", "' OR true --"])
@pytest.mark.parametrize("model", TENANT_MODELS)
def test_without_an_existing_organization_every_tenant_table_is_empty(
    filled: Organization, model: Any, value: str | None
) -> None:  # I1
    if value is not None:
        set_organization(value)
    assert model.objects.count() == 0


def test_the_filled_tables_are_not_empty_inside_the_scope(filled: Organization) -> None:
    """Without this, the test above would pass on empty tables."""
    with organization_scope(filled.id):
        assert [model.__name__ for model in TENANT_MODELS if model.objects.count() == 0] == []


def test_every_table_is_global_by_decision_or_forces_row_level_security(
    db: None, superuser: psycopg.Connection[Any]
) -> None:
    rows = superuser.execute(
        """
        SELECT c.relname, c.relkind, c.relrowsecurity AND c.relforcerowsecurity, c.relispartition,
            (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid),
            'security_invoker=true' = ANY (coalesce(c.reloptions, '{}'))
        FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        """
    ).fetchall()
    assert {row[0] for row in rows} >= {model._meta.db_table for model in TENANT_MODELS}
    unprotected = []
    for name, kind, forced, is_partition, policies, is_invoker in rows:
        if kind == "v":
            protected = is_invoker
        elif is_partition:
            protected = forced
        else:
            protected = name in GLOBAL_TABLES or (forced and policies > 0)
        if not protected:
            unprotected.append(name)
    assert unprotected == []


def test_the_settings_that_policies_read_are_the_ones_the_code_sets(
    db: None, superuser: psycopg.Connection[Any]
) -> None:  # I3
    read: set[str] = set()
    for using, check in superuser.execute("SELECT qual, with_check FROM pg_policies"):
        read |= set(re.findall(r"current_setting\('([^']+)'", f"{using} {check}"))
    assert read == {scope.ORGANIZATION_SETTING, scope.USER_SETTING, scope.PLATFORM_SETTING}


@pytest.mark.parametrize("role", ["assay_app", "assay_owner", "assay_staff"])
def test_no_role_of_ours_passes_row_level_security(superuser: psycopg.Connection[Any], role: str) -> None:
    row = superuser.execute("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    assert row == (False, False)


def test_the_app_role_owns_no_table(db: None, superuser: psycopg.Connection[Any]) -> None:
    owned = superuser.execute("SELECT relname FROM pg_class WHERE relowner = 'assay_app'::regrole").fetchall()
    assert owned == []


def test_the_app_role_cannot_mark_a_verified_owner(organization: Organization, context: AgentContext) -> None:
    with organization_scope(organization.id), pytest.raises(DatabaseError), transaction.atomic():
        AgentContext.objects.filter(pk=context.pk).update(relation=Relation.VERIFIED_OWNER)
    with organization_scope(organization.id), pytest.raises(DatabaseError), transaction.atomic():
        AgentContext.objects.filter(pk=context.pk).delete()
        AgentContext.objects.create(
            organization=organization, agent_id=AGENT_URL, name="n", relation=Relation.VERIFIED_OWNER
        )


def test_an_observer_cannot_change_how_the_agent_is_checked(organization: Organization, context: AgentContext) -> None:
    with organization_scope(organization.id):
        assert Agent.objects.filter(pk=AGENT_URL).update(paused=True) == 0


def test_an_agent_is_unseen_by_those_who_did_not_register_it(
    organization: Organization, other_organization: Organization
) -> None:
    make_context(organization, "https://secret.example/token-in-path")
    with organization_scope(other_organization.id):
        assert not Agent.objects.filter(agent_url__contains="secret.example").exists()


def current_settings() -> list[str | None]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting(%s, true), current_setting(%s, true), current_setting(%s, true),"
            " current_user::text",
            [scope.ORGANIZATION_SETTING, scope.USER_SETTING, scope.PLATFORM_SETTING],
        )
        return [value or None for value in cursor.fetchone()]


SCOPES = {
    "organization": lambda organization: organization_scope(organization.id),
    "user": lambda _: user_scope(1),
    "platform": lambda _: platform_scope(),
    "system": lambda _: system_scope(by=Actor.system("tests"), reason="test"),
}


@pytest.mark.parametrize("ending", ["commit", "exception", "database error"])
@pytest.mark.parametrize("name", SCOPES)
def test_nothing_of_a_scope_is_left_on_the_connection(committed_db: None, name: str, ending: str) -> None:  # I4
    organization = Organization(id="org_any")
    inside: list[list[str | None]] = []
    try:
        with SCOPES[name](organization):
            inside.append(current_settings())
            if ending == "exception":
                raise LookupError
            if ending == "database error":
                Organization.objects.raw("SELECT 1 / 0 AS id")[0]
    except (LookupError, DatabaseError):
        pass
    nothing = [None, None, None, "assay_app"]
    assert inside
    assert inside[0] != nothing
    assert current_settings() == nothing


@pytest.mark.parametrize("name", ["user", "system"])
def test_an_inner_scope_gives_the_outer_one_back(organization: Organization, name: str) -> None:  # I4
    with transaction.atomic(), SCOPES[name](organization):
        outer = current_settings()
        with organization_scope(organization.id):
            assert current_settings() != outer
        assert current_settings() == outer
        with pytest.raises(LookupError), organization_scope(organization.id):
            raise LookupError
        assert current_settings() == outer


def test_a_scope_of_another_organization_cannot_be_opened_inside_one(
    organization: Organization, other_organization: Organization
) -> None:
    with organization_scope(organization.id), pytest.raises(ScopeError), organization_scope(other_organization.id):
        pass


def test_a_scope_without_an_organization_is_refused(db: None) -> None:
    with pytest.raises(ScopeError), organization_scope(""):
        pass


def test_platform_scope_sees_no_row_of_an_organization(filled: Organization) -> None:
    with platform_scope():
        assert set(ComplianceRun.objects.values_list("triggered_org_id", flat=True)) == {None}
        assert Job.objects.count() == 0
        assert AgentContext.objects.count() == 0
        assert Organization.objects.count() == 0
        assert CredentialSecret.objects.count() == CredentialUse.objects.count() == 0
        assert StepEvidence.objects.count() == 0


def test_a_user_sees_own_memberships_and_no_one_elses(
    alice: User, charlie: User, organization: Organization, other_organization: Organization
) -> None:
    with user_scope(alice.pk):
        assert [membership.user_id for membership in Membership.objects.all()] == [alice.pk]
        assert list(Organization.objects.all()) == [organization]
        assert ComplianceRun.objects.count() == 0


def test_system_scope_sees_across_organizations_and_is_on_record(filled: Organization) -> None:  # I7
    with system_scope(by=Actor("user", "7", "Sam"), reason="support case 12", what="/staff/runs/"):
        assert Organization.objects.count() == 2
        use = SystemScopeUse.objects.latest("at")
    assert (use.actor_id, use.actor_name, use.reason, use.what) == ("7", "Sam", "support case 12", "/staff/runs/")


def test_system_scope_needs_a_reason(db: None) -> None:  # I7
    with pytest.raises(ScopeError), system_scope(by=Actor.system("tests"), reason="  "):
        pass


@pytest.mark.parametrize("change", ["UPDATE system_scope_uses SET reason = 'x'", "DELETE FROM system_scope_uses"])
def test_the_record_of_looks_cannot_be_changed(db: None, change: str) -> None:
    with (
        system_scope(by=Actor.system("tests"), reason="test"),
        pytest.raises(DatabaseError),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(change)


def test_the_app_role_has_no_staff_rights_until_it_takes_the_role(filled: Organization) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_has_role(current_user, 'assay_staff', 'USAGE')")
        assert cursor.fetchone() == (False,)


def test_nobody_but_the_owner_may_hang_our_functions_on_a_table(db: None, superuser: psycopg.Connection[Any]) -> None:
    """Trigger functions run as the owner; on a table of one's own they would write what one likes."""
    open_to_all = superuser.execute(
        "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace"
        " AND p.prorettype = 'trigger'::regtype"
        " AND (has_function_privilege('assay_app', p.oid, 'EXECUTE')"
        "      OR has_function_privilege('assay_staff', p.oid, 'EXECUTE'))"
    ).fetchall()
    assert open_to_all == []


def test_a_context_keeps_its_agent_and_its_organization(
    organization: Organization, other_organization: Organization, context: AgentContext
) -> None:
    make_context(organization, "https://another.example/mcp")
    for change in ({"agent_id": "https://another.example/other"}, {"organization_id": other_organization.id}):
        with (
            system_scope(by=Actor.system("tests"), reason="try"),
            pytest.raises(DatabaseError, match="keeps its agent"),
            transaction.atomic(),
        ):
            AgentContext.objects.filter(pk=context.pk).update(**change)
