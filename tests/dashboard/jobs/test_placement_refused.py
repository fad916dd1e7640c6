"""Runners that cannot take a test: refused with what to do, and said of what waits for them already."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from compliance.jobs.actions import PlacementRefused
from compliance.models import AgentContext, Job, Organization, Runner, User
from compliance.monitors.actions import run_monitor_now
from compliance.monitors.tick import create_due_monitor_jobs
from compliance.registry.models import Placement
from compliance.runners.actions import disable_runner, enable_runner
from compliance.tenancy.scope import organization_scope
from tests.compliance.monitors.conftest import decisions_of, jobs_of, make_due, make_monitor
from tests.compliance.runners.conftest import ENGINES, Calling, ask, make_runner
from tests.dashboard.api.conftest import Caller, make_key
from tests.dashboard.pages import markup

OTHER_ENGINES = {"a2a": "1.0"}
LACKS = "lab lacks the engine baseline"
POOL_LACKS = "No runner of the pool “berlin” has the engine baseline"
DO = "run “assay-runner install-engines”"


def at(name: str, organization: Organization, *args: Any) -> str:
    return reverse(name, args=[organization.slug, *args])


def count_of(organization: Organization) -> int:
    with organization_scope(organization.id):
        return Job.objects.count()


def option(page: str, value: str) -> tuple[str, str]:
    """The attributes and the words of a choice."""
    [found] = re.findall(rf'<option value="{value}"([^>]*)>([^<]*)</option>', page)
    return " ".join(found[0].split()), found[1].strip()


@pytest.fixture
def alices(reader: Any, alice: User) -> Client:
    return reader(alice)


@pytest.fixture
def lab(organization: Organization, alice: User) -> Calling:
    return make_runner(organization, alice, pool="berlin")


@pytest.fixture
def pins(lab: Calling) -> dict[str, Placement]:
    return {"runner": lab.placement(), "pool": Placement(pool="berlin")}


class TestEngine:
    @pytest.mark.parametrize(("place", "why"), [("runner", LACKS), ("pool", POOL_LACKS)])
    def test_a_place_without_the_engine_is_refused_beside_the_choice(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        lab: Calling,
        place: str,
        why: str,
    ) -> None:
        lab.poll(engines=OTHER_ENGINES)
        placement = f"runner:{lab.runner.pk}" if place == "runner" else "pool:berlin"
        fields = {"suite": "baseline", "placement": placement}
        answer = alices.post(at("agent_test", organization, context.pk), fields)
        assert answer.status_code == 422
        page = markup(answer)
        said = page.split('id="id_placement_error"')[1].split("</div>")[0]
        assert why in said
        assert DO in said
        assert option(page, placement)[0] == "selected"
        assert "lacks the engine baseline" in option(page, placement)[1]
        # The agent's page, whose form this was, shows no options: they are as the suite has them, not cleared.
        assert re.search(r'name="option_call_read_only_tools"[^>]* checked', page)
        assert count_of(organization) == 0

    @pytest.mark.parametrize(("place", "why"), [("runner", LACKS), ("pool", POOL_LACKS)])
    def test_programs_are_refused_too(
        self,
        organization: Organization,
        context: AgentContext,
        lab: Calling,
        alice: User,
        place: str,
        why: str,
    ) -> None:
        lab.poll(engines=OTHER_ENGINES)
        program = Caller(make_key(organization, alice, "read", "test")[1])
        placement = {"runner_id": str(lab.runner.pk)} if place == "runner" else {"pool": "berlin"}
        answer = program.post(f"/agents/{context.pk}/tests", {"placement": placement})
        assert answer.status_code == 409
        assert why in answer.data["detail"]
        assert DO in answer.data["detail"]
        assert count_of(organization) == 0

    def test_a_runner_that_was_never_there_may_have_it(
        self, organization: Organization, context: AgentContext, alice: User, pins: dict[str, Placement]
    ) -> None:
        assert ask(organization, context, alice, pins["runner"]).state == "queued"

    @pytest.mark.parametrize("engines", [ENGINES, None])
    def test_one_of_a_pool_that_has_it_or_was_never_there_is_enough(
        self,
        organization: Organization,
        context: AgentContext,
        alice: User,
        lab: Calling,
        pins: dict[str, Placement],
        engines: dict[str, str] | None,
    ) -> None:
        lab.poll(engines=OTHER_ENGINES)
        with pytest.raises(PlacementRefused):
            ask(organization, context, alice, pins["pool"])
        other = make_runner(organization, alice, name="other", pool="berlin")
        if engines:
            other.poll(engines=engines)
        assert ask(organization, context, alice, pins["pool"]).state == "queued"

    def test_another_organizations_pool_of_that_name_helps_nobody(
        self,
        organization: Organization,
        context: AgentContext,
        alice: User,
        lab: Calling,
        pins: dict[str, Placement],
        other_organization: Organization,
        charlie: User,
    ) -> None:  # I5
        make_runner(other_organization, charlie, name="theirs", pool="berlin").poll()
        lab.poll(engines=OTHER_ENGINES)
        with pytest.raises(PlacementRefused, match="berlin"):
            ask(organization, context, alice, pins["pool"])

    @pytest.mark.parametrize(("place", "why"), [("runner", LACKS), ("pool", POOL_LACKS)])
    def test_what_waits_for_an_engine_that_went_away_says_so(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        alice: User,
        lab: Calling,
        pins: dict[str, Placement],
        place: str,
        why: str,
    ) -> None:
        wanted = ask(organization, context, alice, pins[place])
        pages = at("job", organization, wanted.pk), at("runner", organization, lab.runner.pk)
        assert not any("lacks the engine" in markup(alices.get(page)) for page in pages)
        lab.poll(engines=OTHER_ENGINES)
        of_job, of_runner = (markup(alices.get(page)) for page in pages)
        assert f"<strong>{why}.</strong>" in of_job
        assert reverse("guide", args=["runners"]) in of_job.split("<main")[1].split("</main>")[0]
        assert LACKS in of_runner.split('id="waits"')[1]

    def test_a_monitors_job_that_waits_says_so_too(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        alice: User,
        lab: Calling,
        pins: dict[str, Placement],
    ) -> None:
        monitor = make_monitor(organization, context, alice, placement=pins["runner"])
        make_due(monitor)
        lab.poll(at_most=0)
        create_due_monitor_jobs()
        [wanted] = jobs_of(organization)
        lab.poll(engines=OTHER_ENGINES)
        assert f"<strong>{LACKS}.</strong>" in markup(alices.get(at("job", organization, wanted.pk)))

    def test_with_others_that_have_it_only_the_one_that_lacks_it_is_marked(
        self, alices: Client, organization: Organization, context: AgentContext, alice: User, lab: Calling
    ) -> None:
        make_runner(organization, alice, name="able", pool="berlin").poll(at_most=0)
        wanted = ask(organization, context, alice, Placement(pool="berlin"))
        lab.poll(engines=OTHER_ENGINES)
        page = markup(alices.get(at("job", organization, wanted.pk)))
        assert "<strong>No runner" not in page
        [able, lacking] = re.findall(r"<li>.*?</li>", page.split('id="progress"')[1].split("</section>")[0])
        assert "able</a>" in able
        assert "lacks" not in able
        assert "lacks the engine baseline" in lacking


class TestDisabled:
    @pytest.fixture(autouse=True)
    def online_then_disabled(self, organization: Organization, alice: User, lab: Calling) -> None:
        lab.poll()
        disable_runner(organization=organization, runner_id=lab.runner.pk, by=alice)

    @pytest.mark.parametrize(
        ("place", "why"),
        [("runner", "lab is disabled."), ("pool", "Every runner of the pool “berlin” is disabled.")],
    )
    def test_it_is_refused_and_who_can_enable_it_is_said(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        lab: Calling,
        place: str,
        why: str,
    ) -> None:  # L3
        placement = f"runner:{lab.runner.pk}" if place == "runner" else "pool:berlin"
        address = at("agent_test", organization, context.pk)
        answer = alices.post(address, {"suite": "baseline", "placement": placement})
        assert answer.status_code == 422
        page = markup(answer)
        assert f"{why} Owners and admins can enable runners in their settings." in page
        # The choice stays as it was made: left out of the form, it would mean hosted workers.
        assert option(page, placement)[0] == "selected"
        assert count_of(organization) == 0

    def test_lists_of_executors_show_it_and_it_cannot_be_chosen(
        self, alices: Client, organization: Organization, context: AgentContext, alice: User, lab: Calling
    ) -> None:
        for name, args in (("agent_test", [context.pk]), ("agent", [context.pk]), ("monitor_add", [])):
            page = markup(alices.get(at(name, organization, *args)))
            assert option(page, f"runner:{lab.runner.pk}") == ("disabled", "lab (disabled)"), name
            assert option(page, "pool:berlin") == ("disabled", "berlin (disabled)"), name
        enable_runner(organization=organization, runner_id=lab.runner.pk, by=alice)
        page = markup(alices.get(at("agent_test", organization, context.pk)))
        assert option(page, f"runner:{lab.runner.pk}")[0] == ""

    def test_a_monitor_keeps_its_pin_when_its_form_is_saved(
        self, alices: Client, organization: Organization, context: AgentContext, alice: User, lab: Calling
    ) -> None:
        monitor = make_monitor(organization, context, alice, placement=lab.placement())
        page = markup(alices.get(at("monitor_edit", organization, monitor.pk)))
        assert option(page, f"runner:{lab.runner.pk}") == ("selected", "lab (disabled)")

    def test_another_of_the_pool_takes_its_tests(
        self, organization: Organization, context: AgentContext, alice: User
    ) -> None:
        make_runner(organization, alice, name="other", pool="berlin")
        assert ask(organization, context, alice, Placement(pool="berlin")).state == "queued"

    @pytest.mark.parametrize(
        ("place", "why"),
        [
            ("runner", "Its private runner is disabled. Ask again when an owner or admin has enabled it."),
            (
                "pool",
                "Every runner of the pool “berlin” is disabled. Ask again when an owner or admin has enabled one.",
            ),
        ],
    )
    def test_a_monitor_is_not_run_now_and_says_why_and_that_nothing_waits(
        self,
        alices: Client,
        organization: Organization,
        context: AgentContext,
        alice: User,
        pins: dict[str, Placement],
        place: str,
        why: str,
    ) -> None:
        monitor = make_monitor(organization, context, alice, placement=pins[place])
        decision = run_monitor_now(organization=organization, monitor_id=monitor.pk, by=alice)
        assert (decision.outcome, decision.reason) == ("deferred", why)
        page = markup(alices.get(at("monitor", organization, monitor.pk)))
        assert "Not run</span>" in page
        assert "Waits for its runner" not in page

    def test_an_occurrence_waits_for_it_to_be_enabled(
        self, alices: Client, organization: Organization, context: AgentContext, alice: User, lab: Calling
    ) -> None:  # L13
        monitor = make_monitor(organization, context, alice, placement=lab.placement())
        make_due(monitor)
        create_due_monitor_jobs()
        [decision] = decisions_of(organization)
        reason = "Its private runner is disabled. It will run once when an owner or admin has enabled it."
        assert decision.reason == reason
        assert "Waits for its runner" in markup(alices.get(at("monitor", organization, monitor.pk)))

    def test_what_waited_before_says_so(
        self, alices: Client, organization: Organization, context: AgentContext, alice: User, lab: Calling
    ) -> None:
        enable_runner(organization=organization, runner_id=lab.runner.pk, by=alice)
        wanted = ask(organization, context, alice, lab.placement())
        disable_runner(organization=organization, runner_id=lab.runner.pk, by=alice)
        page = markup(alices.get(at("job", organization, wanted.pk)))
        assert "<strong>lab is disabled.</strong> It runs once an owner or admin has enabled it." in page
        assert "It runs as soon as one is" not in page


def test_the_names_of_runners_and_engines_are_text(
    alices: Client, organization: Organization, context: AgentContext, alice: User
) -> None:
    odd = make_runner(organization, alice, name="<b>odd</b>", pool="berlin")
    wanted = ask(organization, context, alice, odd.placement())
    odd.poll(engines=OTHER_ENGINES)
    with organization_scope(organization.id):
        assert Runner.objects.get().engines == OTHER_ENGINES
    for name, key in (("job", wanted.pk), ("runner", odd.runner.pk)):
        page = markup(alices.get(at(name, organization, key)))
        assert "&lt;b&gt;odd&lt;/b&gt; lacks the engine baseline" in page, name
        assert "<b>odd" not in page, name
