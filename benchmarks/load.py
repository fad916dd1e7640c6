"""Fills a database with organizations, agents and any number of runs, in the order of time.

Every agent gets its runs scattered over the whole table, as they would arrive. Loaded with triggers
off and secondary indexes made afterwards; what the triggers would have kept is then derived in SQL.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import psycopg

from benchmarks.databases import connect_superuser, make_database, shape
from compliance.embedded.postgres import Postgres
from compliance.engines.reports.model import Scenario, Step, Track, Verdict

ORGANIZATIONS = 500
AGENTS = 40  # of each organization; the last one has the same URL in all of them
HEAVY_RUNS = 100_000  # of the measured organization's first agent, where the table has room for them
ORGANIZATION = "org_bench_0"  # the measured one
USER_EMAIL = "member@bench.example"
HEAVY_URL = "https://agent-0.org-0.example/mcp"

_CHUNK = 125_000

_REGISTRY = f"""
INSERT INTO users (password, is_superuser, email, name, is_staff, is_active, date_joined)
VALUES ('!', false, '{USER_EMAIL}', 'Mia Member', false, true, now());

INSERT INTO organizations (id, name, slug, created_at)
SELECT 'org_bench_' || o, 'Organization ' || o, 'organization-' || o, now()
FROM generate_series(0, {ORGANIZATIONS - 1}) o;

INSERT INTO memberships (organization_id, user_id, role, created_at)
SELECT '{ORGANIZATION}', id, 'member', now() FROM users;

INSERT INTO agents (agent_url, protocol, protocol_note, lifecycle_stage, heartbeat_interval_hours, opted_out, paused,
    registrations, next_heartbeat_at, created_at)
SELECT DISTINCT bench_url(o, a), 'mcp', '', 'production', 12, false, false, 1, now() + interval '1 day', now()
FROM generate_series(0, {ORGANIZATIONS - 1}) o, generate_series(0, {AGENTS - 1}) a;

INSERT INTO agent_contexts (id, organization_id, agent_url, name, relation, created_at)
SELECT uuidv7(), 'org_bench_' || o, bench_url(o, a), 'Agent number ' || a,
    CASE WHEN bench_owned(a) THEN 'verified_owner' ELSE 'observer' END, now()
FROM generate_series(0, {ORGANIZATIONS - 1}) o, generate_series(0, {AGENTS - 1}) a;

ANALYZE;
"""

_FUNCTIONS = f"""
CREATE FUNCTION bench_url(o bigint, a bigint) RETURNS text LANGUAGE sql IMMUTABLE RETURN
    CASE WHEN a = {AGENTS - 1} THEN 'https://shared.example/mcp'
         ELSE 'https://agent-' || a || '.org-' || o || '.example/mcp' END;
CREATE FUNCTION bench_owned(a bigint) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN a < {AGENTS // 2};
"""

# Which run falls to whom: one in `every` to the agent with the long history; of the first ten thousand one in ten to
# the measured organization, so that each of its agents has been tested at any size; the rest to all alike.
_RUNS = f"""
WITH numbered AS (
    SELECT i, hashint8extended(i, 7) & 9007199254740991 AS dice,
        now() - (%(total)s - i) * interval '6 seconds' - interval '1 minute' AS at
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) i
), fallen AS (
    SELECT *,
        CASE WHEN i %% %(every)s = 0 OR (i < 10000 AND i %% 10 = 1) THEN 0 ELSE dice %% {ORGANIZATIONS} END AS o,
        CASE WHEN i %% %(every)s = 0 THEN 0 WHEN i < 10000 AND i %% 10 = 1 THEN (i / 10) %% {AGENTS}
             ELSE dice / {ORGANIZATIONS} %% {AGENTS} END AS a,
        dice / 20000 %% 10 < 3 AS is_heartbeat,
        dice / 200000 %% 100 AS fate,
        dice / 20000000 %% 100 = 0 AS dry
    FROM numbered
), drawn AS (
    SELECT *, CASE WHEN fate < 85 THEN 'passing' WHEN fate < 95 THEN 'partial'
                   WHEN fate < 99 THEN 'failing' ELSE 'inconclusive' END AS status
    FROM fallen
)
INSERT INTO agent_compliance_runs (
    id, agent_url, triggered_by, triggered_org_id, actor_kind, actor_id, actor_name, executor_kind, executor_name,
    job_id, suite_version_id, engine, engine_version, protocol, protocol_version, dry_run, full_suite,
    by_verified_owner, lifecycle_stage, requested_at, tested_at, recorded_at, duration_ms, overall_status, headline,
    first_track, passed_count, failed_count, skipped_count, silent_count, not_applicable_count, not_tested_count,
    truncated, harness_error, tracks_json, observations, notices)
SELECT
    uuidv7(at - now()), bench_url(o, a),
    CASE WHEN is_heartbeat THEN 'heartbeat' WHEN bench_owned(a) THEN 'owner_test' ELSE 'observer_test' END,
    CASE WHEN NOT is_heartbeat THEN 'org_bench_' || o END,
    CASE WHEN is_heartbeat THEN 'system' ELSE 'user' END, '1',
    CASE WHEN is_heartbeat THEN 'heartbeat' ELSE 'Mia Member' END, 'hosted', '',
    uuidv7(at - now()), %(version)s, 'baseline', '1.0', 'mcp', '2025-11-25',
    dry AND NOT is_heartbeat, true, bench_owned(a) AND NOT is_heartbeat, 'production',
    at - interval '2 seconds', at, at, 100 + fate, status,
    CASE status WHEN 'passing' THEN 'All 18 checks passed'
        WHEN 'inconclusive' THEN 'Inconclusive: time ran out after 4 of 18 checks'
        ELSE 'Checks failed: Unknown tool is answered with an error and 2 more' END,
    'Protocol', 15, CASE WHEN fate < 85 THEN 0 ELSE 3 END, 0, 0, 3, 0,
    status = 'inconclusive', '', %(tracks)s::jsonb, '{{"latency_ms": 12, "server_name": "library"}}', '[]'
FROM drawn
"""

_DERIVED = """
INSERT INTO agent_run_totals (organization_id, agent_url, total)
SELECT triggered_org_id, agent_url, count(*) FROM agent_compliance_runs
WHERE triggered_org_id IS NOT NULL AND NOT dry_run AND overall_status <> 'inconclusive'
GROUP BY triggered_org_id, agent_url;
INSERT INTO agent_status (agent_url, status, since, last_run_id, last_run_at, last_passed_at, last_failed_at)
SELECT a.agent_url, s.* FROM agents a CROSS JOIN LATERAL agent_status_from_runs(a.agent_url) s;
UPDATE agents a SET registrations = (SELECT count(*) FROM agent_contexts c WHERE c.agent_url = a.agent_url);
"""


def database_name(runs: int) -> str:
    return f"runs_{runs}"


def load(postgres: Postgres, runs: int) -> float | None:
    """The database with that many runs; the seconds that it took, None when a kept one serves."""
    name = database_name(runs)
    with connect_superuser(postgres, "postgres") as connection:
        kept = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [name]
        ).fetchone()
        if kept and kept[0] == shape():
            return None
        # One checkpoint instead of one every few seconds while gigabytes are written.
        connection.execute("ALTER SYSTEM SET max_wal_size = '8GB'")
        connection.execute("ALTER SYSTEM SET checkpoint_timeout = '30min'")
        connection.execute("SELECT pg_reload_conf()")
    started = time.perf_counter()
    make_database(postgres, name)
    with connect_superuser(postgres, name) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(_FUNCTIONS.encode())
        connection.execute(_REGISTRY.encode())
        indexes = [
            row[0]
            for row in connection.execute(
                "SELECT indexdef FROM pg_indexes i WHERE tablename = 'agent_compliance_runs'"
                " AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conname = i.indexname)"
            )
        ]
        for definition in indexes:
            connection.execute(f"DROP INDEX {definition.split()[2]}".encode())
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda first: _insert(postgres, name, first, runs), range(0, runs, _CHUNK)))
        list(pool.map(lambda definition: _index(postgres, name, definition), indexes))
    with connect_superuser(postgres, name) as connection:
        connection.execute("SET work_mem = '256MB'")
        connection.execute("SET session_replication_role = replica")
        connection.execute("VACUUM (ANALYZE) agent_compliance_runs")
        connection.execute(_DERIVED.encode())
        connection.execute("VACUUM (ANALYZE) agent_run_totals, agent_status, agents, agent_contexts")
        connection.execute("CHECKPOINT")
        connection.execute(f"COMMENT ON DATABASE {name} IS '{shape()}'".encode())
    return time.perf_counter() - started


def _insert(postgres: Postgres, name: str, first: int, runs: int) -> None:
    with connect_superuser(postgres, name) as connection:
        connection.execute("SET session_replication_role = replica")
        version = connection.execute("SELECT current_version_id FROM suites WHERE slug = 'baseline'").fetchone()
        assert version is not None
        client = psycopg.ClientCursor(connection)
        client.execute(
            _RUNS,
            {
                "first": first,
                "last": min(first + _CHUNK, runs) - 1,
                "total": runs,
                "every": max(runs // HEAVY_RUNS, 10),
                "version": version[0],
                "tracks": _tracks(),
            },
        )


def _index(postgres: Postgres, name: str, definition: str) -> None:
    with connect_superuser(postgres, name) as connection:
        connection.execute("SET maintenance_work_mem = '1GB'")
        connection.execute("SET max_parallel_maintenance_workers = 0")
        connection.execute(definition.encode())


def _tracks() -> str:
    """What a short run stores: a few hundred bytes."""
    step = Step("tools", "The listing of tools can be read", Verdict.PASSED, "A valid list", "3 tools", "", 4)
    track = Track("protocol", "Protocol", (Scenario("mcp/listings", "Listings", (step, step)),))
    return json.dumps([asdict(track)])
