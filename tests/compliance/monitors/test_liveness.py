"""The tick's dead-man switch, its counters, and the metrics."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse
from prometheus_client.parser import text_string_to_metric_families

from compliance.database import database_time
from compliance.jobs.queue import lease_job
from compliance.models import Job, Monitor, Organization, TickPhase, User
from compliance.monitors import liveness
from compliance.monitors import tick as ticking
from compliance.monitors.actions import run_monitor_now
from compliance.monitors.metrics import read_figures
from compliance.monitors.tick import create_due_monitor_jobs, tick
from compliance.tenancy.scope import organization_scope
from tests.compliance.monitors.conftest import PHASES, arrange, jobs_of, make_due, set_back
from tests.processes import Process, wait_for, worker

LIMIT = timedelta(seconds=180)


@pytest.fixture(autouse=True)
def limit(settings: Any) -> None:
    settings.TICK_DEAD_AFTER_SECONDS = int(LIMIT.total_seconds())


@pytest.fixture
def new(db: None, arranging: None) -> None:
    """An installation whose tick has not come yet."""
    arrange("DELETE FROM tick_phases WHERE name <> $1", "")
    arrange("INSERT INTO tick_phases (name) SELECT unnest(string_to_array($1, ','))", ",".join(PHASES))


def ready(client: Client) -> tuple[int, str]:
    response = client.get("/readyz")
    return response.status_code, response.content.decode().strip()


def test_a_new_installation_is_ready_until_its_first_tick_is_missed(new: None, client: Client) -> None:  # L18
    assert ready(client) == (200, "ok")
    set_back(LIMIT - timedelta(seconds=20))
    assert ready(client) == (200, "ok")
    set_back(timedelta(seconds=21))
    assert ready(client) == (503, "not ready: tick")


@pytest.mark.parametrize("phase", ["heartbeats", "monitors", "runners"])
def test_each_phase_is_missed(new: None, client: Client, phase: str) -> None:  # L18
    tick()
    assert ready(client) == (200, "ok")
    set_back(LIMIT + timedelta(seconds=1), phase)
    assert ready(client) == (503, "not ready: tick")
    tick()
    assert ready(client) == (200, "ok")


def test_a_phase_that_fails_is_not_completed_and_says_of_the_error_only_its_kind(
    new: None, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:  # L11, L18
    tick()
    set_back(LIMIT + timedelta(seconds=1))

    def fail() -> Any:
        raise KeyError("https://secret.example/mcp")

    monkeypatch.setattr(ticking, "create_due_monitor_jobs", fail)
    monkeypatch.setattr(ticking, "close_old_connections", lambda: None)
    with pytest.raises(KeyError):
        tick()
    failed = TickPhase.objects.get(name="monitors")
    assert (failed.last_error, failed.last_failed_at is not None) == ("KeyError", True)
    assert TickPhase.objects.get(name="runners").last_completed_at > database_time() - LIMIT
    assert ready(client) == (503, "not ready: tick")
    assert liveness.still_since() == failed.last_completed_at


STILL = "Automatic tests have stood still since"


def test_every_page_says_that_the_tick_stands_still(
    new: None, organization: Organization, context: Any, alice: User, log_in: Callable[[User], Client]
) -> None:  # L18
    client = log_in(alice)
    addresses = [
        reverse("overview", args=[organization.slug]),
        reverse("agent", args=[organization.slug, context.pk]),
        reverse("monitors", args=[organization.slug]),
        reverse("members", args=[organization.slug]),
        "/suites/",
    ]
    for address in addresses:
        assert STILL not in client.get(address).content.decode(), address
    set_back(LIMIT + timedelta(hours=1))
    since = liveness.still_since()
    assert since is not None
    for address in addresses:
        page = client.get(address).content.decode()
        assert page.count(STILL) == 1, address
        assert f"{since:%Y-%m-%dT%H:%M:%S}Z" in page
    agent = client.get(addresses[1]).content.decode()
    assert "Not fresh" in agent, "what was last checked does not look fresh"
    assert STILL not in Client().get("/accounts/login/").content.decode(), "no results are shown there"


def test_the_staff_site_says_so_too(new: None, staff_user: User, settings: Any, log_in: Any) -> None:  # L18
    settings.STAFF_REQUIRES_MFA = False
    client = log_in(staff_user)
    client.post("/staff/reason/", {"reason": "Ticket 4711"})
    assert STILL not in client.get("/staff/").content.decode()
    set_back(LIMIT + timedelta(seconds=1))
    for address in ("/staff/", "/staff/compliance/agent/", "/staff/compliance/tickphase/"):
        assert STILL in client.get(address).content.decode()


@pytest.fixture
def beat(tmp_path: Path) -> Iterator[Callable[[], Process]]:
    running: list[Process] = []

    def start() -> Process:
        command = ("-m", "celery", "-A", "compliance.celery:app", "beat", "--pidfile=")
        schedule = f"--schedule={tmp_path / 'schedule'}"
        running.append(Process(sys.executable, *command, schedule, "--loglevel=info", log=tmp_path / "beat.log"))
        return running[-1]

    yield start
    for process in running:
        process.stop()


@pytest.mark.processes
def test_a_beat_that_stops_is_seen_and_one_that_comes_back_too(
    committed_db: None, arranging: None, beat: Callable[[], Process], tmp_path: Path, client: Client
) -> None:  # L18
    for name in ("heartbeats", "monitors", "runners"):
        liveness.begin(name)
    set_back(LIMIT + timedelta(seconds=1))
    assert ready(client) == (503, "not ready: tick")
    with worker(tmp_path / "worker.log"):
        first = beat()
        wait_for(lambda: ready(client)[0] == 200, seconds=60, what="the first tick")
        first.stop()
        set_back(LIMIT + timedelta(seconds=1))  # so long nobody waits here
        assert ready(client) == (503, "not ready: tick"), "the worker alone makes no tick"
        beat()
        wait_for(lambda: ready(client)[0] == 200, seconds=60, what="another tick")


# Numbers


def scrape(client: Client, **headers: str) -> dict[str, dict[tuple[str, ...], float]]:
    response = client.get("/metrics", **headers)
    assert response.status_code == 200, response.content
    assert response["Content-Type"].startswith("text/plain")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(response.content.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.values()))] = sample.value
    return found


def test_the_metrics_tell_what_is_due_late_waiting_and_decided(
    organization: Organization, monitor: Monitor, client: Client, alice: User
) -> None:
    make_due(monitor, since=timedelta(hours=2))
    before = scrape(client)
    assert before["assay_due"][("monitors",)] == before["assay_overdue"][("monitors",)] == 1
    assert 7195 < before["assay_oldest_overdue_seconds"][("monitors",)] < 7500
    allowed = before.get("assay_decisions_total", {}).get(("allowed",), 0)
    tick()
    after = scrape(client)
    assert after["assay_due"][("monitors",)] == 0, "it has its job"
    assert after["assay_overdue"][("monitors",)] == 1, "and no result"
    assert after["assay_jobs"] == {("monitor", "queued"): 1, ("heartbeat", "queued"): 1}
    assert after["assay_decisions_total"][("allowed",)] == allowed + 1
    assert after["assay_tick_last_completed_timestamp_seconds"][("monitors",)] > 1_700_000_000
    assert after["assay_tick_duration_seconds"][("heartbeats",)] >= 0
    assert after["assay_tick_phases_total"][("completed", "monitors")] >= 1


def test_a_decision_by_hand_is_counted_once_it_is_committed(
    organization: Organization, monitor: Monitor, alice: User, django_capture_on_commit_callbacks: Any
) -> None:  # G4
    before = read_figures()["decisions"].get(("allowed", ""), 0)
    with django_capture_on_commit_callbacks(execute=True):
        run_monitor_now(organization=organization, monitor_id=monitor.pk, by=alice)
        assert read_figures()["decisions"].get(("allowed", ""), 0) == before
    assert read_figures()["decisions"][("allowed", "")] == before + 1


def test_a_lease_that_runs_out_is_counted_and_one_that_is_kept_is_not(
    organization: Organization, monitor: Monitor
) -> None:
    def run_out() -> float:
        return read_figures()["leases_run_out"]["", ""]

    make_due(monitor)
    create_due_monitor_jobs()
    [job] = jobs_of(organization)
    before = run_out()
    assert lease_job(job.pk, organization.id)
    assert lease_job(job.pk, organization.id) is None
    assert run_out() == before
    with organization_scope(organization.id):
        Job.objects.update(lease_expires_at=database_time() - timedelta(seconds=1))
    assert lease_job(job.pk, organization.id)
    assert run_out() == before + 1
    with organization_scope(organization.id):
        assert jobs_of(organization)[0].cancel()
    assert run_out() == before + 1


def test_the_metrics_name_nobody(organization: Organization, monitor: Monitor, client: Client) -> None:  # I6
    make_due(monitor)
    tick()
    text = client.get("/metrics").content.decode()
    for name in (organization.id, organization.slug, monitor.name, "agent.example"):
        assert name not in text


TOKEN = "m" * 32


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"HTTP_AUTHORIZATION": f"Bearer {TOKEN}", "REMOTE_ADDR": "203.0.113.7"}, 200),
        ({"HTTP_AUTHORIZATION": f"Bearer {TOKEN}", "HTTP_X_FORWARDED_FOR": "203.0.113.7"}, 200),
        ({"HTTP_AUTHORIZATION": f"Bearer {TOKEN}x"}, 401),
        ({"HTTP_AUTHORIZATION": f"Basic {TOKEN}"}, 401),
        ({"HTTP_AUTHORIZATION": "Bearer é"}, 401),
        ({}, 401),
    ],
)
def test_with_a_token_only_its_bearer_gets_the_metrics(
    db: None, client: Client, settings: Any, headers: dict[str, str], status: int
) -> None:
    settings.METRICS_TOKEN = TOKEN
    assert client.get("/metrics", **headers).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"REMOTE_ADDR": "::1"}, 200),
        ({"REMOTE_ADDR": "203.0.113.7"}, 404),
        ({"REMOTE_ADDR": "10.0.0.7"}, 404),
        ({"REMOTE_ADDR": ""}, 404),
        ({"HTTP_X_FORWARDED_FOR": "203.0.113.7"}, 404),
        ({"HTTP_X_FORWARDED_PROTO": "https"}, 404),
        ({"HTTP_FORWARDED": "for=203.0.113.7"}, 404),
        ({"HTTP_VIA": "1.1 proxy"}, 404),
        ({"HTTP_X_REAL_IP": "203.0.113.7"}, 404),
    ],
)
def test_without_one_only_the_machine_itself_does_and_never_through_a_proxy(
    db: None, client: Client, settings: Any, headers: dict[str, str], status: int
) -> None:
    settings.METRICS_TOKEN = ""
    assert client.get("/metrics", **headers).status_code == status


MAY_NOT = {
    "it comes in a thousand years": "UPDATE tick_phases SET last_completed_at = now() + interval '1000 years'",
    "it came before": "UPDATE tick_phases SET last_completed_at = now() - interval '1 hour'",
    "it never came": "UPDATE tick_phases SET last_completed_at = NULL",
    "it began later": "UPDATE tick_phases SET last_started_at = now() + interval '1 hour'",
    "it failed never": "UPDATE tick_phases SET last_failed_at = NULL",
    "it is younger": "UPDATE tick_phases SET made_at = 'infinity'",
    "it is another": "UPDATE tick_phases SET name = 'monitors' WHERE name = 'runners'",
    "there is one more": "INSERT INTO tick_phases (name) VALUES ('other')",
    "there is one less": "DELETE FROM tick_phases",
    "there is none": "TRUNCATE tick_phases",
}


@pytest.mark.parametrize("what", MAY_NOT)
def test_no_write_of_the_app_keeps_the_switch_quiet(new: None, what: str) -> None:  # L18
    liveness.begin("monitors")
    liveness.complete("monitors", duration_ms=1)
    liveness.fail("monitors", KeyError())
    with pytest.raises(DatabaseError) as refusal, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(MAY_NOT[what])
    assert isinstance(refusal.value.__cause__, psycopg.errors.InsufficientPrivilege)


@pytest.mark.parametrize("made_at", ["infinity", "2000-01-01"])
def test_a_phase_is_made_now_and_has_not_come_yet(new: None, made_at: str) -> None:  # L18
    arrange("DELETE FROM tick_phases WHERE name = $1", "monitors")
    insert = "INSERT INTO tick_phases (name, made_at, last_completed_at) VALUES ('monitors', %s, %s)"
    for values in ((made_at, None), ("now", made_at)):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(insert, values)
    liveness.begin("monitors")
    assert TickPhase.objects.get(name="monitors").last_completed_at is None


def test_what_comes_of_a_phase_comes_now(new: None) -> None:  # L18
    before = database_time()
    liveness.begin("monitors")
    liveness.complete("monitors", duration_ms=5)
    liveness.fail("monitors", KeyError())
    phase = TickPhase.objects.get(name="monitors")
    times = (phase.last_started_at, phase.last_completed_at, phase.last_failed_at)
    assert all(time is not None and before <= time <= database_time() for time in times)
