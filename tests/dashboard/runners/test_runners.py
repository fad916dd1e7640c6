"""The pages of private runners as their readers see them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from compliance.models import AgentContext, ApiKey, Organization, Runner, User
from compliance.monitors.actions import pause_monitor
from compliance.registry.models import Placement
from compliance.runners.actions import delete_runner
from compliance.tenancy.api_keys import BadKey, actor_of
from compliance.tenancy.scope import organization_scope
from dashboard.runners import views
from tests.compliance.monitors.conftest import make_monitor
from tests.compliance.runners.conftest import Calling, ask, make_runner
from tests.conftest import make_context
from tests.dashboard.pages import markup

TOKEN = re.compile(r"asr_[0-9A-Za-z]{8}_[0-9A-Za-z_-]{43}")


def at(name: str, organization: Organization, *args: Any) -> str:
    return reverse(name, args=[organization.slug, *args])


def change(lab: Calling, **values: Any) -> None:
    with organization_scope(lab.runner.organization_id):
        Runner.objects.filter(pk=lab.runner.pk).update(**values)


@pytest.fixture
def alices(reader: Any, alice: User) -> Client:
    return reader(alice)


@pytest.fixture
def lab(organization: Organization, alice: User) -> Calling:
    return make_runner(organization, alice)


class TestAdding:
    def test_the_token_is_shown_once_with_the_commands_that_use_it(
        self, alices: Client, organization: Organization, context: AgentContext, settings: Any
    ) -> None:  # L6
        response = alices.post(at("runner_add", organization), {"name": "Rack 4", "pool": "Berlin"})
        assert response.status_code == 200
        assert "no-store" in response["Cache-Control"]
        page = markup(response)
        token = set(TOKEN.findall(page))
        assert len(token) == 1
        assert f"assay-runner --url {settings.SITE_URL} --token-file assay-runner.token --allow agent.example" in page
        assert reverse("guide", args=["runners"]) in page
        with organization_scope(organization.id):
            runner = Runner.objects.get()
        assert (runner.name, runner.pool) == ("Rack 4", "berlin")
        assert actor_of(token.pop()).runner_id == runner.pk
        for name, args in (("runners", []), ("runner", [runner.pk]), ("runner_settings", [runner.pk])):
            assert not TOKEN.search(markup(alices.get(at(name, organization, *args)))), name

    def test_an_agents_address_is_quoted_for_the_shell(self, alices: Client, organization: Organization) -> None:
        make_context(organization, "http://[fd00::7]:8080/mcp", name="Inside")
        page = markup(alices.post(at("runner_add", organization), {"name": "Rack 4"}))
        assert "--allow &#x27;[fd00::7]:8080&#x27;" in page

    @pytest.mark.parametrize(
        ("fields", "why"),
        [
            ({"name": ""}, "This field is required"),
            ({"name": "LAB"}, "There is a runner “LAB” already"),
            ({"name": "x", "pool": "no blanks"}, "letters, digits and hyphens"),
        ],
    )
    def test_what_is_wrong_is_said(
        self, alices: Client, organization: Organization, lab: Calling, fields: dict[str, str], why: str
    ) -> None:
        response = alices.post(at("runner_add", organization), fields)
        assert response.status_code == 422
        assert why in markup(response)

    def test_members_look_and_add_nothing(
        self, organization: Organization, lab: Calling, reader: Any, bob: User
    ) -> None:  # L7
        bobs = reader(bob)
        page = markup(bobs.get(at("runners", organization)))
        assert "lab" in page
        assert "Add a runner" not in page
        page = markup(bobs.get(at("runner", organization, lab.runner.pk)))
        assert "Replace the token" not in page
        for name in ("runner_token", "runner_disable", "runner_delete", "runner_enable"):
            assert bobs.post(at(name, organization, lab.runner.pk), {"confirmed": "1"}).status_code == 403
        assert lab.row().state == "active"


class TestList:
    def test_an_empty_list_says_what_to_do(self, alices: Client, organization: Organization) -> None:
        page = markup(alices.get(at("runners", organization)))
        assert "No runners yet." in page
        assert at("runner_add", organization) in page

    def test_it_says_who_is_there_and_what_each_has_to_do(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User
    ) -> None:
        make_runner(organization, alice, name="silent", pool="berlin")
        other = make_context(organization, "https://other.example/mcp", name="Other")
        third = make_context(organization, "https://third.example/mcp", name="Third")
        ask(organization, context, alice, lab.placement())
        lab.poll(version="1.2.3", host="rack-4", last_error="no such host")
        ask(organization, other, alice, lab.placement())
        ask(organization, third, alice, Placement(pool="berlin"))
        page = markup(alices.get(at("runners", organization)))
        rows = re.findall(r"<tr><td>.*?</tr>", page, re.DOTALL)
        assert len(rows) == 2
        for shown in (
            "lab",
            "Online",
            "less than a minute",
            "1.2.3",
            "on rack-4",
            "Holds 1, 1 waiting",
            "no such host",
        ):
            assert shown in rows[0], shown
        for shown in ("silent", "pool berlin", "Never connected", "Holds 0, 1 waiting"):
            assert shown in rows[1], shown

    def test_offline_and_disabled_are_told_apart(
        self, alices: Client, organization: Organization, lab: Calling
    ) -> None:
        lab.poll()
        gone = timezone.now() - timedelta(hours=3, minutes=20)
        change(lab, last_seen_at=gone, online_until=gone)
        page = markup(alices.get(at("runners", organization)))
        assert "v-failed" in page
        assert "Offline" in page
        assert ">3 hours</time>" in page
        change(lab, state="disabled")
        assert "Disabled" in markup(alices.get(at("runners", organization)))

    def test_it_costs_the_same_with_many(
        self, alices: Client, organization: Organization, lab: Calling, alice: User, queries: Any
    ) -> None:
        address = at("runners", organization)
        alices.get(address)
        with queries() as few:
            alices.get(address)
        for number in range(55):
            make_runner(organization, alice, name=f"runner {number:02}")
        with queries() as many:
            page = markup(alices.get(address))
        assert len(many) == len(few) <= 10
        assert "Page 1 of 2" in page
        assert "runner 54" in markup(alices.get(f"{address}?page=2"))

    def test_a_stranger_sees_nothing_of_it(
        self,
        organization: Organization,
        lab: Calling,
        other_organization: Organization,
        charlie: User,
        reader: Any,
    ) -> None:  # I5, I6
        theirs = reader(charlie)
        assert theirs.get(at("runners", organization)).status_code == 404
        assert theirs.get(at("runner", other_organization, lab.runner.pk)).status_code == 404
        assert "No runners yet." in markup(theirs.get(at("runners", other_organization)))
        for name in ("runner_token", "runner_disable", "runner_delete", "runner_settings"):
            address = at(name, other_organization, lab.runner.pk)
            assert theirs.post(address, {"confirmed": "1"}).status_code == 404, name


class TestOne:
    def test_it_shows_what_it_holds_what_waits_and_what_it_ran(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User
    ) -> None:
        ask(organization, context, alice, lab.placement())
        [lease] = lab.poll()
        done = lab.complete(lease, "failed").json()
        held = ask(organization, context, alice, lab.placement())
        [lease] = lab.poll(version="1.2.3", host="rack-4")
        lab.post(
            "renew",
            {
                "leases": [
                    {
                        "job_id": lease["job_id"],
                        "token": lease["token"],
                        "progress": {"step": "<i>List tools</i>", "done": 3, "total": 9},
                    }
                ]
            },
        )
        other = make_context(organization, "https://other.example/mcp", name="Other & more")
        waiting = ask(organization, other, alice, lab.placement())
        monitor = make_monitor(organization, context, alice, placement=lab.placement())
        page = markup(alices.get(at("runner", organization, lab.runner.pk)))
        for shown in (
            at("job", organization, held.pk),
            at("job", organization, waiting.pk),
            at("run", organization, done["run_id"]),
            at("monitor", organization, monitor.pk),
            "3 of 9 checks",
            "&lt;i&gt;List tools&lt;/i&gt;",
            "Other &amp; more",
            "baseline 1.0",
            "rack-4",
            lab.token[:12],
            "They never change an agent",
        ):
            assert shown in page, shown

    def test_the_token_does_not_say_when_it_was_used_beside_when_the_runner_was_heard_of(
        self, alices: Client, organization: Organization, lab: Calling
    ) -> None:
        """That it was used is noted once an hour, and would stand still."""
        address = at("runner", organization, lab.runner.pk)
        assert "<dt>Last used</dt><dd>never</dd>" in markup(alices.get(address))
        lab.poll()
        page = markup(alices.get(address))
        assert "Last used" not in page
        assert "<dt>Last heard of</dt>" in page

    def test_the_part_that_changes_is_brought_up_to_date_by_itself(
        self, alices: Client, organization: Organization, lab: Calling
    ) -> None:
        address = at("runner", organization, lab.runner.pk)
        page = markup(alices.get(address))
        assert f'hx-get="{address}" hx-trigger="every 5s"' in page
        assert '<noscript><meta http-equiv="refresh"' in page
        part = markup(alices.get(address, headers={"HX-Request": "true", "HX-Target": "now"}))
        assert part.startswith('<div id="now"')
        assert "<html" not in part
        assert "Never connected" in part

    @pytest.mark.parametrize(("ahead", "words"), [(3_600_000, "3600 seconds ahead"), (-90_000, "90 seconds behind")])
    def test_a_wrong_clock_is_said(
        self, alices: Client, organization: Organization, lab: Calling, ahead: int, words: str
    ) -> None:
        address = at("runner", organization, lab.runner.pk)
        change(lab, clock_ahead_ms=500)
        assert "Its clock is" not in markup(alices.get(address))
        change(lab, clock_ahead_ms=ahead)
        assert f"Its clock is {words} of Assay" in markup(alices.get(address))

    def test_its_cost_does_not_grow_with_its_work(
        self, alices: Client, organization: Organization, lab: Calling, alice: User, queries: Any
    ) -> None:
        def work(number: int) -> None:
            agent = make_context(organization, f"https://agent-{number}.example/mcp", name=f"Agent {number}")
            ask(organization, agent, alice, lab.placement())
            lab.complete(*lab.poll())
            ask(organization, agent, alice, lab.placement())
            lab.poll()
            ask(organization, agent, alice, lab.placement(), dry_run=True)
            make_monitor(organization, agent, alice, placement=lab.placement(), name=f"Monitor {number}")

        address = at("runner", organization, lab.runner.pk)
        work(0)
        alices.get(address)
        with queries() as few:
            alices.get(address)
        for number in range(1, 4):
            work(number)
        with queries() as many:
            page = markup(alices.get(address))
        assert page.count("Agent 3</a>") >= 2
        assert len(many) == len(few) <= 16, "\n".join(many)

    def test_a_deleted_one_keeps_its_page_for_what_it_ran(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User
    ) -> None:
        ask(organization, context, alice, lab.placement())
        done = lab.complete(*lab.poll()).json()
        delete_runner(organization=organization, runner_id=lab.runner.pk, by=alice)
        page = markup(alices.get(at("runner", organization, lab.runner.pk)))
        assert "It was deleted" in page
        assert at("run", organization, done["run_id"]) in page
        assert "hx-trigger" not in page
        for name in ("runner_settings", "runner_token", "runner_disable", "runner_delete"):
            assert alices.get(at(name, organization, lab.runner.pk)).status_code == 404, name


class TestManaging:
    def test_a_new_name_and_pool(self, alices: Client, organization: Organization, lab: Calling) -> None:
        address = at("runner_settings", organization, lab.runner.pk)
        assert 'value="lab"' in markup(alices.get(address))
        page = markup(alices.post(address, {"name": "Cellar", "pool": "south"}, follow=True))
        assert "in the pool south" in page
        assert (lab.row().name, lab.row().pool) == ("Cellar", "south")

    def test_replacing_the_token_is_confirmed_and_ends_the_old_one(
        self, alices: Client, organization: Organization, lab: Calling
    ) -> None:
        address = at("runner_token", organization, lab.runner.pk)
        assert "stops working at once" in markup(alices.post(address))
        assert actor_of(lab.token).runner_id == lab.runner.pk
        [token] = set(TOKEN.findall(markup(alices.post(address, {"confirmed": "1"}))))
        assert token != lab.token
        assert actor_of(token).runner_id == lab.runner.pk
        with pytest.raises(BadKey):
            actor_of(lab.token)

    def test_a_revoked_token_is_said(self, alices: Client, organization: Organization, lab: Calling) -> None:
        past = timezone.now() - timedelta(days=1)
        with organization_scope(organization.id):
            key = ApiKey.objects.of_runner(organization.id, lab.runner.pk).get()
            ApiKey.objects.filter(pk=key.pk).update(revoked_at=past, revoked_by="Alice Owner")
        page = markup(alices.get(at("runner", organization, lab.runner.pk)))
        assert "Revoked" in page
        assert "cannot connect until its token is replaced" in page

    def test_disabling_is_confirmed_and_taken_back(
        self, alices: Client, organization: Organization, lab: Calling
    ) -> None:  # L3
        address = at("runner_disable", organization, lab.runner.pk)
        assert "It gets no more work" in markup(alices.post(address))
        assert lab.row().state == "active"
        page = markup(alices.post(address, {"confirmed": "1"}, follow=True))
        assert "is disabled. Work that is placed on it waits." in page
        assert lab.row().state == "disabled"
        enable = at("runner_enable", organization, lab.runner.pk)
        alices.get(enable)
        assert lab.row().state == "disabled"
        assert "is enabled" in markup(alices.post(enable, follow=True))
        assert lab.row().state == "active"

    def test_deleting_is_refused_with_the_names_of_its_monitors(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User
    ) -> None:  # L14
        monitor = make_monitor(organization, context, alice, placement=lab.placement(), name="Nightly")
        address = at("runner_delete", organization, lab.runner.pk)
        settings_page = markup(alices.get(at("runner_settings", organization, lab.runner.pk)))
        assert at("monitor", organization, monitor.pk) in settings_page
        assert "Delete the runner" not in settings_page
        page = markup(alices.post(address, {"confirmed": "1"}, follow=True))
        assert "Monitors are placed on this runner: “Nightly”." in page
        assert lab.row().state == "active"

    @pytest.mark.parametrize("name", ["runner_disable", "runner_delete"])
    @pytest.mark.parametrize("other", ["online", "offline", "disabled"])
    def test_who_confirms_reads_which_monitors_will_wait(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        alice: User,
        name: str,
        other: str,
    ) -> None:  # L13
        one, two = (make_runner(organization, alice, name=each, pool="berlin") for each in ("one", "two"))
        two.poll(leaving=other == "offline")
        if other == "disabled":
            change(two, state="disabled")
        nightly = make_monitor(organization, context, alice, placement=Placement(pool="berlin"), name="Nightly")
        paused = make_monitor(organization, context, alice, placement=Placement(pool="berlin"), name="Paused")
        pause_monitor(organization=organization, monitor_id=paused.pk, by=alice)
        for page in (
            markup(alices.post(at(name, organization, one.runner.pk))),
            markup(alices.get(at("runner_settings", organization, one.runner.pk))),
        ):
            assert ("1 active monitor waits then" in page) == (other != "online")
            assert (at("monitor", organization, nightly.pk) in page) == (other != "online")
            assert at("monitor", organization, paused.pk) not in page
        assert one.row().state == "active"

    def test_who_disables_what_monitors_are_pinned_to_reads_how_many_will_wait(
        self, alices: Client, organization: Organization, context: AgentContext, lab: Calling, alice: User
    ) -> None:  # L13
        count = views.MONITORS_SHOWN + 2
        for number in range(count):
            make_monitor(organization, context, alice, placement=lab.placement(), name=f"Monitor {number:02}")
        page = markup(alices.post(at("runner_disable", organization, lab.runner.pk)))
        assert f"{count} active monitors wait then" in page
        assert page.count("Monitor ") == views.MONITORS_SHOWN
        assert "and 2 more" in page

    def test_deleting_the_last_of_a_pool_is_refused_with_the_names_of_its_monitors(
        self, alices: Client, organization: Organization, context: AgentContext, alice: User
    ) -> None:  # L14
        last = make_runner(organization, alice, name="last", pool="berlin")
        monitor = make_monitor(organization, context, alice, placement=Placement(pool="berlin"), name="Nightly")
        page = markup(alices.get(at("runner_settings", organization, last.runner.pk)))
        assert at("monitor", organization, monitor.pk) in page
        assert "It is the last runner of the pool berlin" in page
        assert "Delete the runner" not in page
        address = at("runner_delete", organization, last.runner.pk)
        page = markup(alices.post(address, {"confirmed": "1"}, follow=True))
        assert "This is the last runner of the pool “berlin”, and monitors are placed on that: “Nightly”." in page
        assert last.row().state == "active"
        moving = alices.post(at("runner_settings", organization, last.runner.pk), {"name": "last", "pool": ""})
        assert moving.status_code == 422
        assert "add another runner to the pool" in markup(moving)
        assert last.row().pool == "berlin"

    def test_deleting_is_confirmed(self, alices: Client, organization: Organization, lab: Calling) -> None:
        address = at("runner_delete", organization, lab.runner.pk)
        assert "Its token stops working for good" in markup(alices.post(address))
        assert lab.row().state == "active"
        page = markup(alices.post(address, {"confirmed": "1"}, follow=True))
        assert "lab is deleted." in page
        assert "No runners yet." in page

    def test_opening_an_address_changes_nothing(self, alices: Client, organization: Organization, lab: Calling) -> None:
        for name in ("runner_token", "runner_disable", "runner_delete"):
            assert alices.get(at(name, organization, lab.runner.pk)).status_code == 200, name
        assert lab.row().state == "active"
        assert actor_of(lab.token)
