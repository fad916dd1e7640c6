"""Setting a monitor up with a keyboard and a pointer, with and without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site

ANSWERED_MS = 20_000  # the times come from the server, which shares its machine with other tests


def test_a_schedule_shows_what_belongs_to_it_and_its_times_while_one_types(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit(site.alice, timezone_id="Asia/Tokyo")
    page.goto(site.path("monitors/add/"))
    every, cron = page.get_by_label("Every", exact=True), page.get_by_label("Cron expression", exact=True)
    expect(every).to_be_visible()
    expect(cron).to_be_hidden()
    expect(page.locator("#times")).to_contain_text("Every hour. The next five times:")
    every.fill("3")
    expect(page.locator("#times")).to_contain_text("Every 3 hours.", timeout=ANSWERED_MS)
    page.get_by_label("By a cron expression").check()
    expect(every).to_be_hidden()
    expect(page.locator("#times li")).to_have_count(0, timeout=ANSWERED_MS)
    expect(page.locator(".field-error:visible")).to_have_count(0)  # nothing was entered yet
    zone = page.get_by_label("Timezone")
    expect(zone.locator("optgroup").first).to_have_attribute("label", "Yours")
    expect(zone).to_have_value("Asia/Tokyo")
    cron.fill("99 * * * *")
    expect(page.locator("#id_cron_error")).to_contain_text("bad minute", timeout=ANSWERED_MS)
    cron.fill("30 6 * * 1")
    expect(page.locator("#times li")).to_have_text([re.compile("^Monday .*06:30 JST")] * 5, timeout=ANSWERED_MS)
    expect(page.locator("#id_cron_error")).to_be_hidden()


def test_another_suite_keeps_the_schedule(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(site.alice)
    page.goto(site.path("monitors/add/"))
    page.get_by_label("Every", exact=True).fill("7")
    page.get_by_label("Suite", exact=True).select_option("mcp-conformance")
    expect(page.get_by_label("Name", exact=True)).to_have_value(re.compile("MCP conformance"), timeout=ANSWERED_MS)
    expect(page.get_by_label("Every", exact=True)).to_have_value("7")


@pytest.mark.parametrize("scripts", [True, False])
def test_what_is_wrong_is_said_where_one_is_led_to(site: Site, visit: Callable[..., Page], scripts: bool) -> None:
    page = visit(site.alice, java_script_enabled=scripts)
    page.goto(site.path("monitors/add/"))
    page.get_by_label("By a cron expression").check()
    page.get_by_role("button", name="Add the monitor").click()
    summary = page.get_by_role("alert").filter(has_text="One thing has to be put right")
    expect(summary).to_be_focused()
    summary.get_by_role("link", name="Cron expression").click()
    page.keyboard.type("0 9 * * *")
    if not scripts:
        page.get_by_role("button", name="Show the next times").click()
    expect(page.locator("#times")).to_contain_text("At 09:00 every day", timeout=ANSWERED_MS)
    page.get_by_role("button", name="Add the monitor").click()
    page.wait_for_url(re.compile(r"/monitors/[0-9a-f-]{36}/(#.*)?$"))
    expect(page.get_by_role("main")).to_contain_text("At 09:00 every day")
