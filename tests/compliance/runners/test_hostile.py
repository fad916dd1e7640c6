"""Somebody with a runner's token who does not run our program."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.test.client import ClientHandler

from compliance.engines.reports.model import OPEN_LEVELS
from compliance.jobs.models import CredentialChoice
from compliance.models import (
    AgentContext,
    ApiKey,
    CredentialUse,
    Job,
    JobState,
    Organization,
    RejectedReport,
    User,
)
from compliance.runners.actions import new_token
from compliance.tenancy.api_key_actions import revoke_key
from compliance.tenancy.scope import organization_scope
from dashboard.api.parser import MAX_CUT_KB
from tests.compliance.runners.conftest import ENGINES, Calling, ask, job_row, make_runner, plain
from tests.compliance.vault.conftest import World
from tests.conftest import make_report
from tests.dashboard.api.conftest import Caller, make_key


@pytest.fixture
def alpha(committed_db: None) -> World:
    """Committed: what is written down of a secret is, whatever happens then."""
    return World()


class SlowBody(io.BytesIO):
    """A body of which the server gets nothing before something else has happened."""

    def __init__(self, content: bytes, before: Callable[[], Any]) -> None:
        super().__init__(content)
        self._before = [before]

    def read(self, *size: Any) -> bytes:
        while self._before:
            self._before.pop()()
        return super().read(*size)


def post_slowly(lab: Calling, path: str, body: Any, *, meanwhile: Callable[[], Any]) -> HttpResponse:
    content = json.dumps(body).encode()
    environ = Client()._base_environ(
        PATH_INFO=f"/api/v1/runner/{path}",
        REQUEST_METHOD="POST",
        CONTENT_TYPE="application/json",
        CONTENT_LENGTH=str(len(content)),
        HTTP_AUTHORIZATION=f"Bearer {lab.token}",
    )
    answer: HttpResponse = ClientHandler()({**environ, "wsgi.input": SlowBody(content, meanwhile)})
    return answer


def post_text(lab: Calling, path: str, text: str) -> HttpResponse:
    client = Client(raise_request_exception=False)
    headers = {"Authorization": f"Bearer {lab.token}"}
    answer: HttpResponse = client.post(
        f"/api/v1/runner/{path}", data=text, content_type="application/json", headers=headers
    )
    return answer


def complete_with(lab: Calling, lease: dict[str, Any], report: str) -> HttpResponse:
    body = f'{{"token": "{lease["token"]}", "report": {report}}}'
    return post_text(lab, f"jobs/{lease['job_id']}/complete", body)


def nested(levels: int, inner: str) -> str:
    return '{"a":' * levels + inner + "}" * levels


def replace(lab: Calling, by: User) -> None:
    new_token(organization=lab.runner.organization, runner_id=lab.runner.pk, by=by)


def revoke(lab: Calling, by: User) -> None:
    with organization_scope(lab.runner.organization_id):
        key = ApiKey.objects.of_runner(lab.runner.organization_id, lab.runner.pk)[0]
    revoke_key(organization=lab.runner.organization, key_id=key.pk, by=by)


@pytest.mark.parametrize("end", [replace, revoke])
class TestATokenThatEndsWhileABodyComesSlowly:
    """L3: a call that was begun before is no way to go on after."""

    def test_gets_no_work(
        self, lab: Calling, organization: Organization, context: AgentContext, alice: User, end: Any
    ) -> None:
        job = ask(organization, context, alice, lab.placement())
        body = {"at_most": 1, "engines": ENGINES}
        answer = post_slowly(lab, "poll", body, meanwhile=lambda: end(lab, alice))
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"] == 'Bearer realm="Assay", error="invalid_token"'
        assert job_row(organization, job.pk).state == JobState.QUEUED

    def test_hands_in_no_result(
        self, lab: Calling, organization: Organization, context: AgentContext, alice: User, end: Any
    ) -> None:
        ask(organization, context, alice, lab.placement())
        [lease] = lab.poll()
        body = {"token": lease["token"], "report": plain(make_report("passed"))}
        path = f"jobs/{lease['job_id']}/complete"
        assert post_slowly(lab, path, body, meanwhile=lambda: end(lab, alice)).status_code == 401
        assert job_row(organization, lease["job_id"]).state == JobState.LEASED


def test_a_token_that_ends_while_a_body_comes_slowly_is_given_no_secret(alpha: World) -> None:  # V1, L3
    lab = make_runner(alpha.organization, alpha.alice)
    alpha.grant(alpha.credential())
    ask(alpha.organization, alpha.context, alpha.alice, lab.placement())
    [lease] = lab.poll()
    path = f"jobs/{lease['job_id']}/credential"
    answer = post_slowly(lab, path, {"token": lease["token"]}, meanwhile=lambda: replace(lab, alpha.alice))
    assert answer.status_code == 401
    assert b"sk-live" not in answer.content


def test_a_test_that_is_to_use_no_credential_is_given_none(alpha: World) -> None:  # V4
    lab = make_runner(alpha.organization, alpha.alice)
    alpha.grant(alpha.credential())
    ask(alpha.organization, alpha.context, alpha.alice, lab.placement(), credential=CredentialChoice.NONE)
    [lease] = lab.poll()
    assert lease["credential"] is None
    answer = lab.post(f"jobs/{lease['job_id']}/credential", {"token": lease["token"]})
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/not-released")
    with organization_scope(alpha.organization.id):
        assert not CredentialUse.objects.exists()


@pytest.mark.parametrize("name", ["\\u0000", "\\ud800", "x" * 61])
def test_an_engine_with_an_impossible_name_is_refused_and_breaks_nothing(lab: Calling, name: str) -> None:
    answer = post_text(lab, "poll", f'{{"engines": {{"{name}": "1"}}}}')
    assert answer.status_code == 422


@pytest.mark.parametrize("inner", ["1", '"\\u0000"', "NaN"])
@pytest.mark.parametrize("levels", [250, 300, 600, 800, 1000, 20_000])
class TestAReportThatIsNestedDeeply:
    """L8, L16: it ends its job with a clear 400, and leaves nothing behind that no page can show."""

    def test_as_a_whole(
        self, lab: Calling, organization: Organization, context: AgentContext, alice: User, levels: int, inner: str
    ) -> None:
        ask(organization, context, alice, lab.placement())
        [lease] = lab.poll()
        self.is_refused(complete_with(lab, lease, nested(levels, inner)), organization, alice, lease)

    @pytest.mark.parametrize("place", ["observations", "evidence"])
    def test_in_what_is_free_in_form(
        self,
        lab: Calling,
        organization: Organization,
        context: AgentContext,
        alice: User,
        levels: int,
        inner: str,
        place: str,
    ) -> None:
        ask(organization, context, alice, lab.placement())
        [lease] = lab.poll()
        report = plain(make_report("failed"))
        if place == "observations":
            report["observations"] = "@"
        else:
            report["tracks"][0]["scenarios"][0]["steps"][0]["evidence"] = {"request": None, "response": "@"}
        text = json.dumps(report).replace('"@"', nested(levels, inner))
        self.is_refused(complete_with(lab, lease, text), organization, alice, lease)

    def is_refused(self, answer: HttpResponse, organization: Organization, by: User, lease: dict[str, Any]) -> None:
        assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-report")
        job = job_row(organization, lease["job_id"])
        assert job.state == JobState.FINISHED
        _, token = make_key(organization, by)
        assert Caller(token).get(f"/runs/{job.run_id}").status_code == 200


def test_whose_a_report_is_that_is_nested_too_deeply_is_told_wherever_its_token_stands(
    lab: Calling, organization: Organization, context: AgentContext, alice: User
) -> None:  # L8, L16
    ask(organization, context, alice, lab.placement())
    [lease] = lab.poll()
    body = f'{{"report": {nested(5000, "[]")}, "token": "{lease["token"]}"}}'
    answer = post_text(lab, f"jobs/{lease['job_id']}/complete", body)
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-report")
    assert job_row(organization, lease["job_id"]).state == JobState.FINISHED
    with organization_scope(organization.id):
        kept = RejectedReport.objects.get(job_id=lease["job_id"])
    assert kept.body.startswith('{"a": {"a":')


def test_one_that_is_too_large_to_be_looked_into_is_refused_and_says_what_to_do(
    lab: Calling, organization: Organization, context: AgentContext, alice: User
) -> None:  # L8
    ask(organization, context, alice, lab.placement())
    [lease] = lab.poll()
    answer = complete_with(lab, lease, nested(5000, f'"{"x" * 1024 * MAX_CUT_KB}"'))
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-request")
    assert "say with `fail` that there is none" in answer.json()["detail"]
    assert job_row(organization, lease["job_id"]).state == JobState.LEASED
    said = lab.post(f"jobs/{lease['job_id']}/fail", {"token": lease["token"], "reason": "too deep"})
    assert said.status_code == 200


@pytest.mark.parametrize("deep", [nested(5000, "1"), "[" * 5000, nested(5000, "1") + "}"])
def test_no_other_call_takes_what_is_nested_too_deeply(
    lab: Calling, organization: Organization, context: AgentContext, alice: User, deep: str
) -> None:
    _, token = make_key(organization, alice)
    client = Client(raise_request_exception=False)
    headers = {"Authorization": f"Bearer {token}"}
    for path, body in (
        (f"agents/{context.pk}/tests", f'{{"options": {{"call_read_only_tools": {deep}}}}}'),
        ("monitors", deep),
    ):
        answer = client.post(f"/api/v1/{path}", data=body, content_type="application/json", headers=headers)
        assert answer.status_code in (400, 409, 422), answer.content
    assert post_text(lab, "poll", f'{{"engines": {deep}}}').status_code in (400, 422)
    with organization_scope(organization.id):
        assert not Job.objects.exists()


def test_a_report_may_be_nested_as_deeply_as_its_pages_can_show(
    lab: Calling, organization: Organization, context: AgentContext, alice: User, client: Client
) -> None:
    ask(organization, context, alice, lab.placement())
    [lease] = lab.poll()
    report = plain(make_report("failed"))
    report["observations"] = "@"
    report["tracks"][0]["scenarios"][0]["steps"][0]["evidence"] = {"request": None, "response": "@"}
    text = json.dumps(report).replace('"@"', nested(OPEN_LEVELS - 1, '"\\u0000"'))
    answer = complete_with(lab, lease, text)
    assert answer.status_code == 200, answer.content
    run = answer.json()["run_id"]
    client.force_login(alice)
    for page in (f"/o/alpha/runs/{run}/", f"/o/alpha/runs/{run}/steps/0/"):
        assert client.get(page).status_code == 200
    _, token = make_key(organization, alice)
    for path in (f"/runs/{run}", f"/runs/{run}/steps/0"):
        assert Caller(token).get(path).status_code == 200


@pytest.mark.parametrize(
    "extra",
    [{"runtime": {"\0a": 5}}, {"observations": {"\0" * 101: 5}}, {"observations": {"Bearer-secret " * 9: 1}}],
    ids=["NUL", "long", "secret"],
)
def test_a_key_that_no_report_may_have_ends_the_job_and_is_not_quoted(
    lab: Calling, organization: Organization, alice: User, context: AgentContext, extra: dict[str, Any]
) -> None:  # L8, L16
    job = ask(organization, context, alice, lab.placement())
    answer = complete_with(lab, lab.poll()[0], json.dumps(plain(make_report()) | extra))
    assert answer.status_code == 400
    assert "Bearer" not in answer.content.decode()
    assert job_row(organization, job.pk).state == "finished"
