"""Jobs and leases: one piece of work, one run, whoever is lost on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import DatabaseError, connections
from django.utils import timezone

from compliance.engines import Report
from compliance.jobs import actions
from compliance.jobs.actions import request_owner_test
from compliance.jobs.cleanup import dispatch_again
from compliance.jobs.completion import complete_job
from compliance.jobs.leases import Lease, LeaseLost
from compliance.jobs.queue import lease_heartbeats, lease_job, renew_leases
from compliance.models import Agent, AgentContext, ComplianceRun, Job, Organization, User
from compliance.monitors.heartbeats import create_due_heartbeats
from compliance.registry.actions import change_heartbeats, remove_context
from compliance.tenancy.actions import create_organization
from compliance.tenancy.errors import NotAllowed, Refused
from compliance.tenancy.scope import Actor, organization_scope, platform_scope, system_scope
from tests.conftest import AGENT_URL, make_context, make_report, make_user
from tests.racing import Meanwhile


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[Any, ...]]]:
    """The messages that would go to Celery: what is tested here is that work does not depend on them."""
    messages: list[tuple[str, tuple[Any, ...]]] = []
    monkeypatch.setattr("compliance.celery.app.send_task", lambda name, args: messages.append((name, tuple(args))))
    return messages


def at_once(work: Callable[[int], Any], count: int) -> list[Any]:
    """Run `work` in `count` threads that start together, each with a database connection of its own."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def one(index: int) -> None:
        try:
            barrier.wait(10)
            results[index] = work(index)
        except Exception as error:
            results[index] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=one, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


@pytest.fixture
def committed(committed_db: None) -> tuple[Organization, AgentContext, User]:
    user = make_user("alice@example.org", "Alice Owner")
    organization = create_organization(name="Alpha", by=user)
    return organization, make_context(organization), user


def stored(job: Job) -> Job:
    with system_scope(by=Actor.system("tests"), reason="look"):
        return Job.objects.get(pk=job.pk)


def all_runs() -> list[ComplianceRun]:
    with system_scope(by=Actor.system("tests"), reason="look"):
        return list(ComplianceRun.objects.all())


def let_lease_run_out(job_id: Any) -> None:
    with system_scope(by=Actor.system("tests"), reason="arrange"):
        Job.objects.filter(pk=job_id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


def test_a_job_sends_a_message_to_a_worker_after_the_commit_and_not_before(
    committed: tuple[Organization, AgentContext, User], sent: list[Any]
) -> None:
    from django.db import transaction

    organization, context, alice = committed
    with transaction.atomic():
        job, created = request_owner_test(organization=organization, context_id=context.pk, by=alice)
        assert created
        assert sent == []
    assert sent == [("compliance.jobs.tasks.execute_job", (str(job.pk), organization.id))]


def test_the_second_press_of_the_button_finds_the_first_job(
    organization: Organization, context: AgentContext, alice: User, bob: User
) -> None:
    first, created = request_owner_test(organization=organization, context_id=context.pk, by=alice)
    second, created_again = request_owner_test(organization=organization, context_id=context.pk, by=bob)
    assert (created, created_again) == (True, False)
    assert first.pk == second.pk


def test_presses_at_the_same_moment_are_one_job(committed: tuple[Organization, AgentContext, User]) -> None:
    organization, context, alice = committed
    results = at_once(lambda _: request_owner_test(organization=organization, context_id=context.pk, by=alice), 6)
    assert len({job.pk for job, _ in results}) == 1
    assert sorted(created for _, created in results) == [False] * 5 + [True]


def test_an_observers_test_is_an_observer_test(organization: Organization, context: AgentContext, bob: User) -> None:
    job, _ = request_owner_test(organization=organization, context_id=context.pk, by=bob)
    assert job.triggered_by == "observer_test"


def test_a_verified_owners_test_is_an_owner_test(organization: Organization, bob: User) -> None:
    context = make_context(organization, verified=True)
    job, _ = request_owner_test(organization=organization, context_id=context.pk, by=bob)
    assert job.triggered_by == "owner_test"


def test_a_stranger_may_not_test(organization: Organization, context: AgentContext, charlie: User) -> None:
    with pytest.raises(NotAllowed):
        request_owner_test(organization=organization, context_id=context.pk, by=charlie)


def test_an_unknown_suite_is_refused(organization: Organization, context: AgentContext, alice: User) -> None:
    with pytest.raises(Refused, match="nonsense"):
        request_owner_test(organization=organization, context_id=context.pk, by=alice, suite_slug="nonsense")


def test_the_context_of_another_organization_does_not_exist(
    organization: Organization, alice: User, other_context: AgentContext
) -> None:
    with pytest.raises(AgentContext.DoesNotExist):
        request_owner_test(organization=organization, context_id=other_context.pk, by=alice)


@pytest.fixture
def job(organization: Organization, context: AgentContext, alice: User) -> Job:
    return request_owner_test(organization=organization, context_id=context.pk, by=alice)[0]


def lease_of(job: Job) -> Lease:
    lease = lease_job(job.pk, job.organization_id)
    assert lease is not None
    return lease


def test_workers_at_the_same_moment_get_one_lease(committed: tuple[Organization, AgentContext, User]) -> None:
    organization, context, alice = committed
    job, _ = request_owner_test(organization=organization, context_id=context.pk, by=alice)
    results = at_once(lambda _: lease_job(job.pk, organization.id), 6)
    assert [isinstance(result, Lease) for result in results].count(True) == 1
    assert [result for result in results if result is None] == [None] * 5


def test_a_job_that_another_worker_is_taking_is_not_waited_for(
    committed: tuple[Organization, AgentContext, User], superuser: psycopg.Connection[Any]
) -> None:  # L4
    organization, context, alice = committed
    job, _ = request_owner_test(organization=organization, context_id=context.pk, by=alice)
    with organization_scope(organization.id):
        assert isinstance(lease_job(job.pk, organization.id), Lease)
        other = Meanwhile(lambda: lease_job(job.pk, organization.id))
        assert not other.waits(superuser)
    assert other.outcome() is None


@pytest.mark.parametrize(
    ("known", "report", "after"),
    [
        ("", make_report("passed"), "mcp"),
        ("", make_report("failed"), "mcp"),
        ("", make_report("failed", harness_error="we broke"), ""),
        ("", replace(make_report("failed"), protocol=""), ""),
        ("", replace(make_report("failed"), protocol_version=""), ""),
        ("mcp", replace(make_report("failed"), protocol="a2a", protocol_version=""), "mcp"),
        ("a2a", make_report("passed"), "mcp"),
    ],
)
def test_an_observers_conclusive_run_tells_the_protocol_that_the_agent_proved(
    job: Job, known: str, report: Report, after: str
) -> None:  # E5
    with platform_scope():
        Agent.objects.update(protocol=known)
    complete_job(lease_of(job), report)
    assert agent().protocol == after


def test_completing_records_one_run_that_carries_the_jobs_provenance(job: Job) -> None:
    run = complete_job(lease_of(job), make_report("passed"))
    after = stored(job)
    assert (after.state, after.run_id, after.lease_token) == ("finished", run.pk, None)
    assert (run.job_id, run.triggered_org_id, run.triggered_by) == (
        job.pk,
        job.organization_id,
        "observer_test",
    )
    assert (run.actor_name, run.requested_at, run.full_suite) == ("Alice Owner", job.created_at, True)


def test_a_result_delivered_twice_is_one_run(job: Job) -> None:
    lease = lease_of(job)
    complete_job(lease, make_report("passed"))
    with pytest.raises(LeaseLost):
        complete_job(lease, make_report("failed"))
    assert [run.overall_status for run in all_runs()] == ["passing"]


def test_results_delivered_at_the_same_moment_are_one_run(committed: tuple[Organization, AgentContext, User]) -> None:
    organization, context, alice = committed
    job, _ = request_owner_test(organization=organization, context_id=context.pk, by=alice)
    lease = lease_of(job)
    results = at_once(lambda _: complete_job(lease, make_report("passed")), 6)
    assert sorted(type(result).__name__ for result in results) == ["ComplianceRun"] + ["LeaseLost"] * 5
    assert len(all_runs()) == 1


def test_a_lost_workers_job_goes_to_another_and_the_late_result_is_discarded(
    job: Job,
) -> None:
    lost = lease_of(job)
    let_lease_run_out(job.pk)
    taken_over = lease_of(job)
    with pytest.raises(LeaseLost):
        complete_job(lost, make_report("failed"))
    complete_job(taken_over, make_report("passed"))
    assert [run.overall_status for run in all_runs()] == ["passing"]


def test_a_live_lease_is_not_taken_whatever_its_age(job: Job) -> None:
    lease = lease_of(job)
    with organization_scope(job.organization_id):
        Job.objects.filter(pk=job.pk).update(started_at=timezone.now() - timedelta(days=3))
    assert renew_leases([lease], {}) == {job.pk}
    assert lease_job(job.pk, job.organization_id) is None


def test_a_job_whose_workers_are_lost_too_often_ends_inconclusive(job: Job, settings: Any) -> None:
    settings.JOB_MAX_ATTEMPTS = 2
    for _ in range(2):
        lease_of(job)
        let_lease_run_out(job.pk)
    assert lease_job(job.pk, job.organization_id) is None
    [run] = all_runs()
    assert run.overall_status == "inconclusive"
    assert "worker was lost 2 times" in run.headline
    assert stored(job).state == "finished"


def test_renewing_prolongs_and_keeps_the_progress(job: Job) -> None:
    lease = lease_of(job)
    before = stored(job).lease_expires_at
    progress = {"step": "Ping is answered\x00", "done": 3, "total": 9}
    assert renew_leases([lease], {job.pk: progress}) == {job.pk}
    after = stored(job)
    assert after.lease_expires_at > before
    assert after.progress == {**progress, "step": "Ping is answered\u2400"}
    assert renew_leases([lease], {}) == {job.pk}
    assert stored(job).progress["done"] == 3


def test_an_old_lease_renews_nothing(job: Job) -> None:
    old = lease_of(job)
    let_lease_run_out(job.pk)
    lease_of(job)
    assert renew_leases([old], {}) == set()


def test_a_run_of_some_scenarios_is_marked_as_such(
    organization: Organization, context: AgentContext, alice: User
) -> None:  # R10
    job, _ = request_owner_test(organization=organization, context_id=context.pk, by=alice, scenarios=["mcp/lifecycle"])
    lease = lease_of(job)
    assert lease.options["scenarios"] == ["mcp/lifecycle"]
    assert complete_job(lease, make_report("passed")).full_suite is False


def test_a_full_test_is_not_answered_with_one_of_some_scenarios(
    organization: Organization, context: AgentContext, alice: User
) -> None:  # R10
    request_owner_test(organization=organization, context_id=context.pk, by=alice, scenarios=["mcp/lifecycle"])
    with pytest.raises(Refused, match="other scenarios"):
        request_owner_test(organization=organization, context_id=context.pk, by=alice)


def test_the_cleanup_repeats_a_lost_message(job: Job, sent: list[Any], django_capture_on_commit_callbacks: Any) -> None:
    with system_scope(by=Actor.system("tests"), reason="arrange"):
        Job.objects.update(dispatched_at=timezone.now() - timedelta(minutes=5))
    sent.clear()
    with django_capture_on_commit_callbacks(execute=True):
        assert dispatch_again() == 1
    assert sent == [("compliance.jobs.tasks.execute_job", (str(job.pk), job.organization_id))]
    assert dispatch_again() == 0


def test_the_sweeper_leaves_fresh_and_running_work_alone(job: Job) -> None:
    assert dispatch_again() == 0
    lease_of(job)
    with system_scope(by=Actor.system("tests"), reason="arrange"):
        Job.objects.update(dispatched_at=timezone.now() - timedelta(minutes=5))
    assert dispatch_again() == 0
    let_lease_run_out(job.pk)
    assert dispatch_again() == 1


def test_a_broker_that_is_away_does_not_stop_a_job(
    organization: Organization,
    context: AgentContext,
    alice: User,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: Any,
) -> None:
    from kombu.exceptions import OperationalError

    def refuse(name: str, args: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("compliance.celery.app.send_task", refuse)
    with django_capture_on_commit_callbacks(execute=True):
        job, _ = request_owner_test(organization=organization, context_id=context.pk, by=alice)
    assert stored(job).state == "queued"
    assert "was not sent" in caplog.text


# Heartbeats


def agent(**fields: Any) -> Agent:
    with platform_scope():
        if fields:
            Agent.objects.filter(pk=AGENT_URL).update(**fields)
        return Agent.objects.get(pk=AGENT_URL)


def test_a_due_agent_gets_one_heartbeat_whatever_number_of_ticks(context: AgentContext) -> None:
    assert create_due_heartbeats() == 1
    assert create_due_heartbeats() == 0


def test_ticks_at_the_same_moment_make_one_heartbeat(committed: tuple[Organization, AgentContext, User]) -> None:
    results = at_once(lambda _: create_due_heartbeats(), 6)
    assert sorted(results) == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("why", "fields"),
    [
        ("paused", {"paused": True}),
        ("opted out", {"opted_out": True}),
        ("in development", {"lifecycle_stage": "development"}),
        ("retired", {"lifecycle_stage": "retired"}),
        ("not due", {"next_heartbeat_at": timezone.now() + timedelta(hours=1)}),
    ],
)
def test_no_heartbeat_for_an_agent_that_is_not_to_be_checked(
    context: AgentContext, why: str, fields: dict[str, Any]
) -> None:
    agent(**fields)
    assert create_due_heartbeats() == 0, why


def test_an_agent_that_nobody_has_registered_any_more_is_not_checked(
    organization: Organization, other_organization: Organization, context: AgentContext, other_context: AgentContext
) -> None:
    with organization_scope(organization.id):
        context.delete()
    assert agent().registrations == 1
    with organization_scope(other_organization.id):
        other_context.delete()
    assert agent().registrations == 0
    assert create_due_heartbeats() == 0


def test_a_heartbeat_is_recorded_with_no_organization_and_moves_the_schedule(context: AgentContext) -> None:
    create_due_heartbeats()
    [lease] = lease_heartbeats(10)
    run = complete_job(lease, make_report("failed"))
    after = agent()
    assert (run.triggered_by, run.triggered_org_id, run.actor_name) == ("heartbeat", None, "heartbeat")
    assert after.last_checked_at == run.tested_at
    assert run.recorded_at < after.next_heartbeat_at <= run.recorded_at + timedelta(hours=12)
    assert after.protocol == "mcp"


def test_an_inconclusive_heartbeat_moves_the_schedule_too(context: AgentContext) -> None:
    create_due_heartbeats()
    [lease] = lease_heartbeats(10)
    complete_job(lease, make_report("failed", harness_error="we broke"))
    assert agent().next_heartbeat_at > timezone.now()
    assert agent().protocol == ""


def test_heartbeats_are_spread_over_the_interval_and_stay_in_their_slot(db: None) -> None:
    from django.db import connection

    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT heartbeat_slot('https://a.example/' || n, 12, %s),"
            " heartbeat_slot('https://a.example/' || n, 12, heartbeat_slot('https://a.example/' || n, 12, %s))"
            " FROM generate_series(1, 1200) n",
            [now, now],
        )
        slots = cursor.fetchall()
    assert all(now < first <= now + timedelta(hours=12) for first, _ in slots)
    assert all(second - first == timedelta(hours=12) for first, second in slots)
    per_hour = [0] * 12
    for first, _ in slots:
        per_hour[int((first - now).total_seconds() // 3600) % 12] += 1
    assert min(per_hour) > 60
    assert max(per_hour) < 150


def test_only_the_verified_owners_admins_change_the_heartbeats(
    organization: Organization, context: AgentContext, alice: User, bob: User
) -> None:
    wanted = {"interval_hours": 24, "lifecycle_stage": "testing", "paused": True, "opted_out": False}
    with pytest.raises(NotAllowed, match="verified owner"):
        change_heartbeats(organization=organization, context_id=context.pk, by=alice, **wanted)
    verified = make_context(organization, "https://own.example/mcp", verified=True)
    with pytest.raises(NotAllowed):
        change_heartbeats(organization=organization, context_id=verified.pk, by=bob, **wanted)
    changed = change_heartbeats(organization=organization, context_id=verified.pk, by=alice, **wanted)
    assert (changed.heartbeat_interval_hours, changed.lifecycle_stage, changed.paused) == (24, "testing", True)
    with pytest.raises(Refused):
        change_heartbeats(
            organization=organization, context_id=verified.pk, by=alice, **{**wanted, "interval_hours": 5}
        )


def test_an_overdue_agent_is_listed(context: AgentContext) -> None:
    agent(next_heartbeat_at=timezone.now() - timedelta(hours=1))
    with platform_scope():
        assert [late.pk for late in Agent.objects.overdue(timezone.now())] == [AGENT_URL]
    agent(next_heartbeat_at=timezone.now() - timedelta(minutes=1))
    with platform_scope():
        assert list(Agent.objects.overdue(timezone.now())) == []


def test_a_lease_names_no_job_that_is_not_there(db: None) -> None:
    assert lease_job(uuid4(), "org_nobody") is None


# An agent that is removed meanwhile


def test_removing_an_agent_cancels_its_tests_and_a_late_result_is_discarded(
    organization: Organization, context: AgentContext, alice: User, job: Job
) -> None:
    lease = lease_of(job)
    remove_context(organization=organization, context_id=context.pk, by=alice)
    after = stored(job)
    assert (after.state, after.lease_token) == ("cancelled", None)
    with pytest.raises(LeaseLost):
        complete_job(lease, make_report("passed"))
    assert all_runs() == []


def test_removing_an_agent_leaves_other_organizations_tests_alone(
    organization: Organization,
    context: AgentContext,
    alice: User,
    other_organization: Organization,
    other_context: AgentContext,
    charlie: User,
) -> None:
    theirs, _ = request_owner_test(organization=other_organization, context_id=other_context.pk, by=charlie)
    remove_context(organization=organization, context_id=context.pk, by=alice)
    assert stored(theirs).state == "queued"


def test_a_test_asked_for_while_the_agent_is_removed_does_not_wait_for_ever(
    committed: tuple[Organization, AgentContext, User], superuser: psycopg.Connection[Any]
) -> None:
    """The removal cancels the jobs that it sees: those asked for before must be visible to it."""
    organization, context, alice = committed
    with organization_scope(organization.id):
        job, _ = request_owner_test(organization=organization, context_id=context.pk, by=alice)
        removing = Meanwhile(lambda: remove_context(organization=organization, context_id=context.pk, by=alice))
        assert removing.waits(superuser), "it should wait until the job is there"
    assert removing.outcome() is None
    assert stored(job).state == "cancelled"


def test_no_test_of_an_agent_is_asked_for_while_it_is_removed(
    committed: tuple[Organization, AgentContext, User], superuser: psycopg.Connection[Any]
) -> None:
    """A job made beside the removal, unseen by it, would never be cancelled and never be run."""
    organization, context, alice = committed
    with organization_scope(organization.id):
        remove_context(organization=organization, context_id=context.pk, by=alice)
        asking = Meanwhile(lambda: request_owner_test(organization=organization, context_id=context.pk, by=alice))
        assert asking.waits(superuser), "it should wait for the end of the removal"
    assert isinstance(asking.outcome(), AgentContext.DoesNotExist), asking.outcome()
    with organization_scope(organization.id):
        assert not Job.objects.exists()


def test_a_run_that_cannot_be_recorded_does_not_stop_the_others(
    committed: tuple[Organization, AgentContext, User],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from compliance.jobs import worker as execution

    organization, _, alice = committed
    contexts = [make_context(organization, f"http://127.0.0.1:9/{name}") for name in ("broken", "good")]
    jobs = [request_owner_test(organization=organization, context_id=c.pk, by=alice)[0] for c in contexts]
    complete = execution.complete_job

    def fail_once(lease: Lease, report: Any, **more: Any) -> Any:
        if lease.agent_url.endswith("broken"):
            raise DatabaseError("no room on the disk")
        return complete(lease, report, **more)

    monkeypatch.setattr(execution, "complete_job", fail_once)
    waiting = [lease_of(job) for job in jobs]

    def all_at_once(at_most: int) -> list[Lease]:
        taken = waiting[:at_most]
        del waiting[:at_most]
        return taken

    runs = execution.run_leases(all_at_once, concurrency=4)
    assert [run.agent_url for run in runs] == ["http://127.0.0.1:9/good"]
    assert "could not be recorded" in caplog.text
    assert stored(jobs[0]).state == "leased"


def test_a_job_that_ends_while_another_is_made_makes_room_for_it(
    organization: Organization, context: AgentContext, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The button is pressed at the moment in which the test under way ends: that is no 404."""
    first, _ = request_owner_test(organization=organization, context_id=context.pk, by=alice)
    insert = actions.insert_jobs

    def ending(jobs: Any) -> list[Any]:
        inserted = insert(jobs)
        first.cancel()
        return inserted

    monkeypatch.setattr(actions, "insert_jobs", ending)
    second, created = request_owner_test(organization=organization, context_id=context.pk, by=alice)
    assert created
    assert second.pk != first.pk


def test_workers_at_the_same_moment_share_the_heartbeats(committed_db: None) -> None:  # L4
    """Without the lock each would lease them all, visit every agent, and lose all but one of the results."""
    organization = create_organization(name="Alpha", by=make_user("alice@example.org", "Alice Owner"))
    urls = [f"https://agent-{number}.example/mcp" for number in range(30)]
    for url in urls:
        make_context(organization, url)
    create_due_heartbeats()
    leased = at_once(lambda _: lease_heartbeats(at_most=30), count=6)
    assert sorted(lease.agent_url for leases in leased for lease in leases) == sorted(urls)
