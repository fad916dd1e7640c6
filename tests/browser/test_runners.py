"""Private runners as a person sets them up and uses them, with the real program."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from compliance.registry.models import Placement
from compliance.tenancy.events import Event, Subject, publish
from compliance.tenancy.scope import organization_scope
from tests.browser.conftest import Site
from tests.compliance.monitors.conftest import make_monitor
from tests.compliance.runners.conftest import Calling, ask, make_runner
from tests.conftest import make_context
from tests.processes import Process

TOKEN = re.compile(r"asr_[0-9A-Za-z]{8}_[0-9A-Za-z_-]{43}")


@pytest.fixture
def lab(site: Site) -> Calling:
    return make_runner(site.organization, site.alice, name="Rack 4 in the cellar of the old town hall", pool="berlin")


@pytest.fixture
def paths(site: Site, lab: Calling) -> list[str]:
    """The pages that runners are on, with something on each."""
    organization, alice = site.organization, site.alice
    long_one = make_context(organization, f"https://{'agent-' * 9}one.internal.example/mcp", name="An inner agent")
    ask(organization, site.context, alice, lab.placement())
    run = lab.complete(*lab.poll(), "failed").json()["run_id"]
    ask(organization, site.context, alice, lab.placement())
    lab.poll(version="1.0.0", host="rack-4.internal.example", last_error="connect to " + "agent-" * 20 + "failed")
    waiting = ask(organization, long_one, alice, Placement(pool="berlin"))
    ask(organization, long_one, alice, lab.placement(), dry_run=True)
    monitor = make_monitor(organization, site.context, alice, placement=lab.placement(), name="Nightly")
    with organization_scope(organization.id):
        for number, text in enumerate(("is offline. What is placed on it waits.", "is back.")):
            about = {"subject": Subject.RUNNER, "subject_id": lab.runner.pk, "occasion": f"test:{number}"}
            publish(
                Event(organization_id=organization.id, text=f"The private runner {lab.runner.name} {text}", **about)
            )
    runner = f"runners/{lab.runner.pk}/"
    return [
        "runners/",
        "runners/add/",
        runner,
        f"{runner}settings/",
        f"{runner}token/",
        "notices/",
        f"jobs/{waiting.pk}/",
        f"runs/{run}/",
        f"agents/{site.context.pk}/",
        f"agents/{site.context.pk}/test/",
        f"agents/{site.context.pk}/history/",
        "",
        "monitors/",
        "monitors/add/",
        f"monitors/{monitor.pk}/",
        f"monitors/{monitor.pk}/edit/",
    ]


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_every_page_fits_and_breaks_no_policy(
    site: Site, visit: Callable[..., Page], paths: list[str], width: int, scheme: str
) -> None:
    page = visit(site.alice, viewport={"width": width, "height": 900}, color_scheme=scheme)
    for path in paths:
        response = page.goto(site.path(path))
        assert response is not None
        assert response.status == 200, path
        page.evaluate("document.querySelectorAll('main details').forEach(e => { e.open = true })")
        assert fits(page), path
        assert page.locator("h1").count() == 1, path
        expect(page.locator(".bell")).to_be_visible()
        expect(page.locator(".bell")).to_contain_text("Notices 2 unread")
    page.goto(site.path("runners/add/"))
    page.get_by_label("Name").fill("Another")
    page.get_by_role("button", name="Add the runner").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Start Another")
    assert fits(page)


def test_a_runner_is_added_started_by_what_its_page_says_and_tests_an_agent(
    site: Site, visit: Callable[..., Page], tmp_path: Path
) -> None:  # L3, L6
    page = visit(site.alice)
    page.goto(site.path("runners/"))
    page.get_by_role("link", name="Add a runner").click()
    page.get_by_label("Name").fill("lab")
    page.get_by_role("button", name="Add the runner").click()
    found = TOKEN.search(page.get_by_label("The token", exact=True).inner_text())
    assert found
    command = page.get_by_label("The command that starts the runner").inner_text().split()
    file = tmp_path / "assay-runner.token"
    file.write_text(found[0])
    file.chmod(0o600)
    options = command[1:]
    options[options.index("--url") + 1] = site.address  # where this test's web server is
    options[options.index("--token-file") + 1] = str(file)
    page.get_by_role("link", name="I have kept the token").click()
    expect(page.locator("#now")).to_contain_text("Never connected")
    program = Process(
        *(sys.executable, "-m", "compliance.runners.program", *options, "--state-dir", str(tmp_path / "state")),
        log=tmp_path / "runner.log",
        env={"DJANGO_SETTINGS_MODULE": ""},
    )
    try:
        expect(page.locator("#now")).to_contain_text("Online", timeout=40_000)  # by itself, without a reload
        page.goto(site.path(f"agents/{site.context.pk}/"))
        page.get_by_label("Where it runs").select_option(label="lab (online)")
        page.get_by_role("button", name="Test now").click()
        page.wait_for_url(re.compile(r"/runs/"), timeout=60_000)
        expect(page.get_by_role("main")).to_contain_text(
            "Private runner lab · your organization's own evidence, never public status"
        )
        expect(page.get_by_role("main")).to_contain_text("Passing")
        page.get_by_role("link", name="lab", exact=True).click()
        expect(page.get_by_role("region", name="Its last runs")).to_contain_text("City library")
    finally:
        program.stop()


def test_a_token_is_replaced_by_keyboard_after_a_question(site: Site, visit: Callable[..., Page], lab: Calling) -> None:
    page = visit(site.alice)
    page.goto(site.path(f"runners/{lab.runner.pk}/"))
    button = page.get_by_role("button", name="Replace the token…")
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("The old one stops working at once")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    button.press("Enter")
    dialog.get_by_role("button", name="Replace the token").press("Enter")
    expect(page.get_by_label("The token", exact=True)).to_have_text(TOKEN)


def test_all_of_it_works_without_javascript(site: Site, visit: Callable[..., Page], lab: Calling) -> None:
    with organization_scope(site.organization.id):
        about = {"subject": Subject.RUNNER, "subject_id": lab.runner.pk, "occasion": "test"}
        publish(Event(organization_id=site.organization.id, text="It is offline.", **about))
    page = visit(site.alice, java_script_enabled=False)
    page.goto(site.path("notices/"))
    page.get_by_role("button", name=re.compile("^Mark as read")).click()
    expect(page.locator(".bell .count")).to_have_count(0)
    page.get_by_role("link", name="It is offline.").click()
    page.get_by_role("link", name="Settings", exact=True).nth(1).click()
    page.get_by_role("button", name="Disable the runner…").click()
    page.get_by_role("button", name="Disable the runner", exact=True).click()
    expect(page.locator("#now")).to_contain_text("Disabled")
    page.goto(site.path(f"agents/{site.context.pk}/test/"))
    expect(page.locator("#id_placement option", has_text=f"{lab.runner.name} (disabled)")).to_be_disabled()
    page.goto(site.path(f"runners/{lab.runner.pk}/settings/"))
    page.get_by_role("button", name="Enable the runner").click()
    page.goto(site.path(f"agents/{site.context.pk}/test/"))
    page.get_by_label("Where it runs").select_option(label=f"{lab.runner.name} (never connected)")
    page.get_by_role("button", name="Test now").click()
    expect(page.locator("#progress")).to_contain_text("No runner for it is online.")
    page.get_by_role("button", name="Cancel the test").click()
    expect(page.locator("#progress")).to_contain_text("It ended without a run: cancelled")
    expect(page).to_have_title(re.compile("^Test cancelled"))


def test_whoever_watches_a_test_sees_that_somebody_else_cancelled_it(
    site: Site, visit: Callable[..., Page], lab: Calling
) -> None:
    wanted = ask(site.organization, site.context, site.alice, lab.placement())
    watching, cancelling = visit(site.alice), visit(site.bob)
    for page in (watching, cancelling):
        page.goto(site.path(f"jobs/{wanted.pk}/"))
        expect(page).to_have_title(re.compile("^Test under way"))
    cancelling.get_by_role("button", name="Cancel the test").press("Enter")
    for page in (cancelling, watching):
        expect(page).to_have_title(re.compile("^Test cancelled"))
        expect(page.get_by_role("button", name="Cancel the test")).to_have_count(0)
