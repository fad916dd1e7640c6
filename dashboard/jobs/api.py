"""Requests: asking for a test, seeing how it goes, and calling it off."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from ninja import Router, Schema
from pydantic import Field

from compliance.jobs.actions import cancel_request, request_owner_test
from compliance.jobs.models import CredentialChoice
from compliance.models import ComplianceRequest, Organization, RequestState, TriggeredBy
from compliance.tenancy.api_keys import Scope
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


class RequestOut(Schema):
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
    state: RequestState
    end_reason: str = Field(description="Why it ended without a run.")
    created_at: datetime
    expires_at: datetime = Field(description="When it ends if nobody serves it.")
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int = Field(description="How many executors have taken it.")
    progress: Progress
    run_id: UUID | None = Field(description="The run that came of it, once the state is `finished`.")
    url: str = Field(description="Its page.")


def request_out(wanted: ComplianceRequest, organization: Organization) -> RequestOut:
    done, total = (_number(wanted.progress.get(name)) for name in ("done", "total"))
    return RequestOut(
        id=wanted.pk,
        agent_url=wanted.agent_id,
        triggered_by=TriggeredBy(wanted.triggered_by),
        actor=ActorOut(kind=wanted.actor_kind, name=wanted.actor_name),
        suite=SuiteRef(slug=wanted.suite_version.suite.slug, version=wanted.suite_version.version),
        dry_run=wanted.dry_run,
        options=wanted.options,
        credential_choice=CredentialChoice(wanted.credential_choice),
        credential_id=wanted.credential_id,
        monitor_id=wanted.monitor_id,
        scheduled_for=wanted.scheduled_for,
        executor=executor_out(wanted.pin),
        state=RequestState(wanted.state),
        end_reason=wanted.end_reason,
        created_at=wanted.created_at,
        expires_at=wanted.expires_at,
        started_at=wanted.started_at,
        finished_at=wanted.finished_at,
        attempt=wanted.attempt,
        progress=Progress(step=str(wanted.progress.get("step") or ""), done=min(done, total), total=total),
        run_id=wanted.run_id,
        url=page_url("request", organization, wanted.pk),
    )


def _shown(request: ApiRequest, request_id: UUID) -> RequestOut:
    """The row as it is stored: what was just created does not know what the database fills in."""
    known = ComplianceRequest.objects.select_related("suite_version__suite").defer("suite_version__definition")
    return request_out(known.get(organization=request.organization, pk=request_id), request.organization)


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
    response={202: RequestOut, 200: RequestOut},
    problems=(404, 409),
)
def ask_for_test(request: ApiRequest, agent: UUID, test: TestIn) -> Answer:
    """202: it is queued. 200: the same test is under way already, and this is it; so it may be asked for again
    after a lost answer."""
    wanted, created = request_owner_test(
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
        _shown(request, wanted.pk),
        status=202 if created else 200,
        headers={"Location": f"{settings.SITE_URL}/api/v1/requests/{wanted.pk}"},
    )


@operation(
    router,
    "GET",
    "/requests/{uuid:wanted}",
    scope=Scope.READ,
    operation_id="getRequest",
    summary="How a request goes",
    response=RequestOut,
    problems=(404,),
)
def one_request(request: ApiRequest, wanted: UUID) -> Answer:
    """Ask again with If-None-Match until `run_id` is set, or the state is `expired` or `cancelled`."""
    return Answer(_shown(request, wanted), cacheable=True)


@operation(
    router,
    "POST",
    "/requests/{uuid:wanted}/cancel",
    scope=Scope.TEST,
    operation_id="cancelRequest",
    summary="End a request without a run",
    response=RequestOut,
    problems=(404, 409),
)
def cancel(request: ApiRequest, wanted: UUID) -> RequestOut:
    """What an executor has under way is discarded. A monitor's run needs the scope `manage` as well."""
    ended = cancel_request(organization=request.organization, request_id=wanted, by=request.auth)
    return _shown(request, ended.pk)
