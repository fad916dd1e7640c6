"""The commands as an operator calls them: processes, exit codes, and what they print."""

from __future__ import annotations

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
from django.core.management import execute_from_command_line
from django.utils import timezone

from compliance.models import (
    ComplianceRun,
    Credential,
    CredentialGrant,
    EngineHealth,
    Job,
    Membership,
    Monitor,
    Organization,
    Runner,
    User,
)
from compliance.tenancy.actions import create_organization
from compliance.tenancy.api_keys import BadKey, actor_of
from compliance.tenancy.scope import Actor, system_scope
from tests.conftest import AGENT_URL, make_context, make_run, make_user
from tests.processes import ROOT, serving_demo_agents, worker

pytestmark = pytest.mark.processes


def manage(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.fixture(autouse=True)
def _empty_broker() -> Iterator[None]:
    yield
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    client.flushdb()
    client.close()


@pytest.fixture
def alpha(committed_db: None) -> Organization:
    return create_organization(name="Alpha", slug="alpha", by=make_user("alice@example.org", "Alice Owner"))


def test_owner_test_ends_with_the_verdict_as_its_exit_code(alpha: Organization, tmp_path: Path) -> None:
    with (
        serving_demo_agents(tmp_path / "agents.log") as urls,
        worker(tmp_path / "worker.log", env={"ASSAY_EGRESS_ALLOW": urls["library"].split("/")[2]}),
    ):
        for name in ("library", "weather"):
            make_context(alpha, urls[name])
        passing = manage(
            "owner_test", "--org", "alpha", urls["library"], "--wait", "--json", "--as", "alice@example.org"
        )
        refused = manage("owner_test", "--org", "alpha", urls["weather"], "--wait")
    assert passing.returncode == 0, passing.stderr
    result = json.loads(passing.stdout)
    assert (result["status"], result["failed"], result["triggered_by"]) == ("passing", 0, "observer_test")
    # The allow-list named the library alone: our own refusal is no verdict about the agent.
    assert refused.returncode == 2, refused.stdout
    assert "Assay does not test this address" in refused.stdout
    with system_scope(by=Actor.system("tests"), reason="look"):
        assert set(ComplianceRun.objects.values_list("actor_name", flat=True)) == {"Alice Owner", "command line"}


def test_owner_test_of_a_broken_agent_ends_with_one(alpha: Organization, tmp_path: Path) -> None:
    with serving_demo_agents(tmp_path / "agents.log") as urls, worker(tmp_path / "worker.log"):
        make_context(alpha, urls["weather"])
        done = manage("owner_test", "--org", "alpha", urls["weather"], "--wait")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "status: partial" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--org", "nobody", AGENT_URL], "There is no organization “nobody”"),
        (["--org", "alpha", "https://other.example/"], "Register it first"),
        (["--org", "alpha", "not an address"], "space"),
        (["--org", "alpha", AGENT_URL, "--suite", "nonsense"], "There is no suite “nonsense”"),
        (["--org", "alpha", AGENT_URL, "--as", "charlie@example.com"], "Only members"),
        (["--org", "alpha", AGENT_URL, "--as", "nobody@example.com"], "There is no user"),
        ([AGENT_URL], "--org"),
        (["--org", "alpha", AGENT_URL, "--nonsense"], "--nonsense"),
    ],
)
def test_owner_test_says_what_is_wrong_and_ends_with_three(
    organization: Organization, charlie: User, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_context(organization)
    with pytest.raises(SystemExit) as ended:
        execute_from_command_line(["manage.py", "owner_test", *arguments])
    assert ended.value.code == 3
    assert says in capsys.readouterr().err


def test_owner_test_of_a_suite_that_no_worker_can_run_says_why(
    organization: Organization, capsys: pytest.CaptureFixture[str]
) -> None:
    make_context(organization)
    row = EngineHealth(worker="hosted@one", engine="baseline", available=False, reason="Node is not installed.")
    row.checked_at = timezone.now()
    row.save()
    with pytest.raises(SystemExit) as ended:
        execute_from_command_line(["manage.py", "owner_test", "--org", "alpha", AGENT_URL])
    assert ended.value.code == 3
    assert "Baseline cannot be run now. Node is not installed." in capsys.readouterr().err


def test_engines_lists_what_this_machine_can_run_without_a_database() -> None:
    done = manage("engines", "--json", DATABASE_URL="postgresql://nobody:none@127.0.0.1:9/none")
    assert done.returncode == 0, done.stderr
    baseline = next(engine for engine in json.loads(done.stdout) if engine["engine"] == "baseline")
    assert (baseline["available"], baseline["reason"], baseline["memory_mb"]) == (True, "", 0)
    assert baseline["suites"] >= 1
    assert {"python", "mcp", "a2a-sdk"} <= set(baseline["runtime"])


def test_owner_test_without_a_worker_ends_inconclusive(alpha: Organization) -> None:
    make_context(alpha)
    done = manage("owner_test", "--org", "alpha", AGENT_URL, "--wait", "--timeout", "1")
    assert done.returncode == 2
    assert "Is a worker running?" in done.stderr


def test_rebuild_status_finds_mends_and_then_finds_nothing(
    alpha: Organization, superuser: psycopg.Connection[Any]
) -> None:  # R9
    make_context(alpha)
    make_run("passed")
    assert manage("rebuild_status", "--check").returncode == 0
    superuser.execute("UPDATE agent_status SET status = 'failing', last_failed_at = now()")
    checked = manage("rebuild_status", "--check")
    assert checked.returncode == 1
    assert AGENT_URL in checked.stdout
    assert "stored:  since" in checked.stdout or "status failing" in checked.stdout
    mended = manage("rebuild_status")
    assert mended.returncode == 0
    assert "1 differed and were mended" in mended.stdout
    assert "equals what the runs say" in manage("rebuild_status", "--check").stdout
    superuser.execute("DELETE FROM agent_status")
    assert manage("rebuild_status", "--check").returncode == 1


def test_seeding_the_demo_twice_changes_nothing_and_prints_the_same_logins(committed_db: None, tmp_path: Path) -> None:
    agents = tmp_path / "agents.json"
    names = ["library", "weather", "payroll", "translator", "shipping", "archive", "signals"]
    agents.write_text(json.dumps({name: f"http://127.0.0.1:9/{name}" for name in names}))
    first = manage("seed_demo", "--agents-json", str(agents), ASSAY_DEMO="1")
    assert first.returncode == 0, first.stderr
    second = manage("seed_demo", "--agents-json", str(agents), ASSAY_DEMO="1")
    assert second.stdout == first.stdout
    assert (tmp_path / "demo-logins.json").stat().st_mode & 0o777 == 0o600
    with system_scope(by=Actor.system("tests"), reason="look"):
        assert Organization.objects.count() == 2
        assert Membership.objects.count() == 4
        # Riverside keeps the token that its payroll agent wants, and grants it; once.
        assert [(kept.name, kept.organization.name) for kept in Credential.objects.select_related("organization")] == [
            ("Payroll token", "Riverside City")
        ]
        assert CredentialGrant.objects.get().for_heartbeats
        asked = Job.objects.filter(agent__agent_url__endswith="/signals")
        assert set(asked.values_list("suite_version__suite__slug", flat=True)) == {"baseline", "adcp"}
        assert Job.objects.count() == 9
    password = next(line.split()[1] for line in first.stdout.splitlines() if "alice@" in line)
    from django.contrib.auth import authenticate

    assert authenticate(None, email="alice@riverside.example", password=password) is not None

    agents.write_text(json.dumps({name: f"http://127.0.0.1:9/{name}" for name in names[:-1]}))
    without_node = manage("seed_demo", "--agents-json", str(agents), ASSAY_DEMO="1")
    assert without_node.returncode == 0, without_node.stderr
    assert "Audience signals is not served here" in without_node.stdout


def test_seeding_keeps_the_runners_token_to_itself_and_makes_another_when_it_is_lost(  # V1
    committed_db: None, tmp_path: Path
) -> None:
    agents, file = tmp_path / "agents.json", tmp_path / "token"
    agents.write_text(json.dumps({"library": "http://127.0.0.1:9/library"}))

    def seed() -> str:
        done = manage("seed_demo", "--agents-json", str(agents), "--runner-token-file", str(file), ASSAY_DEMO="1")
        assert done.returncode == 0, done.stderr
        assert file.stat().st_mode & 0o777 == 0o600
        token = file.read_text().strip()
        assert token not in done.stdout + done.stderr
        return token

    first = seed()
    key = actor_of(first)
    assert key.runner_id is not None
    assert seed() == first
    file.unlink()
    second = seed()
    assert second != first
    assert actor_of(second).runner_id == key.runner_id
    with pytest.raises(BadKey, match="revoked"):
        actor_of(first)
    with system_scope(by=Actor.system("tests"), reason="look"):
        runner = Runner.objects.get()
        assert (runner.organization.name, runner.pk) == ("Riverside City", key.runner_id)
        # What is new to do, it does once: a monitor, and one test by hand.
        assert Monitor.objects.get().runner_id == runner.pk
        assert Job.objects.get(runner_id=runner.pk).suite_version.suite.slug == "mcp-conformance"


def test_seeding_refuses_a_database_that_is_no_demo(committed_db: None, tmp_path: Path) -> None:
    (tmp_path / "agents.json").write_text("{}")
    done = manage("seed_demo", "--agents-json", str(tmp_path / "agents.json"), ASSAY_DEMO="0")
    assert done.returncode == 1
    assert "ASSAY_DEMO=1" in done.stderr


def test_database_roles_prints_sql_that_a_server_accepts(superuser: psycopg.Connection[Any]) -> None:
    done = manage("database_roles")
    assert done.returncode == 0
    superuser.execute(done.stdout.encode())


def test_the_deployment_check_is_clean_in_production() -> None:
    done = manage(
        "check", "--deploy", "--fail-level=WARNING", SITE_URL="https://assay.example", ALLOWED_HOSTS="assay.example"
    )
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ASSAY_JOB_REDISPATCH_AFTER_SECONDS", "0"),
        ("ASSAY_EVIDENCE_RETENTION_MONTHS", "2"),
        ("ASSAY_EVIDENCE_RETENTION_MONTHS", "1201"),
    ],
)
def test_settings_that_the_database_would_refuse_are_refused_at_the_start(variable: str, value: str) -> None:
    done = manage("check", **{variable: value})
    assert done.returncode == 1
    assert f"{variable} must be" in done.stderr


@pytest.mark.parametrize("variable", ["SECRET_KEY", "ASSAY_VAULT_KEYS"])
def test_the_web_program_refuses_to_serve_without_a_secret(variable: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import compliance.wsgi"],
        cwd=ROOT,
        env={**os.environ, variable: ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert f"Set {variable}" in done.stderr


def test_a_database_that_is_away_is_not_told_as_a_failing_agent() -> None:
    done = manage("owner_test", "--org", "alpha", AGENT_URL, DATABASE_URL="postgresql://nobody:none@127.0.0.1:9/none")
    assert done.returncode == 3
    assert "the agent was not tested" in done.stderr
    assert "Traceback" not in done.stderr
