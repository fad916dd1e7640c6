"""What the database does by itself for organizations and their API keys, as functions and triggers."""

from __future__ import annotations

from compliance.tenancy.database_roles import APP
from compliance.tenancy.schema import SQL, Function, Trigger

# Shared by all insert-only tables (schema.insert_only).
REFUSE_CHANGE = Function(
    name="refuse_change",
    returns="trigger",
    body=SQL(
        """
        BEGIN
            RAISE EXCEPTION '% is insert-only: % refused', TG_TABLE_NAME, TG_OP
                USING ERRCODE = 'insufficient_privilege';
        END;
        """
    ),
)

# R11: the runs of a deleted organization stay unreachable, because its key is never given out again.
NEVER_REUSE_KEY = Trigger(
    name="never_reuse_key",
    event="BEFORE INSERT OR DELETE",
    as_owner=True,
    body=SQL(
        """
        BEGIN
            IF TG_OP = 'DELETE' THEN
                INSERT INTO organization_tombstones (id) VALUES (OLD.id) ON CONFLICT DO NOTHING;
                RETURN OLD;
            END IF;
            IF EXISTS (SELECT 1 FROM organization_tombstones t WHERE t.id = NEW.id) THEN
                RAISE EXCEPTION 'organization % was deleted; its key cannot be used again', NEW.id
                    USING ERRCODE = 'unique_violation';
            END IF;
            RETURN NEW;
        END;
        """
    ),
)

GUARD_API_KEY = Trigger(
    name="guard_api_key",
    event="BEFORE UPDATE",
    body=SQL(
        """
        BEGIN
            IF (OLD.revoked_at IS NOT NULL AND (NEW.revoked_at, NEW.revoked_by)
                   IS DISTINCT FROM (OLD.revoked_at, OLD.revoked_by))
               OR (to_jsonb(NEW) - 'revoked_at' - 'revoked_by' - 'last_used_at')
                  <> (to_jsonb(OLD) - 'revoked_at' - 'revoked_by' - 'last_used_at') THEN
                RAISE EXCEPTION 'a key is revoked once and never changed' USING ERRCODE = 'insufficient_privilege';
            END IF;
            RETURN NEW;
        END;
        """
    ),
)

# Whose a key is, is not known before it is found: no scope is open yet.
FIND_API_KEY = Function(
    name="find_api_key",
    arguments="hash text",
    returns="TABLE(id uuid, "
    "organization_id varchar, "
    "name varchar, "
    "scopes text[], "
    "runner_id uuid, "
    "expires_at timestamptz, "
    "revoked_at timestamptz, "
    "last_used_at timestamptz)",
    language="sql STABLE",
    as_owner=True,
    callers=APP,
    body=SQL(
        """
        SELECT k.id, k.organization_id, k.name, k.scopes, k.runner_id, k.expires_at, k.revoked_at, k.last_used_at
        FROM api_keys k WHERE k.secret_hash = hash
        """
    ),
)
