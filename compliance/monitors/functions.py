"""What the database does by itself for monitors and the tick, as functions and triggers."""

from __future__ import annotations

from compliance.tenancy.database_roles import APP
from compliance.tenancy.schema import SQL, Function, Trigger

# A subquery for one value is asked of each monitor, by an index. NOT EXISTS may be made into a join, and is, by reading
# all jobs for each due monitor, while the database has not yet counted how many there are.
ORGANIZATIONS_DUE = Function(
    name="organizations_due",
    arguments="at_most integer",
    returns="TABLE(organization_id varchar)",
    language="plpgsql STABLE",
    as_owner=True,
    callers=APP,
    body=SQL(
        """
        #variable_conflict use_column
        BEGIN
            IF (at_most BETWEEN 1 AND 1000) IS NOT TRUE THEN
                RAISE EXCEPTION 'at_most must be 1 to 1000, not %', at_most;
            END IF;
            RETURN QUERY
                SELECT d.organization_id FROM (
                    SELECT m.organization_id, m.next_run_at FROM monitors m
                    WHERE m.state = 'active' AND m.next_run_at <= statement_timestamp()
                        AND (m.deferred_until IS NULL OR m.deferred_until <= statement_timestamp() OR EXISTS (
                            SELECT 1 FROM runners w WHERE w.organization_id = m.organization_id AND w.state = 'active'
                                AND w.online_until > statement_timestamp()
                                AND (w.id = m.runner_id OR (m.pool <> '' AND w.pool = m.pool))))
                        AND (SELECT r.id FROM compliance_jobs r
                            WHERE r.monitor_id = m.id AND r.state IN ('queued', 'leased') LIMIT 1) IS NULL
                    ORDER BY m.next_run_at, m.id LIMIT at_most
                ) d
                GROUP BY d.organization_id ORDER BY min(d.next_run_at), d.organization_id;
        END;
        """
    ),
)

# Insert-only for everybody but this function, and even it sees only what is old.
FORGET_DECISIONS = Function(
    name="forget_decisions",
    arguments="keep_days integer, at_most integer",
    returns="integer",
    as_owner=True,
    callers=APP,
    body=SQL(
        """
        DECLARE
            forgotten integer;
        BEGIN
            IF (keep_days BETWEEN 7 AND 3650) IS NOT TRUE THEN
                RAISE EXCEPTION 'keep_days must be 7 to 3650, not %', keep_days;
            END IF;
            IF (at_most BETWEEN 1 AND 10000) IS NOT TRUE THEN
                RAISE EXCEPTION 'at_most must be 1 to 10000, not %', at_most;
            END IF;
            PERFORM set_config('app.forgetting', 'on', true);
            DELETE FROM monitor_decisions d WHERE d.id IN (
                SELECT o.id FROM monitor_decisions o WHERE o.at < now() - make_interval(days => keep_days)
                ORDER BY o.at, o.id LIMIT at_most);
            GET DIAGNOSTICS forgotten = ROW_COUNT;
            PERFORM set_config('app.forgetting', '', true);
            RETURN forgotten;
        END;
        """
    ),
)

WORK_METRICS = Function(
    name="work_metrics",
    arguments="overdue_after interval",
    returns="TABLE(name text, label text, second_label text, value float8)",
    language="sql STABLE",
    as_owner=True,
    callers=APP,
    body=SQL(
        """
        SELECT 'due', 'monitors', '', count(*)::float8 FROM (
            SELECT FROM monitors m WHERE m.state = 'active' AND m.next_run_at <= statement_timestamp()
                AND (m.deferred_until IS NULL OR m.deferred_until <= statement_timestamp())
                AND NOT EXISTS (SELECT FROM compliance_jobs r
                    WHERE r.monitor_id = m.id AND r.state IN ('queued', 'leased'))
            LIMIT 100000) d
        UNION ALL
        SELECT 'due', 'heartbeats', '', count(*) FROM (
            SELECT FROM agents a WHERE a.registrations > 0 AND NOT a.paused AND NOT a.opted_out
                AND a.lifecycle_stage IN ('testing', 'production') AND a.next_heartbeat_at <= statement_timestamp()
                AND NOT EXISTS (SELECT FROM compliance_jobs r
                    WHERE r.agent_url = a.agent_url AND r.organization_id IS NULL AND r.state IN ('queued', 'leased'))
            LIMIT 100000) d
        UNION ALL
        SELECT 'overdue', 'monitors', '', count(*) FROM (
            SELECT FROM monitors m WHERE m.state = 'active' AND m.next_run_at <= statement_timestamp() - overdue_after
                AND m.executor_kind = 'hosted'
            LIMIT 100000) d
        UNION ALL
        SELECT 'overdue', 'heartbeats', '', count(*) FROM (
            SELECT FROM agents a WHERE a.registrations > 0 AND NOT a.paused AND NOT a.opted_out
                AND a.lifecycle_stage IN ('testing', 'production')
                AND a.next_heartbeat_at <= statement_timestamp() - overdue_after
            LIMIT 100000) d
        UNION ALL
        SELECT 'oldest_overdue', 'monitors', '',
            coalesce(extract(epoch FROM statement_timestamp() - min(m.next_run_at)), 0)
        FROM monitors m WHERE m.state = 'active' AND m.next_run_at <= statement_timestamp() - overdue_after
            AND m.executor_kind = 'hosted'
        UNION ALL
        SELECT 'oldest_overdue', 'heartbeats', '',
            coalesce(extract(epoch FROM statement_timestamp() - min(a.next_heartbeat_at)), 0)
        FROM agents a WHERE a.registrations > 0 AND NOT a.paused AND NOT a.opted_out
            AND a.lifecycle_stage IN ('testing', 'production')
            AND a.next_heartbeat_at <= statement_timestamp() - overdue_after
        UNION ALL
        SELECT 'jobs', r.state, r.triggered_by, count(*) FROM compliance_jobs r
        WHERE r.state IN ('queued', 'leased') GROUP BY r.state, r.triggered_by
        UNION ALL
        SELECT 'oldest_queued', '', '', coalesce(extract(epoch FROM statement_timestamp() - min(r.created_at)), 0)
        FROM compliance_jobs r WHERE r.state = 'queued'
        UNION ALL
        SELECT 'leases_run_out', '', '', CASE WHEN s.is_called THEN s.last_value ELSE 0 END FROM leases_run_out s
        UNION ALL
        SELECT 'runners', CASE WHEN w.online_until > statement_timestamp() THEN 'online' ELSE 'offline' END, '',
            count(*)
        FROM runners w WHERE w.state = 'active' GROUP BY 2
        UNION ALL
        SELECT 'runner_silent', '', '', coalesce(extract(epoch FROM statement_timestamp() - min(w.last_seen_at)), 0)
        FROM runners w WHERE w.state = 'active'
        UNION ALL
        SELECT c.name, c.label, '', c.value FROM tick_counters c
        UNION ALL
        SELECT 'tick_completed', p.name, '', extract(epoch FROM p.last_completed_at)
        FROM tick_phases p WHERE p.last_completed_at IS NOT NULL
        UNION ALL
        SELECT 'tick_duration', p.name, '', p.last_duration_ms / 1000.0 FROM tick_phases p
        WHERE p.last_duration_ms IS NOT NULL
        """
    ),
)

# L14: whoever pins a monitor to a pool holds a share of the key of each of its runners, and so does, by the trigger
# guard_runner that fires before this one, who deletes another one of them: either sees what the other did.
GUARD_PINNED_RUNNER = Trigger(
    name="guard_runner_of_monitors",
    table="runners",
    event="BEFORE UPDATE OF state, pool",
    body=SQL(
        """
        BEGIN
            IF NEW.state = 'deleted' AND EXISTS (
                SELECT 1 FROM monitors m WHERE m.runner_id = OLD.id AND m.state <> 'archived') THEN
                RAISE EXCEPTION 'monitors are pinned to this runner' USING ERRCODE = 'foreign_key_violation';
            END IF;
            IF OLD.pool <> '' AND (NEW.state = 'deleted' OR NEW.pool <> OLD.pool)
                AND NOT EXISTS (SELECT 1 FROM runners r
                    WHERE r.organization_id = OLD.organization_id AND r.pool = OLD.pool AND r.id <> OLD.id
                        AND r.state <> 'deleted')
                AND EXISTS (SELECT 1 FROM monitors m
                    WHERE m.organization_id = OLD.organization_id AND m.pool = OLD.pool AND m.state <> 'archived') THEN
                RAISE EXCEPTION 'monitors are pinned to the pool of which this is the last runner'
                    USING ERRCODE = 'foreign_key_violation';
            END IF;
            RETURN NEW;
        END;
        """
    ),
)

# L18: one write by whoever has the app role's password must not keep the dead-man switch quiet. When a phase began,
# completed or failed is now, and which there are, and since when, is not theirs to change.
GUARD_PHASE = Trigger(
    name="guard_phase",
    event="BEFORE INSERT OR UPDATE",
    body=SQL(
        """
        BEGIN
            IF NEW.name NOT IN ('heartbeats', 'monitors', 'runners') THEN
                RAISE EXCEPTION 'there is no such phase of the tick' USING ERRCODE = 'insufficient_privilege';
            END IF;
            IF TG_OP = 'UPDATE' AND (NEW.name, NEW.made_at) IS DISTINCT FROM (OLD.name, OLD.made_at)
                OR TG_OP = 'INSERT' AND NEW.made_at NOT IN (now(), statement_timestamp()) THEN
                RAISE EXCEPTION 'a phase of the tick stays as it was made' USING ERRCODE = 'insufficient_privilege';
            END IF;
            -- Of a row that is inserted, OLD is all NULL.
            IF NEW.last_started_at IS DISTINCT FROM OLD.last_started_at
                    AND NEW.last_started_at IS DISTINCT FROM statement_timestamp()
                OR NEW.last_completed_at IS DISTINCT FROM OLD.last_completed_at
                    AND NEW.last_completed_at IS DISTINCT FROM statement_timestamp()
                OR NEW.last_failed_at IS DISTINCT FROM OLD.last_failed_at
                    AND NEW.last_failed_at IS DISTINCT FROM statement_timestamp() THEN
                RAISE EXCEPTION 'what comes of a phase of the tick comes now' USING ERRCODE = 'insufficient_privilege';
            END IF;
            RETURN NEW;
        END;
        """
    ),
)
