"""The API of private runners: poll, renew, complete, fail, release, and receive a credential.

The token says which runner calls (L6); compliance.runners.leasing decides what it may do (L7).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from django.urls import reverse
from django.utils import timezone
from ninja import Router, Schema
from pydantic import Field

from compliance.engines.contract import engine_options
from compliance.jobs.dispatch import pool_key, runner_key
from compliance.jobs.leases import Lease
from compliance.runners import leasing
from compliance.runners.waiting import WAIT, Wait
from compliance.runs.models import ComplianceRun
from compliance.tenancy.models import Scope
from compliance.vault.use import CredentialRefused
from dashboard.api.authentication import ApiRequest, BearerKey, refuse_odd_parameters
from dashboard.api.problems import Problem, ProblemDetails
from dashboard.api.schemas import Instant, Text

router = Router(tags=["Private runners"], auth=BearerKey(Scope.RUNNER))
router.add_decorator(refuse_odd_parameters)
AT_MOST = 64
EngineName = Annotated[Text, Field(max_length=60)]


class RunnerRequest(ApiRequest):
    at_work: leasing.AtWork


def as_runner(view: Callable[..., Any]) -> Callable[..., Any]:
    """The view runs in the scope of its runner's organization, with the job that its path names locked."""

    @wraps(view)
    def scoped(request: RunnerRequest, *args: Any, **kwargs: Any) -> Any:
        with leasing.at_work(request.auth, kwargs.get("job_id")) as request.at_work:
            return view(request, *args, **kwargs)

    return scoped


class PollIn(Schema):
    """The state of a runner, and how many leases it can take."""

    at_most: int = Field(1, ge=0, le=AT_MOST)
    version: str = Field("", max_length=40, examples=["1.0.0"])
    engines: dict[EngineName, str] = Field({}, max_length=100, examples=[{"baseline": "1.0"}])
    host: str = Field("", max_length=200)
    clock: Instant | None = None
    last_error: str = Field("", max_length=2000)
    leaving: bool = Field(False, description="The runner stops: it gets no work, and counts as offline.")


class LeaseCredential(Schema):
    """The credential that a job is to use."""

    id: UUID | None = Field(validation_alias="credential_id")
    name: str
    required: bool = Field(description="Somebody chose it: without it the run would not be what they asked for.")
    may_be_released: bool = Field(description="Whether a grant lets the runner have it from Assay.")


class LeaseOut(Schema):
    """The right to work on one job."""

    job_id: UUID
    token: UUID
    attempt: int
    run_id: UUID
    agent_url: str
    protocol: str
    engine: str
    suite: str = Field(validation_alias="suite_slug")
    suite_version: str
    options: dict[str, Any]
    all_evidence: bool
    deadline_seconds: int
    step_seconds: int
    credential: LeaseCredential | None

    @staticmethod
    def resolve_options(lease: Lease) -> dict[str, Any]:
        return engine_options(lease.options)

    @staticmethod
    def resolve_all_evidence(lease: Lease) -> bool:
        return lease.options.get("evidence") == "all"

    @staticmethod
    def resolve_deadline_seconds(lease: Lease) -> int:
        return settings.TEST_DEADLINE_SECONDS

    @staticmethod
    def resolve_step_seconds(lease: Lease) -> int:
        return settings.STEP_TIMEOUT_SECONDS


class RunnerOut(Schema):
    id: UUID
    name: str
    pool: str


class PollOut(Schema):
    """Leases, if there is work."""

    leases: list[LeaseOut]
    lease_seconds: int
    poll_after_seconds: int
    server_time: datetime
    runner: RunnerOut


class ProgressIn(Schema):
    step: str = Field("", max_length=300)
    done: int = Field(0, ge=0, le=1_000_000)
    total: int = Field(0, ge=0, le=1_000_000)


class HeldIn(Schema):
    job_id: UUID
    token: UUID
    progress: ProgressIn | None = None


class RenewIn(Schema):
    leases: list[HeldIn] = Field(max_length=AT_MOST)


class LostOut(Schema):
    job_id: UUID
    reason: str


class RenewOut(Schema):
    held: list[UUID]
    lost: list[LostOut]
    lease_seconds: int


class SourceIn(Schema):
    source: str = Field("none", pattern="^(none|runner|assay)$")


class CompleteIn(Schema):
    """The result of a test."""

    token: UUID
    age_ms: int = Field(0, ge=0, le=31_536_000_000, description="How long ago it ended, by the runner's own measure.")
    report: Any = Field(description="A document of /schemas/report-1.json.")
    credential: SourceIn = SourceIn(source="none")


class RunOut(Schema):
    run_id: UUID
    overall_status: str
    url: str


class FailIn(Schema):
    token: UUID
    reason: str = Field("", max_length=2000)


class ReleaseOut(Schema):
    state: str = Field(description="`queued`, or `finished` when it was handed back too often.")


class TokenIn(Schema):
    token: UUID


class SecretOut(Schema):
    """A credential as the agent sees it: one header."""

    header: str
    value: str
    secrets: list[str]
    credential_id: str
    organization_id: str
    name: str


@router.post(
    "/poll",
    operation_id="pollForWork",
    summary="Lease jobs, or wait for some",
    description="With `Prefer: wait=50` the answer waits that many seconds for a job.",
    response=PollOut,
)
@as_runner
def poll(request: RunnerRequest, data: PollIn) -> PollOut:
    wait: Wait = request.META.get(WAIT) or Wait()
    # What the runner reports is as old as its request has been waiting.
    waited = timedelta(seconds=wait.waited_seconds)
    clock = data.clock + waited if data.clock else None
    about = leasing.About(data.version, data.host, data.engines, clock, data.last_error, data.leaving)
    runner = request.at_work.runner
    leases = leasing.poll(runner, at_most=data.at_most, engines=data.engines, about=about)
    if not leases and not data.leaving:
        wait.keys = [runner_key(runner.pk), *([pool_key(runner.organization_id, runner.pool)] if runner.pool else [])]
    return PollOut.from_orm(
        {
            "leases": leases,
            "lease_seconds": settings.LEASE_SECONDS,
            "poll_after_seconds": settings.RUNNER_POLL_AFTER_SECONDS,
            "server_time": timezone.now(),
            "runner": runner,
        }
    )


@router.post("/renew", operation_id="renewLeases", summary="Keep leases alive", response=RenewOut)
@as_runner
def renew(request: RunnerRequest, data: RenewIn) -> RenewOut:
    lost = leasing.renew(
        request.at_work.runner,
        tokens={lease.job_id: lease.token for lease in data.leases},
        progress={lease.job_id: lease.progress.model_dump() for lease in data.leases if lease.progress},
    )
    return RenewOut(
        held=[lease.job_id for lease in data.leases if lease.job_id not in lost],
        lost=[LostOut(job_id=job_id, reason=reason) for job_id, reason in lost.items()],
        lease_seconds=settings.LEASE_SECONDS,
    )


@router.post(
    "/jobs/{id:job_id}/complete",
    auth=BearerKey(Scope.RUNNER, body_kb=settings.RUNNER_REPORT_MAX_KB),
    operation_id="completeJob",
    summary="Send the report of a test",
    description="The same once more, with the same token, is answered the same, and is one run.",
    response={200: RunOut, 404: ProblemDetails, 409: ProblemDetails},
)
@as_runner
def complete(request: RunnerRequest, job_id: UUID, data: CompleteIn) -> RunOut | HttpResponse:
    try:
        run = leasing.complete(
            request.at_work,
            token=data.token,
            report=data.report,
            age=timedelta(milliseconds=data.age_ms),
            secret_of_assay=data.credential.source == "assay",
        )
    except leasing.ReportRefused as refused:
        detail = f"{refused}. The job has ended as an inconclusive run; do not send it again."
        # Returned, not raised: the end of the job must be committed.
        return Problem(400, "bad-report", detail).response()
    return _run_out(request, run)


def _run_out(request: RunnerRequest, run: ComplianceRun) -> RunOut:
    path = reverse("run", args=[request.at_work.runner.organization.slug, run.pk])
    return RunOut(run_id=run.pk, overall_status=run.overall_status, url=settings.SITE_URL + path)


@router.post(
    "/jobs/{id:job_id}/fail",
    operation_id="failJob",
    summary="Report that the test could not be made",
    description="The job ends as an inconclusive run with the reason.",
    response={200: RunOut, 404: ProblemDetails, 409: ProblemDetails},
)
@as_runner
def fail(request: RunnerRequest, job_id: UUID, data: FailIn) -> RunOut:
    return _run_out(request, leasing.fail(request.at_work, token=data.token, reason=data.reason))


@router.post(
    "/jobs/{id:job_id}/release",
    operation_id="releaseJob",
    summary="Return a job untested",
    response={200: ReleaseOut, 404: ProblemDetails, 409: ProblemDetails},
)
@as_runner
def release(request: RunnerRequest, job_id: UUID, data: FailIn) -> ReleaseOut:
    return ReleaseOut(state=leasing.release(request.at_work, token=data.token))


@router.post(
    "/jobs/{id:job_id}/credential",
    operation_id="releaseCredential",
    summary="Receive the credential of a job",
    description="Only under a grant that allows it; each use is on record before the credential is sent.",
    response={200: SecretOut, 404: ProblemDetails, 409: ProblemDetails},
)
def credential(request: ApiRequest, job_id: UUID, data: TokenIn) -> SecretOut:
    # Without as_runner: the action opens its own scopes, and commits the use before the credential is sent.
    try:
        released = leasing.release_secret(request.auth, job_id, token=data.token)
    except CredentialRefused as refused:
        raise Problem(403, "not-released", refused.reason) from None
    if released is None:
        raise Problem(403, "not-released", "No credential is granted to be handed to private runners for this agent.")
    return SecretOut.from_orm(released)
