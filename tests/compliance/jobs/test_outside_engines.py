"""Engines of other packages: found, published and run, and harmless whatever they do."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from compliance.engines import Health, engine_health, engine_names, get_engine, suites_of
from compliance.jobs.actions import request_owner_test
from compliance.jobs.queue import lease_job
from compliance.jobs.worker import run_leases
from compliance.models import AgentContext, ComplianceRun, EngineHealth, Organization, Suite, SuiteVersion, User
from compliance.suites.actions import publish_engine_suites
from compliance.suites.health import record_engine_health
from compliance.tenancy.actions import create_organization
from compliance.tenancy.errors import Refused
from compliance.tenancy.scope import Actor, organization_scope, system_scope
from tests.compliance.engines.install import OUTSIDE, install
from tests.conftest import make_context, make_user, publish_suite
from tests.processes import ROOT, serving_demo_agents, wait_for, worker

pytestmark = pytest.mark.processes

MISBEHAVING = OUTSIDE.parent / "misbehaving"
BY = Actor.system("tests")
UNLOADABLE = ("no-module", "no-class", "breaks-when-made", "exits-when-made", "misnamed", "half")


@pytest.fixture
def arranged(committed_db: None, superuser: psycopg.Connection[Any]) -> Iterator[tuple[Organization, User]]:
    broker = redis.Redis.from_url(os.environ["REDIS_URL"])
    broker.flushdb()
    kept = list(Suite.objects.values_list("slug", flat=True))
    alice = make_user("alice@example.org", "Alice Owner")
    yield create_organization(name="Alpha", by=alice), alice
    # Suites outlive a test that commits; those of here must not be offered in others.
    superuser.execute("SET session_replication_role = replica")
    superuser.execute("TRUNCATE agent_compliance_runs, compliance_jobs, rejected_reports, webhook_deliveries")
    superuser.execute(
        "DELETE FROM suite_versions v USING suites s WHERE v.suite_id = s.id AND s.slug <> ALL (%s)", [kept]
    )
    superuser.execute("DELETE FROM suites WHERE slug <> ALL (%s)", [kept])
    superuser.execute("SET session_replication_role = origin")
    broker.flushdb()
    broker.close()


@pytest.fixture
def misbehaving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The misbehaving engines, installed in this process."""
    monkeypatch.syspath_prepend(install(MISBEHAVING, tmp_path / "site"))
    get_engine.cache_clear()
    module = importlib.import_module("misbehaving")
    yield module
    module.go_on.set()
    get_engine.cache_clear()
    del sys.modules["misbehaving"]


def ask(arranged: tuple[Organization, User], suite: str, url: str, **more: Any) -> Any:
    organization, alice = arranged
    with organization_scope(organization.id):
        context = AgentContext.objects.filter(organization=organization, agent_id=url).first()
    context = context or make_context(organization, url, verified=True)
    return request_owner_test(organization=organization, context_id=context.pk, by=alice, suite_slug=suite, **more)[0]


def run_it(job: Any) -> ComplianceRun:
    waiting = [job]

    def lease(at_most: int) -> list[Any]:
        return [lease_job(waiting.pop().pk, job.organization_id)] if waiting else []

    [run] = run_leases(lease, concurrency=1)
    return run


def test_the_documented_engine_is_the_one_that_is_tried() -> None:
    page = (ROOT / "docs" / "engines.md").read_text()
    for file in ("pyproject.toml", "http_manners.py"):
        assert (OUTSIDE / file).read_text().strip() in page
    assert len(page.splitlines()) < 60


def test_an_engine_of_another_package_is_found_published_and_run_by_a_worker(
    arranged: tuple[Organization, User], tmp_path: Path
) -> None:
    environment = {"PYTHONPATH": str(install(OUTSIDE, tmp_path / "site"))}

    def manage(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    listed = {engine["engine"]: engine for engine in json.loads(manage("engines", "--json"))}
    assert (listed["http-manners"]["available"], listed["http-manners"]["suites"]) == (True, 1)
    assert "http-manners 1 is published" in manage("publish_suites")
    with serving_demo_agents(tmp_path / "agents.log") as urls, worker(tmp_path / "worker.log", env=environment):
        wait_for(lambda: EngineHealth.objects.filter(engine="http-manners", available=True), what="the worker's word")
        ask(arranged, "http-manners", urls["library"])
        run = wait_for(the_run, seconds=60, what="a run on record")
        assert (run.engine, run.engine_version, run.overall_status) == ("http-manners", "0.1.0", "passing")
        assert run.suite_version.suite.slug == "http-manners"
    # The worker has ended, and takes its word back.
    assert not EngineHealth.objects.exists()


def the_run() -> ComplianceRun | None:
    with system_scope(by=BY, reason="look"):
        return ComplianceRun.objects.select_related("suite_version__suite").order_by("-recorded_at").first()


def test_broken_entry_points_take_themselves_away_and_nothing_else(misbehaving: Any) -> None:
    names = engine_names()
    assert names.count("baseline") == 1
    assert "Shouting" not in names
    assert type(get_engine("baseline")).__name__ == "BaselineEngine"
    for name in (*UNLOADABLE, "sick", "wordless"):
        health = engine_health(name)
        assert isinstance(health, Health)
        assert not health.available
        assert name in health.reason
        assert suites_of(name) == []
    assert [suite.slug for suite in suites_of("baseline")] == ["baseline"]


def test_the_command_lists_the_broken_ones_with_their_reasons(
    misbehaving: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from django.core.management import call_command

    call_command("engines")
    listed = capsys.readouterr().out
    assert "baseline 1.0: available" in listed
    assert "breaks-when-made (version unknown): not available" in listed
    assert "no licence" in listed


def test_no_engine_can_take_anothers_suite_and_the_rest_are_published(
    misbehaving: Any, arranged: tuple[Organization, User]
) -> None:
    outcome = publish_engine_suites(by=BY)
    published = {version.suite.slug: version.engine for version in outcome.published}
    assert published["baseline"] == "baseline"
    assert published["steals"] == "steals"
    assert Suite.objects.get(slug="baseline").current_version.engine == "baseline"
    assert not Suite.objects.filter(slug__in=["foreign", "unwritable"]).exists()
    reasons = [reason for engine, reason in outcome.refused if engine == "steals"]
    assert len(reasons) == 3
    assert any("is the engine baseline's" in reason for reason in reasons)
    with pytest.raises(Refused, match="is the engine baseline's"):
        publish_suite(slug="baseline", title="B", description="", version="2", engine="steals", definition={}, by=BY)


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ("raises", "LookupError in the engine raises"),
        ("exits", "in the engine exits"),
        ("cancels", "cancelled its own run"),
        ("garbage", "not valid: it returned dict"),
        ("stranger", "not valid: suite: the report is about another suite"),
        ("huge", "not valid: observations: more than"),
        ("verbose", "not valid: tracks/0/scenarios/0/steps: more than"),
        ("writhing", "not valid: its report cannot be read (RuntimeError)"),
        ("synchronous", "TypeError in the engine"),
        ("babbles", "AttributeError in the engine"),
    ],
)
def test_what_an_engine_breaks_is_its_own_run(
    misbehaving: Any, arranged: tuple[Organization, User], engine: str, says: str
) -> None:  # R7, L16
    publish_engine_suites(by=BY)
    run = run_it(ask(arranged, engine, "https://agent.example/"))
    assert run.overall_status == "inconclusive"
    assert says in run.harness_error
    assert "4711" not in run.harness_error
    assert not run.moves_status
    assert run.tracks_json == []


@pytest.mark.parametrize("engine", ["hangs", "stubborn", "blocks"])
def test_an_engine_that_goes_on_past_its_deadline_is_cut_off_and_holds_up_nobody(
    misbehaving: Any, arranged: tuple[Organization, User], settings: Any, engine: str
) -> None:  # R7
    settings.TEST_DEADLINE_SECONDS, settings.ENGINE_GRACE_SECONDS = 1, 1
    publish_engine_suites(by=BY)
    jobs = [ask(arranged, name, "https://agent.example/") for name in (engine, "steals")]
    waiting = list(jobs)

    def lease(at_most: int) -> list[Any]:
        given, waiting[:] = waiting[:at_most], waiting[at_most:]
        return [lease_job(job.pk, job.organization_id) for job in given]

    runs = {run.engine: run for run in run_leases(lease, concurrency=2)}
    assert runs["steals"].overall_status == "passing"
    assert (runs[engine].overall_status, runs[engine].truncated) == ("inconclusive", True)
    assert "did not end in time" in runs[engine].harness_error
    assert runs["steals"].recorded_at < runs[engine].recorded_at
    # And the engine's next run has a loop that is alive.
    misbehaving.go_on.set()
    assert run_it(ask(arranged, "steals", "https://agent.example/")).overall_status == "passing"


@pytest.mark.parametrize("engine", ["sick", "misnamed"])
def test_a_worker_without_the_engine_ends_the_job_inconclusive_with_the_reason(
    misbehaving: Any, arranged: tuple[Organization, User], engine: str
) -> None:
    tracks = [{"key": "t", "title": "T", "scenarios": [{"key": "s", "title": "S", "steps": []}]}]
    publish_suite(
        slug=engine, title=engine, description="", version="1", engine=engine, definition={"tracks": tracks}, by=BY
    )
    run = run_it(ask(arranged, engine, "https://agent.example/"))
    assert run.overall_status == "inconclusive"
    assert "this worker cannot run the suite" in run.harness_error
    assert engine in run.harness_error


def test_a_suite_whose_engine_no_live_worker_has_is_refused_with_the_reason(
    misbehaving: Any, arranged: tuple[Organization, User]
) -> None:
    publish_engine_suites(by=BY)
    publish_suite(slug="sick", title="Sick", description="", version="1", engine="sick", definition={}, by=BY)
    record_engine_health("hosted@one")
    with pytest.raises(Refused, match=r"Sick cannot be run now\. .*OSError"):
        ask(arranged, "sick", "https://agent.example/")
    EngineHealth.objects.filter(engine="raises").delete()
    with pytest.raises(Refused, match="No worker has the engine “raises”"):
        ask(arranged, "raises", "https://agent.example/")
    assert ask(arranged, "baseline", "https://agent.example/").is_active


def test_a_suite_that_an_engine_no_longer_carries_is_no_longer_offered_and_stays_readable(
    misbehaving: Any, arranged: tuple[Organization, User]
) -> None:  # A7
    publish_engine_suites(by=BY)
    engine = get_engine("raises")
    engine.suites = lambda: [engine.suite(slug="raises-anew")]
    publish_engine_suites(by=BY)
    with pytest.raises(Refused, match="There is no suite “raises”"):
        ask(arranged, "raises", "https://agent.example/")
    assert SuiteVersion.objects.get(suite__slug="raises").definition["tracks"]
    engine.suites = list  # says nothing: nothing is withdrawn
    publish_engine_suites(by=BY)
    assert Suite.objects.get(slug="raises-anew").current_version is not None


def test_a_run_of_a_part_suite_is_no_full_run_and_another_suite_moves_no_status(
    misbehaving: Any, arranged: tuple[Organization, User]
) -> None:  # R10, R12
    engine = get_engine("steals")
    engine.suites = lambda: [engine.suite(slug="part", full=False), engine.suite(slug="whole")]
    publish_engine_suites(by=BY)
    url = "https://agent.example/"
    part, whole = run_it(ask(arranged, "part", url)), run_it(ask(arranged, "whole", url))
    filtered = run_it(ask(arranged, "whole", url, scenarios=["a/b/c"]))
    everything = run_it(ask(arranged, "whole", url, scenarios=["d", "a/b/c"]))
    for run, is_full in ((part, False), (whole, True), (filtered, False), (everything, True)):
        assert run.overall_status == "passing"
        assert run.full_suite is is_full
        # Nor does the whole of it: public status is measured by the baseline.
        assert not stored(run).moves_status
    assert part.tracks_json[0]["scenarios"][0]["key"] == "a/b/c"


def stored(run: ComplianceRun) -> ComplianceRun:
    with system_scope(by=BY, reason="look"):
        return ComplianceRun.objects.get(pk=run.pk)
