"""What the database does by itself for agents, contexts and runners, as functions and triggers."""

from __future__ import annotations

from compliance.tenancy.database_roles import APP
from compliance.tenancy.schema import SQL, Function, Trigger

HEARTBEAT_SLOT = Function(
    name="heartbeat_slot",
    arguments="agent_url text, interval_hours integer, after timestamptz",
    returns="timestamptz",
    language="sql IMMUTABLE PARALLEL SAFE",
    callers="PUBLIC",
    inlined=True,
    body=SQL(
        """
        SELECT to_timestamp(offset_s + (floor((extract(epoch FROM after) - offset_s) / period_s) + 1) * period_s)
        FROM (SELECT interval_hours * 3600 AS period_s,
                     mod(mod(hashtextextended(agent_url, 0), interval_hours * 3600) + interval_hours * 3600,
                         interval_hours * 3600) AS offset_s) AS slots
        """
    ),
)

GUARD_CONTEXT = Trigger(
    name="guard_context",
    event="BEFORE INSERT OR UPDATE",
    body=SQL(
        """
        BEGIN
            IF NEW.relation = 'verified_owner' AND current_user = 'assay_app'
               AND (TG_OP = 'INSERT' OR OLD.relation <> 'verified_owner') THEN
                RAISE EXCEPTION 'only staff may mark a verified owner' USING ERRCODE = 'insufficient_privilege';
            END IF;
            IF TG_OP = 'UPDATE' AND (NEW.agent_url, NEW.organization_id) <> (OLD.agent_url, OLD.organization_id) THEN
                RAISE EXCEPTION 'a context keeps its agent and its organization'
                    USING ERRCODE = 'insufficient_privilege';
            END IF;
            RETURN NEW;
        END;
        """
    ),
)

COUNT_REGISTRATIONS = Trigger(
    name="count_registrations",
    event="AFTER INSERT OR DELETE",
    as_owner=True,
    body=SQL(
        """
        BEGIN
            IF TG_OP = 'INSERT' THEN
                UPDATE agents SET registrations = registrations + 1 WHERE agent_url = NEW.agent_url;
            ELSE
                UPDATE agents SET registrations = registrations - 1 WHERE agent_url = OLD.agent_url;
            END IF;
            RETURN NULL;
        END;
        """
    ),
)

# What is pinned to a runner or a pool names one that is there, and holds a share of its key until it is committed.
# Whose work is pinned declares the trigger.
GUARD_PIN = Function(
    name="guard_pin",
    returns="trigger",
    body=SQL(
        """
        BEGIN
            PERFORM 1 FROM runners r
            WHERE r.organization_id = NEW.organization_id AND r.state <> 'deleted'
                AND (r.id = NEW.runner_id OR (NEW.pool <> '' AND r.pool = NEW.pool))
            ORDER BY r.id FOR KEY SHARE;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'there is no such private runner' USING ERRCODE = 'foreign_key_violation';
            END IF;
            RETURN NEW;
        END;
        """
    ),
)

GUARD_RUNNER = Trigger(
    name="guard_runner",
    event="BEFORE UPDATE OF state, pool",
    body=SQL(
        """
        BEGIN
            IF OLD.state = 'deleted' THEN
                RAISE EXCEPTION 'a deleted runner stays as it is' USING ERRCODE = 'insufficient_privilege';
            END IF;
            -- Whoever works for it, or pins something to it, holds a share of its key: all of them are waited for.
            PERFORM 1 FROM runners r WHERE r.id = OLD.id FOR UPDATE;
            -- And of two that leave a pool at once, one waits for the other, and sees that it is the last.
            IF OLD.pool <> '' AND (NEW.state = 'deleted' OR NEW.pool <> OLD.pool) THEN
                PERFORM 1 FROM runners r
                WHERE r.organization_id = OLD.organization_id AND r.pool = OLD.pool AND r.id <> OLD.id
                    AND r.state <> 'deleted'
                ORDER BY r.id FOR KEY SHARE;
            END IF;
            RETURN NEW;
        END;
        """
    ),
)

RUNNERS_GONE = Function(
    name="runners_gone",
    arguments="notify_after interval, at_most integer",
    returns="TABLE(organization_id varchar)",
    language="plpgsql STABLE",
    as_owner=True,
    callers=APP,
    body=SQL(
        """
        #variable_conflict use_column
        BEGIN
            IF (notify_after >= interval '1 second') IS NOT TRUE THEN
                RAISE EXCEPTION 'notify_after must be 1 second or more, not %', notify_after;
            END IF;
            IF (at_most BETWEEN 1 AND 1000) IS NOT TRUE THEN
                RAISE EXCEPTION 'at_most must be 1 to 1000, not %', at_most;
            END IF;
            RETURN QUERY
                SELECT r.organization_id FROM runners r
                WHERE r.state = 'active' AND r.online_until < now() AND r.offline_notified_at IS NULL
                    AND r.last_seen_at < now() - notify_after
                ORDER BY r.online_until LIMIT at_most;
        END;
        """
    ),
)
