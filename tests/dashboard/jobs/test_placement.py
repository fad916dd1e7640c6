"""Where work runs, and whose evidence it is: on the pages of agents, requests, runs and monitors."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from compliance.jobs.cleanup import expire_jobs
from compliance.models import AgentContext, Job, Monitor, Organization, Runner, User
from compliance.monitors.tick import create_due_monitor_jobs
from compliance.registry.models import Placement
from compliance.runners.actions import delete_runner
from compliance.tenancy.scope import organization_scope
from dashboard.monitors.forms import in_units
from tests.compliance.monitors.conftest import change, jobs_of, make_due, make_monitor, stored
from tests.compliance.runners.conftest import Calling, ask, job_row, make_runner
from tests.compliance.vault.conftest import make_credential, make_grant
from tests.conftest import make_context, make_run
from tests.dashboard.pages import markup

MONITOR = {"name": "Nightly", "how": "interval", "every": "1", "option_call_read_only_tools": "on"}
MONITOR |= {"notify_priority": "normal", "notify_channel": "in_app"}


def at(name: str, organization: Organization, *args: Any) -> str:
    return reverse(name, args=[organization.slug, *args])


@pytest.fixture
def alices(reader: Any, alice: User) -> Client:
    return reader(alice)


@pytest.fixture
def lab(organization: Organization, alice: User) -> Calling:
    return make_runner(organization, alice, pool="berlin")


def gone(lab: Calling, *, hours: int = 1) -> None:
    then = timezone.now() - timedelta(hours=hours)
    with organization_scope(lab.runner.organization_id):
        Runner.objects.filter(pk=lab.runner.pk).update(last_seen_at=then, online_until=then)


def expire(request: Job) -> None:
    with organization_scope(str(request.organization_id)):
        Job.objects.filter(pk=request.pk).update(expires_at=timezone.now() - timedelta(hours=1))
    expire_jobs()


class TestAskingForATest:
    def test_without_runners_nothing_is_asked(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        for name in ("agent", "agent_test"):
            assert 'name="placement"' not in markup(alices.get(at(name, organization, context.pk)))

    def test_the_choices_say_who_is_there_and_what_is_missing(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User
    ) -> None:
        make_runner(organization, alice, name="silent")
        lab.poll()
        page = markup(alices.get(at("agent_test", organization, context.pk)))
        for shown in (
            "Assay&#x27;s hosted workers",
            "lab (online)",
            "silent (never connected)",
            "berlin (1 of 1 online)",
        ):
            assert shown in page, shown
        with organization_scope(organization.id):
            Runner.objects.filter(pk=lab.runner.pk).update(engines={"adcp": "1.0"})
        page = markup(alices.get(at("agent_test", organization, context.pk)))
        assert "lab (lacks the engine baseline)" in page

    @pytest.mark.parametrize("place", ["runner", "pool"])
    def test_a_test_is_pinned_as_it_was_chosen(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, place: str
    ) -> None:  # L3
        placement = f"runner:{lab.runner.pk}" if place == "runner" else "pool:berlin"
        fields = {"suite": "baseline", "placement": placement}
        page = markup(alices.post(at("agent_test", organization, context.pk), fields, follow=True))
        with organization_scope(organization.id):
            job = Job.objects.get()
        assert job.placement == (Placement(lab.runner.pk) if place == "runner" else Placement(pool="berlin"))
        assert "No runner for it is online." in page
        assert at("runner", organization, lab.runner.pk) in page
        assert "Never connected" in page

    @pytest.mark.parametrize("placement", ["runner:", "runner:0", "pool:nowhere", "nonsense"])
    def test_what_is_no_choice_is_refused(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, placement: str
    ) -> None:
        fields = {"suite": "baseline", "placement": placement}
        assert alices.post(at("agent_test", organization, context.pk), fields).status_code == 422
        with organization_scope(organization.id):
            assert not Job.objects.exists()

    def test_a_queue_that_is_full_is_said_beside_the_choice(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        lab: Calling,
        alice: User,
        settings: Any,
    ) -> None:
        settings.PRIVATE_QUEUE_MAX_JOBS = 1
        ask(organization, make_context(organization, "https://other.example/mcp"), alice, lab.placement())
        fields = {"suite": "baseline", "placement": f"runner:{lab.runner.pk}"}
        answer = alices.post(at("agent_test", organization, context.pk), fields)
        assert answer.status_code == 422
        page = markup(answer)
        assert "1 test waits for this private runner already" in page
        assert f'<option value="runner:{lab.runner.pk}" selected' in page
        elsewhere = alices.post(at("agent_test", organization, context.pk), {**fields, "placement": "pool:berlin"})
        assert elsewhere.status_code == 302

    def test_a_foreign_runner_is_no_choice(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        lab: Calling,
        other_organization: Organization,
        charlie: User,
    ) -> None:  # I5
        foreign = make_runner(other_organization, charlie, name="theirs")
        address = at("agent_test", organization, context.pk)
        assert "theirs" not in markup(alices.get(address))
        fields = {"suite": "baseline", "placement": f"runner:{foreign.runner.pk}"}
        assert alices.post(address, fields).status_code == 422

    def test_the_agents_page_offers_the_runner_that_ran_the_last_test(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User
    ) -> None:
        address = at("agent", organization, context.pk)
        assert f'<option value="runner:{lab.runner.pk}" selected' not in markup(alices.get(address))
        ask(organization, context, alice, lab.placement())
        lab.complete(*lab.poll())
        assert f'<option value="runner:{lab.runner.pk}" selected' in markup(alices.get(address))

    def test_whoever_adds_an_agent_reads_how_private_addresses_are_reached(
        self, alices: Client, organization: Organization
    ) -> None:
        page = markup(alices.get(at("agent_add", organization)))
        assert "refuse to test addresses inside private networks" in page
        assert at("runners", organization) in page


class TestRequest:
    def test_it_says_for_whom_it_waits_and_who_has_it(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User
    ) -> None:
        job = ask(organization, context, alice, Placement(pool="berlin"))
        address = at("job", organization, job.pk)
        lab.poll(at_most=0)
        page = markup(alices.get(address))
        assert "Any private runner of the pool" in page
        assert "Online" in page
        assert "No runner for it is online." not in page
        gone(lab)
        page = markup(alices.get(address))
        assert "No runner for it is online." in page
        assert "Offline" in page
        lab.poll()
        page = markup(alices.get(address))
        assert re.search(r'Taken by the private runner <a href="[^"]+">lab</a>', page)

    def test_it_says_why_it_expired(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User
    ) -> None:  # L15
        job = ask(organization, context, alice, lab.placement())
        expire(job)
        page = markup(alices.get(at("job", organization, job.pk)))
        assert "expired" in page
        assert "No private runner took it in time." in page
        assert "hx-trigger" not in page.split('id="progress"')[1].split("</section>")[0]

    def test_it_says_why_it_was_cancelled(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User
    ) -> None:  # L14
        job = ask(organization, context, alice, lab.placement())
        delete_runner(organization=organization, runner_id=lab.runner.pk, by=alice)
        page = markup(alices.get(at("job", organization, job.pk)))
        assert "The private runner lab was deleted." in page
        assert "Deleted" in page

    def test_hosted_work_asks_for_no_runners(
        self, alices: Client, organization: Organization, context: AgentContext, alice: User, queries: Any
    ) -> None:
        job = ask(organization, context, alice, Placement())
        with queries() as asked:
            alices.get(at("job", organization, job.pk))
        assert not any('FROM "runners"' in statement for statement in asked)


class TestRun:
    @pytest.fixture
    def run_id(self, organization: Organization, context: AgentContext, lab: Calling, alice: User) -> str:
        ask(organization, context, alice, lab.placement())
        return str(lab.complete(*lab.poll(), "failed").json()["run_id"])

    def test_its_level_of_trust_is_said_everywhere(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        lab: Calling,
        alice: User,
        run_id: str,
    ) -> None:  # L6
        label = "Private runner lab · your organization's own evidence, never public status"
        link = at("runner", organization, lab.runner.pk)
        page = markup(alices.get(at("run", organization, run_id)))
        assert label in page
        assert f'run by the private runner <a href="{link}">lab</a> of Alpha, in its own network' in page
        assert "a private runner ran it: it is your organization&#x27;s own evidence" in page
        ask(organization, context, alice, lab.placement())
        other = lab.complete(*lab.poll()).json()["run_id"]
        assert markup(alices.get(at("compare", organization, run_id, other))).count(label) == 2
        assert "Private runner lab" in markup(alices.get(at("compare_pick", organization, run_id)))
        for name, args in (("history", [context.pk]), ("agent", [context.pk]), ("overview", [])):
            page = markup(alices.get(at(name, organization, *args)))
            assert f'<a class="v v-private" href="{link}"' in page, name

    def test_a_name_is_text_and_stays_as_it_was(
        self, alices: Client, organization: Organization, context: AgentContext, alice: User
    ) -> None:
        odd = make_runner(organization, alice, name="<b>odd</b>")
        ask(organization, context, alice, odd.placement())
        run_id = odd.complete(*odd.poll()).json()["run_id"]
        delete_runner(organization=organization, runner_id=odd.runner.pk, by=alice)
        for name, args in (("run", [run_id]), ("history", [context.pk]), ("overview", []), ("agent", [context.pk])):
            page = markup(alices.get(at(name, organization, *args)))
            assert "Private runner" in page, name
            assert "&lt;b&gt;odd&lt;/b&gt;" in page, name
            assert "<b>odd" not in page

    def test_it_is_tested_again_where_it_was(
        self, alices: Client, organization: Organization, lab: Calling, alice: User, run_id: str
    ) -> None:
        placement = f'<input type="hidden" name="placement" value="runner:{lab.runner.pk}">'
        assert placement in markup(alices.get(at("run", organization, run_id)))
        delete_runner(organization=organization, runner_id=lab.runner.pk, by=alice)
        assert placement not in markup(alices.get(at("run", organization, run_id)))

    def test_hosted_runs_are_not_labelled(
        self, alices: Client, organization: Organization, context: AgentContext, run_id: str
    ) -> None:
        page = markup(alices.get(at("run", organization, make_run(organization=organization).pk)))
        assert "v-private" not in page

    def test_what_was_sent_and_was_no_report_is_shown(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User
    ) -> None:  # L16
        monitor = make_monitor(organization, context, alice, placement=lab.placement())
        make_due(monitor)
        lab.poll(at_most=0)
        create_due_monitor_jobs()
        [lease] = lab.poll()
        lab.complete(lease, report={"engine": "<script>alert(1)</script>", "nested": {"a": [1, 2]}})
        job = job_row(organization, lease["job_id"])
        page = alices.get(at("run", organization, job.run_id)).content.decode()
        assert "What was sent is no report" in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "<script>alert" not in page
        assert re.search(r'<details class="sent">.*\n  &quot;nested&quot;: {\n', page, re.DOTALL)
        assert f"{at('run', organization, job.run_id)}#rejected" in markup(
            alices.get(at("monitor", organization, monitor.pk))
        )

    def test_a_body_that_was_cut_is_shown_as_it_is(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        lab: Calling,
        alice: User,
        settings: Any,
    ) -> None:  # L16
        settings.REJECTED_REPORT_BYTES = 20
        job = ask(organization, context, alice, lab.placement())
        [lease] = lab.poll()
        lab.complete(lease, report={"engine": "x" * 100})
        job = job_row(organization, job.pk)
        page = markup(alices.get(at("run", organization, job.run_id)))
        assert f"{{&quot;engine&quot;: &quot;{'x' * 8}</pre>" in page


class TestMonitor:
    def test_where_it_runs_and_how_it_tells_are_kept_and_shown_again(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling
    ) -> None:
        chosen = {
            "agent": str(context.pk),
            "placement": "pool:berlin",
            "notify_priority": "high",
            "notify_channel": "both",
            "cooldown": "90",
            "cooldown_unit": "minutes",
        }
        page = markup(alices.post(at("monitor_add", organization), {**MONITOR, **chosen}, follow=True))
        with organization_scope(organization.id):
            kept = Monitor.objects.get()
        assert (kept.placement, kept.notify_priority, kept.notify_channel) == (Placement(pool="berlin"), "high", "both")
        assert kept.notify_cooldown_seconds == 5400
        assert "Any private runner of the pool" in page
        assert "Both, high priority, not again within 90 minutes" in page
        form = markup(alices.get(at("monitor_edit", organization, kept.pk)))
        for shown in (
            'value="pool:berlin" selected',
            'value="high" selected',
            'value="both" selected',
            'name="cooldown" value="90"',
            'value="minutes" selected',
            "notices in Assay",
        ):
            assert shown in form, shown
        alices.post(
            at("monitor_edit", organization, kept.pk),
            {**MONITOR, "placement": f"runner:{lab.runner.pk}", "cooldown": "0"},
        )
        kept = stored(kept)
        assert (kept.placement, kept.notify_cooldown_seconds) == (lab.placement(), 0)
        assert "lab" in markup(alices.get(at("monitors", organization)))
        alices.post(at("monitor_edit", organization, kept.pk), {**MONITOR, "placement": ""})
        assert stored(kept).placement == Placement()

    @pytest.mark.parametrize(
        ("wrong", "why"),
        [
            ({"cooldown": "8", "cooldown_unit": "hours", "every": "60", "every_unit": "minutes"}, ""),
            ({"cooldown": "169", "cooldown_unit": "hours"}, "At most 7 days."),
            ({"cooldown": "-1"}, "greater than or equal to 0"),
            ({"cooldown": "many"}, "Enter a whole number."),
            ({"notify_channel": "pigeon"}, "Select a valid choice"),
            ({"placement": "pool:nowhere"}, "Select a valid choice"),
        ],
    )
    def test_what_is_wrong_is_said(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        lab: Calling,
        wrong: dict[str, str],
        why: str,
    ) -> None:
        response = alices.post(at("monitor_add", organization), {**MONITOR, "agent": str(context.pk), **wrong})
        assert response.status_code == (422 if why else 302)
        assert why in markup(response)

    @pytest.mark.parametrize(
        ("seconds", "shown"), [(0, (0, "hours")), (3600, (1, "hours")), (5400, (90, "minutes")), (61, (61, "seconds"))]
    )
    def test_a_length_of_time_has_the_longest_unit_that_says_it(self, seconds: int, shown: tuple[int, str]) -> None:
        assert in_units(seconds) == shown

    def test_a_pool_that_is_gone_stays_the_choice_until_another_is_made(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User
    ) -> None:
        monitor = make_monitor(organization, context, alice, placement=Placement(pool="berlin"))
        # As it could be before the last runner of a pool was kept for its monitors.
        change(monitor, state="archived", next_run_at=None)
        delete_runner(organization=organization, runner_id=lab.runner.pk, by=alice)
        change(monitor, state="active", next_run_at=monitor.next_run_at)
        form = markup(alices.get(at("monitor_edit", organization, monitor.pk)))
        assert re.search(r'value="pool:berlin" selected>berlin \(0 of 0 online\)', form)

    def test_it_waits_for_its_runner_in_words(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User
    ) -> None:  # L13
        monitor = make_monitor(organization, context, alice, placement=lab.placement())
        occurrence = make_due(monitor)
        create_due_monitor_jobs()
        assert stored(monitor).deferred_until is not None
        page = markup(alices.get(at("monitor", organization, monitor.pk)))
        assert "Waits for its runner" in page
        assert "no runner for it was online" in page
        assert f"{occurrence:%Y-%m-%d %H:%M} UTC" in page
        assert "due since" in markup(alices.get(at("monitors", organization)))
        page = markup(alices.get(at("monitor_decisions", organization), {"outcome": "deferred"}))
        assert "Its private runner is offline. It will run once when one is back." in page

    def test_what_nobody_served_is_shown_with_the_reason(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User
    ) -> None:  # L15
        monitor = make_monitor(organization, context, alice, placement=lab.placement())
        make_due(monitor)
        lab.poll(at_most=0)
        create_due_monitor_jobs()
        [job] = jobs_of(organization)
        decisions = at("monitor_decisions", organization)
        assert "Queued" in markup(alices.get(decisions))
        expire(job)
        page = markup(alices.get(at("monitor", organization, monitor.pk)))
        assert "Without a result" in page
        assert at("job", organization, job.pk) in page
        assert "No private runner took it in time." in page
        page = markup(alices.get(decisions))
        assert '<span class="v v-late">Expired</span>' in page
        assert "No private runner took it in time." in page

    def test_a_cancelled_one_says_so_among_the_decisions(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User
    ) -> None:
        monitor = make_monitor(organization, context, alice)
        make_due(monitor)
        create_due_monitor_jobs()
        [job] = jobs_of(organization)
        with organization_scope(organization.id):
            job.cancel("Somebody said so.")
        page = markup(alices.get(at("monitor_decisions", organization)))
        assert "Cancelled</span>" in page
        assert "Somebody said so." in page

    def test_the_list_costs_one_statement_more_with_runners(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User, queries: Any
    ) -> None:
        make_monitor(organization, context, alice, placement=lab.placement())
        address = at("monitors", organization)
        alices.get(address)
        with queries() as few:
            alices.get(address)
        for number in range(20):
            runner = make_runner(organization, alice, name=f"runner {number}")
            make_monitor(organization, context, alice, placement=runner.placement(), name=f"Monitor {number}")
        with queries() as many:
            page = markup(alices.get(address))
        assert "runner 19" in page
        assert len(many) == len(few) <= 10

    def test_its_page_does_not_cost_more_with_jobs(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User, queries: Any
    ) -> None:
        monitor = make_monitor(organization, context, alice, placement=lab.placement())
        address = at("monitor", organization, monitor.pk)

        def let_one_expire() -> None:
            change(monitor, last_scheduled_run_at=None, deferred_until=None)
            make_due(monitor)
            lab.poll(at_most=0)
            create_due_monitor_jobs()
            expire(jobs_of(organization)[-1])

        let_one_expire()
        alices.get(address)
        with queries() as few:
            alices.get(address)
        for _ in range(6):
            let_one_expire()
        with queries() as many:
            page = markup(alices.get(address))
        assert page.count("Expired</a>") == 5
        assert len(many) == len(few) <= 14


class TestCredentials:
    def test_the_grant_says_that_the_secret_leaves(
        self, alices: Client, organization: Organization, context: AgentContext, alice: User
    ) -> None:  # V6
        credential = make_credential(organization, alice)
        page = markup(alices.get(at("grant_add", organization, credential.pk)))
        assert "It then leaves Assay" in page
        assert 'value="private_runners"' in page

    def test_the_record_of_uses_names_the_runner(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User
    ) -> None:  # V2
        make_grant(make_credential(organization, alice), context, alice)
        ask(organization, context, alice, lab.placement())
        [lease] = lab.poll()
        lab.post(f"jobs/{lease['job_id']}/credential", {"token": lease["token"]})
        page = markup(alices.get(at("credential_access", organization)))
        assert "to a private runner, lab" in page
        export = alices.get(at("credential_access_csv", organization)).getvalue().decode()
        assert export.splitlines()[0].endswith(",runner")
        assert export.splitlines()[1].endswith(",lab")
