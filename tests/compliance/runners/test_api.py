"""What a private runner may ask and do over the API."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from compliance.jobs.models import JobState
from compliance.jobs.queue import lease_job
from compliance.models import (
    AgentContext,
    ComplianceRun,
    Job,
    Organization,
    RejectedReport,
    Runner,
    User,
)
from compliance.monitors.actions import archive_monitor
from compliance.registry.models import Placement
from compliance.runners.actions import change_runner, create_runner, delete_runner, disable_runner, new_token
from compliance.runners.waiting import WAIT, Wait
from compliance.tenancy.errors import Refused
from compliance.tenancy.scope import organization_scope
from tests.compliance.monitors.conftest import make_monitor
from tests.compliance.runners.conftest import Calling, ask, job_row, make_runner, plain
from tests.conftest import make_context, make_report

pytestmark = pytest.mark.django_db


def test_a_pinned_job_goes_to_its_runner_and_becomes_a_run_with_its_name(
    organization: Organization, context: AgentContext, alice: User, lab: Calling
) -> None:
    job = ask(organization, context, alice, lab.placement())

    leases = lab.poll()
    assert [lease["job_id"] for lease in leases] == [str(job.pk)]
    answer = lab.complete(leases[0], "passed")

    assert answer.status_code == 200
    with organization_scope(organization.id):
        run = ComplianceRun.objects.get(pk=answer.json()["run_id"])
    assert (run.executor_kind, run.executor_name, run.executor_id) == ("private", "lab", lab.runner.pk)
    assert str(run.pk) == leases[0]["run_id"]
    assert not run.moves_status
    assert job_row(organization, job.pk).state == JobState.FINISHED


def test_a_poll_that_finds_nothing_says_by_which_keys_its_runner_can_be_woken(
    organization: Organization, alice: User
) -> None:
    lab, wait = make_runner(organization, alice, pool="berlin"), Wait()
    poll(lab, {"at_most": 1, "engines": {}}, wait)
    assert wait.keys == [f"runner:{lab.runner.pk}", f"pool:{organization.id}:berlin"]


def poll(lab: Calling, body: dict[str, Any], wait: Wait) -> None:
    """A poll as the web server passes it on, with what it knows of its waiting."""
    answer = Client().post(
        "/api/v1/runner/poll",
        data=json.dumps(body),
        content_type="application/json",
        headers={"Authorization": f"Bearer {lab.token}"},
        **{WAIT: wait},  # type: ignore[arg-type]
    )
    assert answer.status_code == 200


def test_a_runner_gets_only_work_for_engines_that_it_has(
    organization: Organization, context: AgentContext, alice: User, lab: Calling
) -> None:
    ask(organization, context, alice, lab.placement())
    assert lab.poll(engines={"adcp": "1.0"}) == []
    assert len(lab.poll()) == 1


def test_any_runner_of_a_pool_takes_its_work_and_others_do_not(  # L3
    organization: Organization, context: AgentContext, alice: User, lab: Calling
) -> None:
    in_pool = make_runner(organization, alice, "one", "berlin")
    ask(organization, context, alice, Placement(pool="berlin"))
    assert lab.poll() == []
    assert len(in_pool.poll()) == 1


def test_hosted_work_is_not_for_runners_nor_pinned_work_for_workers(  # L3
    organization: Organization, context: AgentContext, alice: User, lab: Calling
) -> None:
    hosted = ask(organization, context, alice, Placement())
    assert lab.poll() == []
    answer = lab.post(f"jobs/{hosted.pk}/complete", {"token": str(uuid4()), "report": {}})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-private")

    pinned = ask(organization, context, alice, lab.placement(), dry_run=True)
    assert lease_job(pinned.pk, organization.id) is None


def test_a_runner_never_gets_another_organizations_work(  # L3, I5
    organization: Organization, context: AgentContext, alice: User, other_organization: Organization, charlie: User
) -> None:
    lab = make_runner(organization, alice, pool="berlin")
    stranger = make_runner(other_organization, charlie, pool="berlin")
    ask(organization, context, alice, Placement(pool="berlin"))
    assert stranger.poll() == []
    [lease] = lab.poll()
    answer = stranger.complete(lease, "passed")
    unknown = stranger.complete({**lease, "job_id": str(uuid4())}, "passed")
    assert (answer.status_code, answer.content) == (404, unknown.content)
    assert job_row(organization, lease["job_id"]).state == JobState.LEASED


def test_the_same_result_sent_twice_is_one_run_and_the_same_answer(  # L5
    organization: Organization, context: AgentContext, alice: User, lab: Calling
) -> None:
    ask(organization, context, alice, lab.placement())
    [lease] = lab.poll()
    first, second = lab.complete(lease, "passed"), lab.complete(lease, "failed")
    assert (second.status_code, second.json()) == (200, first.json())
    with organization_scope(organization.id):
        assert ComplianceRun.objects.filter(job_id=lease["job_id"]).count() == 1


def test_a_result_of_an_old_lease_is_discarded_and_the_runner_told_why(  # L6
    organization: Organization, context: AgentContext, alice: User, lab: Calling
) -> None:
    job = ask(organization, context, alice, lab.placement())
    [old] = lab.poll()
    with organization_scope(organization.id):
        Job.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    [new] = lab.poll()
    assert (new["job_id"], new["attempt"]) == (old["job_id"], 2)

    answer = lab.complete(old, "failed")

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/lease-lost")
    assert "leased anew" in answer.json()["detail"]
    assert job_row(organization, job.pk).state == JobState.LEASED
    assert lab.complete(new, "passed").status_code == 200


def test_another_runner_of_the_organization_cannot_hand_in_a_result(  # L6
    organization: Organization, context: AgentContext, alice: User
) -> None:
    one, two = make_runner(organization, alice, "one", "berlin"), make_runner(organization, alice, "two", "berlin")
    ask(organization, context, alice, Placement(pool="berlin"))
    [lease] = one.poll()
    answer = two.complete(lease, "passed", report={**plain(make_report("passed"))}, runner_id=str(one.runner.pk))
    assert answer.status_code == 409
    assert answer.json()["detail"] == "The result was discarded. The job is with another runner, “one”."
    assert job_row(organization, lease["job_id"]).leased_by == one.runner.pk


@pytest.mark.parametrize(
    ("pool", "state", "why"),
    [
        ("berlin", "leased", "The job is with another runner, “one”."),
        (
            "berlin",
            "queued",
            "This runner does not have the job: the lease ran out or was taken back, or there was none."
            " The job waits to be taken.",
        ),
        ("berlin", "finished", "The job has ended with the result of another runner."),
        ("", "leased", "The job is not placed on this runner."),
        ("", "queued", "The job is not placed on this runner."),
        ("", "finished", "The job is not placed on this runner."),
    ],
)
def test_a_wrong_runner_is_told_the_true_reason(
    organization: Organization, context: AgentContext, alice: User, pool: str, state: str, why: str
) -> None:
    one, two = make_runner(organization, alice, "one", "berlin"), make_runner(organization, alice, "two", pool)
    ask(organization, context, alice, Placement(pool="berlin"))
    [lease] = one.poll()
    if state == "queued":
        one.post(f"jobs/{lease['job_id']}/release", {"token": lease["token"]})
    if state == "finished":
        one.complete(lease, "passed")
    answer = two.complete(lease, "failed")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/lease-lost")
    assert answer.json()["detail"] == f"The result was discarded. {why}"
    held = {"job_id": lease["job_id"], "token": lease["token"]}
    assert two.post("renew", {"leases": [held]}).json()["lost"] == [{"job_id": lease["job_id"], "reason": why}]


def test_what_is_no_report_ends_the_job_and_is_kept_for_its_organization(  # L8, L16
    organization: Organization, context: AgentContext, alice: User, lab: Calling
) -> None:
    ask(organization, context, alice, lab.placement())
    [lease] = lab.poll()
    answer = lab.complete(lease, report={"schema": "assay-report/1", "surprise": "x"})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-report")
    assert answer["Content-Type"] == "application/problem+json"
    job = job_row(organization, lease["job_id"])
    assert job.state == JobState.FINISHED
    with organization_scope(organization.id):
        run = ComplianceRun.objects.get(job_id=job.pk)
        kept = RejectedReport.objects.get(job=job)
    assert run.overall_status == "inconclusive"
    assert "surprise" in kept.body
    assert kept.runner_name == "lab"


def test_a_report_about_another_suite_is_no_report_of_the_job(  # L16
    organization: Organization, context: AgentContext, alice: User, lab: Calling
) -> None:
    ask(organization, context, alice, lab.placement())
    [lease] = lab.poll()
    assert lab.complete(lease, report={**plain(make_report("passed")), "suite": "other"}).status_code == 400


def test_a_failure_of_the_runner_is_an_inconclusive_run_with_its_reason(  # R7, L8
    organization: Organization, context: AgentContext, alice: User, lab: Calling
) -> None:
    ask(organization, context, alice, lab.placement())
    [lease] = lab.poll()
    answer = lab.post(f"jobs/{lease['job_id']}/fail", {"token": lease["token"], "reason": "no such secret"})
    assert answer.json()["overall_status"] == "inconclusive"
    with organization_scope(organization.id):
        assert "no such secret" in ComplianceRun.objects.get(pk=answer.json()["run_id"]).harness_error
    assert lab.row().last_error == "no such secret"


def test_what_is_handed_back_is_taken_again_and_was_no_attempt(
    organization: Organization, context: AgentContext, alice: User, lab: Calling
) -> None:
    job = ask(organization, context, alice, lab.placement())
    for _ in range(5):
        [lease] = lab.poll()
        body = {"token": lease["token"], "reason": "stopping"}
        assert lab.post(f"jobs/{job.pk}/release", body).json() == {"state": "queued"}
    assert job_row(organization, job.pk).attempt == 0


def test_renewing_keeps_a_lease_and_says_why_one_is_lost(  # L12
    organization: Organization, context: AgentContext, alice: User, lab: Calling
) -> None:
    job = ask(organization, context, alice, lab.placement())
    [lease] = lab.poll()
    with organization_scope(organization.id):
        Job.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() + timedelta(seconds=1))
    held = {"job_id": lease["job_id"], "token": lease["token"]}
    progress = {"step": "tools/list", "done": 2, "total": 9}
    assert lab.post("renew", {"leases": [{**held, "progress": progress}]}).json()["held"] == [lease["job_id"]]
    row = job_row(organization, job.pk)
    assert row.progress == progress
    assert row.lease_expires_at is not None
    assert row.lease_expires_at > timezone.now() + timedelta(seconds=10)

    with organization_scope(organization.id):
        row.cancel("The agent was removed.")
    answer = lab.post("renew", {"leases": [held]}).json()
    assert answer["held"] == []
    assert answer["lost"][0]["reason"] == "The job was cancelled. The agent was removed."


def test_a_runners_calendar_does_not_say_when_a_test_was(
    organization: Organization, context: AgentContext, alice: User, lab: Calling
) -> None:
    ask(organization, context, alice, lab.placement())
    [lease] = lab.poll(clock="2031-01-01T00:00:00Z")
    run_id = lab.complete(lease, "passed", age_ms=86_400_000 * 365).json()["run_id"]
    with organization_scope(organization.id):
        run = ComplianceRun.objects.get(pk=run_id)
    assert timezone.now() - timedelta(minutes=2) < run.tested_at <= run.recorded_at
    assert lab.row().clock_ahead_ms > 86_400_000


def test_a_disabled_runner_gets_nothing_and_what_it_held_is_taken_back(  # L3
    organization: Organization, context: AgentContext, alice: User, lab: Calling
) -> None:
    job = ask(organization, context, alice, lab.placement())
    [lease] = lab.poll()
    disable_runner(organization=organization, runner_id=lab.runner.pk, by=alice)
    assert job_row(organization, job.pk).state == JobState.QUEUED
    held = {"job_id": lease["job_id"], "token": lease["token"]}
    calls: dict[str, Any] = {
        "poll": {"at_most": 1},
        "renew": {"leases": [held]},
        f"jobs/{job.pk}/complete": {"token": lease["token"], "report": plain(make_report("passed"))},
        f"jobs/{job.pk}/fail": {"token": lease["token"]},
        f"jobs/{job.pk}/release": {"token": lease["token"]},
        f"jobs/{job.pk}/credential": {"token": lease["token"]},
    }
    for path, body in calls.items():  # L7
        assert lab.post(path, body).status_code == 403, path
    assert job_row(organization, job.pk).state == JobState.QUEUED


def test_a_new_token_ends_the_old_one_at_once(organization: Organization, alice: User, lab: Calling) -> None:
    _, token = new_token(organization=organization, runner_id=lab.runner.pk, by=alice)
    assert lab.post("poll", {"at_most": 1}).status_code == 401
    assert Calling(lab.runner, token).poll() == []


def test_a_token_that_was_used_a_moment_ago_ends_as_soon_as_it_is_replaced(
    organization: Organization, alice: User, lab: Calling
) -> None:
    """Keys are remembered between calls."""
    assert lab.poll() == []
    new_token(organization=organization, runner_id=lab.runner.pk, by=alice)
    assert [lab.post("poll", {"at_most": 1}).status_code for _ in range(2)] == [401, 401]


def test_a_runner_with_live_pins_is_not_deleted_and_says_which(  # L14
    organization: Organization, context: AgentContext, alice: User, lab: Calling
) -> None:
    make_monitor(organization, context, alice, placement=lab.placement(), name="Nightly")
    with pytest.raises(Refused, match="“Nightly”"):
        delete_runner(organization=organization, runner_id=lab.runner.pk, by=alice)
    assert lab.poll() == []


def test_deleting_a_runner_frees_what_waited_for_it(  # L14
    organization: Organization, context: AgentContext, alice: User, lab: Calling
) -> None:
    job = ask(organization, context, alice, lab.placement())
    delete_runner(organization=organization, runner_id=lab.runner.pk, by=alice)
    row = job_row(organization, job.pk)
    assert (row.state, row.end_reason) == (JobState.CANCELLED, "The private runner lab was deleted.")
    assert lab.post("poll", {"at_most": 1}).status_code == 401
    with pytest.raises(Refused, match="no such private runner"):
        ask(organization, context, alice, lab.placement())


def test_the_last_runner_of_a_pool_stays_while_monitors_are_pinned_to_the_pool(  # L14
    organization: Organization, context: AgentContext, alice: User
) -> None:
    one, two = (make_runner(organization, alice, name, "berlin") for name in ("one", "two"))
    monitor = make_monitor(organization, context, alice, placement=Placement(pool="berlin"), name="Nightly")
    delete_runner(organization=organization, runner_id=one.runner.pk, by=alice)
    with pytest.raises(Refused, match=r"“Nightly”.*add another runner to the pool"):
        delete_runner(organization=organization, runner_id=two.runner.pk, by=alice)
    with pytest.raises(Refused, match="“Nightly”"):
        change_runner(organization=organization, runner_id=two.runner.pk, name="two", pool="hamburg", by=alice)
    change_runner(organization=organization, runner_id=two.runner.pk, name="renamed", pool="berlin", by=alice)
    archive_monitor(organization=organization, monitor_id=monitor.pk, by=alice)
    delete_runner(organization=organization, runner_id=two.runner.pk, by=alice)


def test_deleting_the_last_runner_of_a_pool_frees_what_waited_for_it(  # L14
    organization: Organization, context: AgentContext, alice: User
) -> None:
    one, two = (make_runner(organization, alice, name, "berlin") for name in ("one", "two"))
    job = ask(organization, context, alice, Placement(pool="berlin"))
    delete_runner(organization=organization, runner_id=one.runner.pk, by=alice)
    assert job_row(organization, job.pk).state == JobState.QUEUED
    delete_runner(organization=organization, runner_id=two.runner.pk, by=alice)
    row = job_row(organization, job.pk)
    assert (row.state, row.end_reason) == (
        JobState.CANCELLED,
        "The last private runner of the pool berlin was deleted.",
    )


def test_names_of_runners_are_theirs_and_pools_have_a_shape(
    organization: Organization, alice: User, lab: Calling
) -> None:
    with pytest.raises(Refused, match="already"):
        create_runner(organization=organization, name="LAB", by=alice)
    with pytest.raises(Refused, match="pool"):
        change_runner(organization=organization, runner_id=lab.runner.pk, name="lab", pool="no spaces", by=alice)


@pytest.mark.parametrize("waited", [0, 50])
def test_what_a_runner_says_of_its_clock_is_as_old_as_its_question(lab: Calling, waited: int) -> None:
    """The web server repeats the same request, with what the clock said when it was first sent."""
    said = timezone.now() - timedelta(seconds=waited - 7)
    poll(lab, {"at_most": 1, "engines": {}, "clock": said.isoformat()}, Wait(waited_seconds=waited))
    assert abs(lab.row().clock_ahead_ms - 7000) < 5000


def test_an_idle_poll_asks_for_its_key_its_runner_and_its_work_and_nothing_else(lab: Calling) -> None:
    lab.poll()
    with CaptureQueriesContext(connection) as captured:
        lab.poll()
    asked = [query["sql"] for query in captured if not query["sql"].startswith(("SAVEPOINT", "RELEASE"))]
    told = [part for part in asked if "set_config" not in part and "find_api_key" not in part]
    tables = [re.search(r'FROM "?(\w+)', statement)[1] for statement in told]  # type: ignore[index]
    assert tables[:2] == ["runners", "api_keys"], "whether its key was revoked meanwhile"
    assert sorted(tables[2:]) in (["compliance_jobs"], ["compliance_jobs", "organizations"]), asked


def test_many_leases_of_one_poll_cost_no_query_more(organization: Organization, alice: User, lab: Calling) -> None:
    def cost(at_most: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert len(lab.poll(at_most=at_most)) == at_most
        return len(captured)

    for number in range(6):
        ask(organization, make_context(organization, f"https://{number}.example/mcp"), alice, lab.placement())
    lab.poll(at_most=0)  # that it was heard of is written down now and not then
    assert cost(1) == cost(5)


def test_each_lease_of_one_poll_has_a_token_of_its_own(  # L6
    organization: Organization, alice: User, lab: Calling
) -> None:
    for number in range(3):
        ask(organization, make_context(organization, f"https://{number}.example/mcp"), alice, lab.placement())
    leases = lab.poll(at_most=3)
    assert len({lease["token"] for lease in leases}) == 3
    assert len({lease["run_id"] for lease in leases}) == 3
    renewed = lab.post("renew", {"leases": [{key: lease[key] for key in ("job_id", "token")} for lease in leases]})
    assert (len(renewed.json()["held"]), renewed.json()["lost"]) == (3, [])


def test_a_runner_that_says_goodbye_is_offline_at_once(lab: Calling) -> None:  # L13
    lab.poll()
    assert lab.row().is_online
    answer = lab.post("poll", {"at_most": 1, "leaving": True, "engines": {}})
    assert answer.status_code == 200
    assert "Assay-Wait-For" not in answer
    assert not lab.row().is_online
    lab.poll()
    assert lab.row().is_online


def test_a_runner_with_all_hands_full_stays_online_by_what_it_renews(
    organization: Organization, context: AgentContext, alice: User, lab: Calling
) -> None:
    ask(organization, context, alice, lab.placement())
    [lease] = lab.poll()
    long_ago = timezone.now() - timedelta(minutes=5)
    with organization_scope(organization.id):
        Runner.objects.filter(pk=lab.runner.pk).update(last_seen_at=long_ago, online_until=long_ago)
    lab.post("renew", {"leases": [{"job_id": lease["job_id"], "token": lease["token"]}]})
    assert lab.row().is_online
