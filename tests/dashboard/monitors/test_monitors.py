"""The pages of monitors as their readers see them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin

import pytest
from django.test import Client
from django.urls import reverse

from compliance.database import database_time
from compliance.models import Agent, AgentContext, Monitor, MonitorDecision, Organization, User
from compliance.monitors.models import Outcome
from compliance.monitors.tick import create_due_monitor_jobs
from compliance.registry.actions import remove_context
from compliance.tenancy.scope import organization_scope, platform_scope
from tests.compliance.monitors.conftest import change, finish, jobs_of, make_due, make_monitor, set_back, stored
from tests.compliance.vault.conftest import make_credential, make_grant
from tests.conftest import make_context
from tests.dashboard.pages import markup
from tests.dashboard.suites.test_suites import publish

FORM = {"name": "Mornings", "how": "cron", "cron": "0 9 * * 1-5", "timezone": "Europe/Berlin", "every": "1"}
FORM["option_call_read_only_tools"] = "on"  # as the suite has it
NOTIFY = {"notify_priority": "normal", "notify_channel": "in_app"}
FORM |= NOTIFY


def at(name: str, organization: Organization, *args: Any) -> str:
    return reverse(name, args=[organization.slug, *args])


@pytest.fixture
def alices(reader: Any, alice: User) -> Client:
    return reader(alice)


@pytest.fixture
def monitor(organization: Organization, context: AgentContext, alice: User) -> Monitor:
    return make_monitor(organization, context, alice)


def only_monitor(organization: Organization) -> Monitor:
    with organization_scope(organization.id):
        return Monitor.objects.get()


class TestSettingUp:
    def test_the_next_five_times_are_shown_before_anything_is_kept(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        page = alices.post(at("monitor_add", organization), {**FORM, "preview": "1"})
        assert page.status_code == 200
        text = markup(page)
        assert len(re.findall(r"<li>(Monday|Tuesday|Wednesday|Thursday|Friday) [^<]*09:00 CES?T</li>", text)) == 5
        with organization_scope(organization.id):
            assert not Monitor.objects.exists()

    @pytest.mark.parametrize(
        ("wrong", "field", "why"),
        [
            ({"cron": "99 * * * *"}, "id_cron_error", "bad minute"),
            ({"cron": ""}, "id_cron_error", "Enter a cron expression."),
            ({"cron": "* * * * *"}, "id_cron_error", "less than 5 minutes apart"),
            ({"timezone": "Mars/Base"}, "id_timezone_error", "no timezone “Mars/Base”"),
            (
                {"how": "interval", "every": "1", "every_unit": "minutes"},
                "id_every_error",
                "It must be 5 minutes to 30 days.",
            ),
            (
                {"how": "interval", "every": "31", "every_unit": "days"},
                "id_every_error",
                "It must be 5 minutes to 30 days.",
            ),
            ({"how": "interval", "every": ""}, "id_every_error", "Enter how often it runs."),
            ({"how": "interval", "every": "often"}, "id_every_error", "Enter a whole number."),
            ({"name": ""}, "id_name_error", "This field is required"),
        ],
    )
    def test_what_is_wrong_is_said_beside_its_field(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        wrong: dict[str, str],
        field: str,
        why: str,
    ) -> None:
        response = alices.post(at("monitor_add", organization), {**FORM, **wrong})
        assert response.status_code == 422
        page = markup(response)
        assert why in page.split(f'id="{field}"')[1].split("</div>")[0]
        [summary] = re.findall(r'<div class="alert alert-danger" id="errors".*?</div>', page, re.DOTALL)
        assert f'<a href="#{field.removesuffix("_error")}">' in summary
        assert why in summary
        assert page.count(why) == 2  # in the summary, which leads to the field, and there

    def test_nothing_is_wrong_before_anything_was_entered(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        address = at("monitor_add", organization)
        for page in (
            alices.get(address),
            alices.get(address, {"how": "cron"}),
            alices.post(address, {"how": "cron", "cron": "", "timezone": "UTC", "preview": "1"}),
            alices.post(address, {"how": "interval", "every": "", "preview": "1"}),
        ):
            assert page.status_code == 200
            assert 'id="errors"' not in markup(page)
            assert re.findall(r'class="field-error"[^>]*>[^<]', markup(page)) == []

    def test_the_way_that_is_not_chosen_is_not_looked_at(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        address = at("monitor_add", organization)
        nonsense = {"name": "A", "how": "interval", "every": "2", "cron": "99", "timezone": "Mars/Base"}
        nonsense |= NOTIFY
        for chosen in (nonsense, {**FORM, "every": "often", "every_unit": "aeons"}):
            assert alices.post(address, {**chosen, "agent": str(context.pk)}).status_code == 302

    def test_a_new_form_shows_when_it_would_run(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        address = at("monitor_add", organization)
        page = markup(alices.get(address))
        assert "<strong>Every hour.</strong>" in page
        assert len(re.findall(r"<li>\w+day [^<]* UTC</li>", page)) == 5
        kept = {"how": "cron", "cron": "30 6 * * *", "timezone": "Asia/Tokyo"}  # another suite keeps the schedule
        assert "At 06:30 every day, Asia/Tokyo." in markup(alices.get(address, kept))
        wild = {"how": "x", "every": "9" * 50, "every_unit": "y", "cron": "1" * 500, "timezone": "Mars/Base"}
        assert "<strong>Every hour.</strong>" in markup(alices.get(address, wild))

    def test_a_form_that_changes_no_time_shows_the_times_as_they_are(
        self, alices: Client, organization: Organization, monitor: Monitor
    ) -> None:
        soon = database_time() + timedelta(minutes=7)
        change(monitor, next_run_at=soon, anchor=soon - timedelta(hours=1))
        address = at("monitor_edit", organization, monitor.pk)
        assert f"{soon:%H:%M} UTC" in markup(alices.get(address))
        same = {"how": "interval", "every": "60", "every_unit": "minutes", "preview": "1"}
        assert f"{soon:%H:%M} UTC" in markup(alices.post(address, same))
        other = markup(alices.post(address, {**same, "every": "90"}))
        assert f"{soon:%H:%M} UTC" not in other

    def test_a_timezone_that_is_markup_is_text_on_the_page(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        address = at("monitor_add", organization)
        wild = 'x"><script>alert(1)</script>'
        answer = alices.post(address, FORM | {"timezone": wild})
        assert answer.status_code == 422
        page = markup(answer)
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert(1)" not in page

    def test_a_timezone_that_no_list_has_stays_the_choice(
        self, alices: Client, organization: Organization, monitor: Monitor
    ) -> None:
        change(monitor, interval_minutes=None, cron="0 9 * * *", timezone="CET")
        page = markup(alices.get(at("monitor_edit", organization, monitor.pk)))
        assert '<option value="CET" selected>CET</option>' in page
        assert '<optgroup label="Europe">' in page
        assert '<option value="Europe/Berlin">Berlin</option>' in page

    def test_the_suites_that_fit_are_offered_by_engine_and_scores_of_parts_only_when_asked_for(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        for number in range(6):
            publish(f"part-{number}", engine="adcp", full=False)
        publish("whole", engine="adcp")
        publish("elsewhere", protocols=("a2a",))
        with platform_scope():
            Agent.objects.update(protocol="mcp")
        address = at("monitor_add", organization)
        page = markup(alices.get(address))
        choices = re.search(r'<select name="suite".*?</select>', page, re.DOTALL)
        assert choices is not None
        assert re.findall(r'value="([^"]+)"', choices[0])[0] == "baseline"
        assert '<optgroup label="AdCP">' in choices[0]
        assert 'value="whole"' in choices[0]
        assert 'value="elsewhere"' not in choices[0]
        assert 'value="part-' not in choices[0]
        assert re.search(r"List the \d+ suites for single parts of AdCP too", page)
        assert 'value="part-5"' in markup(alices.get(address, {"parts": "on"}))
        chosen = markup(alices.get(address, {"suite": "part-3"}))
        assert re.search(r'value="part-3"\s+selected', chosen)
        assert 'value="part-4"' not in chosen

    def test_a_monitor_is_added_and_edited_with_everything_as_it_was_chosen(
        self, alices: Client, organization: Organization, context: AgentContext, alice: User
    ) -> None:
        credential = make_credential(organization, alice)
        make_grant(credential, context, alice)
        chosen = {"pinned": "on", "dry_run": "on", "credential": str(credential.pk), "scenarios": ["mcp/lifecycle"]}
        page = alices.post(at("monitor_add", organization), {**FORM, **chosen, "agent": str(context.pk)}, follow=True)
        kept = only_monitor(organization)
        assert "Mornings" in markup(page)
        assert "At 09:00 on Monday through Friday, Europe/Berlin" in markup(page)
        assert (kept.dry_run, kept.credential_id, kept.options) == (
            True,
            credential.pk,
            {"scenarios": ["mcp/lifecycle"]},
        )
        assert kept.suite_version_id is not None
        form = markup(alices.get(at("monitor_edit", organization, kept.pk)))
        for shown in ('value="Mornings"', 'value="0 9 * * 1-5"', 'value="Europe/Berlin"', "selected>Test key"):
            assert shown in form
        assert form.count(" checked") == 5
        edited = alices.post(
            at("monitor_edit", organization, kept.pk),
            {"name": "Hourly", "how": "interval", "every": "90", "every_unit": "minutes", **NOTIFY},
        )
        assert edited["Location"] == at("monitor", organization, kept.pk)
        kept = stored(kept)
        assert (kept.name, kept.cron, kept.interval_minutes, kept.credential_choice) == ("Hourly", "", 90, "automatic")
        assert (kept.suite_version_id, kept.options, kept.dry_run) == (None, {"call_read_only_tools": False}, False)

    @pytest.mark.parametrize("sent_with", [{"agent": ""}, {}])
    def test_a_form_without_an_agent_makes_no_monitor_of_the_first_one(
        self, alices: Client, organization: Organization, context: AgentContext, sent_with: dict[str, str]
    ) -> None:
        response = alices.post(at("monitor_add", organization), {**FORM, **sent_with})
        assert response.status_code == 422
        assert "No agent was chosen." in markup(response)
        with organization_scope(organization.id):
            assert not Monitor.objects.exists()

    def test_a_taken_name_is_refused_in_words(
        self, alices: Client, organization: Organization, context: AgentContext, monitor: Monitor
    ) -> None:
        chosen = {"agent": str(context.pk), "name": "every HOUR"}
        response = alices.post(at("monitor_add", organization), {**FORM, **chosen})
        assert response.status_code == 422
        assert "Choose another name" in markup(response)

    def test_without_an_agent_the_page_says_what_to_do(self, alices: Client, organization: Organization) -> None:
        assert at("agent_add", organization) in markup(alices.get(at("monitor_add", organization)))

    def test_a_foreign_agent_is_not_there(
        self, alices: Client, organization: Organization, context: AgentContext, other_organization: Organization
    ) -> None:  # I5
        foreign = make_context(other_organization, "https://theirs.example/mcp")
        assert alices.get(at("monitor_add", organization), {"agent": str(foreign.pk)}).status_code == 404
        assert alices.post(at("monitor_add", organization), {**FORM, "agent": str(foreign.pk)}).status_code == 404


class TestLooking:
    def test_the_list_shows_what_runs_when_and_how_it_went(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        monitor: Monitor,
        reader: Any,
        bob: User,
    ) -> None:
        make_due(monitor)
        create_due_monitor_jobs()
        run = finish(jobs_of(organization)[0], "failed")
        for client in (alices, reader(bob)):
            page = markup(client.get(at("monitors", organization)))
            for shown in (
                "Every hour",
                "Alpha&#x27;s agent",
                at("run", organization, run.pk),
                "Failing",
                "Last test: 1 failing",
            ):
                assert shown in page
            assert ("Add a monitor" in page) == (client is alices)

    def test_the_list_costs_the_same_with_many(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        monitor: Monitor,
        alice: User,
        queries: Any,
    ) -> None:
        address = at("monitors", organization)
        alices.get(address)
        with queries() as few:
            alices.get(address)
        for number in range(60):
            make_monitor(organization, context, alice, name=f"Monitor {number}")
        with queries() as many:
            page = markup(alices.get(address))
        assert len(many) == len(few) <= 10
        assert "Page 1 of 2" in page
        assert "Monitor 9" in markup(alices.get(f"{address}?page=2"))

    def test_all_are_all_while_none_is_archived(
        self, alices: Client, organization: Organization, monitor: Monitor
    ) -> None:
        assert ">All <b>1</b>" in markup(alices.get(at("monitors", organization)))

    def test_the_list_narrows_to_a_state_and_leads_to_what_is_archived(
        self, alices: Client, organization: Organization, context: AgentContext, monitor: Monitor, alice: User
    ) -> None:
        for name, state in (("Asleep", "paused"), ("Broken", "parked"), ("Old", "archived")):
            change(make_monitor(organization, context, alice, name=name), state=state, next_run_at=None)
        address = at("monitors", organization)
        whole = markup(alices.get(address))
        assert ">All <b>" not in whole  # the archived one is left out
        for words, count in (("Not archived", 3), ("Active", 1), ("Paused", 1), ("Parked", 1), ("Archived", 1)):
            assert f">{words} <b>{count}</b>" in whole
        for state, names in (
            ("", {"Every hour", "Asleep", "Broken"}),
            ("active", {"Every hour"}),
            ("paused", {"Asleep"}),
            ("parked", {"Broken"}),
            ("archived", {"Old"}),
            ("nonsense", {"Every hour", "Asleep", "Broken"}),
        ):
            page = markup(alices.get(address, {"state": state}))
            assert set(re.findall(r'monitors/[0-9a-f-]{36}/">([^<]+)</a>', page)) == names, state
            assert ("State: Select a valid choice" in page) is (state == "nonsense")
        change(monitor, state="paused", next_run_at=None)
        nothing = markup(alices.get(address, {"state": "active"}))
        assert "No monitor is active." in nothing
        assert "Active <b>0</b>" in nothing

    def test_an_archived_monitors_page_offers_nothing_that_cannot_work(
        self, alices: Client, organization: Organization, monitor: Monitor
    ) -> None:
        alices.post(at("monitor_archive", organization, monitor.pk), {"confirmed": "1"})
        page = markup(alices.get(at("monitor", organization, monitor.pk)))
        main = page.split("<main")[1].split("</main>")[0]
        assert "<form" not in main
        assert at("monitor_edit", organization, monitor.pk) not in main
        landed = alices.get(at("monitor_edit", organization, monitor.pk), follow=True)
        assert landed.redirect_chain[-1][0] == at("monitor", organization, monitor.pk)
        assert "“Every hour” is archived, and cannot be changed any more." in markup(landed)
        only = markup(alices.get(at("monitors", organization)))
        assert "Every monitor is archived." in only
        assert "Archived <b>1</b>" in only

    def test_what_is_late_is_due_and_never_next(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        monitor: Monitor,
        settings: Any,
        arranging: None,
    ) -> None:  # L18
        settings.TICK_DEAD_AFTER_SECONDS = 600
        addresses = [
            at("monitors", organization),
            at("monitor", organization, monitor.pk),
            at("agent", organization, context.pk),
        ]

        with platform_scope():
            Agent.objects.update(next_heartbeat_at=database_time() + timedelta(hours=1))

        def pages() -> list[str]:
            return [markup(alices.get(address)) for address in addresses]

        assert not any("due since" in page or "Overdue" in page for page in pages())
        occurrence = make_due(monitor, since=timedelta(minutes=2))
        for page in pages():
            assert f'data-due="next ">due since {occurrence:%Y-%m-%d %H:%M} UTC' in page.replace(
                'data-due=""', 'data-due="next "'
            )
            assert "Overdue" not in page
            assert "scheduler" not in page
        make_due(monitor, since=timedelta(minutes=20))
        assert all("Overdue" in page for page in pages())
        assert "The scheduler is late, not the agent." in pages()[1]
        set_back(timedelta(hours=1), "monitors")
        listed, shown, _ = pages()
        assert "The scheduler does not run." in listed
        assert "The scheduler does not run: it is made up for once when it does." in shown

    def test_an_empty_list_says_what_a_monitor_is(self, alices: Client, organization: Organization) -> None:
        page = markup(alices.get(at("monitors", organization)))
        assert "No monitors yet." in page
        assert at("monitor_add", organization) in page

    def test_the_agents_page_leads_to_its_monitors(
        self, alices: Client, organization: Organization, context: AgentContext, monitor: Monitor
    ) -> None:
        assert at("monitor", organization, monitor.pk) in markup(alices.get(at("agent", organization, context.pk)))

    def test_a_parked_monitor_says_why(
        self, alices: Client, organization: Organization, context: AgentContext, monitor: Monitor, alice: User
    ) -> None:  # L10
        make_due(monitor)
        remove_context(organization=organization, context_id=context.pk, by=alice)
        create_due_monitor_jobs()
        page = markup(alices.get(at("monitor", organization, monitor.pk)))
        assert "Parked: Your organization no longer has this agent." in page
        assert "Run now" not in page
        assert alices.get(at("monitors", organization)).status_code == 200

    def test_a_broken_schedule_breaks_no_page(
        self, alices: Client, organization: Organization, monitor: Monitor
    ) -> None:
        change(monitor, interval_minutes=None, cron="99 * * * *", timezone="Mars/Base")
        for name, args in (("monitor", [monitor.pk]), ("monitors", []), ("monitor_edit", [monitor.pk])):
            assert alices.get(at(name, organization, *args)).status_code == 200, name


class TestManaging:
    def test_pausing_resuming_and_archiving(self, alices: Client, organization: Organization, monitor: Monitor) -> None:
        address = at("monitor", organization, monitor.pk)
        assert "is paused" in markup(alices.post(at("monitor_pause", organization, monitor.pk), follow=True))
        assert "Paused by Alice Owner." in markup(alices.get(address))
        alices.post(at("monitor_resume", organization, monitor.pk))
        assert stored(monitor).state == "active"
        archiving = at("monitor_archive", organization, monitor.pk)
        assert "It never runs again" in markup(alices.post(archiving))
        assert stored(monitor).state == "active"
        assert "is archived" in markup(alices.post(archiving, {"confirmed": "1"}, follow=True))
        assert "Every hour" not in markup(alices.get(at("monitors", organization)))
        assert ">Archived by Alice Owner.<" in markup(alices.get(address))

    def test_run_now_leads_to_the_run_or_says_what_stops_it(
        self, alices: Client, organization: Organization, monitor: Monitor, settings: Any
    ) -> None:
        running = at("monitor_run", organization, monitor.pk)
        first = alices.post(running)
        [request] = jobs_of(organization)
        assert first["Location"] == at("job", organization, request.pk)
        assert "under way already" in markup(alices.post(running, follow=True))
        finish(request)
        settings.MONITOR_BUDGET_RUNS = 1
        page = markup(alices.post(running, follow=True))
        assert "It was not run. Your organization&#x27;s monitors may run once in 24 hours" in page
        assert "Budget used up" in page

    def test_opening_an_address_changes_nothing(
        self, alices: Client, organization: Organization, monitor: Monitor
    ) -> None:
        for name in ("monitor_pause", "monitor_run", "monitor_archive"):
            alices.get(at(name, organization, monitor.pk))
        assert stored(monitor).state == "active"
        assert jobs_of(organization) == []


class TestDecisions:
    def make(self, organization: Organization, monitor: Monitor, count: int, outcome: str = "budget") -> None:
        now = database_time()
        with organization_scope(organization.id):
            MonitorDecision.objects.bulk_create(
                monitor.decision(outcome, f"Reason {n}.", at=now - timedelta(minutes=n)) for n in range(count)
            )

    def test_why_did_this_not_run_answers_itself(
        self, alices: Client, organization: Organization, monitor: Monitor, settings: Any
    ) -> None:  # G4
        settings.MONITOR_BUDGET_RUNS = 1
        make_due(monitor)
        create_due_monitor_jobs()
        run = finish(jobs_of(organization)[0])
        change(monitor, last_scheduled_run_at=None)
        make_due(monitor)
        create_due_monitor_jobs()
        page = markup(alices.get(at("monitor_decisions", organization)))
        assert "monitors may run once in 24 hours, and did." in page
        assert at("run", organization, run.pk) in page
        only = markup(alices.get(at("monitor_decisions", organization), {"outcome": "not_allowed"}))
        assert at("run", organization, run.pk) not in only
        assert "1 decision on this page" in only

    def test_pages_go_by_place_and_filters_narrow(
        self, alices: Client, organization: Organization, monitor: Monitor
    ) -> None:
        self.make(organization, monitor, 120)
        address, seen = at("monitor_decisions", organization), []
        while address:
            page = markup(alices.get(address))
            seen += re.findall(r"Reason (\d+)\.", page)
            older = re.search(r'id="older" rel="next" href="([^"]+)"', page)
            address = urljoin(address, older[1].replace("&amp;", "&")) if older else ""
        assert seen == [str(n) for n in range(120)]
        address = at("monitor_decisions", organization)
        assert "No decision matches." in markup(alices.get(address, {"outcome": "cooldown"}))
        assert "Reason 0." in markup(alices.get(address, {"monitor": str(monitor.pk)}))
        assert "Select a valid choice" in markup(alices.get(address, {"monitor": "nonsense"}))

    def test_a_page_costs_the_same_with_many(
        self, alices: Client, organization: Organization, monitor: Monitor, queries: Any
    ) -> None:
        self.make(organization, monitor, 1)
        address = at("monitor_decisions", organization)
        alices.get(address)
        with queries() as few:
            alices.get(address)
        self.make(organization, monitor, 60)
        with queries() as many:
            alices.get(address)
        assert len(many) == len(few) <= 10

    def test_nobody_elses_decisions_are_shown(
        self, organization: Organization, monitor: Monitor, other_organization: Organization, charlie: User, reader: Any
    ) -> None:  # I5, I6
        self.make(organization, monitor, 3)
        page = markup(reader(charlie).get(at("monitor_decisions", other_organization)))
        assert "No monitor has been due yet." in page
        assert "Every hour" not in page

    @pytest.mark.parametrize("outcome", Outcome.values)
    def test_every_outcome_has_words_and_a_shape(
        self, alices: Client, organization: Organization, monitor: Monitor, outcome: str
    ) -> None:
        if outcome != "allowed":
            self.make(organization, monitor, 1, outcome)
        page = alices.get(at("monitor_decisions", organization), {"outcome": outcome})
        assert page.status_code == 200
