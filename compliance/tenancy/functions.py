"""What the database does by itself for organizations and their API keys, as functions and triggers."""

from __future__ import annotations

from compliance.tenancy.database_roles import APP
from compliance.tenancy.schema import Function, Trigger

# Shared by all insert-only tables (schema.insert_only).
REFUSE_CHANGE = Function(
    name="refuse_change",
    returns="trigger",
)

# R11: the runs of a deleted organization stay unreachable, because its key is never given out again.
NEVER_REUSE_KEY = Trigger(name="never_reuse_key", event="BEFORE INSERT OR DELETE", as_owner=True)

GUARD_API_KEY = Trigger(name="guard_api_key", event="BEFORE UPDATE")

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
)
