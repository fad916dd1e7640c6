"""A real browser against the real web server, a real worker and the demo's agents."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from compliance.models import AgentContext, Organization, Role, User
from compliance.tenancy.actions import create_organization
from tests.conftest import add_member, make_context, make_user
from tests.processes import ROOT, serving_demo_agents, web, worker

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")  # no longer: while it is there, no test of the process can run an event loop
def browser() -> Iterator[Browser]:
    # Playwright keeps an event loop in this thread, which Django takes for asynchronous code; nothing here is.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    path = subprocess.run([ROOT / "scripts" / "browser"], capture_output=True, text=True, check=True).stdout.strip()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(scope="module")  # no longer: its worker would take other tests' work
def running(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """The web's address and the demo agents' addresses; one set for a module's tests."""
    logs: Path = tmp_path_factory.mktemp("logs")
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    client.flushdb()
    client.close()
    with (
        serving_demo_agents(logs / "agents.log") as agents,
        worker(logs / "worker.log"),
        web(logs / "web.log", logs / "static") as address,
    ):
        yield address, agents


@dataclass
class Site:
    address: str
    agents: dict[str, str]
    organization: Organization
    alice: User
    bob: User
    context: AgentContext

    def path(self, path: str = "") -> str:
        return f"{self.address}/o/{self.organization.slug}/{path}"


@pytest.fixture
def site(browser: Browser, committed_db: None, running: tuple[str, dict[str, str]]) -> Site:
    """Alice (owner) and Bob (member) with the well-behaved agent."""
    address, agents = running
    alice = make_user("alice@example.org", "Alice Owner")
    bob = make_user("bob@example.org", "Bob Member")
    organization = create_organization(name="Alpha", by=alice)
    add_member(organization, bob, Role.MEMBER)
    context = make_context(organization, agents["library"], name="City library")
    return Site(address, agents, organization, alice, bob, context)


def signed_in(user: User) -> str:
    """A session of the user, as signing in makes one; returns its key."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Callable[..., Page]]:
    """Open a page signed in as a user, in a browser of its own. What the console complains of fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(user: User | None = None, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if user is not None:
            context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": signed_in(user), "url": site.address}])
        return page

    yield open_page
    for context in contexts:
        context.close()
    # A form that is refused answers 422, which Chromium reports like a fault.
    assert [text for text in complaints if "status of 422" not in text] == []
