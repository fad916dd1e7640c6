"""What the database does by itself for agents, contexts and runners, as functions and triggers."""

from __future__ import annotations

from compliance.tenancy.database_roles import APP
from compliance.tenancy.schema import Function, Trigger

HEARTBEAT_SLOT = Function(
    name="heartbeat_slot",
    arguments="agent_url text, interval_hours integer, after timestamptz",
    returns="timestamptz",
    language="sql IMMUTABLE PARALLEL SAFE",
    callers="PUBLIC",
    inlined=True,
)

GUARD_CONTEXT = Trigger(name="guard_context", event="BEFORE INSERT OR UPDATE")

COUNT_REGISTRATIONS = Trigger(name="count_registrations", event="AFTER INSERT OR DELETE", as_owner=True)

# What is placed on a runner or a pool names one that is there, and holds a share of its key until it is committed.
# Whose work is placed so declares the trigger.
GUARD_PIN = Function(
    name="guard_pin",
    returns="trigger",
)

GUARD_RUNNER = Trigger(name="guard_runner", event="BEFORE UPDATE OF state, pool")

RUNNERS_GONE = Function(
    name="runners_gone",
    arguments="notify_after interval, at_most integer",
    returns="TABLE(organization_id varchar)",
    language="plpgsql STABLE",
    as_owner=True,
    callers=APP,
)
