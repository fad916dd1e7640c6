"""The tick: deciding about the monitors that are due, beside many that are not."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg
from django.db import connection
from django.test import override_settings

from benchmarks.databases import connect_superuser, make_database, use_database
from benchmarks.measure import Section, take_turns
from compliance.celery import app
from compliance.embedded.postgres import Postgres
from compliance.monitors.heartbeats import create_due_heartbeats
from compliance.monitors.metrics import read_figures
from compliance.monitors.tick import create_due_monitor_jobs

EACH = 20  # due, of one organization
GOAL_SECONDS = 1.5  # for a thousand due monitors
GOAL_SCRAPE_MS = 100  # all numbers of /metrics, with that many due
FLAT = 1.25  # how much longer the same may take beside a hundred times as many that are not due

_REGISTRY = """
CREATE FUNCTION bench_url(o bigint, a bigint) RETURNS text LANGUAGE sql IMMUTABLE RETURN
    'https://agent-' || a || '.org-' || o || '.example/mcp';
CREATE FUNCTION bench_monitor(i bigint) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN
    ('01900000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid;
INSERT INTO organizations (id, name, slug, created_at)
SELECT 'org_bench_' || o, 'Organization ' || o, 'organization-' || o, now()
FROM generate_series(0, %(orgs)s - 1) o;
INSERT INTO agents (agent_url, protocol, protocol_note, lifecycle_stage, heartbeat_interval_hours, opted_out, paused,
    registrations, next_heartbeat_at, created_at)
SELECT bench_url(o, a), 'mcp', '', 'production', 12, false, false, 1, now() + interval '1 day', now()
FROM generate_series(0, %(orgs)s - 1) o, generate_series(0, 39) a;
INSERT INTO agent_contexts (id, organization_id, agent_url, name, relation, created_at)
SELECT gen_random_uuid(), 'org_bench_' || o, bench_url(o, a), 'Agent number ' || a, 'observer', now()
FROM generate_series(0, %(orgs)s - 1) o, generate_series(0, 39) a;
ANALYZE;
"""

# The first ones become due, the others are due tomorrow; each organization has as many as any other.
_MONITORS = """
INSERT INTO monitors (id, organization_id, name, context_id, agent_url, suite_id, options, dry_run, credential_choice,
    interval_minutes, cron, timezone, anchor, state, state_reason, next_run_at, last_status, failures_in_a_row,
    created_at, created_by)
SELECT bench_monitor(i), c.organization_id, 'Monitor ' || i, c.id, c.agent_url,
    (SELECT id FROM suites WHERE slug = 'baseline'), '{}', false, 'automatic', 60, '', 'UTC',
    now() - interval '1 day', 'active', '', now() + interval '1 day' + i * interval '1 millisecond', '', 0, now(),
    'Mia Member'
FROM generate_series(0, %(count)s - 1) i
JOIN agent_contexts c ON c.organization_id = 'org_bench_' || i % %(among)s
    AND c.agent_url = bench_url(i % %(among)s, i / %(among)s % 40)
"""

_BECOME_DUE = """
TRUNCATE compliance_jobs, monitor_decisions CASCADE;
UPDATE monitors m SET state = 'active', next_run_at = now() - interval '1 minute' + i * interval '1 millisecond',
    deferred_until = NULL, waiting_since = NULL
FROM generate_series(0, %(due)s - 1) i WHERE m.id = bench_monitor(i);
"""


@dataclass
class _Rounds:
    seconds: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)  # processor time of the tick's process
    database: list[float] = field(default_factory=list)  # and of the server's process that it talks to

    def processor(self) -> list[float]:
        return [own + database for own, database in zip(self.own, self.database, strict=True)]


def measure(postgres: Postgres, *, due: int, sizes: list[int], rounds: int) -> Section:
    """due: how many monitors are due at once; sizes: how many beside them are not."""
    few, many, organizations = sizes[0], sizes[-1], due // EACH
    section = Section(
        f"The tick with {due:,} due monitors",
        f"Ticks, one after the other, until nothing is due: one process beside a durable database and a broker, which "
        f"gets the messages. The monitors are due in {organizations} organizations of {EACH} each, beside "
        f"{' and '.join(f'{size:,}' for size in sizes)} that are not; or all in one organization, where its caps are "
        "raised so that all may run, or are as they are by default, so that nearly all are refused. Medians of "
        f"{rounds} rounds that take turns. Processor time is of the tick and of the database's process that serves "
        "it: on a machine that does other things, it says more than the clock.",
    )
    for size in sizes:
        _load(postgres, _name(size), due + size, organizations)
    _load(postgres, _name(few, "_of_one"), due + few, organizations, among=1)
    raised = {
        "MONITOR_AGENT_CONCURRENCY": 2 * due,
        "MONITOR_ORGANIZATION_CONCURRENCY": 2 * due,
        "MONITOR_BUDGET_RUNS": 2 * due,
    }
    cases: dict[str, tuple[str, dict[str, int], str]] = {
        f"in {organizations} organizations, {size:,} not due": (_name(size), {}, "allowed") for size in sizes
    }
    cases["in one organization, all may run"] = (_name(few, "_of_one"), raised, "allowed")
    cases["in one organization, nearly all refused"] = (_name(few, "_of_one"), {}, "concurrency")
    measured = {name: _Rounds() for name in cases}
    for _ in range(rounds):
        for name, (database, caps, outcome) in cases.items():
            _become_due(postgres, database, due)
            with override_settings(**caps):
                _run(measured[name], due, outcome)
    for name, into in measured.items():
        section.at_most(f"1,000 due {name}", statistics.median(into.seconds) / due * 1000, GOAL_SECONDS, " s")
        own, database = (statistics.median(times) / due * 1000 for times in (into.own, into.database))
        section.add("the same, processor time", f"{own + database:.2f} s ({own:.2f} + {database:.2f})")
    first, last = (list(measured.values())[index] for index in (0, len(sizes) - 1))
    beside = f"{many:,} not due over {few:,}"
    section.at_most(f"{beside}, time", _ratio(last.seconds, first.seconds), FLAT)
    section.at_most(f"{beside}, processor time", _ratio(last.processor(), first.processor()), FLAT)
    _become_due(postgres, _name(many), due)
    scrape = take_turns({"scrape": read_figures}, rounds=20)["scrape"]
    section.at_most(f"the metrics beside {many:,} monitors", scrape.median * 1000, GOAL_SCRAPE_MS, " ms")
    _heartbeats(postgres, section, _name(few))
    connection.close()
    return section


def _ratio(over: list[float], under: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def _run(into: _Rounds, due: int, expected: str) -> None:
    app.control.purge()
    decided = 0
    server = _server()
    started, own, database = time.perf_counter(), time.process_time(), _processor(server)
    while counts := create_due_monitor_jobs():
        decided += counts.total()
        assert counts[expected], counts
    into.seconds.append(time.perf_counter() - started)
    into.own.append(time.process_time() - own)
    into.database.append(_processor(server) - database)
    assert decided == due, f"{decided} of {due} were decided about"


def _server() -> psutil.Process:
    """The database's process at the other end of our connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return psutil.Process(cursor.fetchone()[0])


def _processor(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _heartbeats(postgres: Postgres, section: Section, database: str) -> None:
    """All agents due at once: each tick takes a thousand, so the phase of monitors is not kept waiting."""
    with connect_superuser(postgres, database) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute("TRUNCATE compliance_jobs CASCADE")
        agents = superuser.execute("UPDATE agents SET next_heartbeat_at = now() - interval '1 minute'").rowcount
    use_database(database)
    server, found, seconds, processor = _server(), 0, [], []
    while True:
        started, used = time.perf_counter(), time.process_time() + _processor(server)
        created = create_due_heartbeats()
        if not created:
            break
        found += created
        seconds.append(time.perf_counter() - started)
        processor.append(time.process_time() + _processor(server) - used)
    assert found == agents, f"{found} of {agents} heartbeats were requested"
    section.at_most(f"a tick's 1,000 of {agents:,} due heartbeats, the slowest", max(seconds), GOAL_SECONDS, " s")
    section.add("the same, processor time", f"{max(processor):.2f} s")


def _name(beside: int, kind: str = "") -> str:
    return f"tick_{beside}{kind}"


def _load(postgres: Postgres, name: str, count: int, organizations: int, *, among: int | None = None) -> None:
    """among: how many of the organizations have the monitors; all, unless it is said."""
    make_database(postgres, name)
    with connect_superuser(postgres, name) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute("SET synchronous_commit = off")
        superuser.execute("SET maintenance_work_mem = '512MB'")
        superuser.execute(_filled(_REGISTRY, orgs=organizations))
        with _without_indexes(superuser):
            superuser.execute(_filled(_MONITORS, among=among or organizations, count=count))
        superuser.execute("VACUUM (ANALYZE) monitors, agent_contexts, agents, organizations")
        superuser.execute("CHECKPOINT")


@contextmanager
def _without_indexes(superuser: psycopg.Connection[Any]) -> Iterator[None]:
    """Build the indexes of monitors anew once the rows are there, which takes a fraction of keeping them."""
    indexes = superuser.execute(
        """
        SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
        WHERE indrelid = 'monitors'::regclass AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
        """
    ).fetchall()
    for name, _ in indexes:
        superuser.execute(f"DROP INDEX {name}".encode())
    yield
    for _, definition in indexes:
        superuser.execute(definition.encode())


def _become_due(postgres: Postgres, name: str, due: int) -> None:
    """The same again: no jobs, no decisions, and as many due as before. Django uses this database from here on."""
    connection.close()
    with connect_superuser(postgres, name) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute(_filled(_BECOME_DUE, due=due))
        superuser.execute("VACUUM (ANALYZE) monitors, compliance_jobs, monitor_decisions")
    use_database(name)


def _filled(statement: str, **numbers: int) -> bytes:
    for name, number in numbers.items():
        statement = statement.replace(f"%({name})s", str(number))
    return statement.encode()
