"""Fixtures: a real PostgreSQL with the three roles, people, organizations, agents and runs.

Alice owns the organization, Bob is a member of it, Charlie owns another one that has the same agent.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import hypothesis
import psycopg
import pytest
from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from compliance.engines.reports.model import Evidence, Report, Scenario, Step, Track, Verdict
from compliance.models import (
    Agent,
    AgentContext,
    ComplianceRun,
    LifecycleStage,
    Membership,
    Organization,
    Relation,
    Role,
    SuiteVersion,
    TriggeredBy,
    User,
)
from compliance.runs.models import BY_ORGANIZATION
from compliance.runs.recording import record_run
from compliance.suites.actions import publish, publish_engine_suites
from compliance.tenancy.actions import create_organization
from compliance.tenancy.scope import Actor, organization_scope, platform_scope, system_scope
from tests.services_plugin import DATABASE

# A busy machine is no failure: how long a property takes to try is not what it says.
hypothesis.settings.register_profile(
    "assay", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("assay")

SUPERUSER_URL = os.environ["DATABASE_SUPERUSER_URL"]
AGENT_URL = "https://agent.example/mcp"
PASSWORD = "correct-horse-battery"

# What a test that commits leaves behind and must not leave to the next.
_KEPT_TABLES = {"django_migrations", "django_content_type", "auth_permission", "suites", "suite_versions"}


# What a test needs beyond PostgreSQL and Redis, by its folder. Elsewhere a module or a test is marked itself.
_MARKED_FOLDERS = {"browser": ("browser", "processes"), "chaos": ("chaos",)}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(config.rootpath / "tests").parts[0]
        for name in _MARKED_FOLDERS.get(folder, ()):
            item.add_marker(name)
    if "not processes" in config.option.markexpr:
        subprocess.Popen.__init__ = _refuse_to_start  # type: ignore[method-assign]


def _refuse_to_start(*args: Any, **kwargs: Any) -> None:
    pytest.fail("A test that starts a program is marked with pytest.mark.processes.")


def pytest_configure() -> None:
    settings.WHITENOISE_AUTOREFRESH = True  # nothing is collected for tests
    settings.PASSWORD_HASHERS = [  # a quick one for the fixtures; the real one for what other processes store
        "django.contrib.auth.hashers.MD5PasswordHasher",
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    ]
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }


@pytest.fixture(scope="session")
def superuser() -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection to this process's test database: to arrange what the app role may not."""
    with psycopg.connect(SUPERUSER_URL, dbname=DATABASE, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: Any) -> Iterator[None]:
    from tests.databases import create_database, drop_database

    drop_database(SUPERUSER_URL, DATABASE)
    create_database(SUPERUSER_URL, DATABASE)
    with django_db_blocker.unblock():
        call_command("migrate", verbosity=0)
        connections["owner"].close()
        publish_engine_suites(by=Actor.system("tests"))
        with connection.cursor() as cursor:
            cursor.execute("SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
            assert cursor.fetchone() == ("assay_app", False, False), "tests must run as the app role"
        connection.close()
    yield
    with django_db_blocker.unblock():
        connections.close_all()
    drop_database(SUPERUSER_URL, DATABASE)


@pytest.fixture
def committed_db(django_db_setup: None, django_db_blocker: Any, superuser: psycopg.Connection[Any]) -> Iterator[None]:
    """The database without a surrounding transaction, for what other processes must see; emptied afterwards."""
    with django_db_blocker.unblock():
        yield
        connections.close_all()
    empty_tables(superuser)


def empty_tables(superuser: psycopg.Connection[Any]) -> None:
    """Remove what tests committed."""
    tables = [
        row[0]
        for row in superuser.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'p') AND NOT relispartition"
        )
        if row[0] not in _KEPT_TABLES
    ]
    with superuser.transaction():
        # The record refuses DELETE by trigger; only a superuser in this mode passes it.
        superuser.execute("SET LOCAL session_replication_role = replica")
        # Who writes yet is waited for. TRUNCATE would do so by itself, and takes ten times as long for a few rows.
        superuser.execute(f"LOCK TABLE {', '.join(tables)} IN SHARE ROW EXCLUSIVE MODE")
        for table in tables:
            superuser.execute(f"DELETE FROM {table}")


def make_user(email: str, name: str, **fields: Any) -> User:
    return User.objects.create_user(email=email, password=PASSWORD, name=name, **fields)


def confirm_address(user: User) -> User:
    """As if they had opened the link in the e-mail that asks whether the address is theirs."""
    EmailAddress.objects.update_or_create(user=user, email=user.email, defaults={"verified": True, "primary": True})
    return user


@pytest.fixture
def alice(db: None) -> User:
    return make_user("alice@example.org", "Alice Owner")


@pytest.fixture
def bob(db: None) -> User:
    return make_user("bob@example.org", "Bob Member")


@pytest.fixture
def charlie(db: None) -> User:
    return make_user("charlie@example.com", "Charlie Stranger")


@pytest.fixture
def staff_user(db: None) -> User:
    return make_user("sam@assay.example", "Sam Staff", is_staff=True, is_superuser=True)


def add_member(organization: Organization, user: User, role: str) -> Membership:
    with organization_scope(organization.id):
        return Membership.objects.create(organization=organization, user=user, role=role)


@pytest.fixture
def organization(alice: User, bob: User) -> Organization:
    """Alice's organization, with Bob as a member."""
    organization = create_organization(name="Alpha", by=alice, slug="alpha")
    add_member(organization, bob, Role.MEMBER)
    return organization


@pytest.fixture
def other_organization(charlie: User) -> Organization:
    """Charlie's organization."""
    return create_organization(name="Omega", by=charlie, slug="omega")


def make_context(
    organization: Organization, agent_url: str = AGENT_URL, *, name: str = "Agent", verified: bool = False
) -> AgentContext:
    """Register an agent with an organization; `verified` as staff would mark it."""
    with organization_scope(organization.id):
        Agent.objects.bulk_create([Agent(agent_url=agent_url)], ignore_conflicts=True)
        context = AgentContext.objects.create(organization=organization, agent_id=agent_url, name=name)
    if verified:
        with system_scope(by=Actor.system("tests"), reason="arrange a verified owner"):
            context.relation = Relation.VERIFIED_OWNER
            context.save(update_fields=["relation"])
    return context


@pytest.fixture
def context(organization: Organization) -> AgentContext:
    """The shared agent, as Alice's organization has it (observer)."""
    return make_context(organization, name="Alpha's agent")


@pytest.fixture
def other_context(other_organization: Organization) -> AgentContext:
    """The same agent, as Charlie's organization has it (observer)."""
    return make_context(other_organization, name="Omega's agent")


def make_report(
    *verdicts: str, evidence: Evidence | None = None, truncated: bool = False, harness_error: str = ""
) -> Report:
    """A report with one step for each verdict; passing when none is given."""
    steps = tuple(
        Step(
            key=f"step-{index}",
            title=f"Check {index}",
            verdict=Verdict(verdict),
            expected="this",
            actual="that",
            evidence=evidence,
        )
        for index, verdict in enumerate(verdicts or ("passed",))
    )
    return Report(
        engine="baseline",
        engine_version="1.0",
        suite="baseline",
        protocol="mcp",
        protocol_version="2025-06-18",
        tracks=(Track("protocol", "Protocol", (Scenario("protocol/basic", "Basics", steps),)),),
        duration_ms=120,
        truncated=truncated,
        harness_error=harness_error,
    )


def make_run(
    *verdicts: str,
    organization: Organization | None = None,
    agent_url: str = AGENT_URL,
    triggered_by: str | None = None,
    tested_at: datetime | None = None,
    report: Report | None = None,
    by: Actor | None = None,
    **fields: Any,
) -> ComplianceRun:
    """Record a run: an observer test of `organization`, or a heartbeat when there is none."""
    triggered_by = triggered_by or (TriggeredBy.OBSERVER_TEST if organization else TriggeredBy.HEARTBEAT)
    assert (triggered_by in BY_ORGANIZATION) == (organization is not None)
    suite_version = SuiteVersion.objects.get(suite__slug="baseline")
    with organization_scope(organization.id) if organization else platform_scope():
        return record_run(
            report=report or make_report(*verdicts),
            agent_url=agent_url,
            suite_version=suite_version,
            triggered_by=triggered_by,
            by=by or (Actor("user", "1", "Alice Owner") if organization else Actor.system("heartbeat")),
            organization_id=organization.id if organization else None,
            lifecycle_stage=LifecycleStage.PRODUCTION,
            requested_at=tested_at or timezone.now(),
            tested_at=tested_at,
            **fields,
        )


@pytest.fixture
def log_in(client: Any) -> Callable[[User], Any]:
    """Sign a user in with the test client; returns the client."""

    def sign_in(user: User) -> Any:
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def arranging(superuser: psycopg.Connection[Any]) -> Iterator[None]:
    """What the database refuses everybody, and a test arranges in its own transaction."""
    superuser.execute(
        "CREATE FUNCTION arrange_phases(statement text, value text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER"
        " SET session_replication_role = replica"
        " AS 'BEGIN EXECUTE statement USING value; END'"
    )
    yield
    superuser.execute("DROP FUNCTION arrange_phases")


NO_SCOPE = (
    "set_config('app.organization_id', '', true), set_config('app.user_id', '', true),"
    " set_config('app.platform', '', true)"
)


@pytest.fixture
def queries() -> Callable[[], Any]:
    """Counts what a page asks of the database, without the statements that only frame a transaction."""

    @contextmanager
    def counted() -> Iterator[list[str]]:
        asked: list[str] = []
        with CaptureQueriesContext(connection) as captured:
            yield asked
        frame = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")
        asked += [
            query["sql"]
            for query in captured.captured_queries
            # A test lies in a transaction of its own, to whose lack of a scope every scope of ours goes back;
            # outside of tests the COMMIT does that.
            if not query["sql"].startswith(frame) and NO_SCOPE not in query["sql"]
        ]

    return counted


def publish_suite(*, by: Actor, **suite: Any) -> SuiteVersion:
    """One suite, published beside those of the engines."""
    with system_scope(by=by, reason="publish a suite"):
        return publish(**suite)
