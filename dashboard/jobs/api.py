"""Jobs: requesting a test, following its job, and cancelling it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from ninja import Router, Schema, Status
from pydantic import Field

from compliance.jobs.actions import cancel_job, request_owner_test
from compliance.jobs.models import CredentialChoice
from compliance.models import Job, JobState, TriggeredBy
from compliance.tenancy.models import Scope
from dashboard.api.authentication import ApiRequest, BearerKey
from dashboard.api.problems import ProblemDetails
from dashboard.api.schemas import (
    Credential,
    In,
    OfSuiteVersion,
    Options,
    PlacementIn,
    PlacementOut,
    Scenarios,
    Text,
    WithActor,
    credential_choice,
    page_url,
)
from dashboard.jobs.views import progress_of

router = Router(tags=["Jobs"], auth=BearerKey(Scope.TEST))


class TestIn(In):
    """What is to be tested, and how."""

    suite: Annotated[Text, Field(max_length=100, description="Its `slug`, as GET /suites has it.")] = "baseline"
    scenarios: Scenarios = []
    options: Options = {}
    all_evidence: bool = Field(False, description="Keep the exchanges of steps that passed, too.")
    dry_run: bool = Field(False, description="Keep it out of the last-test fields and of every status.")
    credential: Credential = "automatic"
    placement: PlacementIn = PlacementIn()


class Progress(Schema):
    """How far it is."""

    step: str
    done: int
    total: int = Field(description="0 as long as it is not known.")


class JobOut(WithActor, OfSuiteVersion):
    """Work that should become a run."""

    id: UUID
    agent_url: str = Field(validation_alias="agent_id", examples=["https://agent.example/mcp"])
    triggered_by: TriggeredBy
    dry_run: bool
    options: dict[str, Any] = Field(description="What differs from the suite's defaults.")
    credential_choice: CredentialChoice
    credential_id: UUID | None
    monitor_id: UUID | None
    scheduled_for: datetime | None = Field(description="The monitor's occurrence; null when somebody asked.")
    placement: PlacementOut = Field(validation_alias="placement")
    state: JobState
    end_reason: str = Field(description="Why it ended without a run.")
    created_at: datetime
    expires_at: datetime = Field(description="When it ends if nobody serves it.")
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int = Field(description="How many executors have leased it.")
    progress: Progress
    run_id: UUID | None = Field(description="The run that came of it, once the state is `finished`.")
    url: str = Field(description="Its page.")

    @staticmethod
    def resolve_progress(job: Job) -> dict[str, Any]:
        return progress_of(job)

    @staticmethod
    def resolve_url(job: Job, context: dict[str, Any]) -> str:
        return page_url("job", context, job.pk)


def _job_out(request: ApiRequest, job_id: UUID) -> JobOut:
    """The job as it is stored: a new instance lacks what the database fills in."""
    jobs = Job.objects.select_related("suite_version__suite").defer("suite_version__definition")
    job = jobs.get(organization=request.organization.id, pk=job_id)
    return JobOut.from_orm(job, context={"request": request})


@router.post(
    "/agents/{id:agent}/tests",
    operation_id="requestTest",
    summary="Request a test of an agent",
    response={202: JobOut, 200: JobOut, 404: ProblemDetails, 409: ProblemDetails},
)
def request_test(request: ApiRequest, agent: UUID, test: TestIn, response: HttpResponse) -> Status[JobOut]:
    """202: it is queued. 200: the same test is under way already, and this is its job; so a request whose answer
    was lost may be repeated."""
    job, created = request_owner_test(
        organization=request.organization,
        context_id=agent,
        by=request.auth,
        suite_slug=test.suite,
        scenarios=test.scenarios,
        options=test.options,
        all_evidence=test.all_evidence,
        dry_run=test.dry_run,
        credential=credential_choice(test.credential),
        placement=test.placement.placement(),
    )
    response["Location"] = f"{settings.SITE_URL}/api/v1/jobs/{job.pk}"
    return Status(202 if created else 200, _job_out(request, job.pk))


@router.get(
    "/jobs/{id:job}",
    auth=BearerKey(Scope.READ),
    operation_id="getJob",
    summary="One job",
    response={200: JobOut, 404: ProblemDetails},
)
def one_job(request: ApiRequest, job: UUID) -> JobOut:
    """Ask again with If-None-Match until `run_id` is set, or the state is `expired` or `cancelled`."""
    return _job_out(request, job)


@router.post(
    "/jobs/{id:job}/cancel",
    operation_id="cancelJob",
    summary="Cancel a job",
    response={200: JobOut, 404: ProblemDetails, 409: ProblemDetails},
)
def cancel(request: ApiRequest, job: UUID) -> JobOut:
    """It ends without a run; a result that is still under way is discarded. A monitor's job needs the scope
    `manage` as well."""
    ended = cancel_job(organization=request.organization, job_id=job, by=request.auth)
    return _job_out(request, ended.pk)
