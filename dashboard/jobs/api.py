"""Requests: asking for a test, seeing how it goes, and calling it off."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from ninja import Router, Schema
from pydantic import Field

from compliance.jobs.actions import cancel_job, request_owner_test
from compliance.jobs.models import CredentialChoice
from compliance.models import Job, JobState, Organization, TriggeredBy
from compliance.tenancy.models import Scope
from dashboard.agents.api import page_url
from dashboard.api.access import ApiRequest, operation
from dashboard.api.fields import (
    ActorOut,
    Credential,
    ExecutorIn,
    ExecutorOut,
    In,
    Options,
    Scenarios,
    SuiteRef,
    Text,
    credential_choice,
    executor_out,
)
from dashboard.api.responses import Answer

router = Router(tags=["Requests"])


class TestIn(In):
    """What is to be tested, and how."""

    suite: Annotated[Text, Field(max_length=100, description="Its `slug`, as GET /suites has it.")] = "baseline"
    scenarios: Scenarios = []
    options: Options = {}
    all_evidence: bool = Field(False, description="Keep the exchanges of steps that passed, too.")
    dry_run: bool = Field(False, description="Keep it out of the last-test fields and of every status.")
    credential: Credential = "automatic"
    executor: ExecutorIn = ExecutorIn()


class Progress(Schema):
    """How far it is."""

    step: str
    done: int
    total: int = Field(description="0 as long as it is not known.")


class JobOut(Schema):
    """Work that should become a run."""

    id: UUID
    agent_url: str = Field(examples=["https://agent.example/mcp"])
    triggered_by: TriggeredBy
    actor: ActorOut
    suite: SuiteRef
    dry_run: bool
    options: dict[str, Any] = Field(description="What was asked for beside what the suite does by itself.")
    credential_choice: CredentialChoice
    credential_id: UUID | None
    monitor_id: UUID | None
    scheduled_for: datetime | None = Field(description="The monitor's occurrence; null when somebody asked.")
    executor: ExecutorOut
    state: JobState
    end_reason: str = Field(description="Why it ended without a run.")
    created_at: datetime
    expires_at: datetime = Field(description="When it ends if nobody serves it.")
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int = Field(description="How many executors have taken it.")
    progress: Progress
    run_id: UUID | None = Field(description="The run that came of it, once the state is `finished`.")
    url: str = Field(description="Its page.")


def job_out(job: Job, organization: Organization) -> JobOut:
    done, total = (_number(job.progress.get(name)) for name in ("done", "total"))
    return JobOut(
        id=job.pk,
        agent_url=job.agent_id,
        triggered_by=TriggeredBy(job.triggered_by),
        actor=ActorOut(kind=job.actor_kind, name=job.actor_name),
        suite=SuiteRef(slug=job.suite_version.suite.slug, version=job.suite_version.version),
        dry_run=job.dry_run,
        options=job.options,
        credential_choice=CredentialChoice(job.credential_choice),
        credential_id=job.credential_id,
        monitor_id=job.monitor_id,
        scheduled_for=job.scheduled_for,
        executor=executor_out(job.pin),
        state=JobState(job.state),
        end_reason=job.end_reason,
        created_at=job.created_at,
        expires_at=job.expires_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        attempt=job.attempt,
        progress=Progress(step=str(job.progress.get("step") or ""), done=min(done, total), total=total),
        run_id=job.run_id,
        url=page_url("job", organization, job.pk),
    )


def _shown(request: ApiRequest, job_id: UUID) -> JobOut:
    """The row as it is stored: what was just created does not know what the database fills in."""
    known = Job.objects.select_related("suite_version__suite").defer("suite_version__definition")
    return job_out(known.get(organization=request.organization, pk=job_id), request.organization)


def _number(value: object) -> int:
    # Progress comes from an engine: an answer must not break on what it says.
    return value if isinstance(value, int) and value > 0 else 0


@operation(
    router,
    "POST",
    "/agents/{uuid:agent}/tests",
    scope=Scope.TEST,
    operation_id="requestTest",
    summary="Ask for a test of an agent",
    response={202: JobOut, 200: JobOut},
    problems=(404, 409),
)
def ask_for_test(request: ApiRequest, agent: UUID, test: TestIn) -> Answer:
    """202: it is queued. 200: the same test is under way already, and this is it; so it may be asked for again
    after a lost answer."""
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
        pin=test.executor.pin(),
    )
    return Answer(
        _shown(request, job.pk),
        status=202 if created else 200,
        headers={"Location": f"{settings.SITE_URL}/api/v1/jobs/{job.pk}"},
    )


@operation(
    router,
    "GET",
    "/jobs/{uuid:job}",
    scope=Scope.READ,
    operation_id="getJob",
    summary="How a request goes",
    response=JobOut,
    problems=(404,),
)
def one_job(request: ApiRequest, job: UUID) -> Answer:
    """Ask again with If-None-Match until `run_id` is set, or the state is `expired` or `cancelled`."""
    return Answer(_shown(request, job), cacheable=True)


@operation(
    router,
    "POST",
    "/jobs/{uuid:job}/cancel",
    scope=Scope.TEST,
    operation_id="cancelJob",
    summary="End a request without a run",
    response=JobOut,
    problems=(404, 409),
)
def cancel(request: ApiRequest, job: UUID) -> JobOut:
    """What an executor has under way is discarded. A monitor's run needs the scope `manage` as well."""
    ended = cancel_job(organization=request.organization, job_id=job, by=request.auth)
    return _shown(request, ended.pk)
