"""record_run, against bare inserts of the same rows in the same number of transactions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
from django.db import connection
from django.utils import timezone
from psycopg.types.json import Jsonb

from benchmarks.databases import connect_superuser, make_database, use_database
from benchmarks.measure import Sample, Section, ratio, take_turns
from compliance.embedded.postgres import Postgres
from compliance.engines.reports.model import Evidence, Report, Scenario, Step, Track, Verdict
from compliance.models import (
    Agent,
    AgentContext,
    LifecycleStage,
    Membership,
    Organization,
    Role,
    SuiteVersion,
    TriggeredBy,
    User,
)
from compliance.runs.recording import record_run
from compliance.tenancy.ids import uuid7
from compliance.tenancy.scope import Actor, organization_scope, platform_scope

STEPS = 30
GOAL = 0.5
DATABASE = "record"
AGENT_URL = "https://recorded.example/mcp"
ORGANIZATION = "org_recorded"
_EVIDENCE_COLUMNS = (
    "run_id, step_index, recorded_at, agent_url, organization_id, credential_organization_id, request, response,"
    " pointer"
)


def measure(postgres: Postgres, *, rounds: int) -> Section:
    section = Section(
        f"Recording a run of {STEPS} steps",
        f"record_run inside its scope, one transaction a run, evidence of about 500 bytes in each of {STEPS} steps; "
        "against psycopg inserting the same rows in one transaction a run, as a superuser whom no policy binds: the "
        "run prepared, the evidence by executemany (pipelined). Same tables: with the triggers, constraints and "
        "partitions of the record. Copies: plain tables made with LIKE … INCLUDING ALL, which have the indexes and "
        "checks and neither triggers nor partitions nor foreign keys. Durable: every commit waits for the disk. "
        "Not waiting: synchronous_commit is off on both sides, so that the disk hides nothing.",
    )
    make_database(postgres, DATABASE)
    use_database(DATABASE)
    _arrange()
    report = make_report()
    version = SuiteVersion.objects.get(suite__slug="baseline")
    with connect_superuser(postgres, DATABASE) as bare:
        bare.execute("CREATE SCHEMA copies")
        for table in ("agent_compliance_runs", "step_evidence"):
            bare.execute(f"CREATE TABLE copies.{table} (LIKE public.{table} INCLUDING ALL)".encode())
        bare.autocommit = False
        cases: dict[str, Callable[[], object]] = {}
        for trigger in (TriggeredBy.HEARTBEAT, TriggeredBy.OBSERVER_TEST):
            inserter = _Inserter(bare, _record(report, version, trigger))
            cases[f"record_run, {trigger.label}"] = _recording(report, version, trigger)
            cases[f"same tables, {trigger.label}"] = lambda of=inserter: of.insert("public")
            cases[f"copies, {trigger.label}"] = lambda of=inserter: of.insert("copies")
        for words, wait in (("durable", "on"), ("not waiting", "off")):
            statement = f"SET synchronous_commit = {wait}"
            bare.execute(statement.encode())
            bare.commit()
            with connection.cursor() as cursor:
                cursor.execute(statement)
            samples = take_turns(cases, rounds=rounds, warm_up=10)
            for trigger in (TriggeredBy.HEARTBEAT, TriggeredBy.OBSERVER_TEST):
                ours = samples[f"record_run, {trigger.label}"]
                section.add(f"record_run, {trigger.label}, {words}", _rate(ours))
                for tables in ("same tables", "copies"):
                    theirs = samples[f"{tables}, {trigger.label}"]
                    section.add(f"bare inserts, {tables}, {trigger.label}, {words}", _rate(theirs))
                    section.at_least(
                        f"record_run's rate over bare, {tables}, {trigger.label}, {words}", ratio(theirs, ours), GOAL
                    )
    connection.close()
    return section


def make_report() -> Report:
    """What the baseline engine brings back, in size and shape."""
    steps = tuple(
        Step(
            key=f"step-{number}",
            title=f"The schemas of tool number {number} are valid",
            verdict=Verdict.FAILED if number % 10 == 9 else Verdict.PASSED,
            expected="Both schemas are valid JSON Schema (2020-12 unless it names another), the input an object",
            actual="Valid",
            spec_url="https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool",
            duration_ms=4,
            evidence=Evidence(
                request={
                    "method": "POST",
                    "url": AGENT_URL,
                    "headers": {"accept": "application/json", "mcp-protocol-version": "2025-11-25"},
                    "body": {"jsonrpc": "2.0", "id": number, "method": "tools/list", "params": {}},
                },
                response={
                    "status": 200,
                    "headers": {"content-type": "application/json", "server": "uvicorn"},
                    "body": {"jsonrpc": "2.0", "id": number, "result": {"tools": [{"name": "search"}] * 6}},
                },
            ),
        )
        for number in range(STEPS)
    )
    scenarios = tuple(Scenario(f"mcp/part-{n}", f"Part {n}", steps[n * 10 : n * 10 + 10]) for n in range(STEPS // 10))
    return Report(
        engine="baseline",
        engine_version="1.0",
        suite="baseline",
        protocol="mcp",
        protocol_version="2025-11-25",
        tracks=(Track("protocol", "Protocol", scenarios),),
        duration_ms=420,
        observations={"latency_ms": 12, "server_name": "recorded", "server_version": "1.0", "tools": 30},
    )


def _arrange() -> None:
    user = User.objects.create_user(email="recorder@bench.example", password=None, name="Rhea Recorder")
    with organization_scope(ORGANIZATION):
        organization = Organization.objects.create(id=ORGANIZATION, name="Recorded", slug="recorded")
        Membership.objects.create(organization=organization, user=user, role=Role.OWNER)
        Agent.objects.bulk_create([Agent(agent_url=AGENT_URL)], ignore_conflicts=True)
        AgentContext.objects.create(organization=organization, agent_id=AGENT_URL, name="Recorded")


@contextmanager
def _scope(trigger: TriggeredBy) -> Iterator[None]:
    with platform_scope() if trigger == TriggeredBy.HEARTBEAT else organization_scope(ORGANIZATION):
        yield


def _record(report: Report, version: SuiteVersion, trigger: TriggeredBy) -> Any:
    heartbeat = trigger == TriggeredBy.HEARTBEAT
    with _scope(trigger):
        return record_run(
            report=report,
            agent_url=AGENT_URL,
            suite_version=version,
            triggered_by=trigger,
            by=Actor.system("heartbeat") if heartbeat else Actor("user", "1", "Rhea Recorder"),
            organization_id=None if heartbeat else ORGANIZATION,
            lifecycle_stage=LifecycleStage.PRODUCTION,
            requested_at=timezone.now(),
            job_id=uuid7(),
        ).pk


def _recording(report: Report, version: SuiteVersion, trigger: TriggeredBy) -> Callable[[], object]:
    return lambda: _record(report, version, trigger)


class _Inserter:
    """Inserts again and again the rows that record_run once wrote, under new keys and at new times."""

    def __init__(self, bare: psycopg.Connection[Any], run_id: Any) -> None:
        self.connection = bare
        cursor = bare.execute("SELECT * FROM agent_compliance_runs WHERE id = %s", [run_id])
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        row = cursor.fetchone()
        assert row is not None
        written = {name: value for name, value in zip(names, row, strict=True) if name != "moves_status"}
        self.columns, self.run = list(written), [_adapted(value) for value in written.values()]
        self.steps = bare.execute(
            f"SELECT {_EVIDENCE_COLUMNS} FROM step_evidence WHERE run_id = %s ORDER BY step_index".encode(), [run_id]
        ).fetchall()
        assert len(self.steps) == STEPS
        bare.commit()
        self.places = {name: self.columns.index(name) for name in ("id", "job_id", "tested_at", "recorded_at")}
        self.ticks = itertools.count(1)

    def insert(self, schema: str) -> None:
        key, now = uuid7(), timezone.now()
        run = list(self.run)
        run[self.places["id"]], run[self.places["job_id"]] = key, uuid7()
        run[self.places["tested_at"]] = run[self.places["recorded_at"]] = now + timedelta(microseconds=next(self.ticks))
        marks = ", ".join(["%s"] * len(run))
        evidence = [
            (key, index, now, url, organization, credential, Jsonb(request), Jsonb(response), pointer)
            for _, index, _, url, organization, credential, request, response, pointer in self.steps
        ]
        with self.connection.transaction(), self.connection.cursor() as cursor:
            insert_run = f"INSERT INTO {schema}.agent_compliance_runs ({', '.join(self.columns)}) VALUES ({marks})"
            cursor.execute(insert_run.encode(), run, prepare=True)
            insert_step = f"INSERT INTO {schema}.step_evidence ({_EVIDENCE_COLUMNS}) VALUES (%s{', %s' * 8})"
            cursor.executemany(insert_step.encode(), evidence)


def _adapted(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, dict | list) else value


def _rate(sample: Sample) -> str:
    return f"{1 / sample.median:,.0f}/s ({sample.median * 1000:.2f} ms)"
