"""Reads filter by organization themselves, in the scope of staff too, who may see everything (I5, I6).

Row-level security is the first lock and says the same; here it is open, so that only the second one holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.test import RequestFactory
from django.utils import timezone

from compliance.engines.reports.model import Evidence
from compliance.models import AgentContext, ComplianceRun, Organization, StepEvidence, User
from compliance.runs.comparison import background_of, comparable_runs
from compliance.runs.history import history_page, last_of_each_kind, neighbours_of, recent_verdicts
from compliance.runs.recording import UsedCredential
from compliance.tenancy.ids import uuid7
from compliance.tenancy.scope import Actor, system_scope
from dashboard.runs import views
from tests.compliance.vault.conftest import make_credential
from tests.conftest import AGENT_URL, make_context, make_report, make_run

pytestmark = pytest.mark.django_db

NOW = timezone.now()
SEEN = Evidence(request={"method": "POST"}, response={"status": 500})


@pytest.fixture
def ours(organization: Organization, context: AgentContext) -> list[ComplianceRun]:
    return made(organization, 2)  # the oldest of each: who takes the newest of all takes another's


@pytest.fixture
def theirs(other_organization: Organization) -> list[ComplianceRun]:
    make_context(other_organization)
    return made(other_organization, 1)


@pytest.fixture
def platforms() -> list[ComplianceRun]:
    return made(None, 0)


def made(organization: Organization | None, minutes: int, **fields: Any) -> list[ComplianceRun]:
    """Four runs of one agent, among those of others; the newest first."""
    verdicts = ["failed", "passed", "failed", "passed"]
    return [
        make_run(
            organization=organization,
            report=make_report(verdict, evidence=SEEN),
            tested_at=NOW - timedelta(minutes=10 * number + minutes + 1),
            **fields,
        )
        for number, verdict in enumerate(verdicts)
    ]


@pytest.fixture
def everything(
    ours: list[ComplianceRun], theirs: list[ComplianceRun], platforms: list[ComplianceRun]
) -> Iterator[None]:
    """The first lock is open: all of it is in sight."""
    with system_scope(by=Actor.system("tests"), reason="prove the second lock"):
        assert ComplianceRun.objects.count() == 12
        assert StepEvidence.objects.count() == 12
        yield


def asked(organization: Organization, view: Any, *args: Any) -> HttpResponseBase:
    """What a page's view answers a member, without the scope that is opened around it."""
    request: HttpRequest = RequestFactory().get("/")
    request.organization = organization  # type: ignore[attr-defined]
    request.htmx = False  # type: ignore[attr-defined]
    response: HttpResponseBase = view.__wrapped__(request, *args)
    return response


@pytest.mark.usefixtures("everything")
class TestRuns:
    def test_a_run_is_compared_with_those_of_its_own_organization(
        self, ours: list[ComplianceRun], theirs: list[ComplianceRun], platforms: list[ComplianceRun]
    ) -> None:
        for runs in (ours, theirs, platforms):
            assert list(comparable_runs(runs[0])) == runs[1:]
            before = background_of(runs[0])
            assert (before.previous, before.last_passing) == (runs[1], runs[1])
            assert neighbours_of(runs[1]) == {"before": runs[2].pk, "after": runs[0].pk}

    def test_no_page_of_a_run_or_its_evidence_is_anothers(
        self, organization: Organization, ours: list[ComplianceRun], theirs: list[ComplianceRun]
    ) -> None:
        for view, arguments in (
            (views.run, [theirs[0].pk]),
            (views.evidence, [theirs[0].pk, 0]),
            (views.compare_pick, [theirs[0].pk]),
            (views.compare, [theirs[0].pk, theirs[1].pk]),
            (views.compare, [ours[0].pk, theirs[0].pk]),
            (views.compare, [theirs[0].pk, ours[0].pk]),
        ):
            with pytest.raises(Http404):
                asked(organization, view, *arguments)
        assert asked(organization, views.compare, ours[0].pk, ours[1].pk).status_code == 200

    def test_what_can_be_picked_to_compare_with_is_ones_own_or_the_platforms(
        self, organization: Organization, ours: list[ComplianceRun], platforms: list[ComplianceRun]
    ) -> None:
        response: Any = asked(organization, views.compare_pick, ours[0].pk)
        assert {other.pk for other in response.context_data["table"].data} == {run.pk for run in ours[1:] + platforms}

    def test_lists_of_runs(
        self, organization: Organization, ours: list[ComplianceRun], platforms: list[ComplianceRun]
    ) -> None:
        page = history_page(organization_id=organization.id, agent_url=AGENT_URL)
        assert {run.pk for run in page.rows} == {run.pk for run in ours + platforms}
        assert len(recent_verdicts(organization_id=organization.id, agent_urls=[AGENT_URL])[AGENT_URL]) == 4
        last = last_of_each_kind(organization_id=organization.id, agent_url=AGENT_URL)
        assert last == {"own": ours[0], "platform": platforms[0]}

    def test_the_platforms_run_of_an_agent_that_one_does_not_have_is_not_shown(
        self, platforms: list[ComplianceRun]
    ) -> None:
        stranger = Organization(id="org_stranger", name="Stranger", slug="stranger")
        with pytest.raises(Http404):
            views.get_run(stranger, platforms[0].pk)


@pytest.mark.usefixtures("everything")
class TestEvidence:
    def test_of_another_organizations_run_there_is_none(
        self, organization: Organization, theirs: list[ComplianceRun], ours: list[ComplianceRun]
    ) -> None:
        context = AgentContext.objects.get(organization=organization)
        assert not StepEvidence.objects.readable_by(organization.id, theirs[0], context).exists()
        assert StepEvidence.objects.readable_by(organization.id, ours[0], context).count() == 1

    def test_of_a_heartbeat_only_the_verified_owner_sees_it(
        self, organization: Organization, platforms: list[ComplianceRun]
    ) -> None:
        context = AgentContext.objects.get(organization=organization)
        assert not StepEvidence.objects.readable_by(organization.id, platforms[0], None).exists()
        assert not StepEvidence.objects.readable_by(organization.id, platforms[0], context).exists()
        context.relation = "verified_owner"
        assert StepEvidence.objects.readable_by(organization.id, platforms[0], context).count() == 1


def test_evidence_behind_a_credential_is_for_the_one_whose_it_is(
    organization: Organization, other_organization: Organization, context: AgentContext, alice: User
) -> None:
    make_context(other_organization, verified=True)
    used = UsedCredential(organization.id, uuid7(), "")
    [beat, *_] = made(None, 0, credential=used)
    with system_scope(by=Actor.system("tests"), reason="prove the second lock"):
        verified = AgentContext.objects.get(organization=other_organization)
        assert verified.is_verified_owner
        assert not StepEvidence.objects.readable_by(other_organization.id, beat, verified).exists()
        assert StepEvidence.objects.readable_by(organization.id, beat, context).count() == 1


def test_a_credential_is_named_to_its_own_organization_only(
    organization: Organization, other_organization: Organization, context: AgentContext, alice: User
) -> None:
    credential = make_credential(organization, alice)
    [run, *_] = made(None, 0, credential=UsedCredential(organization.id, credential.pk, credential.name))
    with system_scope(by=Actor.system("tests"), reason="prove the second lock"):
        assert views.own_credential(run, organization) == credential
        assert views.own_credential(run, other_organization) is None
