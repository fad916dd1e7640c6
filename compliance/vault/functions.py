"""What the database does by itself for credentials, as a function and a trigger."""

from __future__ import annotations

from compliance.tenancy.database_roles import APP
from compliance.tenancy.schema import SQL, Function, Trigger

GUARD_GRANT = Trigger(
    name="guard_grant",
    event="BEFORE INSERT OR UPDATE",
    body=SQL(
        """
        BEGIN
            IF TG_OP = 'UPDATE' THEN
                IF OLD.revoked_at IS NOT NULL OR NEW.revoked_at IS NULL
                   OR (to_jsonb(NEW) - 'revoked_at' - 'revoked_by')
                      <> (to_jsonb(OLD) - 'revoked_at' - 'revoked_by') THEN
                    RAISE EXCEPTION 'a grant is revoked once and never changed'
                        USING ERRCODE = 'insufficient_privilege';
                END IF;
            ELSIF EXISTS (SELECT 1 FROM unnest(NEW.context_ids) AS named(id) WHERE NOT EXISTS (
                    SELECT 1 FROM agent_contexts c WHERE c.id = named.id
                        AND c.organization_id = NEW.organization_id)) THEN
                RAISE EXCEPTION 'a grant names agents of its own organization' USING ERRCODE = 'insufficient_privilege';
            END IF;
            RETURN NEW;
        END;
        """
    ),
)

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
    body=SQL(
        """
        SELECT DISTINCT ON (c.agent_url) c.agent_url, g.organization_id, g.credential_id
        FROM agent_contexts c
        JOIN credential_grants g ON g.organization_id = c.organization_id AND c.id = ANY (g.context_ids)
        WHERE c.agent_url = ANY (urls) AND c.relation = 'verified_owner' AND g.for_heartbeats AND g.revoked_at IS NULL
            AND coalesce((SELECT current_setting('app.platform', true)), '') = 'on'
        ORDER BY c.agent_url, (g.expires_at > now()) DESC, g.created_at, g.id
        """
    ),
)
