"""What a private runner asks and does: poll, renew, complete, fail, release, and be given a secret.

Its token says which runner it is (L6); compliance.runners.leasing says what it may (L7).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from ninja import Router, Schema
from pydantic import AwareDatetime, Field

from compliance.jobs.leases import Lease, LeaseLost
from compliance.jobs.queue import pool_key, runner_key
from compliance.models import Organization
from compliance.runners import leasing as work
from compliance.runners.waiting import WAIT, Wait
from compliance.runs.models import ComplianceRun
from compliance.tenancy.models import Scope
from compliance.vault.use import CredentialRefused
from dashboard.api import limits as rates
from dashboard.api.access import ApiRequest, operation
from dashboard.api.fields import Text
from dashboard.api.problems import MEDIA_TYPE, Problem, ProblemDetails
from dashboard.api.responses import Answer

router = Router(tags=["Private runners"])
AT_MOST = 64


Engine = Annotated[Text, Field(max_length=60)]  # its name: looked for in the database


class PollIn(Schema):
    """What a runner says of itself, and how much work it has room for."""

    at_most: int = Field(1, ge=0, le=AT_MOST)
    version: str = Field("", max_length=40, examples=["1.0.0"])
    engines: dict[Engine, str] = Field({}, max_length=100, examples=[{"baseline": "1.0"}])
    host: str = Field("", max_length=200)
    clock: AwareDatetime | None = None
    last_error: str = Field("", max_length=2000)
    leaving: bool = Field(False, description="The runner stops: it gets no work, and counts as offline.")


class WantedCredential(Schema):
    """The credential that a request wants."""

    id: UUID | None
    name: str
    required: bool = Field(description="Somebody chose it: without it the run would not be what they asked for.")
    may_be_released: bool = Field(description="Whether a grant lets the runner have it from Assay.")


class LeaseOut(Schema):
    """The right to work on one request."""

    job_id: UUID
    token: UUID
    attempt: int
    run_id: UUID
    agent_url: str
    protocol: str
    engine: str
    suite: str
    suite_version: str
    options: dict[str, Any]
    all_evidence: bool
    deadline_seconds: int
    step_seconds: int
    credential: WantedCredential | None


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


@operation(
    router,
    "POST",
    "/poll",
    scope=Scope.RUNNER,
    operation_id="pollForWork",
    summary="Lease work, or wait for some",
    description="With `Prefer: wait=50` the answer waits that many seconds for work.",
    response=PollOut,
    rate=rates.RUNNERS,
)
def poll(request: ApiRequest, data: PollIn) -> PollOut:
    wait: Wait = request.META.get(WAIT) or Wait()
    # What the runner says of the present is as old as its request has been waiting.
    waited = timedelta(seconds=wait.waited_seconds)
    clock = data.clock + waited if data.clock else None
    about = work.About(data.version, data.host, data.engines, clock, data.last_error, data.leaving)
    runner = request.at_work.runner
    leases = work.poll(runner, at_most=data.at_most, engines=data.engines, about=about)
    if not leases and not data.leaving:
        wait.keys = [runner_key(runner.pk), *([pool_key(runner.organization_id, runner.pool)] if runner.pool else [])]
    return PollOut(
        leases=[_lease(lease) for lease in leases],
        lease_seconds=settings.LEASE_SECONDS,
        poll_after_seconds=settings.RUNNER_POLL_AFTER_SECONDS,
        server_time=timezone.now(),
        runner=RunnerOut(id=runner.pk, name=runner.name, pool=runner.pool),
    )


def _lease(lease: Lease) -> LeaseOut:
    wanted = lease.credential
    return LeaseOut(
        job_id=lease.job_id,
        token=lease.token,
        attempt=lease.attempt,
        run_id=lease.run_id,
        agent_url=lease.agent_url,
        protocol=lease.protocol,
        engine=lease.engine,
        suite=lease.suite_slug,
        suite_version=lease.suite_version,
        options={key: value for key, value in lease.options.items() if key != "evidence"},
        all_evidence=lease.options.get("evidence") == "all",
        deadline_seconds=settings.TEST_DEADLINE_SECONDS,
        step_seconds=settings.STEP_TIMEOUT_SECONDS,
        credential=None
        if wanted is None
        else WantedCredential(
            id=wanted.credential_id,
            name=wanted.name,
            required=wanted.required,
            may_be_released=wanted.may_be_released,
        ),
    )


@operation(
    router,
    "POST",
    "/renew",
    scope=Scope.RUNNER,
    operation_id="renewLeases",
    summary="Keep leases alive",
    response=RenewOut,
    rate=rates.RUNNERS,
)
def renew(request: ApiRequest, data: RenewIn) -> RenewOut:
    lost = work.renew(
        request.at_work.runner,
        tokens={lease.job_id: lease.token for lease in data.leases},
        progress={lease.job_id: lease.progress.model_dump() for lease in data.leases if lease.progress},
    )
    return RenewOut(
        held=[lease.job_id for lease in data.leases if lease.job_id not in lost],
        lost=[LostOut(job_id=job_id, reason=reason) for job_id, reason in lost.items()],
        lease_seconds=settings.LEASE_SECONDS,
    )


@operation(
    router,
    "POST",
    "/jobs/{uuid:job_id}/complete",
    scope=Scope.RUNNER,
    operation_id="completeJob",
    summary="Hand in the report of a test",
    description="The same once more, with the same token, is answered the same, and is one run.",
    response={200: RunOut, 400: ProblemDetails},
    problems=(404, 409),
    rate=rates.RUNNERS,
    body_kb=settings.RUNNER_REPORT_MAX_KB,
)
def complete(request: ApiRequest, job_id: UUID, data: CompleteIn) -> RunOut | Answer:
    try:
        run = work.complete(
            request.at_work,
            token=data.token,
            report=data.report,
            age=timedelta(milliseconds=data.age_ms),
            secret_of_assay=data.credential.source == "assay",
        )
    except work.ReportRefused as refused:
        # An answer and no exception: that the request has ended must be committed.
        return Answer(_bad_report(refused), status=400, media_type=MEDIA_TYPE)
    except (LeaseLost, work.NotPrivate) as lost:
        raise _conflict(lost) from None
    return _run(request.at_work.runner.organization, run)


def _bad_report(refused: work.ReportRefused) -> ProblemDetails:
    detail = f"{refused}. The request has ended as an inconclusive run; do not send it again."
    return ProblemDetails(type="/problems/bad-report", title="Bad report", status=400, detail=detail, errors=None)


def _conflict(lost: Exception) -> Problem:
    if isinstance(lost, work.NotPrivate):
        return Problem(409, "not-private", "This request is for Assay's own workers.")
    return Problem(409, "lease-lost", str(lost))


def _run(organization: Organization, run: ComplianceRun) -> RunOut:
    path = reverse("run", args=[organization.slug, run.pk])
    return RunOut(run_id=run.pk, overall_status=run.overall_status, url=settings.SITE_URL + path)


@operation(
    router,
    "POST",
    "/jobs/{uuid:job_id}/fail",
    scope=Scope.RUNNER,
    operation_id="failJob",
    summary="Say that the test could not be made",
    description="The request ends as an inconclusive run with the reason.",
    response=RunOut,
    problems=(404, 409),
    rate=rates.RUNNERS,
)
def fail(request: ApiRequest, job_id: UUID, data: FailIn) -> RunOut:
    try:
        run = work.fail(request.at_work, token=data.token, reason=data.reason)
    except (LeaseLost, work.NotPrivate) as lost:
        raise _conflict(lost) from None
    return _run(request.at_work.runner.organization, run)


@operation(
    router,
    "POST",
    "/jobs/{uuid:job_id}/release",
    scope=Scope.RUNNER,
    operation_id="releaseJob",
    summary="Hand a request back untested",
    response=ReleaseOut,
    problems=(404, 409),
    rate=rates.RUNNERS,
)
def release(request: ApiRequest, job_id: UUID, data: FailIn) -> ReleaseOut:
    try:
        state = work.release(request.at_work, token=data.token)
    except (LeaseLost, work.NotPrivate) as lost:
        raise _conflict(lost) from None
    return ReleaseOut(state=state)


@operation(
    router,
    "POST",
    "/jobs/{uuid:job_id}/credential",
    scope=Scope.RUNNER,
    operation_id="releaseCredential",
    summary="Be given the credential of a request",
    description="Only under a grant that says so; each time is on record before it is given.",
    response=SecretOut,
    problems=(404, 409),
    rate=rates.RUNNERS,
    opens_scope=False,
)
def credential(request: ApiRequest, job_id: UUID, data: TokenIn) -> SecretOut:
    try:
        given = work.release_secret(request.auth, job_id, token=data.token)
    except (LeaseLost, work.NotPrivate) as lost:
        raise _conflict(lost) from None
    except CredentialRefused as refused:
        raise Problem(403, "not-released", refused.reason) from None
    if given is None:
        raise Problem(403, "not-released", "No credential is granted to be handed to private runners for this agent.")
    return SecretOut(
        header=given.header,
        value=given.value,
        secrets=list(given.secrets),
        credential_id=given.credential_id,
        organization_id=given.organization_id,
        name=given.name,
    )
