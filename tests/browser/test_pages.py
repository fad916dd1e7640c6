"""What holds for every page: no complaint from the content security policy, no sideways scrolling, keyboard use."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.conftest import PASSWORD, make_context, make_run
from tests.processes import ROOT


@pytest.fixture
def paths(site: Site) -> list[str]:
    runs = [
        make_run("passed", "failed", "skipped", organization=site.organization, agent_url=site.context.agent_url)
        for _ in range(3)
    ]
    make_run("passed", agent_url=site.context.agent_url)
    agent = f"agents/{site.context.pk}/"
    return [
        "",
        "agents/add/",
        agent,
        f"{agent}test/",
        f"{agent}history/",
        f"{agent}settings/",
        f"{agent}test/?suite=adcp",
        f"runs/{runs[0].pk}/",
        f"runs/{runs[0].pk}/compare/",
        f"runs/{runs[0].pk}/compare/{runs[1].pk}/",
        "monitors/",
        "monitors/?state=archived",
        "monitors/add/",
        "monitors/add/?how=cron&parts=on",
        "members/",
        "settings/",
        "settings/keys/",
        "settings/keys/add/",
        "../../suites/",
        "../../suites/?q=media",
        "../../suites/baseline/1/",
        "../../suites/adcp/",
        "../../docs/",
        "../../docs/runners/",
        "../../docs/api/",
    ]


def test_signing_in_by_the_form_leads_to_the_organization(site: Site, visit: Callable[..., Page]) -> None:
    site.alice.password = PBKDF2PasswordHasher().encode(PASSWORD, "salt")  # as the web server checks it
    site.alice.save(update_fields=["password"])
    page = visit()
    page.goto(site.path())
    page.get_by_label(re.compile("^E-?mail")).fill(site.alice.email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.wait_for_url(site.path())
    expect(page.get_by_role("main")).to_contain_text("City library")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_fits_and_breaks_no_policy(
    site: Site, visit: Callable[..., Page], paths: list[str], width: int, scheme: str
) -> None:
    page = visit(site.alice, viewport={"width": width, "height": 900}, color_scheme=scheme)
    for path in paths:
        response = page.goto(site.path(path))
        assert response is not None
        assert response.status == 200, path
        assert "script-src 'self'" in response.headers["content-security-policy"], path
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
        # What is folded has to fit as well, and only what is unfolded has a text for the question below.
        page.evaluate("document.querySelectorAll('main details').forEach(e => { e.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{path} unfolded"
        assert page.locator("html").get_attribute("data-bs-theme") == scheme, path
        assert page.locator("h1").count() == 1, path
        unnamed = page.evaluate(
            "[...document.querySelectorAll('main button, main a, main input:not([type=hidden]), main select')]"
            ".filter(e => !(e.innerText || e.value || e.ariaLabel || e.title || e.labels?.length))"
            ".map(e => e.outerHTML)"
        )
        assert unnamed == [], path


def test_the_keyboard_reaches_the_content_first(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(site.alice)
    page.goto(site.path())
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('main') !== null || location.hash !== ''")


def test_a_chosen_theme_is_remembered(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(site.alice, color_scheme="light")
    page.goto(site.path())
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")


def test_a_time_shows_its_exact_instant(site: Site, visit: Callable[..., Page], paths: list[str]) -> None:
    page = visit(site.alice, timezone_id="America/New_York")
    page.goto(site.path())
    instant = page.locator("main time[datetime]").first
    expect(instant).to_have_attribute("title", re.compile(r"\d{4}|\d{1,2}:\d{2}"))


def test_searching_narrows_the_list_and_says_how_many(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(site.alice)
    page.goto(site.path())
    page.get_by_role("searchbox").fill("no such agent")
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).not_to_contain_text("City library")
    page.get_by_role("searchbox").fill("library")
    page.keyboard.press("Enter")
    expect(page.get_by_role("main").get_by_role("link", name="City library")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_menus_open_without_javascript(site: Site, visit: Callable[..., Page], width: int) -> None:
    page = visit(site.alice, java_script_enabled=False, viewport={"width": width, "height": 900})
    page.goto(site.path())
    for menu, entry in (("Organization: Alpha", "New organization…"), ("Signed in as Alice Owner", "Sign out")):
        expect(page.get_by_text(entry)).to_be_hidden()
        page.get_by_role("button", name=menu).focus()
        expect(page.get_by_text(entry)).to_be_visible()
    page.get_by_role("button", name="Organization: Alpha").focus()
    page.get_by_role("link", name="New organization…").click()
    page.wait_for_url("**/o/new/")


@pytest.mark.parametrize("scripts", [True, False])
def test_a_narrow_list_can_be_sorted(site: Site, visit: Callable[..., Page], scripts: bool) -> None:
    make_context(site.organization, "https://aardvark.example/mcp", name="Aardvark")
    page = visit(site.alice, java_script_enabled=scripts, viewport={"width": 390, "height": 900})
    page.goto(site.path())
    names = page.locator(".agents td:first-child > a")
    page.locator("#by-name").click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("Agent")
    expect(names).to_have_text(["Aardvark", "City library"])
    page.locator("#by-name").click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Agent")
    expect(names).to_have_text(["City library", "Aardvark"])


# The variants that templates use, each as it lies there, under the pointer and while it is pressed. Returns those whose
# words have less than 4.5:1 against what is behind them, on a page's ground and on a card's.
PALE_BUTTONS = """() => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour, under) => {
    paint.fillStyle = under ? `rgb(${under})` : "#fff"; paint.fillRect(0, 0, 1, 1);
    paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (channels) => {
    const [r, g, b] = channels.map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const pale = [];
  for (const ground of ["--canvas", "--card"]) {
    const under = rgb(getComputedStyle(document.documentElement).getPropertyValue(ground));
    for (const variant of %s) {
      const button = document.createElement("button");
      button.className = `btn ${variant}`;
      document.querySelector("main").append(button);
      const look = getComputedStyle(button);
      for (const state of ["", "hover-", "active-"]) {
        const behind = rgb(look.getPropertyValue(`--bs-btn-${state}bg`).trim() || "transparent", under);
        const words = rgb(look.getPropertyValue(`--bs-btn-${state}color`), behind);
        const [most, least] = [light(words), light(behind)].sort((a, b) => b - a);
        const ratio = (most + .05) / (least + .05);
        if (!(ratio >= 4.5)) pale.push(`${variant} ${state}on ${ground}: ${ratio.toFixed(2)}`);
      }
      button.remove();
    }
  }
  return pale;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_words_of_every_button_can_be_read(site: Site, visit: Callable[..., Page], scheme: str) -> None:
    written = "".join(path.read_text() for path in (ROOT / "templates").rglob("*.html"))
    variants = sorted(set(re.findall(r"\bbtn-(?:outline-)?[a-z]+\b", written)) - {"btn-sm", "btn-close"})
    assert {"btn-primary", "btn-danger", "btn-outline-danger"} <= set(variants)
    page = visit(site.alice, color_scheme=scheme)
    page.goto(site.path())
    assert page.evaluate(PALE_BUTTONS % json.dumps(variants)) == []
