"""Jobs, locked, with what their lease and their end need of their agent and their suite version.

The statements are composed, and name states and kinds themselves: as parameters they would keep the database from
using its partial indexes in a plan that it keeps, and planning takes it ten times as long as answering.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection

from compliance.jobs.models import Job
from compliance.postgresql.trips import Statement, rows_of
from compliance.registry.models import Agent
from compliance.runs.reading import columns_of, row_of, width_of
from compliance.suites.models import Suite, SuiteVersion

# Not the version's whole definition: it has many kilobytes, and only an engine reads them.
_SELECT = """
    SELECT {columns}, a.agent_url, a.protocol, a.lifecycle_stage, v.id, v.version, v.engine, s.id, s.slug,
        v.definition -> 'options', v.definition -> 'full' IS DISTINCT FROM 'false'
    FROM compliance_jobs r
    JOIN agents a ON a.agent_url = r.agent_url
    JOIN suite_versions v ON v.id = r.suite_version_id
    JOIN suites s ON s.id = v.suite_id
"""
# By the database's clock, as all that is about leases: those of web and worker machines may differ.
_FREE = """
    WHERE {which} AND r.state IN ('queued', 'leased') AND r.expires_at > statement_timestamp()
        AND (r.state = 'queued' OR r.lease_expires_at < statement_timestamp())
    ORDER BY r.created_at, r.id LIMIT %s FOR UPDATE OF r SKIP LOCKED
"""
_HOSTED = "r.executor_kind = 'hosted' AND "
_OF_RUNNER = """
    r.organization_id = %s AND r.executor_kind = 'private' AND (r.runner_id = %s OR (r.pool = %s AND r.pool <> ''))
        AND v.engine = ANY (%s)
"""


def locked_job(job_id: UUID) -> Job | None:
    """A job that the open scope shows, locked; whoever has it is waited for.

    Beside its fields, this one and those below have `suite_options`, and `is_full_suite`, which says whether the
    version is the whole of its suite.
    """
    return next(iter(jobs_in(rows_of(locking(job_id)))), None)


def locking(job_id: UUID) -> Statement:
    """The statement of locked_job, for a scope to ask on the way in; `jobs_in` reads its rows."""
    return _statement("WHERE r.id = %s FOR UPDATE OF r", [job_id])


def free_job(job_id: UUID) -> list[Job]:
    """A hosted job, if it is free and nobody takes it right now."""
    return _free(_HOSTED + "r.id = %s", [job_id], 1)


def free_heartbeats(at_most: int) -> list[Job]:
    """Free ones of the platform, the oldest first; those that another takes right now are left to it."""
    return _free(_HOSTED + "r.organization_id IS NULL", [], at_most)


def free_private(organization_id: str, runner_id: UUID, pool: str, engines: Collection[str], at_most: int) -> list[Job]:
    """Free ones that are pinned to a runner or its pool, for these engines; likewise."""
    return _free(_OF_RUNNER, [organization_id, runner_id, pool, list(engines)], at_most)


def _free(which: str, parameters: Sequence[Any], at_most: int) -> list[Job]:
    return jobs_in(rows_of(_statement(_FREE.format(which=which), [*parameters, at_most])))


def _statement(condition: str, parameters: Sequence[Any]) -> Statement:
    return _selected() + condition, parameters


@cache
def _selected() -> str:
    return _SELECT.format(columns=columns_of(Job, "r"))


def jobs_in(rows: Iterable[Sequence[Any]]) -> list[Job]:
    """The jobs that these rows are."""
    return [_read(row) for row in rows]


def _read(row: Sequence[Any]) -> Job:
    own = width_of(Job)
    url, protocol, stage, version_id, version, engine, suite_id, slug, options, is_full = row[own:]
    job, alias = row_of(Job, row[:own]), connection.alias
    job.agent = Agent.from_db(alias, ["agent_url", "protocol", "lifecycle_stage"], [url, protocol, stage])
    names, values = ["id", "suite_id", "version", "engine"], [version_id, suite_id, version, engine]
    job.suite_version = SuiteVersion.from_db(alias, names, values)
    job.suite_version.suite = Suite.from_db(alias, ["id", "slug"], [suite_id, slug])
    job.suite_options = json.loads(options) if options else {}
    job.is_full_suite = is_full
    return job
