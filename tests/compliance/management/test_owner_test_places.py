"""`owner_test` on private runners."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.management import call_command, execute_from_command_line

from compliance.models import AgentContext, Job, Organization, User
from compliance.registry.models import Placement
from compliance.runners.actions import delete_runner
from compliance.tenancy.scope import organization_scope
from tests.compliance.runners.conftest import Calling, make_runner
from tests.conftest import AGENT_URL


@pytest.fixture
def lab(organization: Organization, context: AgentContext, alice: User) -> Calling:
    return make_runner(organization, alice, pool="berlin")


def call(*arguments: str) -> None:
    execute_from_command_line(["manage.py", "owner_test", "--org", "alpha", AGENT_URL, *arguments])


@pytest.mark.parametrize(("arguments", "to_pool"), [(["--runner", "LAB"], False), (["--pool", "Berlin"], True)])
def test_a_test_is_pinned_to_the_runner_or_to_the_pool(
    organization: Organization, lab: Calling, arguments: list[str], to_pool: bool, capsys: Any
) -> None:  # L3
    call_command("owner_test", AGENT_URL, "--org", "alpha", *arguments, "--json")
    with organization_scope(organization.id):
        wanted = Job.objects.get()
    assert wanted.placement == (Placement(pool="berlin") if to_pool else lab.placement())
    assert json.loads(capsys.readouterr().out)["job"] == str(wanted.pk)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--runner", "nobody"], "Alpha has no private runner “nobody”."),
        (["--pool", "nowhere"], "There is no such private runner"),
        (["--runner", "lab", "--pool", "berlin"], "not allowed with"),
    ],
)
def test_a_place_that_is_not_there_ends_with_three(lab: Calling, arguments: list[str], says: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        call(*arguments)
    assert ended.value.code == 3
    assert says in capsys.readouterr().err


def test_a_foreign_runner_is_not_there(
    organization: Organization, context: AgentContext, other_organization: Organization, charlie: User, capsys: Any
) -> None:  # I5
    make_runner(other_organization, charlie, name="theirs")
    with pytest.raises(SystemExit) as ended:
        call("--runner", "theirs")
    assert ended.value.code == 3
    assert "Alpha has no private runner “theirs”." in capsys.readouterr().err


def test_waiting_for_a_runner_that_is_away_ends_inconclusive(lab: Calling, capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        call("--runner", "lab", "--wait", "--timeout", "1")
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "waiting for a private runner" in said.out
    assert "Is a private runner running?" in said.err


@pytest.mark.parametrize("place", [["--runner", "lab"], ["--pool", "berlin"]])
def test_a_runner_that_lacks_the_engine_is_refused_with_what_to_do(
    organization: Organization, lab: Calling, place: list[str], capsys: Any
) -> None:
    lab.poll(at_most=0, engines={"a2a": "1.0"})
    with pytest.raises(SystemExit) as ended:
        call_command("owner_test", AGENT_URL, "--org", "alpha", *place)
    assert ended.value.code == 3
    said = capsys.readouterr().err
    assert "the engine baseline" in said
    assert "assay-runner install-engines" in said
    with organization_scope(organization.id):
        assert not Job.objects.exists()


def test_waiting_for_an_engine_that_went_away_says_so(lab: Calling, capsys: Any, monkeypatch: Any) -> None:
    lab.poll(at_most=0)
    fewer = {"a2a": "1.0"}

    def start_anew(_: float) -> None:
        if lab.row().engines != fewer:
            lab.poll(engines=fewer)

    monkeypatch.setattr("time.sleep", start_anew)  # while the command waits
    with pytest.raises(SystemExit) as ended:
        call("--runner", "lab", "--wait", "--timeout", "1")
    assert ended.value.code == 2
    assert "No result in time. lab lacks the engine baseline." in capsys.readouterr().err


def test_a_job_that_ended_without_a_run_says_why(
    organization: Organization, lab: Calling, alice: User, capsys: Any, monkeypatch: Any
) -> None:  # L14
    def delete(_: float) -> None:
        delete_runner(organization=organization, runner_id=lab.runner.pk, by=alice)

    monkeypatch.setattr("time.sleep", delete)  # while the command waits
    with pytest.raises(SystemExit) as ended:
        call("--runner", "lab", "--wait", "--timeout", "20")
    assert ended.value.code == 2
    assert "The private runner lab was deleted." in capsys.readouterr().err
