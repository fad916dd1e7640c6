"""What the database does by itself for credentials, as a function and a trigger."""

from __future__ import annotations

from compliance.tenancy.database_roles import APP
from compliance.tenancy.schema import Function, Trigger

GUARD_GRANT = Trigger(name="guard_grant", event="BEFORE INSERT OR UPDATE")

# The one thing that the platform learns of the vault: for these agents, which credential their verified owner granted
# for heartbeats, if any. One that has expired is named when there is no other, so that its refusal is on record. The
# secret is then read, and the use written down, inside that organization's own scope.
HEARTBEAT_CREDENTIALS = Function(
    name="heartbeat_credentials",
    arguments="urls text[]",
    returns="TABLE(agent_url text, organization_id varchar, credential_id uuid)",
    language="sql STABLE",
    as_owner=True,
    callers=APP,
)
