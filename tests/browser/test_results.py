"""Looking into results: the evidence behind a check, and two runs side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from compliance.engines.reports.model import Evidence, Scenario, Step, Track, Verdict
from compliance.models import ComplianceRun
from tests.browser.conftest import Site
from tests.conftest import make_report, make_run

TOOLS = [{"name": f"tool-{number}", "inputSchema": {"type": "object"}} for number in range(40)]
EXCHANGE = Evidence(
    {"method": "POST", "url": "https://agent.example/mcp", "headers": {}, "body": {"method": "tools/list"}},
    {"status": 200, "ms": 12, "headers": {}, "body": {"result": {"tools": TOOLS}}},
    "/response/body/result/tools/30/inputSchema",
)
SEEN = (
    "e => { const m = e.querySelector('mark').getBoundingClientRect(), b = e.getBoundingClientRect();"
    " return m.top >= b.top && m.bottom <= b.bottom }"
)


@pytest.fixture
def run(site: Site) -> ComplianceRun:
    """A run of many scenarios with long keys, whose first check failed far down in what the agent answered."""
    failed = Step(key="schemas", title="The schemas are valid", verdict=Verdict.FAILED, evidence=EXCHANGE)
    passed = Step(key="ping", title="Ping is answered", verdict=Verdict.PASSED)
    scenarios = [Scenario("listing/tools", "Listing tools", (failed,))]
    scenarios += [Scenario(f"{'a_long_word_' * 6}/{number}", f"Scenario {number}", (passed,)) for number in range(60)]
    report = replace(make_report(), tracks=(Track("many", "Many", tuple(scenarios)),))
    return make_run(organization=site.organization, agent_url=site.context.agent_url, report=report)


def open_evidence(page: Page, site: Site, run: ComplianceRun) -> Any:
    page.goto(site.path(f"runs/{run.pk}/"))
    page.get_by_role("link", name="Evidence: request and response").click()
    response = page.get_by_label("Response", exact=True)
    expect(response.locator("mark").first).to_be_visible()
    return response


@pytest.mark.parametrize("width", [1280, 390])
def test_evidence_opens_in_the_runs_page_at_the_place_that_failed(
    site: Site, visit: Callable[..., Page], run: ComplianceRun, width: int
) -> None:
    page = visit(site.alice, viewport={"width": width, "height": 900})
    response = open_evidence(page, site, run)
    assert page.url == site.path(f"runs/{run.pk}/")
    expect(response.locator("mark")).to_have_text(
        ['        "inputSchema": {\n', '          "type": "object"\n', "        }\n"]
    )
    assert response.evaluate(SEEN)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("width", [1280, 390])
def test_evidence_has_a_page_of_its_own(site: Site, visit: Callable[..., Page], run: ComplianceRun, width: int) -> None:
    page = visit(site.alice, viewport={"width": width, "height": 900})
    page.goto(site.path(f"runs/{run.pk}/steps/0/"))
    assert page.get_by_label("Response", exact=True).evaluate(SEEN)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_evidence_is_there_without_javascript(site: Site, visit: Callable[..., Page], run: ComplianceRun) -> None:
    page = visit(site.alice, java_script_enabled=False)
    open_evidence(page, site, run)
    assert page.url == site.path(f"runs/{run.pk}/steps/0/")
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    page.get_by_role("link", name="Back to the run").click()
    page.wait_for_url("**/runs/*/#listing/tools/schemas")


def test_the_curl_command_is_copied(site: Site, visit: Callable[..., Page], run: ComplianceRun) -> None:
    page = visit(site.alice)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site.address)
    open_evidence(page, site, run)
    page.get_by_text("As a curl command").click()
    shown = page.get_by_label("The curl command")
    page.locator(".curl").get_by_role("button", name="Copy").click()
    expect(page.locator(".curl").get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == shown.inner_text()
    assert shown.inner_text().startswith("curl -i -X POST https://agent.example/mcp")


def test_a_link_to_a_check_opens_the_folds_around_it(
    site: Site, visit: Callable[..., Page], run: ComplianceRun
) -> None:
    page = visit(site.alice)
    anchor = f"{'a_long_word_' * 6}/59/ping"
    page.goto(site.path(f"runs/{run.pk}/#{anchor}"))
    expect(page.locator(f"[id='{anchor}']")).to_be_in_viewport()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scripts", [True, False])
def test_two_runs_are_chosen_compared_and_swapped(
    site: Site, visit: Callable[..., Page], width: int, scripts: bool
) -> None:
    now = timezone.now()
    earlier, later = (
        make_run(
            *verdicts,
            organization=site.organization,
            agent_url=site.context.agent_url,
            tested_at=now - timedelta(minutes=minutes),
        )
        for verdicts, minutes in ((("passed", "failed"), 9), (("failed", "passed"), 3))
    )
    page = visit(site.alice, java_script_enabled=scripts, viewport={"width": width, "height": 900})
    page.goto(site.path(f"runs/{later.pk}/"))
    page.get_by_role("link", name="Compare with another").click()
    page.get_by_role("row").filter(has_text="1 of 2 checks failed").get_by_role("link").click()
    page.wait_for_url(f"**/runs/{later.pk}/compare/{earlier.pk}/")
    expect(page.locator("[id^=group-]")).to_have_text(["Newly failing 1", "Fixed 1"])
    expect(page.get_by_role("region", name="Newly failing")).to_contain_text("Check 0")
    page.get_by_role("link", name="Swap").click()
    expect(page.get_by_role("region", name="Newly failing")).to_contain_text("Check 1")
    expect(page.get_by_role("main")).to_contain_text("the first of the two is the later one")
    if scripts:
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.get_by_role("region", name="Newly failing").get_by_role("link", name="In its run").first.click()
    page.wait_for_url(f"**/runs/{later.pk}/#protocol/basic/step-1")
