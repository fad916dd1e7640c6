"""Testing an agent as a person does it."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from compliance.models import ComplianceRun, Job
from compliance.tenancy.scope import organization_scope
from tests.browser.conftest import Site


def agent_page(page: Page, site: Site) -> None:
    page.goto(site.path(f"agents/{site.context.pk}/"))


def test_the_result_of_a_test_arrives_without_a_reload(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(site.alice)
    agent_page(page, site)
    page.get_by_role("button", name="Test now").click()
    page.wait_for_url(re.compile(r"/(requests|runs)/"))
    page.wait_for_url(re.compile(r"/runs/"), timeout=30_000)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("Passing")
    expect(page.get_by_role("main")).to_contain_text("Alice Owner")
    page.get_by_role("link", name="City library").first.click()
    expect(page.get_by_role("main")).to_contain_text("1 conclusive test")


def test_a_test_works_without_javascript(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(site.alice, java_script_enabled=False)
    agent_page(page, site)
    page.get_by_role("button", name="Test now").click()
    # Either the page refreshes itself or the reader follows its link; both are allowed to be first.
    page.wait_for_url(re.compile(r"/runs/"), timeout=40_000)
    expect(page.get_by_role("main")).to_contain_text("Passing")


def test_two_people_who_press_the_button_at_once_make_one_job(site: Site, visit: Callable[..., Page]) -> None:
    pages = [visit(site.alice), visit(site.bob)]
    for page in pages:
        agent_page(page, site)
    for page in pages:
        page.get_by_role("button", name="Test now").click(no_wait_after=True)
    for page in pages:
        page.wait_for_url(re.compile(r"/runs/"), timeout=40_000)
    with organization_scope(site.organization.id):
        requests, runs = Job.objects.count(), ComplianceRun.objects.count()
    # The second press may come after the first test is done: then it is a second test, never a double.
    assert requests == runs
    assert len({page.url for page in pages}) == runs


def test_an_agent_is_added_and_recognized(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(site.alice)
    page.goto(site.path())
    page.get_by_role("link", name="Add an agent").first.click()
    page.get_by_label("Address").fill("https://user:secret@agent.example/mcp")
    page.get_by_role("main").locator("button[type=submit]").click()
    expect(page.get_by_role("main")).to_contain_text("user name and password")
    page.get_by_label("Address").fill(site.agents["library"])
    page.get_by_role("main").locator("button[type=submit]").click()
    expect(page.get_by_role("main").get_by_role("link", name="City library")).to_be_visible()
    page.get_by_label("Address").fill(site.agents["translator"])
    page.get_by_role("main").locator("button[type=submit]").click()
    page.wait_for_url(re.compile(r"/agents/[0-9a-f-]+/"))
    expect(page.get_by_role("main")).to_contain_text("A2A", timeout=20_000)
