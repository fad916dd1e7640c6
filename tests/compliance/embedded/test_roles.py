import psycopg
import pytest

from compliance.tenancy.database_roles import roles_sql
from tests.databases import create_database, drop_database

pytestmark = pytest.mark.processes


@pytest.fixture
def superuser(servers):
    with psycopg.connect(servers.postgres.superuser_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def database(servers):
    create_database(servers.postgres.superuser_url, "roles_test")
    yield "roles_test"
    drop_database(servers.postgres.superuser_url, "roles_test")


def test_the_roles_have_exactly_these_attributes(superuser):
    rows = superuser.execute(
        "SELECT rolname, rolcanlogin, rolinherit, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole, rolreplication"
        " FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY rolname"
    ).fetchall()
    assert rows == [
        ("assay_app", True, False, False, False, False, False, False),
        ("assay_owner", True, True, False, False, False, False, False),
        ("assay_staff", False, True, False, False, False, False, False),
        ("postgres", True, True, True, True, True, True, True),
    ]


def test_the_only_membership_is_that_app_may_become_staff(superuser):
    rows = superuser.execute(
        "SELECT roleid::regrole::text, member::regrole::text, inherit_option, set_option, admin_option"
        " FROM pg_auth_members WHERE member::regrole::text LIKE 'assay%' OR roleid::regrole::text LIKE 'assay%'"
    ).fetchall()
    assert rows == [("assay_staff", "assay_app", False, True, False)]


def test_the_sql_for_roles_mends_what_was_changed_and_names_no_password(superuser, servers):
    superuser.execute("ALTER ROLE assay_app INHERIT")
    superuser.execute("GRANT assay_staff TO assay_app WITH INHERIT TRUE")
    superuser.execute(roles_sql())
    test_the_roles_have_exactly_these_attributes(superuser)
    test_the_only_membership_is_that_app_may_become_staff(superuser)
    assert "PASSWORD" not in roles_sql()
    psycopg.connect(servers.postgres.app_url).close()


def test_app_has_the_rights_of_staff_only_after_set_role(servers, database):
    with psycopg.connect(servers.postgres.url("assay_owner", database), autocommit=True) as owner:
        owner.execute("CREATE TABLE secret (x int); GRANT SELECT ON secret TO assay_staff")
    with psycopg.connect(servers.postgres.url("assay_app", database), autocommit=True) as app:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("SELECT * FROM secret")
        app.execute("SET ROLE assay_staff")
        assert app.execute("SELECT * FROM secret").fetchall() == []


@pytest.mark.parametrize("statement", ["CREATE TABLE mine (x int)", "CREATE TEMP TABLE mine (x int)"])
def test_app_cannot_create_tables(servers, database, statement):
    refused = pytest.raises(psycopg.errors.InsufficientPrivilege)
    with psycopg.connect(servers.postgres.url("assay_app", database)) as app, refused:
        app.execute(statement)


def test_the_owner_role_owns_the_database_and_its_schema(servers, database):
    with psycopg.connect(servers.postgres.url("assay_owner", database)) as owner:
        row = owner.execute(
            "SELECT datdba::regrole::text, nspowner::regrole::text FROM pg_database, pg_namespace"
            " WHERE datname = current_database() AND nspname = 'public'"
        ).fetchone()
    assert row == ("assay_owner", "assay_owner")


def test_a_database_can_be_made_from_another_one(servers, database):
    with psycopg.connect(servers.postgres.url("assay_owner", database)) as owner:
        owner.execute("CREATE TABLE copied AS SELECT 7 AS x; GRANT SELECT ON copied TO assay_app")
    create_database(servers.postgres.superuser_url, "roles_copy", template=database)
    try:
        with psycopg.connect(servers.postgres.url("assay_app", "roles_copy")) as app:
            assert app.execute("SELECT x FROM copied").fetchone() == (7,)
    finally:
        drop_database(servers.postgres.superuser_url, "roles_copy")


def test_a_wrong_password_is_refused(servers):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(servers.postgres.app_url.replace("assay_app:", "assay_app:x"))
