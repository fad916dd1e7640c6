"""Suites as a person finds and chooses them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from compliance.models import ComplianceRun
from compliance.tenancy.scope import organization_scope
from tests.browser.conftest import Site


def test_searching_narrows_the_suites_while_one_types(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(site.alice)
    page.goto(site.path("../../suites/"))
    expect(page.get_by_role("link", name="Baseline")).to_be_visible()
    page.get_by_label("Search").press_sequentially("get_signals cursor")
    expect(page.get_by_role("link", name="get_signals pagination cursor integrity")).to_be_visible()
    expect(page.get_by_role("link", name="Baseline")).to_have_count(0)
    expect(page.get_by_label("Search")).to_be_focused()
    expect(page.locator("#live")).to_have_text("1 suite found")
    page.wait_for_url(re.compile(r"/suites/\?q=get_signals(\+|%20)cursor$"))
    page.get_by_role("link", name="get_signals pagination cursor integrity").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("get_signals pagination cursor integrity")


def test_the_parts_of_suites_open_by_the_keyboard(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(site.alice)
    page.goto(site.path("../../suites/"))
    part = page.get_by_role("link", name="SDK fixture")
    expect(part).to_be_hidden()
    page.locator("summary").filter(has_text="MCP conformance").focus()
    page.keyboard.press("Enter")
    expect(part).to_be_visible()
    page.keyboard.press("Tab")
    expect(part).to_be_focused()


@pytest.mark.parametrize("scripts", [True, False])
def test_some_scenarios_of_a_suite_are_chosen_and_run(site: Site, visit: Callable[..., Page], scripts: bool) -> None:
    page = visit(site.alice, java_script_enabled=scripts)
    page.goto(site.path(f"agents/{site.context.pk}/"))
    page.get_by_role("link", name="Other suites and options…").click()
    page.get_by_label("Suite", exact=True).select_option(label="Baseline")
    if not scripts:
        page.get_by_role("button", name="Choose").click()
    page.wait_for_url("**suite=baseline")
    expect(page.get_by_role("link", name="Baseline 1")).to_be_visible()
    page.get_by_text(re.compile("^Only some of its")).click()
    page.get_by_label("Protocol: Opening a session").check()
    page.get_by_role("button", name="Test now").click()
    page.wait_for_url(re.compile(r"/runs/"), timeout=40_000)
    expect(page.get_by_role("main")).to_contain_text("Part of the suite")
    with organization_scope(site.organization.id):
        run = ComplianceRun.objects.get()
    assert [scenario["key"] for track in run.tracks_json for scenario in track["scenarios"]] == ["mcp/lifecycle"]


def test_the_agents_page_runs_the_suite_that_is_chosen_there(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(site.alice)
    page.goto(site.path(f"agents/{site.context.pk}/"))
    page.get_by_label("Suite", exact=True).select_option(label="MCP conformance: declared capabilities")
    page.get_by_role("button", name="Test now").click()
    page.wait_for_url(re.compile(r"/runs/"), timeout=90_000)
    expect(page.get_by_role("main")).to_contain_text("MCP conformance: declared capabilities 1")
