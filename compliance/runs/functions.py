"""What the database does by itself for the record: projections, the last-test view, partitions of evidence."""

from __future__ import annotations

from compliance.tenancy.database_roles import APP, STAFF
from compliance.tenancy.schema import SQL, Function, Statement, Trigger, View

# The status of one agent, asked of the record by index probes alone. Zero rows when no run moves its status.
STATUS_FROM_RUNS = Function(
    name="agent_status_from_runs",
    arguments="url text",
    returns="TABLE(status varchar, "
    "since timestamptz, "
    "last_run_id uuid, "
    "last_run_at timestamptz, "
    "last_passed_at timestamptz, "
    "last_failed_at timestamptz)",
    language="sql STABLE",
)

REFRESH_STATUS = Function(
    name="refresh_agent_status",
    arguments="url text",
    returns="void",
    as_owner=True,
)

# R9: compares the stored statuses with what the runs say; mend stores the latter.
REBUILD_STATUS = Function(
    name="rebuild_agent_status",
    arguments="mend boolean",
    returns="TABLE(agent_url text, stored jsonb, derived jsonb)",
    as_owner=True,
    callers=STAFF,
)

# How many runs were recorded, by trigger and verdict, for the metrics. A sequence counts without a lock; it may count a
# few too many after a crash of the database, and counts what is rolled back.
RUN_COUNTERS = Statement(
    name="run_counters",
    create=SQL.of("run_counters"),
    drop=SQL.of("drop_run_counters"),
)

PROJECT_RUN = Trigger(name="project_run", event="AFTER INSERT", as_owner=True)

# Partitions are tables of the owner, so what makes and drops them goes through these two.
ENSURE_PARTITIONS = Function(
    name="ensure_evidence_partitions",
    arguments="months_ahead integer",
    returns="integer",
    as_owner=True,
    callers=f"{APP}, {STAFF}",
)

DROP_EXPIRED = Function(
    name="drop_expired_evidence",
    arguments="keep_months integer",
    returns="integer",
    as_owner=True,
    callers=f"{APP}, {STAFF}",
)

# An agent's runs are mostly one organization's. Without knowing that, the planner expects a handful of rows where
# there are a hundred thousand, and sorts them instead of walking the index.
STATISTICS = Statement(
    name="runs_of_organization_and_agent",
    create=SQL.of("runs_of_organization_and_agent"),
    drop="DROP STATISTICS runs_of_organization_and_agent",
)

LAST_TEST_VIEW = View(name="agent_context_with_latest_test")
