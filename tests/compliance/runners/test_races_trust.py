"""Trust that is withdrawn, pins and leases that run out, at the moment at which a runner works."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection
from django.utils import timezone

from compliance.jobs.actions import request_owner_test
from compliance.jobs.cleanup import take_back
from compliance.models import Job
from compliance.monitors.actions import archive_monitor
from compliance.monitors.tick import create_due_monitor_jobs
from compliance.registry.models import Placement
from compliance.runners.actions import change_runner, delete_runner, disable_runner
from compliance.tenancy.scope import organization_scope
from tests.compliance.monitors.conftest import jobs_of, make_due, make_monitor, outcomes, stored
from tests.compliance.runners.conftest import Calling, ask, make_runner, plain
from tests.compliance.runners.test_races_leases import JOBS, RUNS, Lab, complete, fail, lab, post
from tests.conftest import make_report
from tests.racing import Meanwhile, Racer, Raised, gate, race

pytestmark = pytest.mark.processes

__all__ = ["lab"]


def disable(lab: Lab) -> None:
    disable_runner(organization=lab.organization, runner_id=lab.runner.runner.pk, by=lab.bob)


def delete(lab: Lab) -> None:
    delete_runner(organization=lab.organization, runner_id=lab.runner.runner.pk, by=lab.bob)


# Trust


@pytest.mark.parametrize("call", ["poll", "renew", "complete", "fail", "release", "credential"])
@pytest.mark.parametrize("withdraw", [disable, delete])
def test_whatever_a_runner_asks_for_while_trust_is_withdrawn_waits_and_is_refused(
    lab: Lab, superuser: psycopg.Connection[Any], call: str, withdraw: Callable[[Lab], None]
) -> None:  # L3, L7
    held, waiting = lab.ask(), lab.ask(dry_run=True)
    [lease] = lab.runner.poll()
    token = {"token": lease["token"]}
    bodies: dict[str, tuple[str, Any]] = {
        "poll": ("poll", {"at_most": 1, "engines": {"baseline": "1.0"}}),
        "renew": ("renew", {"leases": [{"job_id": lease["job_id"], **token}]}),
        "complete": (f"jobs/{held.pk}/complete", {**token, "report": plain(make_report("passed"))}),
        "fail": (f"jobs/{held.pk}/fail", token),
        "release": (f"jobs/{held.pk}/release", token),
        "credential": (f"jobs/{held.pk}/credential", token),
    }
    with organization_scope(lab.organization.id):
        withdraw(lab)
        calling = Meanwhile(post(lab.runner, *bodies[call]))
        assert calling.waits(superuser)
    status, problem = calling.outcome()
    # Its token ends with it.
    refused = (403, "/problems/not-allowed") if withdraw is disable else (401, "/problems/unauthorized")
    assert (status, problem["type"]) == refused
    state = "queued" if withdraw is disable else "cancelled"
    assert [(row.state, row.leased_by) for row in map(lab.row, (held, waiting))] == [(state, None)] * 2
    assert lab.runs() == []


@pytest.mark.parametrize("withdraw", [disable, delete])
def test_what_a_runner_takes_while_trust_is_withdrawn_is_taken_back(
    lab: Lab, superuser: psycopg.Connection[Any], withdraw: Callable[[Lab], None]
) -> None:  # L3
    job = lab.ask()
    leases, withdrawn = race(superuser, JOBS, [lab.runner.poll, lambda: withdraw(lab)], in_turn=True)
    assert (len(leases), withdrawn) == (1, None)
    row = lab.row(job)
    assert (row.state, row.lease_token) == ("queued" if withdraw is disable else "cancelled", None)


def test_what_a_runner_takes_of_a_pool_while_it_leaves_it_is_taken_back(
    lab: Lab, superuser: psycopg.Connection[Any]
) -> None:  # L3
    runner = make_runner(lab.organization, lab.alice, "one", "berlin")
    make_runner(lab.organization, lab.alice, "another", "berlin")
    runner.poll()
    job = lab.ask(Placement(pool="berlin"))

    def leave() -> None:
        change_runner(organization=lab.organization, runner_id=runner.runner.pk, name="one", pool="paris", by=lab.bob)

    leases, left = race(superuser, JOBS, [runner.poll, leave], in_turn=True)
    assert (len(leases), left) == (1, None)
    assert (runner.row().name, runner.row().pool) == ("one", "paris")
    assert (lab.row(job).state, lab.row(job).leased_by) == ("queued", None)
    assert runner.poll() == []


# Pins


def pin_a_monitor(lab: Lab) -> None:
    make_monitor(lab.organization, lab.context, lab.alice, placement=lab.runner.placement())


def pin_a_test(lab: Lab) -> None:
    request_owner_test(
        organization=lab.organization,
        context_id=lab.context.pk,
        by=lab.alice.as_actor(),
        placement=lab.runner.placement(),
    )


@pytest.mark.parametrize("placement", [pin_a_monitor, pin_a_test])
def test_nothing_is_pinned_to_a_runner_that_is_being_deleted(
    lab: Lab, superuser: psycopg.Connection[Any], placement: Callable[[Lab], None]
) -> None:  # L14
    with organization_scope(lab.organization.id):
        delete(lab)
        pinning = Meanwhile(lambda: placement(lab))
        assert pinning.waits(superuser)
    assert "no such private runner" in str(pinning.outcome())
    assert jobs_of(lab.organization) == []


def test_a_runner_is_not_deleted_while_a_monitor_is_being_pinned_to_it(
    lab: Lab, superuser: psycopg.Connection[Any]
) -> None:  # L14
    pinned, deleted = race(superuser, "monitors", [lambda: pin_a_monitor(lab), lambda: delete(lab)], in_turn=True)
    assert pinned is None
    assert deleted == Raised("Refused", "Monitors are placed on this runner: “Every hour”. Move or archive them first.")
    assert lab.runner.row().state == "active"


def test_a_test_that_is_being_pinned_to_a_runner_ends_with_it(lab: Lab, superuser: psycopg.Connection[Any]) -> None:
    # L14
    with organization_scope(lab.organization.id):
        pin_a_test(lab)
        deleting = Meanwhile(lambda: delete(lab))
        assert deleting.waits(superuser)
    assert deleting.outcome() is None
    with organization_scope(lab.organization.id):
        [job] = Job.objects.all()
    assert (job.state, job.end_reason) == ("cancelled", "The private runner lab was deleted.")


def in_sql(lab: Lab, statement: str) -> Callable[[], Any]:
    """The statement as any code could send it, past every action."""

    def call() -> Any:
        with organization_scope(lab.organization.id), connection.cursor() as cursor:
            cursor.execute(statement, {"runner": lab.runner.runner.pk})

    return call


PIN = "UPDATE monitors SET executor_kind = 'private', runner_id = %(runner)s"
DELETE = "UPDATE runners SET state = 'deleted' WHERE id = %(runner)s"


@pytest.mark.parametrize(("first", "second"), [(PIN, DELETE), (DELETE, PIN)])
def test_the_database_lets_a_pin_or_a_deletion_come_first_and_refuses_the_other(
    lab: Lab, superuser: psycopg.Connection[Any], first: str, second: str
) -> None:  # L14
    monitor = make_monitor(lab.organization, lab.context, lab.alice)
    with organization_scope(lab.organization.id):
        in_sql(lab, first)()
        other = Meanwhile(in_sql(lab, second))
        assert other.waits(superuser)
    assert isinstance(other.outcome(), DatabaseError), other.outcome()
    assert (lab.runner.row().state == "deleted") == (stored(monitor).runner_id is None)


LEAVE = "UPDATE runners SET pool = '' WHERE id = %(runner)s"


@pytest.mark.parametrize(("first", "second"), [(DELETE, DELETE), (DELETE, LEAVE), (LEAVE, DELETE)])
def test_the_database_keeps_one_of_two_runners_that_leave_a_pool_with_monitors_at_once(
    lab: Lab, superuser: psycopg.Connection[Any], first: str, second: str
) -> None:  # L14
    one, two = (
        lab._replace(runner=make_runner(lab.organization, lab.alice, name, "berlin")) for name in ("one", "two")
    )
    make_monitor(lab.organization, lab.context, lab.alice, placement=Placement(pool="berlin"))
    with organization_scope(lab.organization.id):
        in_sql(one, first)()
        other = Meanwhile(in_sql(two, second))
        assert other.waits(superuser)
    assert "of which this is the last runner" in str(other.outcome())
    assert (two.runner.row().state, two.runner.row().pool) == ("active", "berlin")


def test_a_runner_is_deleted_while_its_monitor_is_archived_and_due_at_the_same_moment(
    lab: Lab, superuser: psycopg.Connection[Any]
) -> None:  # L1, L14
    monitor = make_monitor(lab.organization, lab.context, lab.alice, placement=lab.runner.placement())
    make_due(monitor)

    def archive() -> None:
        archive_monitor(organization=lab.organization, monitor_id=monitor.pk, by=lab.bob)

    race(
        superuser,
        JOBS,
        [create_due_monitor_jobs, create_due_monitor_jobs, archive, lambda: delete(lab)],
        in_turn=True,
    )
    [job] = jobs_of(lab.organization)
    archived = stored(monitor).state == "archived"
    deleted = lab.runner.row().state == "deleted"
    assert archived
    # The deletion waited for the tick. Whether the archive came before it or not, no work waits for a deleted runner.
    assert job.state == ("cancelled" if deleted else "queued")
    assert outcomes(lab.organization) == ["allowed"]


# Leases that run out


def test_a_lease_that_is_being_renewed_is_not_taken_back(lab: Lab, superuser: psycopg.Connection[Any]) -> None:  # L12
    job = lab.ask()
    [lease] = lab.runner.poll()
    lab.let_lease_run_out(job)
    with organization_scope(lab.organization.id):
        held = {"job_id": lease["job_id"], "token": lease["token"]}
        assert lab.runner.post("renew", {"leases": [held]}).json()["held"] == [lease["job_id"]]
        taking = Meanwhile(take_back)
        assert not taking.waits(superuser), "nobody waits for a lease that is alive"
        assert taking.outcome() == 0
    assert (lab.row(job).state, lab.row(job).attempt) == ("leased", 1)
    assert lab.runner.complete(lease).status_code == 200


def test_a_lease_that_is_being_taken_back_is_not_renewed(lab: Lab, superuser: psycopg.Connection[Any]) -> None:  # L12
    job = lab.ask()
    [lease] = lab.runner.poll()
    lab.let_lease_run_out(job)
    held = {"job_id": lease["job_id"], "token": lease["token"]}
    with organization_scope(lab.organization.id):
        assert take_back() == 1
        renewing = Meanwhile(post(lab.runner, "renew", {"leases": [held]}))
        assert renewing.waits(superuser)
    _, answer = renewing.outcome()
    assert answer["held"] == []
    assert "taken back" in answer["lost"][0]["reason"]
    assert (lab.row(job).state, lab.row(job).lease_token) == ("queued", None)


def test_a_lease_is_not_renewed_for_another_nor_after_another_took_it(
    lab: Lab, superuser: psycopg.Connection[Any]
) -> None:  # L6, L12
    one, two = (make_runner(lab.organization, lab.alice, name, "berlin") for name in ("one", "two"))
    two.poll()
    job = lab.ask(Placement(pool="berlin"))
    [lease] = one.poll()
    held = {"job_id": lease["job_id"], "token": lease["token"]}
    assert two.post("renew", {"leases": [held]}).json()["held"] == []
    lab.let_lease_run_out(job)
    taken, (_, answer) = race(superuser, JOBS, [two.poll, post(one, "renew", {"leases": [held]})], in_turn=True)
    assert answer["held"] == []
    assert "another runner" in answer["lost"][0]["reason"]
    assert str(lab.row(job).lease_token) == taken[0]["token"]


@pytest.mark.parametrize("attempt", [1, 3])
def test_sweepers_at_once_take_a_lapsed_lease_back_once(
    lab: Lab, superuser: psycopg.Connection[Any], attempt: int
) -> None:  # L12
    job = lab.ask()
    lab.runner.poll()
    lab.let_lease_run_out(job, attempt=attempt)
    swept = race(superuser, JOBS, [take_back] * 4)
    assert sorted(swept) == [0, 0, 0, 1]
    row = lab.row(job)
    if attempt == 1:
        assert (row.state, row.attempt, lab.runs()) == ("queued", 1, [])
    else:
        assert (row.state, [run.overall_status for run in lab.runs()]) == ("finished", ["inconclusive"])


def test_a_poll_and_a_sweeper_at_once_give_a_lapsed_lease_to_one_and_count_one_attempt(
    lab: Lab, superuser: psycopg.Connection[Any]
) -> None:  # L4, L12
    job = lab.ask()
    lab.runner.poll()
    lab.let_lease_run_out(job)
    *leases, swept = race(superuser, JOBS, [lab.runner.poll, lab.runner.poll, take_back], in_turn=True)
    assert ([len(found) for found in leases], swept) == ([1, 0], 0)
    assert (lab.row(job).state, lab.row(job).attempt) == ("leased", 2)


def test_a_lease_that_is_renewed_is_not_taken_whatever_the_age_of_its_job(
    lab: Lab, superuser: psycopg.Connection[Any]
) -> None:  # L12
    job = lab.ask()
    [lease] = lab.runner.poll()
    long_ago = timezone.now() - timedelta(days=3)
    with organization_scope(lab.organization.id):
        Job.objects.filter(pk=job.pk).update(created_at=long_ago, expires_at=long_ago)
    held = {"job_id": lease["job_id"], "token": lease["token"]}
    calls = [post(lab.runner, "renew", {"leases": [held]}), lab.runner.poll, take_back, take_back]
    race(superuser, "runners", calls)
    assert str(lab.row(job).lease_token) == lease["token"]
    assert lab.runner.complete(lease).status_code == 200


def test_a_result_that_a_lost_machine_began_to_hand_in_is_taken_when_it_comes_again(
    lab: Lab, superuser: psycopg.Connection[Any]
) -> None:  # L5, L12
    job = lab.ask()
    [lease] = lab.runner.poll()
    with gate(superuser, RUNS) as closed:
        completing = Racer(complete(lab.runner, lease))
        assert closed.gather(completing) == [True]
        closed.cut(completing)
        closed.open()
        outcome = completing.outcome()
    assert isinstance(outcome, Raised) or outcome[0] >= 500, outcome
    assert lab.runner.complete(lease).status_code == 200
    assert [run.pk for run in lab.runs()] == [lab.row(job).run_id]


# Which of two that wait is woken first is chance: the one that once went wrong is tried more often.
@pytest.mark.parametrize(
    ("call", "turn"), [*(("fail", turn) for turn in range(6)), ("complete", 0), ("complete", 1), ("release", 0)]
)
def test_a_renewal_beside_the_end_of_the_same_lease_is_no_deadlock(
    lab: Lab, superuser: psycopg.Connection[Any], settings: Any, call: str, turn: int
) -> None:  # L6
    job = lab.ask()
    [lease] = lab.runner.poll()
    settings.RUNNER_SEEN_EVERY_SECONDS = 0  # so that the renewal writes that the runner was heard of
    held = {"job_id": lease["job_id"], "token": lease["token"]}
    ends = {
        "complete": complete(lab.runner, lease, "passed"),
        "fail": fail(lab.runner, lease),
        "release": post(lab.runner, f"jobs/{job.pk}/release", {"token": lease["token"]}),
    }
    calls = [post(lab.runner, "renew", {"leases": [held]}), ends[call]]
    answers = race(superuser, "runners", calls if turn % 2 else calls[::-1], in_turn=True)
    assert [status for status, _ in answers] == [200, 200], answers


def test_the_last_runner_that_leaves_a_pool_frees_what_waited_there(lab: Lab) -> None:  # L14
    runner = make_runner(lab.organization, lab.alice, "one", "berlin")
    job = ask(lab.organization, lab.context, lab.alice, Placement(pool="berlin"))
    other = make_runner(lab.organization, lab.alice, "other", "berlin")

    def leave(calling: Calling, name: str) -> str:
        change_runner(organization=lab.organization, runner_id=calling.runner.pk, name=name, pool="", by=lab.alice)
        return lab.row(job).state

    assert leave(runner, "one") == "queued", "another can take it"
    assert leave(other, "other") == "cancelled"
    row = lab.row(job)
    assert row.end_reason == "The last private runner of the pool berlin left."
