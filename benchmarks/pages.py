"""Pages through the real web server, for a signed-in member, with all runs in the table."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from benchmarks.databases import use_database
from benchmarks.history import NO_SLOWER, cursor_of_page, deep_page
from benchmarks.load import AGENTS, HEAVY_RUNS, HEAVY_URL, ORGANIZATION, USER_EMAIL, database_name
from benchmarks.measure import Section, ratio, take_turns
from compliance.embedded.servers import LOOPBACK, free_port
from compliance.models import AgentContext, ApiKey, Organization, User
from compliance.tenancy.api_keys import hash_of, new_token
from compliance.tenancy.scope import organization_scope
from tests.servers import Services

PROJECT = Path(__file__).resolve().parents[1]
API_LIST, API_MILLISECONDS = "API list of 40 agents", 8
QUERIES, HTML_KB, JS_KB, CSS_KB, MILLISECONDS = 10, 60, 60, 40, 12
WORKERS = 2
CLIENTS, AT_LEAST_OF_GUNICORN = 16, 0.85
_TRANSACTION = re.compile(r"(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)\b", re.IGNORECASE)
_ASSET = re.compile(r'<(?:script[^>]*\ssrc|link[^>]*\srel="stylesheet"[^>]*\shref|link[^>]*\shref)="([^"]+)"')


def measure(running: Services, runs: int, *, rounds: int) -> Section:
    use_database(database_name(runs))
    call_command("collectstatic", interactive=False, verbosity=0)
    with organization_scope(ORGANIZATION):
        organization = Organization.objects.get(pk=ORGANIZATION)
        agent = AgentContext.objects.get(organization=organization, agent_id=HEAVY_URL)
        deep = deep_page(runs)
        place = cursor_of_page(deep)
    assert place is not None
    user = User.objects.get(email=USER_EMAIL)
    headers = {
        "Host": "localhost",
        "Cookie": f"{settings.SESSION_COOKIE_NAME}={_sign_in(user)}",
        "Authorization": f"Bearer {_make_key(organization)}",
    }
    history = reverse("history", args=[organization.slug, agent.pk])
    addresses = {
        "overview": reverse("overview", args=[organization.slug]),
        "agent page": reverse("agent", args=[organization.slug, agent.pk]),
        "first history page": history,
        f"history page {deep:,}": f"{history}?at={place.encode()}",
        API_LIST: "/api/v1/agents?limit=40",
        "trivial view, full middleware": "/bench/trivial/",
        "/healthz": "/healthz",
    }
    section = Section(
        f"Pages, {runs:,} runs in the table",
        f"The web server as it is run, {WORKERS} processes, persistent database connections; a "
        f"member of an organization with {AGENTS} agents, signed in by a session in the database. One job after "
        f"the other over one kept connection, the addresses taking turns. The agent has "
        f"{min(HEAVY_RUNS, runs // 10):,} runs. Queries are counted in the same views by the test client, without "
        "BEGIN and COMMIT; a scope's settings count as one.",
    )
    counted = _count_queries(headers, addresses)
    with web_server(running, database_name(runs), ASSAY_API_RATE_PER_MINUTE="1000000") as (port, _):
        web = _Reader(port, headers)
        bodies = {name: web.get(address) for name, address in addresses.items()}
        sizes = _first_load(web, bodies["overview"].decode())
        cases: dict[str, Callable[[], object]] = {
            name: (lambda address=address: web.get(address)) for name, address in addresses.items()
        }
        samples = take_turns(cases, rounds=rounds, warm_up=20)
    ours, gunicorn = _rates(running, database_name(runs), headers, addresses["overview"], seconds=rounds / 20)
    section.at_least("overview at 16 at once, over gunicorn's threaded worker", ours / gunicorn, AT_LEAST_OF_GUNICORN)
    section.add("overview at 16 at once", f"{ours:.0f}/s, gunicorn {gunicorn:.0f}/s")
    section.at_most("overview: queries", counted["overview"], QUERIES)
    section.at_most("overview: HTML", len(bodies["overview"]) / 1024, HTML_KB, " KB")
    section.at_most("overview: JavaScript of a first load, compressed", sizes["js"] / 1024, JS_KB, " KB")
    section.at_most("overview: CSS of a first load, compressed", sizes["css"] / 1024, CSS_KB, " KB")
    for name in ("overview", "first history page", f"history page {deep:,}"):
        section.at_most(f"{name}: median", samples[name].median * 1000, MILLISECONDS, " ms")
    section.at_most(f"{API_LIST}: median", samples[API_LIST].median * 1000, API_MILLISECONDS, " ms")
    section.at_most(
        f"history page {deep:,} over first",
        ratio(samples[f"history page {deep:,}"], samples["first history page"]),
        NO_SLOWER,
    )
    for name in addresses:
        section.add(f"{name}: time", str(samples[name]))
    for name in ("agent page", "first history page", f"history page {deep:,}", API_LIST):
        section.add(f"{name}: queries", str(counted[name]))
    floor = samples["trivial view, full middleware"]
    section.add("overview over trivial view", f"{ratio(samples['overview'], floor):.1f}")
    return section


def _rates(
    running: Services, database: str, headers: dict[str, str], address: str, *, seconds: float
) -> tuple[float, float]:
    """Answers a second to clients that ask all the time: of the web server, and of gunicorn; both take turns."""
    threaded = ("gunicorn", "compliance.wsgi", "--worker-class=gthread", "--threads=4", "--log-level=warning")
    rates: list[list[float]] = [[], []]
    with (
        web_server(running, database) as (own, _),
        web_server(running, database, command=threaded) as (other, _),
    ):
        for turn in range(4):
            for port, found in zip((own, other), rates, strict=True):
                rate = _rate(port, headers, address, seconds)
                if turn:  # the first one warms up
                    found.append(rate)
    ours, gunicorn = map(statistics.median, rates)
    return ours, gunicorn


def _rate(port: int, headers: dict[str, str], address: str, seconds: float) -> float:
    counts = [0] * CLIENTS
    end = time.monotonic() + seconds

    def read(number: int) -> None:
        web = _Reader(port, headers)
        while time.monotonic() < end:
            web.get(address)
            counts[number] += 1
        web.connection.close()

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(read, range(CLIENTS)))
    return sum(counts) / seconds


def _make_key(organization: Organization) -> str:
    """The token of a new API key; the row is written here because the user is no admin."""
    token, prefix = new_token("ask")
    with organization_scope(organization.id):
        ApiKey.objects.create(
            organization=organization,
            name="Benchmark",
            prefix=prefix,
            secret_hash=hash_of(token),
            scopes=["read"],
            created_by="Benchmark",
            expires_at=timezone.now() + timedelta(days=1),
        )
    return token


def _sign_in(user: User) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    assert session.session_key is not None
    return session.session_key


def _count_queries(headers: dict[str, str], addresses: dict[str, str]) -> dict[str, int]:
    client = Client(headers=headers)
    counted = {}
    for name, address in addresses.items():
        if address.startswith("/bench/"):
            continue
        client.get(address)  # the first call fills caches that live as long as the process
        with CaptureQueriesContext(connection) as queries:
            response = client.get(address)
        assert response.status_code == 200, f"{address}: {response.status_code}"
        counted[name] = sum(not _TRANSACTION.match(query["sql"]) for query in queries)
    connection.close()
    return counted


@contextmanager
def web_server(
    running: Services, database: str, *, command: Sequence[str] = ("compliance.server",), **more: str
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The project's web server on a database, or another one; yields its port and its main process."""
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": running.postgres.url("assay_app", database),
        "DJANGO_SETTINGS_MODULE": "benchmarks.served_settings",
        "PORT": str(port),
        "WEB_CONCURRENCY": str(WORKERS),
        "GUNICORN_CMD_ARGS": f"--bind={LOOPBACK}:{port}",
        **more,
    }
    with subprocess.Popen(
        [sys.executable, "-m", *command], env=environment, cwd=PROJECT, stderr=subprocess.DEVNULL
    ) as started:
        try:
            _await(port)
            yield port, started
        finally:
            started.terminate()


def _await(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            web = HTTPConnection(LOOPBACK, port, timeout=5)
            web.request("GET", "/healthz")
            if web.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            time.sleep(0.1)
    raise SystemExit("the web server does not answer")


class _Reader:
    """A browser with one kept connection."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self.connection = HTTPConnection(LOOPBACK, port, timeout=60)
        self.headers = headers

    def get(self, address: str, **headers: str) -> bytes:
        self.connection.request("GET", address, headers={**self.headers, **headers})
        response = self.connection.getresponse()
        body = response.read()
        assert response.status == 200, f"{address}: {response.status}"
        return body


def _first_load(web: _Reader, html: str) -> dict[str, int]:
    """Bytes on the wire of every script and style sheet that the page names."""
    sizes = {"js": 0, "css": 0}
    for address in sorted(set(_ASSET.findall(html))):
        kind = address.rpartition(".")[2]
        if address.startswith("/static/") and kind in sizes:
            sizes[kind] += len(web.get(address, **{"Accept-Encoding": "gzip"}))
    assert all(sizes.values()), "no scripts or style sheets were found"
    return sizes
