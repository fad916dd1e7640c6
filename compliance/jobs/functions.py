"""What the database does by itself for the queue, as functions and triggers.

The functions run as the owner, past every policy: the bounds on what they may be asked are theirs and not the caller's.
"""

from __future__ import annotations

from compliance.tenancy.database_roles import APP, STAFF
from compliance.tenancy.schema import Function, Statement, Trigger

# What the cleanup looks for, and no more of it than is needed to open the right scope.
STALE_JOBS = Function(
    name="stale_jobs",
    arguments="dispatch_after interval, at_most integer",
    returns="TABLE(id uuid, organization_id varchar)",
    language="plpgsql STABLE",
    as_owner=True,
    callers=APP,
)

LAPSED_PRIVATE_JOBS = Function(
    name="lapsed_private_jobs",
    arguments="at_most integer",
    returns="TABLE(organization_id varchar)",
    language="plpgsql STABLE",
    as_owner=True,
    callers=APP,
)

EXPIRE_JOBS = Function(
    name="expire_jobs",
    arguments="at_most integer",
    returns="integer",
    as_owner=True,
    callers=APP,
)

# G3, G5: for each agent whose owner set how many tests it takes at once, how many more it takes. Of all organizations
# together, and kept from who else asks until the transaction ends.
FREE_OF_CAPPED = Function(
    name="free_of_capped",
    arguments="urls text[]",
    returns="TABLE(agent_url text, free integer)",
    as_owner=True,
    callers=APP,
)

# Which of these keys there is work for: those of runners and pools that wait.
WAITING_WORK = Function(
    name="waiting_work",
    arguments="keys text[]",
    returns="TABLE(key text)",
    language="sql STABLE",
    as_owner=True,
    callers=APP,
)

CANCEL_WITHOUT_AGENT = Trigger(
    name="cancel_jobs_without_agent",
    table="agent_contexts",
    event="AFTER DELETE",
    as_owner=True,
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
)

# Deleted with its job, and never by itself.
GUARD_REJECTED_REPORT = Trigger(name="guard_rejected_report", event="BEFORE DELETE")
