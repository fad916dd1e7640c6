"""What the database does by itself for monitors and the tick, as functions and triggers."""

from __future__ import annotations

from compliance.tenancy.database_roles import APP
from compliance.tenancy.schema import Function, Trigger

# A subquery for one value is asked of each monitor, by an index. NOT EXISTS may be made into a join, and is, by reading
# all jobs for each due monitor, while the database has not yet counted how many there are.
ORGANIZATIONS_DUE = Function(
    name="organizations_due",
    arguments="at_most integer",
    returns="TABLE(organization_id varchar)",
    language="plpgsql STABLE",
    as_owner=True,
    callers=APP,
)

# Insert-only for everybody but this function, and even it sees only what is old.
FORGET_DECISIONS = Function(
    name="forget_decisions",
    arguments="keep_days integer, at_most integer",
    returns="integer",
    as_owner=True,
    callers=APP,
)

WORK_METRICS = Function(
    name="work_metrics",
    arguments="overdue_after interval",
    returns="TABLE(name text, label text, second_label text, value float8)",
    language="sql STABLE",
    as_owner=True,
    callers=APP,
)

# L14: whoever places a monitor on a pool holds a share of the key of each of its runners, and so does, by the trigger
# guard_runner that fires before this one, who deletes another one of them: either sees what the other did.
GUARD_RUNNER_OF_MONITORS = Trigger(
    name="guard_runner_of_monitors",
    table="runners",
    event="BEFORE UPDATE OF state, pool",
)

# L18: one write by whoever has the app role's password must not keep the dead-man switch quiet. When a phase began,
# completed or failed is now, and which there are, and since when, is not theirs to change.
GUARD_PHASE = Trigger(name="guard_phase", event="BEFORE INSERT OR UPDATE")
