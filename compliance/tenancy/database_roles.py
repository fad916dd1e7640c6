"""The database roles and their rights, as SQL: for the embedded server and, printed, for any other."""

OWNER, APP, STAFF = "assay_owner", "assay_app", "assay_staff"

_ROLES = f"""\
DO $roles$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['{OWNER}', '{APP}', '{STAFF}'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I', wanted);
        END IF;
        -- New roles are neither; one that was made for something else may be, and would pass every policy.
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = wanted AND (rolsuper OR rolbypassrls)) THEN
            RAISE EXCEPTION 'role % is a superuser or passes row-level security: take that away first', wanted;
        END IF;
    END LOOP;
END
$roles$;
-- Migrates. Row level security binds even the owner, because every table forces it.
ALTER ROLE {OWNER} LOGIN INHERIT;
-- Web and workers. NOINHERIT: it has the rights of {STAFF} only after SET ROLE.
ALTER ROLE {APP} LOGIN NOINHERIT;
-- Has policies of its own; nobody logs in as it.
ALTER ROLE {STAFF} NOLOGIN INHERIT;
GRANT {STAFF} TO {APP};
-- From PostgreSQL 16 on it is the membership that says so, and one of old may say otherwise.
DO $membership$
BEGIN
    IF current_setting('server_version_num')::int >= 160000 THEN
        EXECUTE 'GRANT {STAFF} TO {APP} WITH INHERIT FALSE, SET TRUE';
    END IF;
END
$membership$;
"""  # noqa: S608 - the names are the constants above

_DATABASE = f"""\
ALTER SCHEMA public OWNER TO {OWNER};
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO {APP}, {STAFF};
DO $temporary$
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END
$temporary$;
"""


def roles_sql() -> str:
    """Makes the three roles, or brings them back to these attributes. Sets no passwords. Needs PostgreSQL 15."""
    return _ROLES


def database_sql() -> str:
    """Rights inside one database; run it there, after `CREATE DATABASE … OWNER assay_owner`."""
    return _DATABASE
