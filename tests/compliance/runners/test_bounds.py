"""What a private runner, or who may ask it for tests, cannot do without end: waiting costs nobody else anything."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.utils import timezone

from compliance.jobs.actions import QueueFull
from compliance.models import AgentContext, ComplianceRun, Job, Monitor, Organization, Runner, User
from compliance.monitors.tick import create_due_monitor_jobs
from compliance.registry.models import Placement
from compliance.runners.actions import disable_runner
from compliance.tenancy.actions import create_organization
from compliance.tenancy.scope import organization_scope
from tests.compliance.monitors.conftest import decisions_of, jobs_of, make_due, make_monitor, stored
from tests.compliance.runners.conftest import Calling, ask, job_row, make_runner
from tests.conftest import make_context, make_user
from tests.dashboard.api.conftest import Caller, make_key
from tests.racing import Raised, race

CAPS = {
    "MONITOR_AGENT_CONCURRENCY": "of this agent at once",
    "MONITOR_ORGANIZATION_CONCURRENCY": "of your organization at once",
}


@pytest.fixture
def monitor(organization: Organization, context: AgentContext, alice: User) -> Monitor:
    """Of the agent that the tests are of; hosted."""
    return make_monitor(organization, context, alice)


def gone(lab: Calling) -> None:
    then = timezone.now() - timedelta(hours=1)
    with organization_scope(lab.runner.organization_id):
        Runner.objects.filter(pk=lab.runner.pk).update(last_seen_at=then, online_until=then)


# What counts against the caps of monitors


@pytest.mark.django_db
@pytest.mark.parametrize("cap", CAPS)
class TestUnderWay:
    @pytest.mark.parametrize("pool", ["", "berlin"])
    def test_a_test_that_waits_for_a_private_runner_stops_no_monitor(
        self,
        organization: Organization,
        context: AgentContext,
        alice: User,
        monitor: Monitor,
        settings: Any,
        cap: str,
        pool: str,
    ) -> None:  # G3
        setattr(settings, cap, 1)
        lab = make_runner(organization, alice, pool=pool)
        ask(organization, context, alice, Placement(pool=pool) if pool else lab.placement())
        make_due(monitor)
        assert create_due_monitor_jobs() == {"allowed": 1}

    def test_one_that_a_private_runner_works_on_does(
        self,
        organization: Organization,
        context: AgentContext,
        alice: User,
        monitor: Monitor,
        lab: Calling,
        settings: Any,
        cap: str,
    ) -> None:  # G3
        setattr(settings, cap, 1)
        ask(organization, context, alice, lab.placement())
        assert len(lab.poll()) == 1
        make_due(monitor)
        assert create_due_monitor_jobs() == {"concurrency": 1}
        assert CAPS[cap] in decisions_of(organization)[-1].reason

    def test_a_hosted_one_that_waits_does(
        self,
        organization: Organization,
        context: AgentContext,
        alice: User,
        monitor: Monitor,
        settings: Any,
        cap: str,
    ) -> None:  # G3
        setattr(settings, cap, 1)
        ask(organization, context, alice, Placement())
        make_due(monitor)
        assert create_due_monitor_jobs() == {"concurrency": 1}

    @pytest.mark.parametrize("pool", ["", "berlin"])
    def test_a_monitors_job_counts_for_as_long_as_its_runner_is_online(
        self,
        organization: Organization,
        context: AgentContext,
        alice: User,
        monitor: Monitor,
        settings: Any,
        cap: str,
        pool: str,
    ) -> None:  # G3, L13
        setattr(settings, cap, 1)
        lab = make_runner(organization, alice, pool=pool)
        lab.poll()
        placement = Placement(pool=pool) if pool else lab.placement()
        private = make_monitor(organization, context, alice, name="Inside", placement=placement)
        make_due(private)
        assert create_due_monitor_jobs() == {"allowed": 1}
        make_due(monitor)
        assert create_due_monitor_jobs() == {"concurrency": 1}
        gone(lab)
        make_due(monitor)
        assert create_due_monitor_jobs() == {"allowed": 1}
        assert [job.executor_kind for job in jobs_of(organization)] == ["private", "hosted"]


# How many tests may wait for one runner


@pytest.mark.django_db
class TestQueue:
    def test_what_is_more_than_may_wait_is_refused_until_some_is_taken(
        self, organization: Organization, alice: User, lab: Calling, settings: Any
    ) -> None:
        settings.PRIVATE_QUEUE_MAX_JOBS = 2
        agents = [make_context(organization, f"https://agent-{n}.example/mcp") for n in range(3)]
        first = ask(organization, agents[0], alice, lab.placement())
        ask(organization, agents[1], alice, lab.placement())
        with pytest.raises(QueueFull, match="2 tests wait for this private runner already"):
            ask(organization, agents[2], alice, lab.placement())
        assert ask(organization, agents[0], alice, lab.placement()).pk == first.pk, "it is under way: nothing is added"
        assert len(lab.poll()) == 1
        ask(organization, agents[2], alice, lab.placement())

    def test_every_runner_and_pool_has_a_queue_of_its_own_beside_hosted_work_and_monitors(
        self, organization: Organization, context: AgentContext, alice: User, settings: Any
    ) -> None:
        settings.PRIVATE_QUEUE_MAX_JOBS = 1
        one, two = make_runner(organization, alice, "one", "berlin"), make_runner(organization, alice, "two")
        one.poll()
        monitor = make_monitor(organization, context, alice, name="Inside", placement=one.placement())
        make_due(monitor)
        assert create_due_monitor_jobs() == {"allowed": 1}
        pins = [one.placement(), two.placement(), Placement(pool="berlin"), Placement()]
        for number, placement in enumerate(pins):
            ask(organization, make_context(organization, f"https://agent-{number}.example/mcp"), alice, placement)
        more = make_context(organization, "https://more.example/mcp")
        for placement in pins[:3]:
            with pytest.raises(QueueFull):
                ask(organization, more, alice, placement)
        ask(organization, more, alice, Placement())

    def test_another_organizations_queue_is_another(
        self,
        organization: Organization,
        context: AgentContext,
        alice: User,
        other_organization: Organization,
        other_context: AgentContext,
        charlie: User,
        settings: Any,
    ) -> None:  # I6
        settings.PRIVATE_QUEUE_MAX_JOBS = 1
        make_runner(organization, alice, pool="berlin")
        make_runner(other_organization, charlie, pool="berlin")
        ours = ask(organization, context, alice, Placement(pool="berlin"))
        theirs = ask(other_organization, other_context, charlie, Placement(pool="berlin"))
        assert [ours.state, theirs.state] == ["queued", "queued"]

    def test_the_api_says_so_with_409(
        self, organization: Organization, context: AgentContext, alice: User, lab: Calling, settings: Any
    ) -> None:
        settings.PRIVATE_QUEUE_MAX_JOBS = 1
        ask(organization, make_context(organization, "https://other.example/mcp"), alice, lab.placement())
        _, token = make_key(organization, alice, "test")
        body = {"placement": {"runner_id": str(lab.runner.pk)}}
        answer = Caller(token).post(f"/agents/{context.pk}/tests", body)
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/refused")
        assert "no more may" in answer.json()["detail"]


def test_tests_asked_for_at_once_never_exceed_what_may_wait(
    committed_db: None, superuser: psycopg.Connection[Any], settings: Any
) -> None:
    settings.PRIVATE_QUEUE_MAX_JOBS = 2
    alice = make_user("alice@example.org", "Alice Owner")
    organization = create_organization(name="Alpha", by=alice)
    make_runner(organization, alice, pool="berlin")
    agents = [make_context(organization, f"https://agent-{n}.example/mcp") for n in range(5)]
    calls = [lambda agent=agent: ask(organization, agent, alice, Placement(pool="berlin")).pk for agent in agents]
    outcomes = race(superuser, "compliance_jobs", calls)
    assert [one.kind for one in outcomes if isinstance(one, Raised)] == ["QueueFull"] * 3
    with organization_scope(organization.id):
        assert Job.objects.count() == 2


# How often a runner may hand work back, and for how long it may hold it


@pytest.mark.django_db
class TestReleases:
    def release(self, lab: Calling) -> Any:
        [lease] = lab.poll()
        return lab.post(f"jobs/{lease['job_id']}/release", {"token": lease["token"]}).json()

    def test_what_is_handed_back_too_often_ends_and_says_so(
        self, organization: Organization, context: AgentContext, alice: User, lab: Calling, settings: Any
    ) -> None:  # L12, R7
        settings.PRIVATE_JOB_MAX_RELEASES = 2
        job = ask(organization, context, alice, lab.placement())
        assert [self.release(lab) for _ in range(3)] == [{"state": "queued"}] * 2 + [{"state": "finished"}]
        assert lab.poll() == []
        row = job_row(organization, job.pk)
        with organization_scope(organization.id):
            run = ComplianceRun.objects.get(pk=row.run_id)
        assert (row.state, run.overall_status, run.executor_name) == ("finished", "inconclusive", "lab")
        assert "private runners handed the test back 3 times" in run.headline

    def test_what_its_organization_takes_back_is_not_counted(
        self, organization: Organization, context: AgentContext, alice: User, lab: Calling
    ) -> None:
        job = ask(organization, context, alice, lab.placement())
        assert len(lab.poll()) == 1
        disable_runner(organization=organization, runner_id=lab.runner.pk, by=alice)
        assert (job_row(organization, job.pk).state, job_row(organization, job.pk).releases) == (
            "queued",
            0,
        )

    def test_a_monitor_goes_on_after_it(
        self, organization: Organization, context: AgentContext, alice: User, lab: Calling, settings: Any
    ) -> None:  # L8
        settings.PRIVATE_JOB_MAX_RELEASES = 0
        lab.poll()
        monitor = make_monitor(organization, context, alice, placement=lab.placement())
        make_due(monitor)
        assert create_due_monitor_jobs() == {"allowed": 1}
        assert self.release(lab) == {"state": "finished"}
        upcoming = stored(monitor).next_run_at
        assert upcoming is not None
        assert upcoming > timezone.now()


@pytest.mark.django_db
def test_a_lease_that_is_renewed_goes_on_however_old_it_is(
    organization: Organization, context: AgentContext, alice: User, lab: Calling
) -> None:  # L12
    ask(organization, context, alice, lab.placement())
    [lease] = lab.poll()
    with organization_scope(organization.id):
        Job.objects.update(started_at=timezone.now() - timedelta(days=3))
    held = {"job_id": lease["job_id"], "token": lease["token"]}
    assert lab.post("renew", {"leases": [held]}).json()["held"] == [lease["job_id"]]
    assert lab.complete(lease).status_code == 200
