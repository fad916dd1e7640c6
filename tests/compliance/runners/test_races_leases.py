"""Private runners at the same moment: one lease, one run, and no result of whoever lost the right to bring it.

Each racer is a process with a connection of its own. They gather at a table that nobody may write to for a while, so
that all have read and locked what they will before the first of them writes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import psycopg
import pytest
from django.utils import timezone

from compliance.alerts.models import Notice
from compliance.jobs.cleanup import expire_jobs, take_back
from compliance.jobs.queue import lease_job
from compliance.models import (
    AgentContext,
    ComplianceRun,
    Job,
    Organization,
    RejectedReport,
    Role,
    User,
)
from compliance.monitors.actions import change_monitor
from compliance.monitors.tick import create_due_monitor_jobs
from compliance.registry.actions import remove_context
from compliance.registry.models import Placement
from compliance.runners.actions import delete_runner, disable_runner
from compliance.tenancy.actions import create_organization
from compliance.tenancy.scope import organization_scope
from tests.compliance.monitors.conftest import What, When, change, decisions_of, make_due, make_monitor, stored
from tests.compliance.runners.conftest import Calling, ask, job_row, make_runner, plain
from tests.conftest import add_member, make_context, make_report, make_user
from tests.racing import Meanwhile, Racer, Raised, gate, race

pytestmark = pytest.mark.processes

RUNS, JOBS = "agent_compliance_runs", "compliance_jobs"


class Lab(NamedTuple):
    organization: Organization
    context: AgentContext
    alice: User
    bob: User  # another admin: what one person does is done in turn, because each locks their own role
    runner: Calling

    def ask(self, placement: Placement | None = None, **more: Any) -> Job:
        return ask(self.organization, self.context, self.alice, placement or self.runner.placement(), **more)

    def row(self, job: Job) -> Job:
        return job_row(self.organization, job.pk)

    def runs(self) -> list[ComplianceRun]:
        with organization_scope(self.organization.id):
            return list(ComplianceRun.objects.order_by("recorded_at", "id"))

    def notices(self) -> list[str]:
        with organization_scope(self.organization.id):
            return list(Notice.objects.order_by("at").values_list("occasion", flat=True))

    def let_lease_run_out(self, job: Job, *, attempt: int | None = None) -> None:
        changes = {"lease_expires_at": timezone.now() - timedelta(seconds=1)}
        with organization_scope(self.organization.id):
            Job.objects.filter(pk=job.pk).update(**changes, **({} if attempt is None else {"attempt": attempt}))


@pytest.fixture
def lab(committed_db: None, settings: Any) -> Lab:
    # Their row is written once: else they would take turns at it, and not meet in the queue.
    settings.RUNNER_SEEN_EVERY_SECONDS = settings.RUNNER_OFFLINE_AFTER_SECONDS = 3600
    alice = make_user("alice@example.org", "Alice Owner")
    organization = create_organization(name="Alpha", by=alice)
    bob = make_user("bob@example.org", "Bob Admin")
    add_member(organization, bob, Role.ADMIN)
    runner = make_runner(organization, alice)
    runner.poll()
    return Lab(organization, make_context(organization), alice, bob, runner)


def complete(runner: Calling, lease: dict[str, Any], *verdicts: str, **more: Any) -> Callable[[], Any]:
    def call() -> Any:
        answer = runner.complete(lease, *verdicts, **more)
        return answer.status_code, answer.json()

    return call


def post(runner: Calling, path: str, body: Any) -> Callable[[], Any]:
    def call() -> Any:
        answer = runner.post(path, body)
        return answer.status_code, answer.json()

    return call


def fail(runner: Calling, lease: dict[str, Any], reason: str = "it broke") -> Callable[[], Any]:
    return post(runner, f"jobs/{lease['job_id']}/fail", {"token": lease["token"], "reason": reason})


def broken() -> dict[str, Any]:
    return plain(make_report("failed", harness_error="the network is gone"))


# One lease


def test_polls_at_once_give_one_lease(lab: Lab, superuser: psycopg.Connection[Any]) -> None:  # L4
    job = lab.ask()
    leases = race(superuser, JOBS, [lab.runner.poll] * 8)
    assert sorted(len(found) for found in leases) == [0] * 7 + [1], leases
    assert (lab.row(job).attempt, lab.row(job).state) == (1, "leased")


def test_runners_of_a_pool_at_once_share_its_work_without_a_double(
    lab: Lab, superuser: psycopg.Connection[Any]
) -> None:  # L4
    runners = [make_runner(lab.organization, lab.alice, f"runner {n}", "berlin") for n in range(4)]
    assert [runner.poll() for runner in runners] == [[]] * 4
    for number in range(6):
        context = make_context(lab.organization, f"https://agent-{number}.example/mcp")
        ask(lab.organization, context, lab.alice, Placement(pool="berlin"))
    found = race(superuser, JOBS, [lambda runner=runner: runner.poll(2) for runner in runners])  # type: ignore[misc]
    leased = [lease["job_id"] for leases in found for lease in leases]
    assert len(leased) == len(set(leased)) == 6


def test_a_worker_and_a_runner_at_once_each_take_only_what_is_theirs(
    lab: Lab, superuser: psycopg.Connection[Any]
) -> None:  # L3
    pinned, hosted = lab.ask(), lab.ask(Placement(), dry_run=True)

    def as_worker(job: Job) -> Callable[[], Any]:
        return lambda: getattr(lease_job(job.pk, lab.organization.id), "job_id", None)

    workers = [as_worker(pinned), as_worker(hosted), as_worker(pinned)]
    *leased, by_runner = race(superuser, JOBS, [*workers, lambda: lab.runner.poll(4)])
    assert leased == [None, hosted.pk, None]
    assert [lease["job_id"] for lease in by_runner] == [str(pinned.pk)]


def test_what_is_leased_is_as_it_was_asked_for_while_its_monitor_is_being_changed(
    lab: Lab, superuser: psycopg.Connection[Any]
) -> None:  # L2
    other = make_runner(lab.organization, lab.alice, "other")
    monitor = make_monitor(lab.organization, lab.context, lab.alice, placement=lab.runner.placement())
    make_due(monitor)
    assert create_due_monitor_jobs() == {"allowed": 1}
    with organization_scope(lab.organization.id):
        change_monitor(
            organization=lab.organization,
            monitor_id=monitor.pk,
            name="Renamed",
            when=When(interval_minutes=30),
            what=What(fields={"dry_run": True}, scenarios=["mcp/lifecycle"], placement=other.placement()),
            by=lab.alice,
        )
        polling = Meanwhile(lab.runner.poll)
        assert not polling.waits(superuser)
    [lease] = polling.outcome()
    released = lab.runner.post(f"jobs/{lease['job_id']}/release", {"token": lease["token"]})
    assert released.status_code == 200
    assert other.poll() == []
    [again] = lab.runner.poll()
    assert [one["options"]["scenarios"] for one in (lease, again)] == [[], []]
    lease = again
    assert lab.runner.complete(lease).status_code == 200
    [run] = lab.runs()
    assert (run.dry_run, run.actor_name, run.executor_name) == (False, "Every hour", "lab")


# One result


def test_a_result_handed_in_many_times_at_once_is_one_run_and_one_answer(
    lab: Lab, superuser: psycopg.Connection[Any]
) -> None:  # L5
    job = lab.ask()
    [lease] = lab.runner.poll()
    answers = race(superuser, RUNS, [complete(lab.runner, lease, "passed")] * 6)
    assert [status for status, _ in answers] == [200] * 6
    assert len({body["run_id"] for _, body in answers}) == 1
    assert [run.pk for run in lab.runs()] == [lab.row(job).run_id]


def test_a_report_that_is_none_handed_in_many_times_at_once_is_refused_with_one_answer(
    lab: Lab, superuser: psycopg.Connection[Any]
) -> None:  # L5, L16
    job = lab.ask()
    [lease] = lab.runner.poll()
    answers = race(superuser, RUNS, [complete(lab.runner, lease, report={"surprise": "x"})] * 4)
    assert [(status, body["type"]) for status, body in answers] == [(400, "/problems/bad-report")] * 4
    assert len({body["detail"] for _, body in answers}) == 1
    with organization_scope(lab.organization.id):
        assert RejectedReport.objects.filter(job=job).count() == 1
    assert [run.overall_status for run in lab.runs()] == ["inconclusive"]


@pytest.mark.parametrize("first", ["complete", "fail", "reject"])
def test_of_different_results_at_once_the_first_counts_and_all_hear_of_it(
    lab: Lab, superuser: psycopg.Connection[Any], first: str
) -> None:  # L5, L8, L16
    lab.ask()
    [lease] = lab.runner.poll()
    calls = {
        "complete": complete(lab.runner, lease, "passed"),
        "fail": fail(lab.runner, lease),
        "reject": complete(lab.runner, lease, report={"surprise": "x"}),
    }
    in_order = [calls.pop(first), *calls.values()]
    answers = race(superuser, RUNS, in_order, in_turn=True)
    [run] = lab.runs()
    assert run.overall_status == ("passing" if first == "complete" else "inconclusive")
    if first == "reject":
        assert answers[0][0] == 400
    else:
        assert {body["run_id"] for _, body in answers} == {str(run.pk)}


def test_the_fifth_failure_in_a_row_sent_many_times_at_once_pauses_and_tells_once(
    lab: Lab, superuser: psycopg.Connection[Any]
) -> None:  # L5, L8, L17
    monitor = make_monitor(lab.organization, lab.context, lab.alice, placement=lab.runner.placement())
    make_due(monitor)
    assert create_due_monitor_jobs() == {"allowed": 1}
    change(monitor, failures_in_a_row=4)
    [lease] = lab.runner.poll()
    calls = [complete(lab.runner, lease, report=broken()), fail(lab.runner, lease)]
    answers = race(superuser, RUNS, calls * 3)
    assert {status for status, _ in answers} == {200}
    assert len({body["run_id"] for _, body in answers}) == len(lab.runs()) == 1
    after = stored(monitor)
    assert (after.state, after.failures_in_a_row, after.next_run_at) == ("paused", 5, None)
    assert [decision.outcome for decision in decisions_of(lab.organization)] == ["allowed", "stopped"]
    assert len([one for one in lab.notices() if one.startswith("monitor-stopped")]) == 1


def test_a_result_sent_many_times_at_once_moves_the_schedule_once(
    lab: Lab, superuser: psycopg.Connection[Any]
) -> None:  # L5, L8
    monitor = make_monitor(lab.organization, lab.context, lab.alice, placement=lab.runner.placement())
    occurrence = make_due(monitor)
    create_due_monitor_jobs()
    [lease] = lab.runner.poll()
    upcoming = stored(monitor).schedule.next_after(max(timezone.now(), occurrence))
    race(superuser, "monitors", [complete(lab.runner, lease)] * 5)
    after = stored(monitor)
    assert (after.next_run_at, after.failures_in_a_row) == (upcoming, 0)
    assert len(lab.runs()) == 1


def test_a_result_and_its_schedule_are_written_together_or_not_at_all(
    lab: Lab, superuser: psycopg.Connection[Any]
) -> None:  # L8
    monitor = make_monitor(lab.organization, lab.context, lab.alice, placement=lab.runner.placement())
    occurrence = make_due(monitor)
    create_due_monitor_jobs()
    [lease] = lab.runner.poll()
    with gate(superuser, "monitors") as closed:
        completing = Racer(complete(lab.runner, lease))
        assert closed.gather(completing) == [True]
        completing.kill()
        closed.cut(completing)
    assert (lab.runs(), stored(monitor).next_run_at) == ([], occurrence)
    assert lab.runner.complete(lease).status_code == 200
    assert len(lab.runs()) == 1
    assert stored(monitor).next_run_at > occurrence


# Whose lease it is


def test_an_old_lease_and_another_runner_lose_against_the_new_lease_at_the_same_moment(
    lab: Lab, superuser: psycopg.Connection[Any]
) -> None:  # L6
    one, two = (make_runner(lab.organization, lab.alice, name, "berlin") for name in ("one", "two"))
    job = lab.ask(Placement(pool="berlin"))
    [old] = one.poll()
    lab.let_lease_run_out(job)
    [new] = one.poll()
    calls = [
        complete(one, old, "failed"),
        complete(two, new, "failed"),
        complete(two, new, "failed", runner_id=str(one.runner.pk)),
        fail(two, old),
        complete(one, new, "passed"),
    ]
    *late, right = race(superuser, RUNS, calls, in_turn=True)
    assert right[0] == 200
    for status, body in late:
        assert (status, body["type"]) == (409, "/problems/lease-lost")
        assert "discarded" in body["detail"]
    [run] = lab.runs()
    assert (run.overall_status, run.executor_name) == ("passing", "one")


def endings(lab: Lab, job: Job, lease: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """What can end or take back a job, as the test below tries it against a result."""
    organization, bob = lab.organization, lab.bob

    def cancel() -> bool:
        with organization_scope(organization.id):
            return Job.objects.get(pk=job.pk).cancel("Somebody cancelled it.")

    return {
        "cancel": cancel,
        "expire": expire_jobs,
        "take back": take_back,
        "disable": lambda: disable_runner(organization=organization, runner_id=lab.runner.runner.pk, by=bob) and None,
        "delete": lambda: delete_runner(organization=organization, runner_id=lab.runner.runner.pk, by=bob) and None,
        "remove the agent": lambda: remove_context(organization=organization, context_id=lab.context.pk, by=bob),
        "release": post(lab.runner, f"jobs/{job.pk}/release", {"token": lease["token"], "reason": "stopping"}),
    }


ENDINGS = ["cancel", "expire", "take back", "disable", "delete", "remove the agent", "release"]


def a_lapsed_lease(lab: Lab) -> tuple[Job, dict[str, Any]]:
    """A job whose lease has just run out, and which has just expired: the cleanup may end it, if nobody does."""
    job = lab.ask()
    [lease] = lab.runner.poll()
    lab.let_lease_run_out(job)
    with organization_scope(lab.organization.id):
        Job.objects.filter(pk=job.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    return job, lease


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_result_that_is_being_recorded_comes_before_what_would_end_its_job(
    lab: Lab, superuser: psycopg.Connection[Any], ending: str
) -> None:  # L5, L6, L12
    job, lease = a_lapsed_lease(lab)
    end = endings(lab, job, lease)[ending]
    completed, ended = race(superuser, RUNS, [complete(lab.runner, lease, "passed"), end], in_turn=True)
    assert completed[0] == 200
    row = lab.row(job)
    assert (row.state, str(row.run_id), row.end_reason) == ("finished", completed[1]["run_id"], "")
    assert len(lab.runs()) == 1
    assert not isinstance(ended, Raised)
    if ending == "release":
        assert ended[0] == 409


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_result_that_comes_while_its_job_is_being_ended_is_discarded_and_told_why(
    lab: Lab, superuser: psycopg.Connection[Any], ending: str
) -> None:  # L5, L6, L12
    job, lease = a_lapsed_lease(lab)
    if ending == "take back":
        with organization_scope(lab.organization.id):
            Job.objects.filter(pk=job.pk).update(expires_at=timezone.now() + timedelta(hours=1))
    end = endings(lab, job, lease)[ending]
    with organization_scope(lab.organization.id):
        outcome = end()
        completing = Meanwhile(complete(lab.runner, lease, "passed"))
        assert completing.waits(superuser), "it should wait for what is under way"
    status, problem = completing.outcome()
    assert status in (403, 409, 401), problem
    assert problem["detail"]
    assert lab.runs() == []
    assert lab.row(job).state in ("cancelled", "expired", "queued")
    assert not isinstance(outcome, Raised)
