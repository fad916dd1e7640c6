"""What a lease is: who may work on which job, and what that work needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from compliance.registry.models import ExecutorKind, Runner
from compliance.tenancy.scope import Actor


class LeaseLost(Exception):
    """The lease ran out or the job has ended; the late result is discarded. The message says why."""


@dataclass(frozen=True, slots=True)
class Executor:
    """Who works on a job: a hosted worker, or one private runner of the job's organization."""

    kind: str = ExecutorKind.HOSTED
    id: UUID | None = None
    name: str = ""
    pool: str = ""


HOSTED_WORKER = Executor()


def executor_of(runner: Runner) -> Executor:
    """A private runner as its leases name it."""
    return Executor(ExecutorKind.PRIVATE, runner.pk, runner.name, runner.pool)


@dataclass(frozen=True, slots=True)
class SelectedCredential:
    """With whose credential a job is to be tried; whether that may be is decided when it is used."""

    organization_id: str
    use: str  # a value of UseFor
    credential_id: UUID | None  # None: whichever is granted
    required: bool  # somebody chose it: without it the run would not be what they asked for
    name: str = ""
    may_be_released: bool = False  # to the private runner that works on the job


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one job until its lease runs out, and what the work needs."""

    job_id: UUID
    token: UUID
    organization_id: str | None
    agent_url: str
    protocol: str
    suite_slug: str
    engine: str
    options: dict[str, Any]
    run_id: UUID  # of the run that comes of this lease: what is written down before it can name it
    triggered_by: str
    by: Actor
    credential: SelectedCredential | None = None
    suite_version: str = ""
    full_suite: bool = True  # False for a part of another suite, and for some scenarios only (R10)
    attempt: int = 1
    executor: Executor = HOSTED_WORKER
