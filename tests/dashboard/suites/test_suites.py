"""Suites on the pages: the list, a version's checks, and choosing one to test an agent with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jsonschema
import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from compliance.engines.catalog import BASELINE
from compliance.models import (
    Agent,
    AgentContext,
    EngineHealth,
    Job,
    Organization,
    Suite,
    SuiteVersion,
    User,
)
from compliance.suites.actions import definition_of
from compliance.tenancy.scope import Actor, organization_scope, platform_scope, system_scope
from tests.conftest import make_run, publish_suite
from tests.dashboard.pages import markup

pytestmark = pytest.mark.django_db

BY = Actor.system("tests")


@pytest.fixture
def alices(alice: User, organization: Organization, reader: Any) -> Client:
    client: Client = reader(alice)
    return client


def publish(slug: str, *, engine: str = "storyboards", protocols: tuple[str, ...] = ("mcp",), **more: Any) -> Any:
    step = {"key": "s", "title": f"Rule of {slug}", "expected": "That it holds", "spec_url": "javascript:alert(1)"}
    scenario = {"key": f"{slug}/a/b", "title": "A scenario", "steps": [step], "protocol": ""}
    definition = {
        "protocols": list(protocols),
        "tracks": [{"key": "t", "title": "Track", "scenarios": [scenario, {**scenario, "key": f"{slug}/c"}]}],
        "options": {"depth": 3, "loud": True, "sandbox": "", "names": ["a"]},
        "option_words": {"depth": ["How deep", "Levels to go down."]},
        **more,
    }
    return publish_suite(
        slug=slug, title=slug.title(), description="Words.", version="6.1", engine=engine, definition=definition, by=BY
    )


def withdraw_the_engines_suites() -> None:
    with system_scope(by=BY, reason="withdraw"):
        Suite.objects.update(current_version=None)


def workers_have(*, missing: str = "", without: str = "") -> None:
    """A live worker has every engine, apart from one that is not available, or one that it does not know."""
    EngineHealth.objects.all().delete()
    names = set(SuiteVersion.objects.values_list("engine", flat=True)) - {missing, without}
    rows = [EngineHealth(engine=name, available=True) for name in names]
    if missing:
        rows.append(EngineHealth(engine=missing, available=False, reason="Node is not installed."))
    for row in rows:
        row.worker, row.checked_at = "hosted@one", timezone.now()
    EngineHealth.objects.bulk_create(rows)


def asking_address(organization: Organization, context: AgentContext) -> str:
    return reverse("agent_test", args=[organization.slug, context.pk])


def the_job(organization: Organization) -> Job:
    with organization_scope(organization.id):
        return Job.objects.select_related("suite_version__suite").get()


class TestList:
    def test_shows_what_each_suite_is_for_and_needs(self, alices: Client) -> None:
        publish("media-buy", requires={"tools": ["get_products", "create_media_buy"], "sandbox": True})
        page = markup(alices.get("/suites/"))
        assert "Tools: get_products, create_media_buy" in page
        assert "Sandbox: yes" in page
        assert reverse("suite_version", args=["baseline", "1"]) in page
        assert "Not available" not in page

    def test_groups_are_called_as_their_protocols_are(self, alices: Client) -> None:
        publish("requirements", engine="a2a", protocols=("a2a",), full=False)
        page = markup(alices.get("/suites/"))
        assert "<summary><strong>A2A</strong>" in page
        assert "<strong>a2a</strong>" not in page

    def test_says_which_cannot_be_run_and_why(self, alices: Client) -> None:
        publish("media-buy")
        workers_have(missing="storyboards")
        page = markup(alices.get("/suites/"))
        assert page.count("Not available") == 1
        assert "Node is not installed." in page
        workers_have(without="storyboards")
        assert "No worker has the engine “storyboards”" in markup(alices.get("/suites/"))
        EngineHealth.objects.update(checked_at=timezone.now() - timedelta(hours=1))
        assert "Not available" not in markup(alices.get("/suites/"))

    def test_costs_the_same_with_fifty_suites(self, alices: Client, queries: Callable[[], Any]) -> None:
        publish("one")
        alices.get("/suites/")
        with queries() as few:
            alices.get("/suites/")
        for number in range(50):
            publish(f"suite-{number}")
        alices.get("/suites/")
        with queries() as many:
            assert "Suite-49" in markup(alices.get("/suites/"))
        assert len(many) == len(few) <= 11  # one is for the bell, one for the banner
        assert not any("definition" in statement for statement in many)

    def test_keeps_those_that_are_no_longer_offered_readable(self, alices: Client) -> None:  # A7
        version = publish("old")
        with system_scope(by=BY, reason="withdraw"):
            Suite.objects.filter(slug="old").update(current_version=None)
        page = markup(alices.get("/suites/"))
        assert "No longer offered" in page
        address = alices.get("/suites/old/")["Location"]
        assert address == f"/suites/old/{version.version}/"
        assert "no longer offered" in markup(alices.get(address))
        assert "Rule of old" in markup(alices.get(address))

    def test_finds_by_words(self, alices: Client) -> None:
        publish("media-buy", requires={"tools": ["get_products"]})
        page = markup(alices.get("/suites/", {"q": "STORYBOARDS get_prod"}))
        assert "/suites/media-buy/" in page
        assert "/suites/baseline/" not in page
        assert "No suite is about “&lt;b&gt;”" in markup(alices.get("/suites/", {"q": "<b>"}))

    def test_puts_the_parts_of_suites_into_families(self, alices: Client) -> None:
        withdraw_the_engines_suites()
        publish("whole")
        for slug, title in (("k-one", "Kind: One"), ("k-two", "Kind: Two"), ("lone", "Lone")):
            publish(slug, full=False)
            with system_scope(by=BY, reason="name"):
                Suite.objects.filter(slug=slug).update(title=title)
        page = markup(alices.get("/suites/"))
        parts = page[page.index('id="parts"') :]
        assert re.findall(r"<summary><strong>([^<]+)</strong><span[^>]*>([^<]+)<", parts) == [
            ("Kind", "2 suites"),
            ("storyboards", "1 suite"),
        ]
        assert ">One</a>" in parts
        assert "/suites/whole/" not in parts
        assert "<details" not in page[: page.index('id="parts"')]

    def test_leaves_out_needs_that_are_empty(self, alices: Client) -> None:
        withdraw_the_engines_suites()
        publish("media-buy", requires={"tools": [], "any_of_tools": ["get_products"]})
        page = markup(alices.get("/suites/"))
        assert "One of the tools: get_products" in page
        assert "Tools:" not in page

    def test_says_when_there_is_none(self, alices: Client) -> None:
        withdraw_the_engines_suites()
        assert "publish_suites" in markup(alices.get("/suites/"))

    def test_is_for_those_who_are_signed_in(self, client: Client) -> None:
        for address in ("/suites/", "/suites/baseline/", "/suites/baseline/1/"):
            assert "/accounts/login/" in client.get(address)["Location"]

    def test_keeps_the_bar_of_the_organization_shown_last(self, alices: Client, organization: Organization) -> None:
        page = markup(alices.get("/suites/"))
        assert reverse("members", args=[organization.slug]) in page


class TestVersion:
    def test_shows_every_check_with_its_reference(self, alices: Client) -> None:
        page = markup(alices.get("/suites/baseline/1/"))
        for track in BASELINE.tracks:
            for scenario in track.scenarios:
                assert scenario.key in page
                for step in scenario.steps:
                    assert step.spec_url.replace("&", "&amp;") in page
        assert "Calls up to three tools" in page

    def test_links_only_to_the_web(self, alices: Client) -> None:
        publish("odd")
        assert "javascript:" not in markup(alices.get("/suites/odd/6.1/"))

    def test_an_unknown_one_is_not_found(self, alices: Client) -> None:
        for address in ("/suites/nonsense/", "/suites/baseline/99/", "/suites/nonsense/1/"):
            assert alices.get(address).status_code == 404

    def test_a_run_links_to_the_version_that_it_used(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:  # A4
        run = make_run(organization=organization)
        page = markup(alices.get(reverse("run", args=[organization.slug, run.pk])))
        assert 'href="/suites/baseline/1/"' in page
        assert '<input type="hidden" name="suite" value="baseline">' in page


class TestChoosing:
    def test_the_agents_page_offers_the_whole_suites_that_fit(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        publish("media-buy")
        publish("greeting", protocols=("a2a",))
        publish("one-thing", full=False)
        with platform_scope():
            Agent.objects.update(protocol="mcp")
        page = markup(alices.get(reverse("agent", args=[organization.slug, context.pk])))
        assert 'value="media-buy"' in page
        assert 'value="greeting"' not in page
        assert 'value="one-thing"' not in page
        assert re.search(r'value="baseline"\s+selected', page)
        choosing = markup(alices.get(asking_address(organization, context)))
        assert '<optgroup label="storyboards">' in choosing
        assert 'value="one-thing"' in choosing
        assert 'value="greeting"' not in choosing

    def test_one_press_never_means_a_part_of_a_suite_while_there_is_a_whole_one(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:  # R10
        withdraw_the_engines_suites()
        publish("a-part", engine="aaa", full=False)
        publish("whole", engine="bbb")
        alices.post(asking_address(organization, context))
        assert the_job(organization).suite_version.suite.slug == "whole"

    def test_a_press_runs_the_chosen_suite_with_its_own_options(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        publish("media-buy")
        alices.post(asking_address(organization, context), {"suite": "media-buy"})
        request = the_job(organization)
        assert (request.suite_version.suite.slug, request.options) == ("media-buy", {})

    def test_what_was_chosen_is_copied_into_the_job(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:  # L2
        publish("media-buy")
        address = asking_address(organization, context)
        page = markup(alices.get(address, {"suite": "media-buy"}))
        assert "How deep" in page
        assert "Levels to go down." in page
        fields = {
            "suite": "media-buy",
            "choices": "1",
            "all_evidence": "on",
            "option_depth": "5",
            "option_sandbox": "",
            "option_names": "a\nb\n",
            "scenarios": ["media-buy/a/b"],
        }
        alices.post(address, fields)
        assert the_job(organization).options == {
            "depth": 5,
            "loud": False,
            "names": ["a", "b"],
            "scenarios": ["media-buy/a/b"],  # R12
            "evidence": "all",
        }

    def test_choosing_nothing_is_the_same_as_pressing_the_button(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        publish("media-buy")
        fields = {"option_depth": "3", "option_loud": "on", "option_names": "a"}
        alices.post(asking_address(organization, context), {"suite": "media-buy", "choices": "1", **fields})
        assert the_job(organization).options == {}

    @pytest.mark.parametrize("wrong", [{"option_depth": "deep"}, {"scenarios": ["other/x"]}])
    def test_what_makes_no_sense_is_said(
        self, alices: Client, organization: Organization, context: AgentContext, wrong: dict[str, Any]
    ) -> None:
        publish("media-buy")
        fields = {"suite": "media-buy", "choices": "1", **wrong}
        response = alices.post(asking_address(organization, context), fields)
        assert response.status_code == 422
        assert "field-error" in markup(response)
        with organization_scope(organization.id):
            assert not Job.objects.exists()

    def test_a_suite_that_is_not_there_is_named_with_what_to_do(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        response = alices.get(asking_address(organization, context), {"suite": "nope"})
        page = markup(response)
        assert response.status_code == 422
        assert "There is no suite “nope” that this agent can be tested with. Choose one from this list" in page
        assert "Select a valid choice" not in page

    def test_counts_the_scenarios_that_this_agent_can_be_asked(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        with platform_scope():
            Agent.objects.update(protocol="mcp")
        page = markup(alices.get(asking_address(organization, context)))
        asked = re.search(r"Only some of its (\d+) scenarios", page)
        assert asked is not None
        assert re.search(rf"<dt>Scenarios</dt><dd>{asked[1]} of \d+ <span", page)
        assert "The others are for agents of other protocols." in page
        publish("media-buy")
        page = markup(alices.get(asking_address(organization, context), {"suite": "media-buy"}))
        assert "<dt>Scenarios</dt><dd>2<" in page
        assert "of other protocols" not in page

    def test_what_cannot_be_run_is_shown_and_refused_with_the_reason(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        publish("media-buy")
        workers_have(missing="storyboards")
        address = asking_address(organization, context)
        page = markup(alices.get(address, {"suite": "media-buy"}))
        assert "Node is not installed." in page
        assert re.search(r"Media-Buy – not available", page)
        agents = markup(alices.get(reverse("agent", args=[organization.slug, context.pk])))
        assert re.search(r'value="media-buy"[^>]*disabled', agents)
        assert '<button class="btn btn-primary"' not in page
        response = alices.post(address, {"suite": "media-buy"}, follow=True)
        assert "Media-Buy cannot be run now. Node is not installed." in markup(response)
        assert alices.post(address, {"suite": "baseline"}).status_code == 302

    def test_the_default_that_cannot_be_run_is_said_on_the_agents_page(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        workers_have(missing="baseline")
        page = markup(alices.get(reverse("agent", args=[organization.slug, context.pk])))
        assert "Baseline cannot be run now. Node is not installed." in page

    def test_an_agent_that_no_suite_fits_is_told_so(
        self, alices: Client, organization: Organization, context: AgentContext
    ) -> None:
        publish("media-buy")
        with system_scope(by=BY, reason="withdraw"):
            Suite.objects.exclude(slug="media-buy").update(current_version=None)
        with platform_scope():
            Agent.objects.update(protocol="a2a")
        for name in ("agent", "agent_test"):
            page = markup(alices.get(reverse(name, args=[organization.slug, context.pk])))
            assert "There is no suite for agents of this protocol" in page
        response = alices.post(asking_address(organization, context), {"suite": "media-buy"})
        assert response.status_code == 422

    def test_the_agents_page_costs_the_same_with_fifty_suites(
        self, alices: Client, organization: Organization, context: AgentContext, queries: Callable[[], Any]
    ) -> None:
        address = reverse("agent", args=[organization.slug, context.pk])
        alices.get(address)
        with queries() as few:
            alices.get(address)
        for number in range(50):
            publish(f"suite-{number}")
        alices.get(address)
        with queries() as many:
            alices.get(address)
        assert len(many) == len(few)


def test_the_schema_of_reports_is_there_for_everybody(client: Client) -> None:
    response = client.get("/schemas/report-1.json")
    assert response["Content-Type"] == "application/schema+json"
    assert "public" in response["Cache-Control"]
    jsonschema.Draft202012Validator.check_schema(json.loads(response.content))


def test_a_version_published_before_options_had_words_stays_as_it_is() -> None:  # A4
    definition = definition_of(BASELINE)
    assert definition.pop("option_words")
    version = publish_suite(
        slug="plain", title="Plain", description="", version="1", engine="baseline", definition=definition, by=BY
    )
    again = publish_suite(
        slug="plain",
        title="Plain",
        description="",
        version="1",
        engine="baseline",
        definition={**definition, "option_words": {"allow_side_effects": ["Allow side effects", ""]}},
        by=BY,
    )
    assert again.pk == version.pk
    assert "option_words" not in SuiteVersion.objects.get(pk=version.pk).definition
