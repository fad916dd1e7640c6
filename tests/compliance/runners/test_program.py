"""assay-runner against the real server: real web processes, a real database, a real agent."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from compliance.demo_agents import AGENTS
from compliance.engines import get_engine
from compliance.jobs.models import JobState
from compliance.models import AgentContext, ComplianceRun, CredentialUse, Job, Organization, User
from compliance.registry.models import Placement
from compliance.runners.actions import disable_runner
from compliance.tenancy.actions import create_organization
from compliance.tenancy.scope import organization_scope
from tests.compliance.runners.conftest import Calling, ask, job_row, make_runner
from tests.compliance.vault.conftest import make_credential, make_grant
from tests.conftest import make_context, make_user
from tests.processes import HeldAgent, Process, serving_demo_agents, wait_for, web

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]


@pytest.fixture
def alpha(committed_db: None) -> tuple[Organization, User]:
    alice = make_user("alice@example.org", "Alice Owner")
    return create_organization(name="Alpha", by=alice), alice


@pytest.fixture
def server(tmp_path: Path, committed_db: None) -> Iterator[str]:
    with web(tmp_path / "web.log", tmp_path / "static", env={"ASSAY_LEASE_SECONDS": "6"}) as address:
        yield address


@contextmanager
def program(server: str, calling: Calling, folder: Path, *options: str, name: str = "runner") -> Iterator[Process]:
    """The runner program, until the block ends."""
    token = folder / f"{name}.token"
    token.write_text(calling.token)
    token.chmod(0o600)
    process = Process(
        *(sys.executable, "-m", "compliance.runners.program", "--url", server, "--token-file", str(token)),
        *("--state-dir", str(folder / name), "--allow", "127.0.0.1", "--allow", "localhost", *options),
        log=folder / f"{name}.log",
        env={"DJANGO_SETTINGS_MODULE": ""},
    )
    try:
        yield process
    finally:
        process.stop()


def ended(organization: Organization, job_id: UUID) -> Callable[[], Job | None]:
    def look() -> Job | None:
        job = job_row(organization, job_id)
        return None if job.is_active else job

    return look


def run_of(organization: Organization, job: Job) -> ComplianceRun:
    with organization_scope(organization.id):
        return ComplianceRun.objects.get(job_id=job.pk)


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[dict[str, str]]:
    with serving_demo_agents(tmp_path / "agents.log") as addresses:
        yield addresses


def test_an_agent_inside_is_tested_by_the_runner_and_the_run_carries_its_name(
    alpha: tuple[Organization, User], server: str, agents: dict[str, str], tmp_path: Path
) -> None:
    organization, alice = alpha
    context = make_context(organization, agents["library"])
    lab = make_runner(organization, alice)
    with program(server, lab, tmp_path):
        wait_for(lambda: lab.row().is_online, what="the runner's first poll")
        job = ask(organization, context, alice, lab.placement())
        finished = wait_for(ended(organization, job.pk), seconds=60, what="the result")
    run = run_of(organization, finished)
    assert (run.overall_status, run.executor_name, run.executor_kind) == ("passing", "lab", "private")
    assert run.passed_count > 5
    row = lab.row()
    assert row.version
    assert row.engines["baseline"] == run.engine_version


def test_all_that_waits_for_a_runner_is_run_at_its_first_try(  # L6, L12
    alpha: tuple[Organization, User], server: str, agents: dict[str, str], tmp_path: Path
) -> None:
    organization, alice = alpha
    lab = make_runner(organization, alice)
    asked = [
        ask(organization, make_context(organization, agents[name]), alice, lab.placement())
        for name in ("library", "weather", "translator")
    ]
    with program(server, lab, tmp_path):
        done = [wait_for(ended(organization, job.pk), seconds=60, what="the result") for job in asked]
    assert [(job.state, job.attempt) for job in done] == [(JobState.FINISHED, 1)] * 3


@pytest.mark.parametrize(
    ("agent", "suite", "engine", "verdict"),
    [
        ("library", "mcp-conformance", "mcp-conformance", "passing"),
        ("translator", "a2a-must", "a2a", "passing"),
        ("signals", "adcp-universal-security", "adcp", "failing"),  # it asks nobody who they are
    ],
)
def test_an_official_suite_runs_in_the_runner_as_it_does_hosted(  # R8
    alpha: tuple[Organization, User],
    server: str,
    agents: dict[str, str],
    tmp_path: Path,
    agent: str,
    suite: str,
    engine: str,
    verdict: str,
) -> None:
    organization, alice = alpha
    context = make_context(organization, agents[agent])
    lab = make_runner(organization, alice)
    job = ask(organization, context, alice, lab.placement(), suite_slug=suite)
    with program(server, lab, tmp_path) as process:
        finished = wait_for(ended(organization, job.pk), seconds=120, what="the result")
    run = run_of(organization, finished)
    assert (run.overall_status, run.executor_name) == (verdict, "lab"), process.output()
    assert run.engine_version == get_engine(engine).version
    assert run.tracks_json


def test_a_secret_of_assay_reaches_the_runner_under_a_grant_only(  # V2, V5
    alpha: tuple[Organization, User], server: str, agents: dict[str, str], tmp_path: Path
) -> None:
    organization, alice = alpha
    context = make_context(organization, agents["payroll"])
    lab = make_runner(organization, alice)
    credential = make_credential(organization, alice, secret=DEMO_TOKEN)
    with program(server, lab, tmp_path):
        without = ask(organization, context, alice, lab.placement())
        first = wait_for(ended(organization, without.pk), seconds=60, what="the result without a grant")
        make_grant(credential, context, alice, uses=["owner_tests", "private_runners"])
        within = ask(organization, context, alice, lab.placement())
        second = wait_for(ended(organization, within.pk), seconds=60, what="the result with a grant")
    assert run_of(organization, first).credential_id is None
    run = run_of(organization, second)
    assert (run.credential_id, run.overall_status) == (credential.pk, "passing")
    with organization_scope(organization.id):
        [use] = CredentialUse.objects.all()
    assert (use.sent_to, use.executor_name, use.run_id) == ("runner", "lab", run.pk)


def test_a_runner_that_is_stopped_hands_back_what_it_holds(
    alpha: tuple[Organization, User], server: str, tmp_path: Path
) -> None:
    organization, alice = alpha
    held = HeldAgent()
    context = make_context(organization, held.url)
    lab = make_runner(organization, alice)
    job = ask(organization, context, alice, lab.placement())
    with program(server, lab, tmp_path, "--grace", "0.5") as process:
        held.wait_until_asked()
        process.child.send_signal(signal.SIGTERM)
        assert process.child.wait(20) == 0
    row = job_row(organization, job.pk)
    assert (row.state, row.attempt) == (JobState.QUEUED, 0)
    held.close()


def test_a_killed_runner_loses_its_lease_and_the_next_one_brings_the_one_result(  # L12
    alpha: tuple[Organization, User], server: str, tmp_path: Path
) -> None:
    organization, alice = alpha
    held = HeldAgent()
    context = make_context(organization, held.url)
    one, two = (make_runner(organization, alice, name, "berlin") for name in ("one", "two"))
    job = ask(organization, context, alice, Placement(pool="berlin"))
    with program(server, one, tmp_path, name="one") as process:
        held.wait_until_asked()
        process.kill()
    held.go_on.set()
    with program(server, two, tmp_path, name="two"):
        finished = wait_for(ended(organization, job.pk), seconds=90, what="the result of the other runner")
    run = run_of(organization, finished)
    assert (run.executor_name, finished.attempt) == ("two", 2)
    held.close()


def test_a_disabled_runner_says_so_and_its_test_is_stopped(  # L3
    alpha: tuple[Organization, User], server: str, tmp_path: Path
) -> None:
    organization, alice = alpha
    held = HeldAgent()
    context: AgentContext = make_context(organization, held.url)
    lab = make_runner(organization, alice)
    job = ask(organization, context, alice, lab.placement())
    with program(server, lab, tmp_path) as process:
        held.wait_until_asked()
        disable_runner(organization=organization, runner_id=lab.runner.pk, by=alice)
        process.says("disabled or deleted", seconds=60)
    assert job_row(organization, job.pk).state == JobState.QUEUED
    held.close()


DEMO_TOKEN = next(agent.token for agent in AGENTS if agent.name == "payroll")
