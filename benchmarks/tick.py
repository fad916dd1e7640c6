"""The tick: deciding about the monitors that are due, beside many that are not."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from django.db import connection
from django.test import override_settings

from benchmarks.databases import connect_superuser, make_database, use_database
from benchmarks.measure import Section, take_turns
from compliance.celery import app
from compliance.embedded.postgres import Postgres
from compliance.monitors.figures import read_figures
from compliance.monitors.heartbeats import request_due_heartbeats
from compliance.monitors.tick import request_due_monitors

EACH = 20  # due, of one organization
GOAL_SECONDS = 1.5  # for a thousand due monitors
GOAL_SCRAPE_MS = 100  # all numbers of /metrics, with that many due
FLAT = 1.25  # how much longer the same may take beside a hundred times as many that are not due

_REGISTRY = """
CREATE FUNCTION bench_url(o bigint, a bigint) RETURNS text LANGUAGE sql IMMUTABLE RETURN
    'https://agent-' || a || '.org-' || o || '.example/mcp';
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

# The first of them become due, the others are due tomorrow; each organization has as many as any other.
_MONITORS = """
INSERT INTO monitors (id, organization_id, name, context_id, agent_url, suite_id, options, dry_run, credential_choice,
    interval_minutes, cron, timezone, anchor, state, state_reason, next_run_at, last_status, failures_in_a_row,
    created_at, created_by)
SELECT gen_random_uuid(), c.organization_id, 'Monitor ' || i, c.id, c.agent_url,
    (SELECT id FROM suites WHERE slug = 'baseline'), '{}', false, 'automatic', 60, '', 'UTC',
    now() - interval '1 day', 'active', '', now() + interval '1 day' + i * interval '1 millisecond', '', 0, now(),
    'Mia Member'
FROM generate_series(0, %(count)s - 1) i
JOIN agent_contexts c ON c.organization_id = 'org_bench_' || i % %(orgs)s
    AND c.agent_url = bench_url(i % %(orgs)s, i / %(orgs)s % 40)
"""

_RESET = """
TRUNCATE compliance_requests, monitor_decisions CASCADE;
UPDATE monitors SET state = 'active', next_run_at = now() + interval '1 day' WHERE next_run_at < now() + '20 hours';
"""
_DUE_IN_ALL = """
UPDATE monitors m SET next_run_at = now() - d.n * interval '1 millisecond' FROM (
    SELECT id, n FROM (SELECT id, row_number() OVER (PARTITION BY organization_id) AS n FROM monitors) each
    WHERE n <= %(due)s / %(orgs)s
) d WHERE d.id = m.id
"""
_DUE_IN_ONE = """
UPDATE monitors m SET next_run_at = now() - interval '1 minute' WHERE id IN (
    SELECT id FROM monitors WHERE organization_id = 'org_bench_0' LIMIT %(due)s)
"""
_ALL_OF_ONE = """
UPDATE monitors m SET organization_id = 'org_bench_0', name = 'Moved ' || m.id, context_id = c.id,
    agent_url = c.agent_url
FROM (
    SELECT m.id, c.id AS context_id FROM monitors m, agent_contexts c
    WHERE c.organization_id = 'org_bench_0' AND c.agent_url = bench_url(0, abs(hashtext(m.id::text)) % 40)
) chosen JOIN agent_contexts c ON c.id = chosen.context_id WHERE chosen.id = m.id
"""


@dataclass
class _Rounds:
    seconds: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    ticks: int = 0

    def per_thousand(self, due: int) -> float:
        return statistics.median(self.seconds) / due * 1000


def measure(postgres: Postgres, *, due: int, sizes: list[int], rounds: int) -> Section:
    """due: how many monitors are due at once; sizes: how many there are altogether."""
    section = Section(
        f"The tick with {due:,} due monitors",
        f"Ticks, one after the other, until nothing is due: one process beside a durable database and a broker, which "
        f"gets the nudges. The monitors are due in {due // EACH} organizations of {EACH} each, "
        f"among {' and '.join(f'{size:,}' for size in sizes)} monitors altogether; or all in one organization, where "
        "its caps are raised so that all may run, or are as they are by default, so that nearly all are refused. "
        f"Medians of {rounds} rounds that take turns.",
    )
    few, many, organizations = sizes[0], sizes[-1], due // EACH
    for size in sizes:
        _load(postgres, _name(size), size, organizations)
    _load(postgres, _name(few, "_of_one"), few, organizations, of_one=True)
    cases: dict[str, tuple[str, str, dict[str, int], str]] = {
        f"in {organizations} organizations, {size:,} monitors": (_name(size), _DUE_IN_ALL, {}, "allowed")
        for size in sizes
    }
    raised = {
        "MONITOR_AGENT_CONCURRENCY": 2 * due,
        "MONITOR_ORGANIZATION_CONCURRENCY": 2 * due,
        "MONITOR_BUDGET_RUNS": 2 * due,
    }
    cases["in one organization, all may run"] = (_name(few, "_of_one"), _DUE_IN_ONE, raised, "allowed")
    cases["in one organization, nearly all refused"] = (_name(few, "_of_one"), _DUE_IN_ONE, {}, "concurrency")
    measured = {name: _Rounds() for name in cases}
    for number in range(rounds + 1):
        for name, (database, becomes_due, caps, outcome) in cases.items():
            _reset(postgres, database, becomes_due, due)
            use_database(database)
            with ExitStack() as stack:
                stack.enter_context(override_settings(**caps))
                into = measured[name] if number else _Rounds()  # the first round warms up
                _run(into, due, outcome)
    for name, into in measured.items():
        section.at_most(f"1,000 due {name}", into.per_thousand(due), GOAL_SECONDS, " s")
        section.add("the same, processor time of the tick", f"{statistics.median(into.own) / due * 1000:.2f} s")
    first, last = (list(measured)[index] for index in (0, len(sizes) - 1))
    section.at_most(
        f"{many:,} monitors over {few:,}",
        statistics.median(a / b for a, b in zip(measured[last].seconds, measured[first].seconds, strict=True)),
        FLAT,
    )
    use_database(_name(many))
    _reset(postgres, _name(many), _DUE_IN_ALL, due)
    scrape = take_turns({"scrape": read_figures}, rounds=20)["scrape"]
    section.at_most(f"the metrics beside {many:,} monitors", scrape.median * 1000, GOAL_SCRAPE_MS, " ms")
    _heartbeats(postgres, section, _name(few))
    connection.close()
    return section


def _run(into: _Rounds, due: int, expected: str) -> None:
    app.control.purge()
    decided = 0
    started, own = time.perf_counter(), time.process_time()
    while counts := request_due_monitors():
        decided += counts.total()
        into.ticks += 1
        assert counts[expected], counts
    into.seconds.append(time.perf_counter() - started)
    into.own.append(time.process_time() - own)
    assert decided == due, f"{decided} of {due} were decided about"


def _heartbeats(postgres: Postgres, section: Section, database: str) -> None:
    """All agents due at once: each tick takes a thousand, so the phase of monitors is not kept waiting."""
    with connect_superuser(postgres, database) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute("TRUNCATE compliance_requests CASCADE")
        agents = superuser.execute("UPDATE agents SET next_heartbeat_at = now() - interval '1 minute'").rowcount
    use_database(database)
    seconds, found, started = [], 0, time.perf_counter()
    while created := request_due_heartbeats():
        found += created
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
    assert found == agents, f"{found} of {agents} heartbeats were requested"
    section.at_most(f"a tick's 1,000 of {agents:,} due heartbeats, the slowest", max(seconds), GOAL_SECONDS, " s")


def _name(size: int, kind: str = "") -> str:
    return f"tick_{size}{kind}"


def _load(postgres: Postgres, name: str, count: int, organizations: int, *, of_one: bool = False) -> None:
    make_database(postgres, name)
    with connect_superuser(postgres, name) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute(_filled(_REGISTRY, orgs=organizations))
        superuser.execute(_filled(_MONITORS, orgs=organizations, count=count))
        if of_one:
            superuser.execute(_ALL_OF_ONE.encode())
        superuser.execute("VACUUM (ANALYZE) monitors, agent_contexts, agents, organizations")
        superuser.execute("CHECKPOINT")


def _reset(postgres: Postgres, name: str, becomes_due: str, due: int) -> None:
    connection.close()
    with connect_superuser(postgres, name) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute(_RESET.encode())
        superuser.execute(_filled(becomes_due, orgs=due // EACH, due=due))
        superuser.execute("VACUUM (ANALYZE) monitors, compliance_requests")


def _filled(statement: str, **numbers: int) -> bytes:
    for name, number in numbers.items():
        statement = statement.replace(f"%({name})s", str(number))
    return statement.encode()
