"""The database roles and their rights, as SQL: for the embedded server and, printed, for any other."""

OWNER, APP, STAFF = "assay_owner", "assay_app", "assay_staff"

_NOT_POWERFUL = "NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION"

_ROLES = f"""\
DO $roles$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['{OWNER}', '{APP}', '{STAFF}'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I', wanted);
        END IF;
    END LOOP;
END
$roles$;
-- Migrates. Row level security binds even the owner, because every table forces it.
ALTER ROLE {OWNER} LOGIN INHERIT {_NOT_POWERFUL};
-- Web and workers. NOINHERIT: it has the rights of {STAFF} only after SET ROLE.
ALTER ROLE {APP} LOGIN NOINHERIT {_NOT_POWERFUL};
-- Has policies of its own; nobody logs in as it.
ALTER ROLE {STAFF} NOLOGIN INHERIT {_NOT_POWERFUL};
GRANT {STAFF} TO {APP};
"""

_DATABASE = f"""\
ALTER SCHEMA public OWNER TO {OWNER};
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO {APP}, {STAFF};
"""


def roles_sql() -> str:
    """Makes the three roles, or brings them back to these attributes. Sets no passwords. Needs PostgreSQL 15."""
    return _ROLES


def database_sql() -> str:
    """Rights inside one database; run it there, after `CREATE DATABASE … OWNER assay_owner`."""
    return _DATABASE
