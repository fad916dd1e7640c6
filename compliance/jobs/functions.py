"""What the database does by itself for the queue, as functions and triggers.

The functions run as the owner, past every policy: the bounds on what they may be asked are theirs and not the caller's.
"""

from __future__ import annotations

from compliance.tenancy.database_roles import APP, STAFF
from compliance.tenancy.schema import SQL, Function, Statement, Trigger

# What the cleanup looks for, and no more of it than is needed to open the right scope.
STALE_JOBS = Function(
    name="stale_jobs",
    arguments="dispatch_after interval, at_most integer",
    returns="TABLE(id uuid, organization_id varchar)",
    language="plpgsql STABLE",
    as_owner=True,
    callers=APP,
    body=SQL(
        """
        #variable_conflict use_column
        BEGIN
            -- IS NOT TRUE, because a comparison with NULL is neither true nor false.
            IF (dispatch_after >= interval '1 second') IS NOT TRUE THEN
                RAISE EXCEPTION 'dispatch_after must be 1 second or more, not %', dispatch_after;
            END IF;
            IF (at_most BETWEEN 1 AND 1000) IS NOT TRUE THEN
                RAISE EXCEPTION 'at_most must be 1 to 1000, not %', at_most;
            END IF;
            RETURN QUERY
                SELECT r.id, r.organization_id FROM compliance_jobs r
                WHERE r.state IN ('queued', 'leased') AND r.executor_kind = 'hosted' AND r.expires_at > now()
                    AND ((r.state = 'queued' AND r.dispatched_at < now() - dispatch_after)
                         OR (r.state = 'leased' AND r.lease_expires_at < now()))
                ORDER BY r.created_at LIMIT at_most;
        END;
        """
    ),
)

LAPSED_PRIVATE_JOBS = Function(
    name="lapsed_private_jobs",
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
                SELECT r.organization_id FROM compliance_jobs r
                WHERE r.state IN ('queued', 'leased') AND r.executor_kind = 'private'
                    AND r.state = 'leased' AND r.lease_expires_at < now()
                ORDER BY r.created_at LIMIT at_most;
        END;
        """
    ),
)

EXPIRE_JOBS = Function(
    name="expire_jobs",
    arguments="at_most integer",
    returns="integer",
    as_owner=True,
    callers=APP,
    body=SQL(
        """
        DECLARE
            ended integer;
        BEGIN
            IF (at_most BETWEEN 1 AND 1000) IS NOT TRUE THEN
                RAISE EXCEPTION 'at_most must be 1 to 1000, not %', at_most;
            END IF;
            UPDATE compliance_jobs q
            SET state = 'expired', finished_at = now(), lease_token = NULL, lease_expires_at = NULL,
                end_reason = CASE
                    WHEN q.attempt > 0 THEN 'Whoever took it was lost, and nobody took it again in time.'
                    WHEN q.executor_kind = 'private' THEN 'No private runner took it in time.'
                    ELSE 'No worker took it in time.' END
            WHERE q.id IN (
                SELECT r.id FROM compliance_jobs r
                WHERE r.state IN ('queued', 'leased') AND r.expires_at <= now()
                    AND (r.state = 'queued' OR r.lease_expires_at < now())
                ORDER BY r.expires_at LIMIT at_most FOR UPDATE SKIP LOCKED);
            GET DIAGNOSTICS ended = ROW_COUNT;
            RETURN ended;
        END;
        """
    ),
)

# Which of these keys there is work for: those of runners and pools that wait.
WAITING_WORK = Function(
    name="waiting_work",
    arguments="keys text[]",
    returns="TABLE(key text)",
    language="sql STABLE",
    as_owner=True,
    callers=APP,
    body=SQL(
        """
        SELECT DISTINCT w.key FROM (
            SELECT CASE WHEN r.runner_id IS NOT NULL THEN 'runner:' || r.runner_id
                ELSE 'pool:' || r.organization_id || ':' || r.pool END AS key
            FROM compliance_jobs r
            WHERE r.state IN ('queued', 'leased') AND r.executor_kind = 'private' AND r.state = 'queued'
                AND r.expires_at > now()
        ) AS w
        WHERE w.key = ANY (keys)
        """
    ),
)

CANCEL_WITHOUT_AGENT = Trigger(
    name="cancel_jobs_without_agent",
    table="agent_contexts",
    event="AFTER DELETE",
    as_owner=True,
    body=SQL(
        """
        BEGIN
            -- Without the context the organization's work can no longer see the agent: it would wait for ever.
            UPDATE compliance_jobs
            SET state = 'cancelled', finished_at = now(), lease_token = NULL, lease_expires_at = NULL
            WHERE organization_id = OLD.organization_id AND agent_url = OLD.agent_url AND state IN ('queued', 'leased');
            RETURN NULL;
        END;
        """
    ),
)

# A sequence counts without a lock, so that nobody who takes over a lease waits for somebody else who does.
LEASES_RUN_OUT = Statement(
    name="leases_run_out",
    create=f"CREATE SEQUENCE leases_run_out; REVOKE ALL ON SEQUENCE leases_run_out FROM PUBLIC, {APP}, {STAFF}",
    drop="DROP SEQUENCE leases_run_out",
)
COUNT_LEASE_RUN_OUT = Trigger(
    name="count_lease_run_out",
    event="AFTER UPDATE OF lease_token",
    condition=(
        "OLD.state = 'leased' AND NEW.lease_token IS DISTINCT FROM OLD.lease_token"
        " AND OLD.lease_expires_at < statement_timestamp()"
    ),
    as_owner=True,
    body=SQL(
        """
        BEGIN
            PERFORM nextval('leases_run_out');
            RETURN NULL;
        END;
        """
    ),
)

# Deleted with its job, and never by itself.
GUARD_REJECTED_REPORT = Trigger(
    name="guard_rejected_report",
    event="BEFORE DELETE",
    body=SQL(
        """
        BEGIN
            IF EXISTS (SELECT 1 FROM compliance_jobs r WHERE r.id = OLD.job_id) THEN
                RAISE EXCEPTION 'rejected_reports is insert-only: DELETE refused'
                    USING ERRCODE = 'insufficient_privilege';
            END IF;
            RETURN OLD;
        END;
        """
    ),
)
